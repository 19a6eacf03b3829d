//! What the client writes to standard error about outages and a run that was cut short.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;

use crate::util::{
    Running, Server, SignalledClient, acknowledgement, client, os_error, peer, printed, run,
    unused_address,
};

/// Asserts that the standard error begins with the two lines of one outage.
#[track_caller]
fn assert_outage(stderr: &str, address: SocketAddr, what: &str, sent_again: &str) {
    let begin = format!("client: {what}; trying again for up to 20 s\n");
    let end = format!("client: connected to {address} again after ");
    let seconds = stderr
        .strip_prefix(&begin)
        .and_then(|rest| rest.strip_prefix(&end))
        .and_then(|rest| rest.split_once(&format!(" s; {sent_again} sent again\n")));
    let has_milliseconds = match seconds.and_then(|(seconds, _)| seconds.split_once('.')) {
        Some((whole, fraction)) => {
            whole.parse::<u32>().is_ok() && fraction.parse::<u32>().is_ok() && fraction.len() == 3
        }
        None => false,
    };
    assert!(
        has_milliseconds,
        "expected:\n{begin}{end}S.SSS s; {sent_again} sent again\ngot:\n{stderr}"
    );
}

#[test]
fn an_outage_with_messages_in_flight_is_logged_at_begin_and_end() {
    let mut is_first = true;
    let address = peer(move |mut stream| {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        if std::mem::take(&mut is_first) {
            let line = lines.next().unwrap().unwrap();
            assert_eq!(lines.by_ref().take(2).count(), 2);
            stream.write_all(acknowledgement(&line).as_bytes()).unwrap();
            return;
        }
        for line in lines.map_while(Result::ok) {
            stream.write_all(acknowledgement(&line).as_bytes()).unwrap();
        }
    });
    let outcome = run(&mut client(address, &["--retry-for", "20"]), "1\n2\n3\n");
    outcome.assert_code(0);
    assert_eq!(outcome.stdout, printed(1..=3).as_bytes());
    let what = "lost with 2 messages in flight, from line 2: \
                closed by the other end (3 sent, 1 answered)";
    assert_outage(
        &outcome.stderr,
        address,
        &format!("connection to {address} {what}"),
        "2 lines",
    );
}

#[test]
fn an_outage_at_the_first_connect_is_logged_at_begin_and_end() {
    let address = unused_address();
    let mut client = SignalledClient::start(&mut client(address, &["--retry-for", "20"]));
    client.await_stderr("; trying again for up to 20 s\n");
    let _server = Server::start_at(address, &[]);
    client.await_reply();
    drop(client.process.stdin.take());
    let (status, _, stderr) = client.end();
    assert_eq!(status.code(), Some(0), "{stderr}");
    let what = format!("cannot connect to {address}: {}", os_error(111));
    assert_outage(&stderr, address, &what, "0 lines");
}

#[test]
fn a_close_of_an_idle_connection_is_logged_with_nothing_missing() {
    let server = Server::start(&["--idle-timeout", "0.5"]);
    let mut client = SignalledClient::start(&mut server.client(&["--retry-for", "20"]));
    client.await_reply();
    client.await_stderr("; trying again for up to 20 s\n");
    let mut stdin = client.process.stdin.take().unwrap();
    stdin.write_all(b"hello\n").unwrap();
    client.await_reply();
    drop(stdin);
    let (status, report, stderr) = client.end();
    assert_eq!(status.code(), Some(0), "{stderr}");
    let what = "closed; all messages so far have replies: \
                Server closed your connection: idle for 0.5 s";
    let address = server.address;
    assert_outage(
        &stderr,
        address,
        &format!("connection to {address} {what}"),
        "0 lines",
    );
    assert_eq!(
        report["outages"].list()[0]["cause"].text(),
        format!("connection to {address} {what}")
    );
}

#[test]
fn the_summary_of_a_run_that_was_cut_short_says_so() {
    let address = peer(|mut stream| {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let line = lines.next().unwrap().unwrap();
        stream.write_all(acknowledgement(&line).as_bytes()).unwrap();
    });
    let mut running = Running::start(&mut client(address, &["--summary"]));
    running.send("one\n");
    let outcome = running.finish();
    outcome.assert_code(1);
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    assert_eq!(
        lines[0],
        "client: 1 acknowledged, 0 rejected, 0 wrong, 0 unacknowledged, 0 too long; \
         0 sent again; the input was not read to its end"
    );
    for figure in ["reply time p50 ", ", p90 ", ", p99 ", ", p99.9 ", ", max "] {
        assert!(lines[1].contains(figure), "{outcome}");
    }
    let outcome = run(&mut client(unused_address(), &["--summary"]), "one\n");
    outcome.assert_code(1);
    assert!(
        outcome.stderr.contains(" s, 0 replies/s; no reply times"),
        "{outcome}"
    );
}
