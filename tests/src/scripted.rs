//! The demo's broker, for what no real broker can be made to answer. It shares its codec with the daemon's
//! link, so what can be shown with Mosquitto is shown with Mosquitto.

use std::future::Future;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use imd::demo::broker::{Broker, BrokerConfig, ConnectAnswer, Event, Reply, Then, Times, Who};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// How long an awaited event may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// A broker that answers as it is told, and takes everybody unless told otherwise. It runs on a thread of its
/// own.
pub struct Scripted {
    broker: Arc<Broker>,
    runtime: Handle,
    /// The thread ends when this is dropped.
    _life: oneshot::Sender<()>,
}

impl Default for Scripted {
    fn default() -> Self {
        Self::start()
    }
}

impl Scripted {
    /// Starts one.
    #[must_use]
    pub fn start() -> Self {
        Self::with(BrokerConfig::default())
    }

    /// Starts one that is made so.
    ///
    /// # Panics
    /// When no port is to be had.
    #[must_use]
    pub fn with(config: BrokerConfig) -> Self {
        let (tell, told) = mpsc::sync_channel(1);
        let (life, end) = oneshot::channel();
        thread::spawn(move || {
            let runtime = Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime can be built");
            runtime.block_on(async {
                let broker = Broker::start(config).expect("a free port");
                let told = tell.send((Arc::new(broker), Handle::current()));
                told.expect("the test waits for its broker");
                let _ = end.await;
            });
        });
        let (broker, runtime) = told.recv().expect("the broker's thread lives");
        Self {
            broker,
            runtime,
            _life: life,
        }
    }

    /// Its address as a server of imd's configuration.
    #[must_use]
    pub fn url(&self) -> String {
        self.broker.url()
    }

    /// The broker itself.
    #[must_use]
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// Carries out what the broker does over time.
    pub fn wait<T>(&self, action: impl Future<Output = T>) -> T {
        self.runtime.block_on(action)
    }

    /// Answers every CONNECT with these bytes.
    pub fn answer_connects_with(&self, bytes: &[u8], then: Then) {
        let answer = ConnectAnswer::Raw {
            bytes: bytes.to_vec().into(),
            then,
        };
        self.broker
            .script()
            .on_connect(Who::Anyone, Times::Always, answer);
    }

    /// Tells everybody that is connected to go, with this reason code.
    pub fn disconnect_all(&self, code: u8) -> usize {
        self.broker.disconnect(Who::Anyone, Reply::code(code))
    }

    /// Waits for an event that has been or is yet to come.
    ///
    /// # Panics
    /// When it does not come.
    pub fn await_event(&self, wanted: impl FnMut(&Event) -> bool) {
        if let Err(missing) = self.wait(self.broker.wait_for(wanted, DEADLINE)) {
            panic!("the broker has not seen it: {missing:?}");
        }
    }
}
