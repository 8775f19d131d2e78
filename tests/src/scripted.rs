//! The demo's broker, for what no real broker can be made to answer. It shares its codec with the daemon's
//! link, so what can be shown with Mosquitto is shown with Mosquitto.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use imd::demo::broker::{Broker, BrokerConfig, ConnectAnswer, Event, Reply, Then, Times, Who};
use tokio::runtime::{Builder, Runtime};

/// How long an awaited event may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// A broker that takes everybody and answers as it is told.
pub struct Scripted {
    // Dropped first: its connections end while the runtime lives.
    broker: Arc<Broker>,
    runtime: Runtime,
}

impl Default for Scripted {
    fn default() -> Self {
        Self::start()
    }
}

impl Scripted {
    /// Starts one.
    ///
    /// # Panics
    /// When no port is to be had.
    #[must_use]
    pub fn start() -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime can be built");
        let broker = runtime
            .block_on(async { Broker::start(BrokerConfig::default()) })
            .expect("a free port");
        Self { broker: Arc::new(broker), runtime }
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
        let answer = ConnectAnswer::Raw { bytes: bytes.to_vec().into(), then };
        self.broker.script().on_connect(Who::Anyone, Times::Always, answer);
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
