//! Several callers, several tokens: which one is sent, and who is told what about which.

use imd_core::io::{ConnectionStatus, FaultKind, Identity};
use imd_core::{Code, WakeUp};

use super::support::*;

#[test]
fn a_joiner_s_token_is_sent_only_when_the_one_in_use_is_refused() {
    let mut imd = Imd::with_apps();
    assert_eq!(imd.connect("chat", with("bad").user("alice")), Ok(()));
    assert_eq!(imd.connect("mail", with("good").user("alice")), Ok(()));
    imd.refuses(words(0x88));
    imd.redials();
    assert_eq!(imd.dialed().token.reveal(), "bad");
    imd.refuses(words(0x87));
    assert_eq!(
        imd.told("chat"),
        [Told::Opened, Told::Error(Code::RC_CONN_TOKEN_INCORRECT)]
    );
    assert_eq!(
        imd.told("mail"),
        [Told::Opened],
        "its own token was not tried yet"
    );
    imd.is(ConnectionStatus::Suspend);
    imd.redials();
    assert_eq!(imd.dialed().token.reveal(), "good");
    imd.comes_up();
    assert_eq!(imd.told("mail"), [Told::Opened, success("alice")]);
    assert_eq!(imd.remembered_token().as_deref(), Some("good"));
}

#[test]
fn when_no_token_is_left_the_last_verdict_ends_the_connection() {
    let mut imd = Imd::with_apps();
    assert_eq!(imd.connect("chat", with("bad").user("alice")), Ok(()));
    assert_eq!(imd.connect("mail", with("worse").user("alice")), Ok(()));
    imd.refuses(words(0x87));
    imd.redials();
    imd.refuses(words(0x87));
    let code = Code::RC_CONN_TOKEN_INCORRECT;
    assert_eq!(imd.told("mail"), [Told::Opened, Told::Error(code)]);
    imd.is(ConnectionStatus::TokenIncorrect);
    assert_eq!(imd.remembered_token(), None);
    assert_eq!(imd.next_wake_up(), None);
}

#[test]
fn a_user_who_does_not_fit_one_token_may_fit_the_next() {
    let mut imd = Imd::with_apps();
    assert_eq!(imd.connect("chat", with("bob-s").user("alice")), Ok(()));
    assert_eq!(imd.connect("mail", with("alice-s").user("alice")), Ok(()));
    imd.accepts_as("bob");
    assert_eq!(imd.told("mail"), [Told::Opened]);
    imd.redials();
    imd.accepts_as("alice");
    imd.link(imd_core::io::LinkEvent::LoggedIn);
    assert_eq!(imd.told("mail"), [Told::Opened, success("alice")]);
}

#[test]
fn the_next_token_s_caller_may_know_whose_it_is_and_then_the_database_opens_first() {
    let mut imd = Imd::with_apps();
    assert_eq!(imd.connect("chat", with("opaque")), Ok(()));
    assert_eq!(imd.connect("mail", with("t2").user("alice")), Ok(()));
    imd.refuses(words(0x87));
    assert_eq!(imd.told("chat"), [Told::Error(Code::RC_CONN_TOKEN_INCORRECT)]);
    assert_eq!(
        imd.told("mail"),
        [Told::Opened],
        "history need not wait for the next attempt"
    );
    imd.redials();
    assert_eq!(imd.dialed().identity, Identity::Known(account("alice")));
}

#[test]
fn a_caller_who_is_gone_names_nobody_s_token() {
    let mut imd = Imd::with_apps();
    assert_eq!(imd.connect("chat", with("opaque")), Ok(()));
    assert_eq!(
        imd.connect("mail", with("t2").user("alice").limit(secs(1))),
        Ok(())
    );
    assert_eq!(imd.connect("bot", with("t2").user("bob")), Ok(()));
    imd.wait(secs(1));
    imd.refuses(words(0x87));
    assert_eq!(imd.told("bot"), [Told::Opened]);
    imd.redials();
    assert_eq!(imd.dialed().identity, Identity::Known(account("bob")));
}

/// Connected as alice, cut, and dialling again.
fn reconnecting() -> Imd {
    let mut imd = Imd::online();
    imd.fails(FaultKind::Io);
    imd.redials();
    imd
}

#[test]
fn a_token_that_was_good_gets_further_tries_at_4_16_and_64_s() {
    for reason in [0x86, 0x87, 0x8C, 0x95] {
        let mut imd = reconnecting();
        for wait in [4, 16, 64] {
            imd.refuses(words(reason));
            imd.is(ConnectionStatus::Suspend);
            assert_eq!(imd.redials(), secs(wait));
        }
        imd.refuses(words(reason));
        imd.is(ConnectionStatus::TokenIncorrect);
        assert_eq!(imd.remembered_token(), None);
    }
}

#[test]
fn a_broker_whose_users_are_back_ends_the_leniency_and_restarts_it() {
    let mut imd = reconnecting();
    imd.refuses(words(0x87));
    assert_eq!(imd.redials(), secs(4));
    imd.comes_up();
    imd.is(ConnectionStatus::Connected);
    imd.fails(FaultKind::Io);
    imd.redials();
    imd.refuses(words(0x87));
    assert_eq!(imd.redials(), secs(4));
}

#[test]
fn there_is_no_leniency_on_a_first_connect_nor_with_an_explicit_code() {
    let mut imd = Imd::with_apps();
    assert_eq!(imd.connect("chat", with("t1").user("alice")), Ok(()));
    imd.refuses(words(0x87));
    imd.is(ConnectionStatus::TokenIncorrect);

    let mut imd = reconnecting();
    imd.refuses(im_code(31_004));
    imd.is(ConnectionStatus::TokenIncorrect);
}

#[test]
fn a_joiner_with_the_token_that_is_refused_waits_through_the_leniency() {
    let mut imd = reconnecting();
    assert_eq!(imd.connect("mail", with("t1")), Ok(()));
    imd.refuses(words(0x87));
    assert_eq!(imd.told("mail"), [Told::Opened]);
    imd.redials();
    imd.comes_up();
    assert_eq!(imd.told("mail"), [Told::Opened, success("alice")]);
}

#[test]
fn a_new_token_does_not_wait_for_the_leniency_of_the_old() {
    let mut imd = reconnecting();
    imd.refuses(words(0x87));
    assert_eq!(imd.connect("mail", with("t2").user("alice")), Ok(()));
    assert_eq!(imd.redials(), ms(50));
    assert_eq!(imd.dialed().token.reveal(), "t2");
    imd.comes_up();
    assert_eq!(imd.remembered_token().as_deref(), Some("t2"));
}

#[test]
fn a_token_whose_leniency_is_used_up_is_not_sent_again() {
    let mut imd = reconnecting();
    for _ in 0..3 {
        imd.refuses(words(0x87));
        imd.redials();
    }
    assert_eq!(imd.connect("mail", with("t2").user("alice")), Ok(()));
    imd.refuses(words(0x87));
    imd.redials();
    assert_eq!(imd.dialed().token.reveal(), "t2");
    imd.refuses(words(0x87));
    imd.is(ConnectionStatus::TokenIncorrect);
    assert_eq!(imd.next_wake_up(), None::<WakeUp>);
}
