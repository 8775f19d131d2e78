//! The apps that are bound.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use imd_core::io::{InstanceId, Requester};
use imd_core::time::UnixTime;

/// One app's binding.
#[derive(Clone, Debug)]
pub struct BoundApp {
    pub instance: InstanceId,
    pub app: Requester,
    pub app_version: Arc<str>,
    pub bound_at: UnixTime,
}

/// The bindings by their id.
#[derive(Default)]
pub struct AppRegistry {
    bindings: Mutex<BTreeMap<Arc<str>, BoundApp>>,
}

impl AppRegistry {
    /// Adds a binding.
    pub fn insert(&self, binding_id: Arc<str>, app: BoundApp) {
        self.bindings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(binding_id, app);
    }

    /// Takes a binding away.
    pub fn remove(&self, binding_id: &str) -> Option<BoundApp> {
        self.bindings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(binding_id)
    }

    /// The app of a binding.
    #[must_use]
    pub fn get(&self, binding_id: &str) -> Option<BoundApp> {
        self.bindings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(binding_id)
            .cloned()
    }

    /// All of them.
    #[must_use]
    pub fn list(&self) -> Vec<BoundApp> {
        self.bindings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }
}
