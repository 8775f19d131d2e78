use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use imd::rpc::Limits;
use imd_proto::code::Code;
use imd_proto::imd::v1;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::body::Body;
use tonic::transport::Channel;
use tower::{Service as _, ServiceExt as _};

use crate::support::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The same noise in each run: xorshift.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect()
}

#[tokio::test]
async fn random_bytes_end_their_own_connection_and_no_other() {
    let daemon = Daemon::start();
    let (_, events) = daemon.bind("a").await;
    for seed in 0..50 {
        let mut stream = daemon.raw().await;
        if seed % 2 == 0 {
            stream.write_all(PREFACE).await.unwrap();
        }
        // The daemon may hang up while the noise is still being written.
        let _: Result<(), _> = stream.write_all(&noise(seed, 4096)).await;
        let mut answer = Vec::new();
        // Its end, or a reset: either way it comes, and from the daemon's side.
        let _: Result<usize, _> = soon(stream.read_to_end(&mut answer)).await;
    }
    daemon.assert_serves().await;
    assert_eq!(daemon.hub.apps.list().len(), 1);
    drop(events);
}

#[tokio::test]
async fn half_a_frame_and_silence_hold_up_nobody() {
    let daemon = Daemon::start();
    let mut half = daemon.raw().await;
    half.write_all(PREFACE).await.unwrap();
    half.write_all(&[0, 0, 12, 4, 0]).await.unwrap();
    let _silent = daemon.raw().await;
    daemon.assert_serves().await;
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let daemon = Daemon::with(Limits {
        preface: Duration::from_millis(50),
        ..Limits::default()
    });
    let mut silent = daemon.raw().await;
    let mut answer = Vec::new();
    let _: Result<usize, _> = soon(silent.read_to_end(&mut answer)).await;
    daemon.assert_serves().await;
}

#[tokio::test]
async fn one_connection_too_many_of_a_process_is_closed_and_its_others_live_on() {
    let daemon = Daemon::with(Limits {
        connections_of_process: 2,
        ..Limits::default()
    });
    let mut session = daemon.session().await;
    let second = daemon.raw().await;
    let mut third = daemon.raw().await;
    let mut answer = Vec::new();
    let closed = soon(third.read_to_end(&mut answer)).await;
    assert!(matches!(closed, Ok(0) | Err(_)), "{answer:?}");
    assert!(session.get_status(v1::GetStatusRequest {}).await.is_ok());

    drop(second);
    soon(async {
        loop {
            let mut again = daemon.raw().await;
            again.write_all(PREFACE).await.ok();
            let mut first = [0; 9];
            if again.read_exact(&mut first).await.is_ok() {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_request_over_the_limit_is_refused_and_its_connection_goes_on() {
    let daemon = Daemon::start();
    let mut admin = daemon.admin().await;
    let request = v1::ShutdownRequest {
        reason: "x".repeat(imd::rpc::MAX_REQUEST + 1),
    };
    assert_eq!(code(admin.shutdown(request).await), Code::IMD_REQUEST_TOO_LARGE);
    assert_eq!(daemon.stop.reason(), None);
    assert!(admin.get_version(v1::GetVersionRequest {}).await.is_ok());
}

#[tokio::test]
async fn headers_over_the_limit_are_refused_and_their_connection_goes_on() {
    let daemon = Daemon::start();
    let mut session = daemon.session().await;
    let request = bound(&"x".repeat(20_000), v1::GetStatusRequest {});
    assert!(session.get_status(request).await.is_err());
    assert!(session.get_status(v1::GetStatusRequest {}).await.is_ok());
}

#[tokio::test]
async fn a_client_that_never_answers_does_not_hold_up_the_end() {
    let daemon = Daemon::start();
    let mut deaf = daemon.raw().await;
    deaf.write_all(PREFACE).await.unwrap();
    deaf.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    daemon.assert_serves().await;
    daemon.stop.ask("the test ends");
    daemon.served().await.unwrap();
}

#[tokio::test]
async fn requests_beyond_the_limit_are_refused_at_once_and_the_next_are_served() {
    let mut daemon = Daemon::start();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let session = daemon.session().await;
        for _ in 0..110 {
            let mut session = session.clone();
            calls.spawn(async move { code(session.disconnect(v1::DisconnectRequest {}).await) });
        }
    }
    // The link does not answer, so that the calls pile up.
    let first = soon(calls.join_next()).await.unwrap().unwrap();
    assert_eq!(first, Code::IMD_TOO_MANY);
    daemon.end_link();
    let mut others = Vec::new();
    while let Some(other) = soon(calls.join_next()).await {
        others.push(other.unwrap());
    }
    assert!(others.contains(&Code::IMD_STOPPING), "those in front were taken");
    daemon.assert_serves().await;
}

/// A request's body that breaks off.
struct Half(Option<Bytes>);

impl http_body::Body for Half {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        match self.0.take() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None => Poll::Pending,
        }
    }
}

/// Sends so much of a message that claims to be longer, and waits for the answer's code.
async fn send_half(mut channel: Channel, length: usize) -> Code {
    let mut bytes = vec![0];
    bytes.extend(u32::try_from(length + 1).unwrap().to_be_bytes());
    bytes.resize(length, b'x');
    let request = http::Request::post("http://localhost/imd.v1.MessageService/SendMessages")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(Half(Some(bytes.into()))))
        .unwrap();
    let response = channel.ready().await.unwrap().call(request).await.unwrap();
    let status = tonic::Status::from_header_map(response.headers()).unwrap();
    imd_proto::status::from_status(&status).code
}

#[tokio::test]
async fn halves_of_long_requests_are_bounded_in_bytes_and_what_is_given_up_is_free_again() {
    const LONG: usize = 1000 * 1000;
    let daemon = Daemon::start();
    let channel = daemon.channel().await;
    let mut halves = tokio::task::JoinSet::new();
    for _ in 0..20 {
        halves.spawn(send_half(channel.clone(), LONG));
    }
    // 16 of them are 16 MB; with the next it would be more than 16 MiB.
    let refused = soon(halves.join_next()).await.unwrap().unwrap();
    assert_eq!(refused, Code::IMD_TOO_MANY);
    daemon.assert_serves().await;

    halves.shutdown().await;
    let mut again = tokio::task::JoinSet::new();
    for _ in 0..10 {
        again.spawn(send_half(channel.clone(), LONG));
    }
    // Each gets the time that a request has.
    let late = soon(again.join_next()).await.unwrap().unwrap();
    assert_eq!(late, Code::IMD_DEADLINE_EXCEEDED);
}

#[tokio::test]
async fn streams_of_one_process_are_bounded_and_one_that_ends_makes_room() {
    let daemon = Daemon::start();
    let mut streams = Vec::new();
    for _ in 0..4 {
        let mut session = daemon.session().await;
        for _ in 0..128 {
            streams.push(session.watch_status(v1::WatchStatusRequest {}).await.unwrap());
        }
    }
    let mut session = daemon.session().await;
    let refused = session.watch_status(v1::WatchStatusRequest {}).await;
    assert_eq!(code(refused), Code::IMD_TOO_MANY);
    streams.pop();
    soon(async {
        while session.watch_status(v1::WatchStatusRequest {}).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
