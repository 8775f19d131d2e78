//! The apps that are bound, by the id that names their binding in calls.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use imd_core::io::{InstanceId, Requester};
use imd_core::time::UnixTime;
use tokio::sync::oneshot;
use uuid::Uuid;

/// How many apps may be bound at once.
pub const MAX_BOUND: usize = 256;

/// One app's binding.
#[derive(Clone, Debug)]
pub struct BoundApp {
    pub instance: InstanceId,
    pub app: Requester,
    pub app_version: Arc<str>,
    pub bound_at: UnixTime,
}

/// What the one who bound an app holds. It does not end the binding when it is dropped:
/// [`AppRegistry::unbind`] does.
#[derive(Debug)]
pub struct Binding {
    /// Random, so that no app can guess another's.
    pub id: Arc<str>,
    /// Tells who has bound the same instance again: from then on this binding is void.
    pub superseded: oneshot::Receiver<Requester>,
}

/// Why an app is not bound.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    #[error("{MAX_BOUND} apps are bound, and imd takes no more")]
    TooManyApps,
    /// Another process has bound the instance: what it is told must not go to whoever names its id.
    #[error(
        "the instance_id is bound by another process, {0}: make a random one for each client of each process, or end \
         that process first"
    )]
    OfAnotherProcess(Requester),
}

/// The bindings by their id. An instance has one at most: the newest.
#[derive(Default)]
pub struct AppRegistry {
    bindings: Mutex<BTreeMap<Arc<str>, Entry>>,
}

struct Entry {
    app: BoundApp,
    supersede: oneshot::Sender<Requester>,
}

impl AppRegistry {
    /// Binds an app. An older binding of the same instance is void from then on, and is told; it must be of the
    /// same process, or of one that does not live any more.
    ///
    /// # Errors
    /// [`MAX_BOUND`] others are bound, or another process has bound the instance.
    pub fn bind(&self, app: BoundApp, lives: impl FnOnce(i32) -> bool) -> Result<Binding, BindError> {
        let mut bindings = self.lock();
        let older = bindings
            .iter()
            .find(|(_, entry)| entry.app.instance == app.instance);
        match older {
            Some((_, older)) if older.app.app.pid != app.app.pid && lives(older.app.app.pid) => {
                return Err(BindError::OfAnotherProcess(older.app.app.clone()));
            }
            None if bindings.len() >= MAX_BOUND => return Err(BindError::TooManyApps),
            Some(_) | None => {}
        }
        let older = older.map(|(id, _)| Arc::clone(id));
        if let Some(older) = older.and_then(|id| bindings.remove(&id)) {
            // Nobody may be listening any more: then there is nobody to tell.
            let _: Result<(), Requester> = older.supersede.send(app.app.clone());
        }
        let id: Arc<str> = Uuid::new_v4().to_string().into();
        let (supersede, superseded) = oneshot::channel();
        bindings.insert(Arc::clone(&id), Entry { app, supersede });
        Ok(Binding { id, superseded })
    }

    /// Ends a binding. False if it was void already: then the instance is bound by another one, and must
    /// not be told to the link as unbound.
    pub fn unbind(&self, binding_id: &str) -> bool {
        self.lock().remove(binding_id).is_some()
    }

    /// The app of a binding.
    #[must_use]
    pub fn get(&self, binding_id: &str) -> Option<BoundApp> {
        self.lock().get(binding_id).map(|entry| entry.app.clone())
    }

    /// All of them, the one bound first in front.
    #[must_use]
    pub fn list(&self) -> Vec<BoundApp> {
        let mut apps: Vec<_> = self.lock().values().map(|entry| entry.app.clone()).collect();
        apps.sort_by(|a, b| (a.bound_at, &a.instance).cmp(&(b.bound_at, &b.instance)));
        apps
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Entry>> {
        self.bindings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(instance: &str, pid: i32) -> BoundApp {
        BoundApp {
            instance: InstanceId(instance.into()),
            app: Requester {
                app_id: "org.example.Chat".into(),
                pid,
            },
            app_version: "1.0".into(),
            bound_at: UnixTime::from_millis(i64::from(pid)),
        }
    }

    #[test]
    fn a_binding_is_found_by_its_id_until_it_ends() {
        let apps = AppRegistry::default();
        let binding = apps.bind(app("a", 1), |_| true).unwrap();
        assert_eq!(apps.get(&binding.id).unwrap().app.pid, 1);
        assert!(apps.get("another").is_none());
        assert!(apps.unbind(&binding.id));
        assert!(apps.get(&binding.id).is_none());
        assert!(!apps.unbind(&binding.id));
    }

    #[test]
    fn the_newer_binding_of_an_instance_wins_and_the_older_is_told() {
        let apps = AppRegistry::default();
        let mut older = apps.bind(app("a", 1), |_| true).unwrap();
        let newer = apps.bind(app("a", 1), |_| true).unwrap();
        assert_eq!(older.superseded.try_recv().unwrap().pid, 1);
        assert!(!apps.unbind(&older.id), "the older's end leaves the newer bound");
        assert_eq!(apps.list().len(), 1);
        assert!(apps.unbind(&newer.id));
    }

    #[test]
    fn another_process_takes_no_binding_over_unless_its_owner_is_dead() {
        let apps = AppRegistry::default();
        let mut owner = apps.bind(app("a", 1), |_| true).unwrap();
        let refused = apps.bind(app("a", 2), |pid| pid == 1).unwrap_err();
        assert_eq!(refused, BindError::OfAnotherProcess(app("a", 1).app));
        assert!(owner.superseded.try_recv().is_err());
        assert_eq!(apps.get(&owner.id).unwrap().app.pid, 1);

        let heir = apps.bind(app("a", 2), |_| false).unwrap();
        assert_eq!(owner.superseded.try_recv().unwrap().pid, 2);
        assert_eq!(apps.get(&heir.id).unwrap().app.pid, 2);
    }

    #[test]
    fn one_app_too_many_is_refused_but_a_bound_one_may_bind_again() {
        let apps = AppRegistry::default();
        for pid in 0..256 {
            apps.bind(app(&pid.to_string(), pid), |_| true).unwrap();
        }
        let refused = apps.bind(app("one more", 256), |_| true).unwrap_err();
        assert_eq!(refused, BindError::TooManyApps);
        assert!(apps.bind(app("7", 7), |_| true).is_ok());
        assert_eq!(apps.list().len(), MAX_BOUND);
    }
}
