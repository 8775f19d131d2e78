//! The contract between imd and its apps. No behaviour.

pub mod code;
#[cfg(feature = "grpc")]
pub mod endpoint;
#[cfg(feature = "grpc")]
pub mod status;

#[cfg(feature = "grpc")]
pub use generated::{im, imd};

/// The newest protocol this build speaks. An app's library names a range, and the daemon picks.
pub const PROTOCOL: u32 = 1;

/// The oldest protocol this build speaks.
pub const PROTOCOL_MIN: u32 = 1;

/// The metadata by which a call names its app's binding.
pub const BINDING_METADATA: &str = "imd-binding";

/// The descriptors of all .proto files, for the reflection service.
#[cfg(feature = "grpc")]
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/imd_descriptor.bin"));

#[cfg(feature = "grpc")]
#[expect(
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "the generated code brings its own"
)]
#[allow(clippy::pedantic, clippy::default_trait_access, unused_qualifications)]
mod generated {
    pub mod imd {
        pub mod v1 {
            tonic::include_proto!("imd.v1");

            impl std::fmt::Debug for ConnectRequest {
                fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.debug_struct("ConnectRequest")
                        .field("time_limit_seconds", &self.time_limit_seconds)
                        .field("user_id", &self.user_id)
                        .field("connect_id", &self.connect_id)
                        .field("app_key", &self.app_key)
                        .finish_non_exhaustive()
                }
            }
        }
    }

    pub mod im {
        pub mod wire {
            pub mod v1 {
                tonic::include_proto!("im.wire.v1");
            }
        }
    }
}
