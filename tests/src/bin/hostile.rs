//! A client that does what no app should, as a process of its own: `hostile SOCKET DEED COUNT`. When it has
//! done its deed it writes `done` and holds what it has until its standard input ends.
//!
//! | deed | what it does |
//! |---|---|
//! | `leave` | opens connections, and says nothing |
//! | `deaf` | opens connections, asks on each for events and for pages of history, and never reads |
//! | `noise` | opens connections one after the other and writes random bytes |
//! | `half` | breaks off on each connection somewhere else: in the preface, a frame, a message |
//! | `flood` | sends halves of requests, as many as a connection takes |
//! | `seize` | binds the instance `victim` |
//! | `knock` | says hello once, and writes what came back: `closed` or `answered` |

use std::error::Error;
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;

use imd_proto::imd::v1::{
    BindRequest, ConversationKey, ConversationType, InitRequest, ListMessagesRequest, SubscribeRequest,
    subscribe_request,
};
use imd_tests::raw::{PREFACE, call, half_a_call, headers, noise, say, settings};

/// What one connection takes at once.
const STREAMS: u32 = 128;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [socket, deed, count] = arguments.as_slice() else {
        return Err("usage: hostile SOCKET leave|deaf|noise|half|flood|seize|knock COUNT".into());
    };
    let socket = Path::new(socket);
    let count: usize = count.parse()?;
    let one = |at: usize| match deed.as_str() {
        "leave" => say(socket, &[]),
        "deaf" => say(socket, &deaf()),
        "noise" => Ok(throw(socket, at)?),
        "half" => say(socket, &half(at)),
        "flood" => say(socket, &flood()),
        "seize" => say(socket, &seize()).and_then(answered),
        _ => Err(io::Error::from(io::ErrorKind::Unsupported)),
    };
    let mut out = io::stdout();
    if deed == "knock" {
        let heard = say(socket, &greeting()).and_then(|mut stream| stream.read(&mut [0; 9]));
        let word = if matches!(heard, Ok(1..)) {
            "answered"
        } else {
            "closed"
        };
        writeln!(out, "{word}")?;
        return Ok(());
    }
    // The daemon may close a connection at any time: that is its right.
    let held: Vec<io::Result<UnixStream>> = (0..count).map(one).collect();
    writeln!(out, "done")?;
    out.flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    drop(held);
    Ok(())
}

fn greeting() -> Vec<u8> {
    let mut bytes = PREFACE.to_vec();
    bytes.extend(settings());
    bytes
}

fn deaf() -> Vec<u8> {
    let mut bytes = greeting();
    let subscribe = SubscribeRequest {
        start: Some(subscribe_request::Start::Tail(true)),
    };
    bytes.extend(call(1, "/imd.v1.EventService/Subscribe", &subscribe));
    let page = ListMessagesRequest {
        conversation: Some(ConversationKey {
            r#type: ConversationType::Private.into(),
            target_id: "bob".to_owned(),
        }),
        limit: 200,
        ..ListMessagesRequest::default()
    };
    for stream in 1..8 {
        bytes.extend(call(2 * stream + 1, "/imd.v1.MessageService/ListMessages", &page));
    }
    bytes
}

fn seize() -> Vec<u8> {
    let mut bytes = greeting();
    let bind = BindRequest {
        app_id: "org.example.Thief".to_owned(),
        instance_id: "victim".to_owned(),
        protocol_min: 1,
        protocol_max: 1,
        ..BindRequest::default()
    };
    bytes.extend(call(1, "/imd.v1.SessionService/Bind", &bind));
    bytes
}

/// Waits for the first headers: by then it has been decided.
fn answered(mut stream: UnixStream) -> io::Result<UnixStream> {
    const HEADERS: u8 = 1;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let [a, b, c, kind, ..] = head;
        let length = u32::from_be_bytes([0, a, b, c]);
        io::copy(&mut (&stream).take(length.into()), &mut io::sink())?;
        if kind == HEADERS {
            return Ok(stream);
        }
    }
}

fn throw(socket: &Path, at: usize) -> io::Result<UnixStream> {
    let mut stream = say(socket, if at.is_multiple_of(2) { PREFACE } else { &[] })?;
    // The daemon hangs up as soon as it knows better.
    let _ = stream.write_all(&noise(at as u64, 4096));
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.read_to_end(&mut Vec::new());
    Ok(stream)
}

fn half(at: usize) -> Vec<u8> {
    let init = InitRequest {
        app_key: "k".repeat(64),
    };
    let path = "/imd.v1.SessionService/Init";
    let mut bytes = greeting();
    match at % 6 {
        0 => bytes.clear(),
        1 => bytes.truncate(PREFACE.len() / 2),
        2 => bytes.truncate(PREFACE.len() + 5),
        3 => {
            let headers = headers(1, path);
            bytes.extend(&headers[..headers.len() / 2]);
        }
        4 => bytes.extend(headers(1, path)),
        _ => bytes.extend(half_a_call(1, path, &init)),
    }
    bytes
}

fn flood() -> Vec<u8> {
    let init = InitRequest {
        app_key: "k".repeat(64),
    };
    let mut bytes = greeting();
    for stream in 0..STREAMS {
        bytes.extend(half_a_call(2 * stream + 1, "/imd.v1.SessionService/Init", &init));
    }
    bytes
}
