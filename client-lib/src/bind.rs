//! Binding, once: dial, hello, Init.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use imd_proto::code::Code;
use imd_proto::imd::v1;
use imd_proto::imd::v1::bind_response::Event;
use imd_proto::imd::v1::session_service_client::SessionServiceClient;
use imd_proto::{PROTOCOL, PROTOCOL_MIN};
use tokio::sync::watch;
use tonic::transport::Channel;
use tonic::{Status as GrpcStatus, Streaming};

use crate::call::{Link, LinkNumber, bounded};
use crate::channel::{LinkGuard, LinkState, dial};
use crate::clock;
use crate::error::{Error, Sent};
use crate::rebind::{ATTEMPT_LIMIT, Failure, FailureKind};
use crate::status::{DaemonLoss, Status};

/// Who binds, and where: the same for every binding of one client.
pub(crate) struct Identity {
    pub(crate) socket: PathBuf,
    pub(crate) app_id: String,
    pub(crate) app_version: String,
    /// Random for each client, and kept for its life.
    pub(crate) instance_id: String,
    /// `None`: a tool that looks on, and makes no Init.
    pub(crate) app_key: Option<String>,
    /// How long the daemon may be silent before it is asked whether it is alive.
    pub(crate) keep_alive: Duration,
}

/// A socket that is open, to one of this user's processes.
pub(crate) struct Dialed {
    channel: Channel,
    guard: LinkGuard,
}

/// A binding: what calls are made with, and the stream that lasts as long as it does.
pub(crate) struct Bound {
    pub(crate) link: Arc<Link>,
    /// As the hello tells it.
    pub(crate) status: Status,
    events: Streaming<v1::BindResponse>,
    guard: LinkGuard,
}

/// What was before a binding.
#[derive(Clone, Debug)]
pub(crate) enum Before {
    /// It is the first one, and was not waited for.
    Nothing,
    /// There was no daemon. `stopped`: the last run that has said goodbye, which is not bound to again.
    Outage { stopped: Option<String> },
}

impl Before {
    const fn is_outage(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Outage { .. } => true,
        }
    }

    fn is_stopping(&self, run_id: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::Outage { stopped } => stopped.as_deref() == Some(run_id),
        }
    }
}

/// What the Bind stream says.
pub(crate) enum Word {
    Status(Box<Status>),
    /// The binding has ended; the socket may still be open.
    Ended(DaemonLoss),
    /// The socket is closed.
    Closed(DaemonLoss),
}

impl Identity {
    pub(crate) async fn dial(&self) -> Result<Dialed, Error> {
        let guard = LinkGuard::new();
        let channel = dial(&self.socket, self.keep_alive, &guard).await?;
        Ok(Dialed { channel, guard })
    }

    /// Says hello, and Init.
    pub(crate) async fn greet(
        &self,
        dialed: Dialed,
        number: LinkNumber,
        before: &Before,
    ) -> Result<Bound, Error> {
        let Dialed { channel, guard } = dialed;
        let mut state = guard.watch();
        let mut session = SessionServiceClient::new(channel.clone());
        let request = v1::BindRequest {
            app_id: self.app_id.clone(),
            instance_id: self.instance_id.clone(),
            app_version: self.app_version.clone(),
            protocol_min: PROTOCOL_MIN,
            protocol_max: PROTOCOL,
            capabilities: Vec::new(),
        };
        let (hello, events) = stage("Bind", &mut state, async {
            let mut events = session.bind(request).await?.into_inner();
            let first = events.message().await?;
            Ok((first, events))
        })
        .await?;
        let Some(Event::Hello(hello)) = hello.and_then(|first| first.event) else {
            return Err(not_imd("its first word is no hello"));
        };
        if !(PROTOCOL_MIN..=PROTOCOL).contains(&hello.protocol) {
            let text = format!(
                "the daemon (imd {}) speaks protocol {} with an app that asked for {PROTOCOL_MIN} to {PROTOCOL}",
                hello.daemon_version, hello.protocol
            );
            return Err(Error::new(Code::IMD_VERSION_SKEW, text, Sent::Yes));
        }
        if before.is_stopping(&hello.daemon_run_id) {
            return Err(Error::new(
                Code::IPC_DISCONNECT,
                "the daemon is stopping",
                Sent::No,
            ));
        }
        let binding = hello
            .binding_id
            .parse()
            .map_err(|_| not_imd("its binding id is no metadata value"))?;
        // An absent status must not be taken for the number 0, CONNECTED.
        let status = hello.status.ok_or_else(|| not_imd("its hello has no status"))?;
        let status = Status::from_wire(status, &hello.daemon_run_id);
        let of_run = (number, hello.daemon_run_id);
        let after_outage = before.is_outage().then(clock::now);
        let link = Arc::new(Link::new(of_run, after_outage, channel, binding, guard.watch()));

        if let Some(app_key) = self.app_key.clone() {
            let request = link.request(v1::InitRequest { app_key });
            stage("Init", &mut state, session.init(request)).await?;
        }
        tracing::debug!(
            daemon_version = hello.daemon_version,
            protocol = hello.protocol,
            "bound to the daemon"
        );
        Ok(Bound {
            link,
            status,
            events,
            guard,
        })
    }

    /// Both, for one who has to know at once.
    pub(crate) async fn bind(&self, number: LinkNumber) -> Result<Bound, Error> {
        let attempt = async {
            let dialed = self.dial().await?;
            self.greet(dialed, number, &Before::Nothing).await
        };
        tokio::time::timeout(ATTEMPT_LIMIT, attempt)
            .await
            .unwrap_or_else(|_elapsed| Err(Error::silent("the binding", ATTEMPT_LIMIT, Sent::Unknown)))
    }
}

impl Bound {
    /// The next word. It ends with the binding, and must not be asked for more after that.
    pub(crate) async fn word(&mut self) -> Word {
        let reason = loop {
            match self.events.message().await {
                Ok(Some(v1::BindResponse { event })) => match event {
                    Some(Event::Status(status)) => {
                        return Word::Status(Box::new(Status::from_wire(status, &self.link.run_id)));
                    }
                    Some(Event::Goodbye(v1::Goodbye { reason })) => {
                        return self.ended(DaemonLoss::Stopped { reason });
                    }
                    // A second hello has no meaning, and an unknown event is a later daemon's.
                    Some(Event::Hello(_)) | None => {}
                },
                Ok(None) => break "it has ended the stream".to_owned(),
                Err(status) => break how_ended(&Error::from_status("Bind", &status)),
            }
        };
        let state = self.guard.watch().borrow().clone();
        match state {
            LinkState::Down(loss) => Word::Closed(loss),
            LinkState::Up | LinkState::Leaving(_) => self.ended(DaemonLoss::Unbound { reason }),
        }
    }

    fn ended(&self, loss: DaemonLoss) -> Word {
        self.guard.leaving(&loss);
        Word::Ended(loss)
    }

    /// Waits until the socket of a binding that has ended is closed.
    pub(crate) async fn closed(&self) {
        let mut state = self.guard.watch();
        // The guard is here, so it cannot end otherwise.
        let _ = state.wait_for(|state| matches!(state, LinkState::Down(_))).await;
    }

    /// Nothing waits any longer, whether the socket closes or not.
    pub(crate) fn hang_up(&self) {
        self.guard.down(&DaemonLoss::Died);
    }
}

impl Failure {
    /// What an attempt's error means for the next one.
    pub(crate) fn of(error: &Error) -> Self {
        let kind = match error.code() {
            Code::IPC_DISCONNECT | Code::IMD_STOPPING => FailureKind::NobodyThere,
            Code::IMD_DEADLINE_EXCEEDED => FailureKind::Silent,
            Code::IMD_REFUSED_PEER => FailureKind::StrangersSocket,
            Code::IMD_VERSION_SKEW => FailureKind::VersionSkew,
            _ => FailureKind::Refused,
        };
        Self {
            kind,
            code: error.code(),
            text: error.text().to_owned(),
        }
    }
}

/// How a daemon that is still there has ended the binding, for people to read. It takes an instance id once: this
/// client has but one binding, so it was not this client that bound it again.
fn how_ended(error: &Error) -> String {
    if error.code() == Code::IMD_NOT_BOUND {
        format!(
            "another process uses the instance id of this one: {}",
            error.text()
        )
    } else {
        error.text().to_owned()
    }
}

async fn stage<T>(
    name: &str,
    state: &mut watch::Receiver<LinkState>,
    answer: impl Future<Output = Result<T, GrpcStatus>>,
) -> Result<T, Error> {
    bounded(name, None, state, answer).await
}

fn not_imd(what: &str) -> Error {
    let text = format!("what listens at the socket is not an imd this library can speak with: {what}");
    Error::new(Code::IMD_VERSION_SKEW, text, Sent::Yes)
}
