//! Whether the app at the other end is on the person's list. It is looked up once for each connection,
//! when that is made, and beside the loop: reading /proc can block.
//!
//! Without a list there is no check. With one, an app that is not on it can still look on, and can bind: so
//! that its connect is refused with a code and a text, and not by a closed socket.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use imd_proto::code::Code;
use imd_proto::status::to_status;
use tokio::sync::{Semaphore, watch};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::accept::Peer;
use crate::access::{AllowList, Identity, PeerProcess, Unidentified};
use crate::link::BoxFuture;

/// How long a look-up may take.
const LOOK_UP: Duration = Duration::from_secs(1);

/// How many look-ups may be under way: one that is stuck holds a thread.
const LOOK_UPS: usize = 8;

/// The calls that need no place on the list: to look on, to be told why the rest is refused, and those that
/// never change. Shutdown is among them: whoever may send the daemon a signal can stop it anyway.
const OPEN: &[&str] = &[
    "/imd.v1.SessionService/Bind",
    "/imd.v1.SessionService/Init",
    "/imd.v1.SessionService/GetStatus",
    "/imd.v1.SessionService/WatchStatus",
    "/imd.v1.AdminService/GetVersion",
    "/imd.v1.AdminService/Shutdown",
    "/imd.v1.AdminService/ListApps",
    "/imd.v1.AdminService/ListStatusChanges",
    "/imd.v1.AdminService/GetMetrics",
    "/imd.v1.AdminService/Diagnose",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// What came of a look-up; the text says why an app is refused.
type Verdict = Result<(), Arc<str>>;

/// A look-up, under way or done.
#[derive(Clone, Debug)]
pub(super) struct Standing(watch::Receiver<Option<Verdict>>);

impl Standing {
    async fn verdict(&mut self) -> Verdict {
        match self
            .0
            .wait_for(Option::is_some)
            .await
            .map(|verdict| verdict.clone())
        {
            Ok(Some(verdict)) => verdict,
            // The look-up ended without a word.
            Ok(None) | Err(_) => Err("it cannot be told which app this is: the look-up failed".into()),
        }
    }
}

/// The list, and the look-ups.
#[derive(Debug)]
pub(super) struct AllowedApps {
    list: AllowList,
    places: Arc<Semaphore>,
}

impl AllowedApps {
    pub(super) fn new(list: AllowList) -> Self {
        Self {
            list,
            places: Arc::new(Semaphore::new(LOOK_UPS)),
        }
    }

    /// Begins to look up a process.
    pub(super) fn look_up(
        self: &Arc<Self>,
        pid: i32,
        process: Result<PeerProcess, Unidentified>,
    ) -> Standing {
        let (found, standing) = watch::channel(None);
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let verdict = match tokio::time::timeout(LOOK_UP, this.identify(process)).await {
                Ok(Ok(identity)) => this.judge(pid, &identity),
                Ok(Err(why)) => Err(this.unidentified(pid, &why)),
                Err(_) => Err(this.unidentified(pid, &format!("looking took longer than {LOOK_UP:?}"))),
            };
            if let Err(text) = &verdict {
                tracing::debug!(%text, "an app that is not allowed has dialled");
            }
            found.send_replace(Some(verdict));
        });
        Standing(standing)
    }

    async fn identify(&self, process: Result<PeerProcess, Unidentified>) -> Result<Identity, String> {
        let process = process.map_err(|error| error.to_string())?;
        let place = Arc::clone(&self.places)
            .acquire_owned()
            .await
            .map_err(|error| error.to_string())?;
        let identity = tokio::task::spawn_blocking(move || {
            let identity = process.identify();
            // Held by the thread: giving up the wait does not free it.
            drop(place);
            identity
        });
        let identity = identity.await.map_err(|error| error.to_string())?;
        identity.map_err(|error| error.to_string())
    }

    fn judge(&self, pid: i32, app: &Identity) -> Verdict {
        if self.list.allows(app) {
            return Ok(());
        }
        // The kernel says so of a file that is not in its place any more.
        if app.exe.to_string_lossy().ends_with(" (deleted)") {
            return Err(format!(
                "process {pid} ({app}) runs a program that has been replaced since: start that app again"
            )
            .into());
        }
        let entries: Vec<_> = app.entries().iter().map(|entry| format!("\"{entry}\"")).collect();
        Err(format!(
            "process {pid} ({app}) is not on the list of apps that may use imd. To allow it, add {} to [apps] \
             allow in {} and start imd again",
            entries.join(" or "),
            self.list.file.display()
        )
        .into())
    }

    fn unidentified(&self, pid: i32, why: &str) -> Arc<str> {
        format!(
            "it cannot be told which app process {pid} is ({why}), and [apps] allow in {} lets in none but \
             those on it",
            self.list.file.display()
        )
        .into()
    }
}

/// Refuses the calls of apps that are not on the list, but for the [`OPEN`] ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct AllowedLayer;

impl<S> Layer<S> for AllowedLayer {
    type Service = Allowed<S>;

    fn layer(&self, inner: S) -> Allowed<S> {
        Allowed { inner }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Allowed<S> {
    inner: S,
}

impl<S> Service<http::Request<Body>> for Allowed<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if OPEN.contains(&request.uri().path()) {
            return Box::pin(self.inner.call(request));
        }
        let standing = request
            .extensions()
            .get::<Peer>()
            .and_then(|peer| peer.standing.clone());
        let waiting = self.inner.clone();
        let mut ready = std::mem::replace(&mut self.inner, waiting);
        Box::pin(async move {
            let verdict = match standing {
                Some(mut standing) => standing.verdict().await,
                None => Err("it cannot be told which app this is".into()),
            };
            match verdict {
                Ok(()) => ready.call(request).await,
                Err(text) => Ok(refusal(&text).into_http()),
            }
        })
    }
}

fn refusal(text: &str) -> Status {
    to_status(Code::RC_CONN_NOT_AUTHRORIZED, text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;

    use super::*;

    #[test]
    fn the_list_guards_every_call_but_those_that_look_on() {
        let set = prost_types::FileDescriptorSet::decode(imd_proto::DESCRIPTORS).unwrap();
        let guarded: BTreeSet<_> = set
            .file
            .iter()
            .filter(|file| file.package() == "imd.v1")
            .flat_map(|file| &file.service)
            .flat_map(|service| {
                let methods = service.method.iter();
                methods.map(|method| format!("{}/{}", service.name(), method.name()))
            })
            .filter(|method| !OPEN.contains(&format!("/imd.v1.{method}").as_str()))
            .collect();
        // Another method is guarded until somebody has thought about it, here.
        let expected = [
            "ConversationService/DeleteConversation",
            "ConversationService/GetConversation",
            "ConversationService/GetUnreadCount",
            "ConversationService/ListConversations",
            "ConversationService/MarkRead",
            "ConversationService/UpdateConversation",
            "EventService/AckEvents",
            "EventService/Subscribe",
            "GroupService/JoinGroup",
            "GroupService/ListGroups",
            "GroupService/QuitGroup",
            "MessageService/DeleteMessages",
            "MessageService/GetMessage",
            "MessageService/ListMessages",
            "MessageService/ListOutbox",
            "MessageService/RetryMessage",
            "MessageService/SearchMessages",
            "MessageService/SendMessage",
            "MessageService/SendMessages",
            "SessionService/Connect",
            "SessionService/Disconnect",
            "SessionService/Logout",
            "SessionService/UpdateToken",
            "SessionService/WatchTokenExpiring",
        ];
        assert_eq!(guarded.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    }

    #[tokio::test]
    async fn a_look_up_that_ends_without_a_word_refuses() {
        let (sender, standing) = watch::channel(None);
        drop(sender);
        assert!(Standing(standing).verdict().await.is_err());
    }

    #[tokio::test]
    async fn without_a_pidfd_the_app_is_refused_with_the_reason() {
        let list = AllowList {
            entries: vec![crate::access::Entry::parse("exe:/usr/bin/chat").unwrap()],
            file: "imd.toml".into(),
        };
        let apps = Arc::new(AllowedApps::new(list));
        let no_pidfd = Unidentified::NoPidfd(std::io::ErrorKind::Unsupported.into());
        let text = apps.look_up(7, Err(no_pidfd)).verdict().await.unwrap_err();
        assert!(
            text.contains("process 7") && text.contains("6.5") && text.contains("imd.toml"),
            "{text}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn look_ups_that_are_stuck_refuse_and_hold_no_more_than_their_threads() {
        let list = AllowList {
            entries: vec![crate::access::Entry::parse("exe:/usr/bin/chat").unwrap()],
            file: "imd.toml".into(),
        };
        let apps = Arc::new(AllowedApps::new(list));
        let stuck = Arc::clone(&apps.places).acquire_many_owned(8).await.unwrap();
        let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        let text = apps
            .look_up(own, PeerProcess::of(&socket, own))
            .verdict()
            .await
            .unwrap_err();
        assert!(text.contains("longer than 1s"), "{text}");
        drop(stuck);
    }
}
