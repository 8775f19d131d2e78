//! How the other rooms talk to the link's task: by messages, answered by messages.

use imd_core::ConnectPhase;
use imd_core::account::AppKey;
use imd_core::io::{Callback, ConnectRequest, InstanceId, Refusal, Request, Requester, TokenUpdate};
use imd_core::time::BootTime;
use tokio::sync::{mpsc, oneshot};

/// How many commands may wait; a sender beyond that waits itself.
const QUEUE: usize = 256;

/// At most DatabaseOpened and one terminal callback stand in a connect's channel.
const CALLBACKS: usize = 4;

/// What the link's task is asked.
pub enum Command {
    /// A request that is answered and over: Init, Disconnect, Logout.
    Ask {
        request: Request,
        answer: oneshot::Sender<Result<(), Refusal>>,
    },
    /// A connect: answered, and if it was taken, called back.
    Connect {
        request: ConnectRequest,
        answer: oneshot::Sender<Result<(), Refusal>>,
        callbacks: mpsc::Sender<Callback>,
    },
    /// An app's binding has ended.
    Unbound { instance: InstanceId },
    /// An app can bring a new token from here on, or cannot any longer.
    TokenProvider {
        instance: InstanceId,
        app: Option<Requester>,
    },
    /// What the core knows of an instance.
    Instance {
        instance: InstanceId,
        answer: oneshot::Sender<(Option<AppKey>, ConnectPhase)>,
    },
    /// Remember a group, and subscribe it: at once, or with the next login.
    JoinGroup {
        group: String,
        answer: oneshot::Sender<Result<(), Refusal>>,
    },
    /// Forget a group.
    QuitGroup {
        group: String,
        answer: oneshot::Sender<Result<(), Refusal>>,
    },
    /// When the server was heard last on the connection that is up.
    LastHeard {
        answer: oneshot::Sender<Option<BootTime>>,
    },
    /// End in order; answered when the server has been told.
    Stop { done: oneshot::Sender<()> },
}

/// The link's task has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the daemon is stopping")]
pub struct Stopped;

/// A way to the link's task. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
}

impl Handle {
    /// A handle and the queue its commands arrive in.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Command>) {
        let (commands, queue) = mpsc::channel(QUEUE);
        (Self { commands }, queue)
    }

    /// Sets an instance's App Key.
    ///
    /// # Errors
    /// [`Stopped`] when the task is gone; the inner error is the core's refusal.
    pub async fn init(&self, instance: InstanceId, app_key: AppKey) -> Result<Result<(), Refusal>, Stopped> {
        self.ask(Request::Init { instance, app_key }).await
    }

    /// Asks for the connection; the callbacks come through the receiver.
    ///
    /// # Errors
    /// As [`Handle::init`].
    pub async fn connect(
        &self,
        request: ConnectRequest,
    ) -> Result<Result<mpsc::Receiver<Callback>, Refusal>, Stopped> {
        let (answer, answered) = oneshot::channel();
        let (callbacks, receiver) = mpsc::channel(CALLBACKS);
        self.send(Command::Connect {
            request,
            answer,
            callbacks,
        })
        .await?;
        let answer = answered.await.map_err(|_| Stopped)?;
        Ok(answer.map(|()| receiver))
    }

    /// Ends the connection for every app.
    ///
    /// # Errors
    /// As [`Handle::init`].
    pub async fn disconnect(&self, by: Requester) -> Result<Result<(), Refusal>, Stopped> {
        self.ask(Request::Disconnect { by }).await
    }

    /// Ends the connection and the session, and erases the token.
    ///
    /// # Errors
    /// As [`Handle::init`].
    pub async fn logout(&self, by: Requester) -> Result<Result<(), Refusal>, Stopped> {
        self.ask(Request::Logout { by }).await
    }

    /// Gives the connection a token for its next login; answered when it is on disk.
    ///
    /// # Errors
    /// As [`Handle::init`].
    pub async fn update_token(&self, update: TokenUpdate) -> Result<Result<(), Refusal>, Stopped> {
        self.ask(Request::UpdateToken(update)).await
    }

    /// Tells that an app can bring a new token; `None`: that it cannot any longer.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn token_provider(&self, instance: InstanceId, app: Option<Requester>) -> Result<(), Stopped> {
        self.send(Command::TokenProvider { instance, app }).await
    }

    /// Tells that an app's binding has ended.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn unbound(&self, instance: InstanceId) -> Result<(), Stopped> {
        self.send(Command::Unbound { instance }).await
    }

    /// The App Key of an instance and how far its connect is.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn instance(&self, instance: InstanceId) -> Result<(Option<AppKey>, ConnectPhase), Stopped> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::Instance { instance, answer }).await?;
        answered.await.map_err(|_| Stopped)
    }

    /// Remembers a group; answered when that is on disk. The server's word on it comes later, as the group's
    /// code.
    ///
    /// # Errors
    /// [`Stopped`] when the task is gone; the inner error: no account is open, no legal id, no room.
    pub async fn join_group(&self, group: String) -> Result<Result<(), Refusal>, Stopped> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::JoinGroup { group, answer }).await?;
        answered.await.map_err(|_| Stopped)
    }

    /// Forgets a group; answered when that is on disk.
    ///
    /// # Errors
    /// As [`Handle::join_group`].
    pub async fn quit_group(&self, group: String) -> Result<Result<(), Refusal>, Stopped> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::QuitGroup { group, answer }).await?;
        answered.await.map_err(|_| Stopped)
    }

    /// When the server was heard last on the connection that is up; `None` without one.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn last_heard(&self) -> Result<Option<BootTime>, Stopped> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::LastHeard { answer }).await?;
        answered.await.map_err(|_| Stopped)
    }

    /// Ends the link in order: DISCONNECT, the session kept. Returns when that is done.
    pub async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        if self.send(Command::Stop { done }).await.is_ok() {
            // An error means that the task is gone, and so stopped too.
            let _: Result<(), _> = stopped.await;
        }
    }

    async fn ask(&self, request: Request) -> Result<Result<(), Refusal>, Stopped> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::Ask { request, answer }).await?;
        answered.await.map_err(|_| Stopped)
    }

    async fn send(&self, command: Command) -> Result<(), Stopped> {
        self.commands.send(command).await.map_err(|_| Stopped)
    }
}
