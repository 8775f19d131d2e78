use std::time::Duration;

use imd::rpc::Limits;
use imd_proto::code::Code;
use imd_proto::imd::v1;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

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
