//! P3: messages sent per second, 256 in flight, each on disk before it is sent: through imd's outbox; with Paho
//! C and its file persistence; with the same, made safe on disk by fsync.

use std::collections::VecDeque;

use imd_benches::broker::Broker;
use imd_benches::monotonic::timed;
use imd_benches::publisher::content;
use imd_benches::report::{Finding, Goal, Report};
use imd_benches::rival::Rival;
use imd_benches::statistics::Samples;
use imd_benches::{CONTENT, Scale, WINDOW, stage};
use imd_client::{BlockingClient, Content, ConversationKey};

pub(crate) fn measure(scale: Scale) {
    let mut report = Report::begin("P3", scale);
    let (rounds, count) = (scale.pick(1, 7), scale.pick(2_000, 20_000));
    // An fsync for each takes long.
    let few = count / 40;
    let broker = Broker::start();
    let daemon = stage::daemon(&broker.url());
    let app = stage::app(&daemon, "Send");
    stage::connect(&app, &broker, "alice");

    let mut rates = [const { Vec::new() }; 3];
    for _ in 0..rounds {
        for (rates, rate) in rates.iter_mut().zip([
            imd(&app, count, CONTENT),
            paho(&broker, "file", count),
            paho(&broker, "fsync", few),
        ]) {
            rates.push(rate);
        }
    }
    let [imd, file, fsync] = &rates;
    let to_file = Samples::ratios(imd, file);
    report.add(Finding::median(
        "sent per second, to Paho C with file persistence",
        &to_file,
        "×",
        Goal::AtLeast(1.0),
    ));
    let to_fsync = Samples::ratios(imd, fsync);
    report.add(Finding::median(
        "sent per second, to Paho C with files and fsync",
        &to_fsync,
        "×",
        Goal::AtLeast(5.0),
    ));
    for (what, rates) in [
        ("imd", imd),
        ("Paho C, files", file),
        ("Paho C, files and fsync", fsync),
    ] {
        report.add(Finding::median(
            format!("sent by {what}"),
            &Samples::new(rates.iter().copied()),
            "/s",
            Goal::None,
        ));
    }
    report.end();
}

/// From the first call to the last message that the broker has.
pub(crate) fn imd(app: &BlockingClient, count: usize, bytes: usize) -> f64 {
    let key = ConversationKey::private("bob");
    let bytes = content(bytes);
    let ((), time) = timed(|| {
        let mut under_way = VecDeque::with_capacity(WINDOW);
        for _ in 0..count {
            if under_way.len() == WINDOW
                && let Some(oldest) = under_way.pop_front()
            {
                sent(&oldest);
            }
            under_way.push_back(app.send_message(&key, Content::new("RC:TxtMsg", bytes.clone())));
        }
        under_way.iter().for_each(sent);
    });
    count as f64 / time.as_secs_f64()
}

fn sent(sending: &imd_client::BlockingSending) {
    sending.sent().unwrap();
}

fn paho(broker: &Broker, mode: &str, count: usize) -> f64 {
    let directory = tempfile::tempdir().unwrap();
    let (port, count_word) = (broker.port(), count.to_string());
    let (window, bytes) = (WINDOW.to_string(), CONTENT.to_string());
    let to = ["127.0.0.1", &port, "carol", "send", "im/demo/u/bob/carol"];
    let directory_word = directory.path().to_str().unwrap();
    let how = [count_word.as_str(), &window, &bytes, directory_word];
    let mut rival = Rival::c("send", &[&[mode][..], &to, &how].concat());
    rival.tell(broker.token("carol"));
    let time = rival.hear_time();
    rival.await_end();
    count as f64 / time.as_secs_f64()
}
