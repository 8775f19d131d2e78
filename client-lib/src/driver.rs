//! The library's own thread: one current-thread runtime that holds the channel and makes every call.
//!
//! Measured: a call and its connection on two threads cost two to three times as much as on one. And the
//! app's own executor, if it has one at all, is none of the library's business.

use std::future::Future;
use std::sync::Arc;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::error::Error;
use crate::supervisor::{Shared, Supervisor};

/// The thread ends, and the socket is closed, when this is dropped.
pub(crate) struct Driver {
    handle: Handle,
    _stop: oneshot::Sender<()>,
}

impl Driver {
    /// Starts the thread, and `boot` on it; then the supervisor runs until the driver is dropped.
    pub(crate) async fn start(
        boot: impl Future<Output = Result<Booted, Error>> + Send + 'static,
    ) -> Result<(Arc<Self>, Arc<Shared>), Error> {
        let (tell, started) = oneshot::channel();
        std::thread::Builder::new()
            .name("imd-client".to_owned())
            .spawn(move || run(boot, tell))
            .map_err(|error| Error::no_thread(&error))?;
        started
            .await
            .unwrap_or_else(|_closed| Err(Error::no_thread(&"it ended at once")))
    }

    #[cfg(test)]
    pub(crate) fn alive_tasks(&self) -> usize {
        self.handle.metrics().num_alive_tasks()
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.handle.spawn(task).abort_handle()
    }
}

/// What the thread begins with.
pub(crate) type Booted = (Supervisor, Arc<Shared>);

type Started = oneshot::Sender<Result<(Arc<Driver>, Arc<Shared>), Error>>;

fn run(boot: impl Future<Output = Result<Booted, Error>>, tell: Started) {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            // Nobody may be waiting any longer; so below.
            let _ = tell.send(Err(Error::no_thread(&error)));
            return;
        }
    };
    runtime.block_on(async move {
        let (stop, stopped) = oneshot::channel();
        match boot.await {
            Ok((supervisor, shared)) => {
                let driver = Driver {
                    handle: Handle::current(),
                    _stop: stop,
                };
                let _ = tell.send(Ok((Arc::new(driver), shared)));
                let dropped = async {
                    // The sender is only ever dropped.
                    let _: Result<(), _> = stopped.await;
                };
                supervisor.run(dropped).await;
            }
            Err(error) => {
                let _ = tell.send(Err(error));
            }
        }
    });
}
