//! The thread on which the app's own code runs: status listeners, connect callbacks and token
//! providers, one at a time.
//!
//! It is not the thread that makes the calls, so a callback may take its time, and may itself make calls
//! and wait for them.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::{Builder, Handle};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::driver::Driver;

/// Starts the thread when the first callback is there.
#[derive(Default)]
pub(crate) struct Callbacks(Mutex<Option<Thread>>);

#[derive(Clone)]
struct Thread {
    handle: Handle,
    /// Nothing is ever sent: the thread lives as long as this or any task holds a copy, so that the
    /// last Client's end still lets a pending connect be told of it.
    alive: mpsc::Sender<()>,
}

impl Callbacks {
    /// Runs a task among the callbacks.
    pub(crate) fn spawn(
        &self,
        driver: &Arc<Driver>,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> AbortHandle {
        let mut thread = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            *thread = start()
                .inspect_err(
                    |error| tracing::error!(%error, "no thread for callbacks: they share the calls' own"),
                )
                .ok();
        }
        match &*thread {
            Some(thread) => {
                let alive = thread.alive.clone();
                let task = thread.handle.spawn(async move {
                    let _alive = alive;
                    task.await;
                });
                task.abort_handle()
            }
            None => driver.spawn(task),
        }
    }
}

fn start() -> std::io::Result<Thread> {
    // What an app's own code awaits there may want a timer or a socket.
    let mut runtime = Builder::new_current_thread();
    runtime.enable_all();
    let (tell, started) = std::sync::mpsc::sync_channel(1);
    std::thread::Builder::new()
        .name("imd-callbacks".to_owned())
        .spawn(move || run(runtime, &tell))?;
    started
        .recv()
        .unwrap_or_else(|_ended| Err(std::io::Error::other("it ended at once")))
}

fn run(mut runtime: Builder, tell: &std::sync::mpsc::SyncSender<std::io::Result<Thread>>) {
    match runtime.build() {
        Ok(runtime) => {
            let (alive, mut ended) = mpsc::channel(1);
            let thread = Thread {
                handle: runtime.handle().clone(),
                alive,
            };
            // The one who started the thread waits for this.
            let _ = tell.send(Ok(thread));
            runtime.block_on(async { ended.recv().await });
        }
        Err(error) => {
            let _ = tell.send(Err(error));
        }
    }
}
