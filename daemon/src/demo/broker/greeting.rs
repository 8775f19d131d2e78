//! The beginning of a connection: its CONNECT, and what the script or the access rules answer to it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use uuid::Uuid;

use super::auth::Identity;
use super::connection::{NOT_AUTHORIZED, Served};
use super::events::{Cut, Event};
use super::line::Line;
use super::raw::Announcement;
use super::router::Arrival;
use super::script::{ConnectAnswer, Peer, Reply, Then};
use super::wire::{Connect, Fault, Received};
use super::{Hall, Protocol};
use crate::clock;

/// How long a connection may take to send its CONNECT.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

const BAD_CLIENT_ID: u8 = 0x85;
const BAD_AUTHENTICATION_METHOD: u8 = 0x8C;

/// Takes the CONNECT and answers it. `Ok(None)`: it was refused, or the other side has gone.
pub(super) async fn greet(hall: &Arc<Hall>, line: &mut Line, number: u64) -> Result<Option<Served>, Cut> {
    let Ok(Ok(Some(Received::Connect(mut connect)))) = timeout(CONNECT_DEADLINE, line.receive()).await else {
        return Ok(None);
    };
    let mut announcement = Announcement {
        receive_maximum: hall.config.receive_maximum,
        ..Announcement::default()
    };
    if connect.client_id.is_empty() {
        if connect.protocol == Protocol::V3_1_1 && !connect.clean {
            refuse(hall, line, &connect, &Reply::code(BAD_CLIENT_ID));
            return Ok(None);
        }
        connect.client_id = format!("auto-{}", Uuid::new_v4().simple());
        announcement.assigned_client_id = Some(connect.client_id.clone());
    }
    let mut reply = Reply::code(0);
    if let Some(answer) = hall.script.connect(&peer_of(&connect)) {
        match answer {
            ConnectAnswer::Connack(scripted) if scripted.code == 0 => reply = scripted,
            ConnectAnswer::Connack(scripted) => {
                hall.refused(&connect, scripted.code);
                line.wire.refuse(connect.protocol, &scripted);
                return Ok(None);
            }
            ConnectAnswer::Version311(code) => {
                hall.refused(&connect, code);
                line.wire.refuse(Protocol::V3_1_1, &Reply::code(code));
                return Ok(None);
            }
            ConnectAnswer::Raw { bytes, then } => return mislead(hall, line, &connect, &bytes, then).await,
            ConnectAnswer::Silent(then) => return mislead(hall, line, &connect, &[], then).await,
            ConnectAnswer::Hold(gate) => {
                gate.arrive();
                tokio::select! {
                    () = gate.opened() => {}
                    () = line.closed() => return Ok(None),
                }
            }
        }
    }
    admit(hall, line, number, &connect, &reply, announcement)
}

/// Answers a CONNECT with bytes that are no CONNACK, or with none.
async fn mislead(
    hall: &Hall,
    line: &mut Line,
    connect: &Connect,
    bytes: &[u8],
    then: Then,
) -> Result<Option<Served>, Cut> {
    hall.log.push(Event::Misled {
        client_id: connect.client_id.clone(),
    });
    line.wire.say(bytes);
    if !line.flush().await {
        return Ok(None);
    }
    match then {
        Then::Close => Ok(None),
        Then::Reset => Err(Cut::Reset),
        Then::Stay => {
            line.closed().await;
            Ok(None)
        }
    }
}

/// Answers a CONNECT as the access rules have it.
fn admit(
    hall: &Arc<Hall>,
    line: &mut Line,
    number: u64,
    connect: &Connect,
    reply: &Reply,
    mut announcement: Announcement,
) -> Result<Option<Served>, Cut> {
    if connect.wants_authentication {
        refuse(hall, line, connect, &Reply::code(BAD_AUTHENTICATION_METHOD));
        return Ok(None);
    }
    let now = clock::now();
    let user_name = connect.user_name.as_deref();
    let password = connect.password.as_ref().map(|password| password.as_slice());
    let admitted = hall
        .config
        .access
        .admit(&connect.client_id, user_name, password, now.unix);
    let identity = match admitted {
        Ok(identity) => identity,
        Err(denied) => {
            refuse(hall, line, connect, &Reply::code(denied.code).reason(denied.why));
            return Ok(None);
        }
    };
    let mut session_expiry = reply.session_expiry.unwrap_or(connect.session_expiry);
    if let Identity::Discovery { user } = &identity {
        announcement.user_id = Some(user.as_str().to_owned());
        session_expiry = 0;
    }
    let keep_alive = reply.server_keep_alive.unwrap_or(connect.keep_alive);
    let peer = peer_of(connect);
    let arrival = Arrival {
        connection: number,
        peer: peer.clone(),
        identity: identity.clone(),
        clean: connect.clean,
        quota: usize::from(connect.receive_maximum.min(hall.config.send_maximum)),
        queue_limit: hall.config.queue_limit,
    };
    let attached = hall.memory.lock().attach(arrival, now.boot);
    let welcome = match attached {
        Ok(welcome) => welcome,
        Err(code) => {
            refuse(hall, line, connect, &Reply::code(code));
            return Ok(None);
        }
    };
    let session_existed = welcome.session_present;
    let session_present = reply.session_present.unwrap_or(session_existed);
    let served = Served::new(
        Arc::clone(hall),
        peer,
        identity,
        number,
        welcome,
        keep_alive,
        session_expiry,
    );
    hall.count_connect();
    hall.log.push(Event::Connected {
        client_id: connect.client_id.clone(),
        user_name: connect.user_name.clone(),
        protocol: connect.protocol,
        clean: connect.clean,
        session_expiry,
        keep_alive: connect.keep_alive,
        session_present: session_existed,
    });
    // A codec that does not take its own CONNACK is a fault of the broker; the client sees an end.
    if let Err(Fault(text)) = line.wire.accept(session_present, reply, &announcement) {
        tracing::error!(
            client_id = connect.client_id,
            text,
            "the CONNACK cannot be written"
        );
        return Ok(None);
    }
    Ok(Some(served))
}

fn peer_of(connect: &Connect) -> Peer {
    Peer {
        client_id: connect.client_id.clone(),
        user_name: connect.user_name.clone(),
        protocol: connect.protocol,
    }
}

/// Refuses with a code of MQTT 5, said in the client's version.
fn refuse(hall: &Hall, line: &mut Line, connect: &Connect, reply: &Reply) {
    let mut reply = reply.clone();
    if connect.protocol == Protocol::V3_1_1 {
        reply.code = match reply.code {
            0x84 => 1,
            BAD_CLIENT_ID => 2,
            0x86 => 4,
            NOT_AUTHORIZED => 5,
            _ => 3,
        };
    }
    hall.refused(connect, reply.code);
    line.wire.refuse(connect.protocol, &reply);
}
