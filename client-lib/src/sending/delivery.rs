//! The way of a request's messages to a daemon: over as many as it takes, for as long as it may wait.

use std::sync::Arc;
use std::time::Duration;

use imd_proto::code::Code;
use imd_proto::imd::v1;
use imd_proto::imd::v1::message_service_client::MessageServiceClient;

use super::NAME;
use super::register::Register;
use crate::call::{DEADLINE, Link, gone};
use crate::clock::{self, BootTime};
use crate::error::{Error, Sent};
use crate::uplink::Uplink;

/// How long messages wait for a daemon: counted from the loss, or from its own call if that was later. And how
/// long a daemon that was bound after an outage may take to open the account.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Between two requests to a daemon that has no account open.
const PAUSE: Duration = Duration::from_millis(100);

/// Asks one daemon after the other to take the messages. Each bears a uid: it is one message, however often it
/// is sent.
pub(super) async fn deliver(
    uplink: &Uplink,
    register: &Register,
    request: v1::SendMessagesRequest,
    (queued, patience): (BootTime, Duration),
) -> Result<v1::SendMessagesResponse, Error> {
    let mut sent = Sent::No;
    let mut deadline = None;
    let mut previous: Option<Arc<Link>> = None;
    let mut refused_by = None;
    loop {
        let link = match uplink.up().filter(|link| is_another(link, previous.as_deref())) {
            Some(link) => link,
            None => {
                // Set once: a message that itself kills every daemon ends, too.
                let until = *deadline.get_or_insert_with(|| queued.max(uplink.lost_since()) + patience);
                let next = async {
                    match &previous {
                        None => uplink.next(None).await,
                        Some(link) => uplink.retry(link).await,
                    }
                };
                tokio::time::timeout(until.since(clock::now()), next)
                    .await
                    .map_err(|_elapsed| gone(NAME, &uplink.loss(), sent))?
            }
        };
        let answer = hand_over(&link, request.clone()).await;
        let error = match answer {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        match opening(&link, patience) {
            _ if error.is_loss() => {
                if error.sent() == Sent::Unknown {
                    sent = Sent::Unknown;
                }
                previous = Some(link);
            }
            Some(until) if error.code() == Code::RC_DB_NOT_INIT && clock::now() < until => {
                // Or it has closed it again: then there is no sign to wait for.
                if refused_by.replace(link.number) == Some(link.number) {
                    tokio::time::sleep(PAUSE).await;
                }
                let opened = async {
                    tokio::select! {
                        () = register.wait_for_log(link.number) => {}
                        () = link.ended() => {}
                    }
                };
                if tokio::time::timeout(until.since(clock::now()), opened)
                    .await
                    .is_err()
                {
                    return Err(error);
                }
            }
            Some(_) | None => return Err(error),
        }
    }
}

/// How long the account may be about to be opened: by the daemon itself, as it remembers, or by the connect
/// that this library makes again, of which the app knows nothing.
fn opening(link: &Link, patience: Duration) -> Option<BootTime> {
    link.after_outage.map(|bound| bound + patience)
}

async fn hand_over(link: &Link, request: v1::SendMessagesRequest) -> Result<v1::SendMessagesResponse, Error> {
    let messages = request.clone();
    let answer = link.exchange(NAME, DEADLINE, request, |channel, request| async {
        MessageServiceClient::new(channel).send_messages(request).await
    });
    match answer.await {
        // An older daemon takes one at a time.
        Err(error) if error.code() == Code::IMD_VERSION_SKEW => one_by_one(link, messages).await,
        answer => answer,
    }
}

async fn one_by_one(
    link: &Link,
    request: v1::SendMessagesRequest,
) -> Result<v1::SendMessagesResponse, Error> {
    let mut outcomes = Vec::with_capacity(request.messages.len());
    for message in request.messages {
        let answer = link.exchange("SendMessage", DEADLINE, message, |channel, request| async {
            MessageServiceClient::new(channel).send_message(request).await
        });
        outcomes.push(match answer.await {
            Ok(answer) => v1::SendOutcome {
                message: answer.message,
                already_known: answer.already_known,
                ..v1::SendOutcome::default()
            },
            Err(error) if concerns_all(&error) => return Err(error),
            Err(error) => v1::SendOutcome {
                code: error.code().0,
                code_name: error.code().name().to_owned(),
                code_text: error.text().to_owned(),
                ..v1::SendOutcome::default()
            },
        });
    }
    Ok(v1::SendMessagesResponse { outcomes })
}

/// Whether an error about one message is what the others would meet too.
fn concerns_all(error: &Error) -> bool {
    error.sent() != Sent::Yes || error.is_loss() || error.code() == Code::RC_DB_NOT_INIT
}

fn is_another(link: &Link, previous: Option<&Link>) -> bool {
    previous.is_none_or(|previous| previous.number != link.number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::DaemonLoss;
    use crate::uplink::Binding;

    #[tokio::test]
    async fn a_message_waits_for_a_daemon_so_long_and_not_longer() {
        let since = clock::now();
        let binding = Binding::Lost {
            since,
            loss: DaemonLoss::Died,
        };
        let (_sender, uplink) = Uplink::new(binding);
        let request = v1::SendMessagesRequest::default();
        let patience = Duration::from_millis(30);
        // It was called for long before the loss: that is not counted.
        let queued = BootTime::since_boot(Duration::ZERO);
        let register = Register::default();
        let answer = deliver(&uplink, &register, request.clone(), (queued, patience)).await;
        let error = answer.unwrap_err();
        assert_eq!((error.code(), error.sent()), (Code::IPC_DISCONNECT, Sent::No));
        assert!(clock::now() >= since + patience);
        // Those behind it in the queue have waited as long.
        let answer = deliver(&uplink, &register, request, (since, patience)).await;
        assert_eq!(answer.unwrap_err().code(), Code::IPC_DISCONNECT);
    }
}
