//! Compiles the .proto files without protoc, and keeps their descriptor for the reflection service.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    #[cfg(feature = "grpc")]
    generate()?;
    Ok(())
}

#[cfg(feature = "grpc")]
fn generate() -> Result<(), Box<dyn std::error::Error>> {
    use prost::Message as _;

    let files = [
        "proto/imd/v1/session.proto",
        "proto/imd/v1/admin.proto",
        "proto/imd/v1/message.proto",
        "proto/imd/v1/event.proto",
        "proto/imd/v1/conversation.proto",
        "proto/imd/v1/group.proto",
        "proto/im/wire/v1/envelope.proto",
    ];
    let descriptors = protox::compile(files, ["proto"])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("imd_descriptor.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // The apps dial a Unix socket their own way; and `Connect` is the name of a call.
        .build_transport(false)
        .bytes(".")
        // It carries the token; its Debug is written by hand in src/lib.rs.
        .skip_debug(["imd.v1.ConnectRequest"])
        .compile_fds(descriptors)?;
    Ok(())
}
