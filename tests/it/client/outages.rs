//! The client across outages (`--retry-for`): no reply is lost, and none is printed twice.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::util::{
    PROMPT, Random, Running, Server, acknowledgement, client, client_at_terminal, count_lines,
    eventually, os_error, peer, printed, run, spawn, temporary_file, unused_address,
};

#[test]
fn despite_kills_each_line_is_printed_once_and_in_order() {
    const KILLS: usize = 8;
    let mut server = Server::start(&["-q"]);
    let address = server.address;
    let output = temporary_file();
    let mut client = client(address, &["--retry-for", "20", "--summary"]);
    let stdout = File::create(&output).unwrap();
    client.stdin(Stdio::piped()).stdout(stdout);
    let mut client = spawn(client.stderr(Stdio::piped()));
    let mut stdin = client.stdin.take().unwrap();
    let is_over = AtomicBool::new(false);
    let lines = thread::scope(|scope| {
        let feeder = scope.spawn(|| {
            let mut lines = 0;
            while !is_over.load(Ordering::Relaxed) {
                let part: String = (lines..lines + 2000).map(|n| format!("{n}\n")).collect();
                stdin.write_all(part.as_bytes()).unwrap();
                lines += 2000;
                thread::sleep(Duration::from_millis(7));
            }
            drop(stdin);
            lines
        });
        let mut random = Random(20_261_122);
        for _ in 0..KILLS {
            thread::sleep(Duration::from_millis(20 + random.below(150)));
            server.kill();
            thread::sleep(Duration::from_millis(random.below(100)));
            server = Server::start_at(address, &["-q"]);
        }
        is_over.store(true, Ordering::Relaxed);
        feeder.join().unwrap()
    });
    let outcome = client.finish();
    outcome.assert_code(0);
    let printed_lines = fs::read(&output).unwrap();
    assert!(
        printed_lines == printed(0..lines).as_bytes(),
        "{} bytes were printed",
        printed_lines.len()
    );
    assert!(
        outcome.stderr.contains(&format!(
            "client: {lines} acknowledged, 0 rejected, 0 wrong, 0 unack"
        )),
        "{outcome}"
    );
    println!(
        "the server was killed {KILLS} times; the client printed {} of {lines} replies, each \
         once and in order",
        count_lines(&printed_lines)
    );
    let summary = outcome
        .stderr
        .lines()
        .find(|line| line.contains(" acknowledged, "));
    println!("it reported: {}", summary.unwrap());
    fs::remove_file(output).unwrap();
}

#[test]
fn the_client_waits_for_a_server_that_is_not_up_yet() {
    let address = unused_address();
    let mut client = Running::start(&mut client(address, &["-v", "--retry-for", "20"]));
    client.send("hello\n");
    thread::sleep(Duration::from_millis(200));
    let _server = Server::start_at(address, &[]);
    assert_eq!(client.read_line(), printed(["hello"]));
    client.stdin.take();
    let outcome = client.finish();
    outcome.assert_code(0);
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    let why = format!("{}; trying again for up to 20 s", os_error(111));
    assert_eq!(lines.len(), 3, "{outcome}");
    assert_eq!(
        lines[0],
        format!("client: cannot connect to {address}: {why}")
    );
    assert_eq!(lines[1], format!("client: connected to {address}"));
    assert!(
        lines[2].starts_with(&format!("client: connected to {address} again after ")),
        "{outcome}"
    );
}

#[test]
fn the_client_gives_up_in_time_and_counts_what_is_unacknowledged() {
    let address = unused_address();
    let begun = Instant::now();
    let outcome = run(
        &mut client(address, &["-q", "--retry-for", "0.4"]),
        "one\ntwo\n",
    );
    let elapsed = begun.elapsed();
    let unacknowledged = "2 messages unacknowledged, from line 1";
    let why = os_error(111);
    outcome.assert(
        1,
        "",
        &format!("client: gave up on {address} after 0.4 s (--retry-for); {unacknowledged}: {why}; is the server running there?\n"),
    );
    assert!(
        (Duration::from_millis(399)..Duration::from_secs(2)).contains(&elapsed),
        "{elapsed:?}"
    );
}

#[test]
fn a_connect_alone_does_not_end_an_outage() {
    // Like a proxy whose server is dead.
    let address = peer(drop);
    let begun = Instant::now();
    let outcome = run(&mut client(address, &["--retry-for", "0.5"]), "hello\n");
    outcome.assert_code(1);
    assert!(begun.elapsed() < Duration::from_secs(3), "{outcome}");
    assert_eq!(outcome.stderr.lines().count(), 2, "{outcome}");
    assert!(outcome.stderr.contains("gave up on"), "{outcome}");
}

#[test]
fn a_peer_that_accepts_and_stays_silent_does_not_end_an_outage() {
    let mut first = true;
    let address = peer(move |stream| match std::mem::take(&mut first) {
        true => drop(stream),
        false => thread::sleep(Duration::from_secs(20)),
    });
    let begun = Instant::now();
    let outcome = run(&mut client(address, &["--retry-for", "0.5"]), "hello\n");
    outcome.assert_code(1);
    assert!(begun.elapsed() < Duration::from_secs(5), "{outcome}");
}

#[test]
fn a_refused_client_reconnects_until_it_is_served() {
    let server = Server::start(&["--max-clients", "1"]);
    let holder = server.connect();
    let mut client = Running::start(&mut server.client(&["--retry-for", "20"]));
    client.send("hello\n");
    server.log_with("Refused connection");
    drop(holder);
    assert_eq!(client.read_line(), printed(["hello"]));
    client.stdin.take();
    let outcome = client.finish();
    outcome.assert_code(0);
    let refusal = "Server refused your connection: 1 client is connected (--max-clients 1)";
    let address = server.address;
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{outcome}");
    assert_eq!(
        lines[0],
        format!("client: {address}: {refusal}; trying again for up to 20 s")
    );
    assert!(
        lines[1].starts_with(&format!("client: connected to {address} again after ")),
        "{outcome}"
    );
}

#[test]
fn a_client_closed_as_idle_reconnects_and_is_served() {
    let server = Server::start(&["--idle-timeout", "0.2"]);
    let mut client = Running::start(&mut server.client(&["--retry-for", "20"]));
    for (line, times) in [("one", 1), ("two", 2)] {
        client.send(&format!("{line}\n"));
        assert_eq!(client.read_line(), printed([line]));
        eventually(|| match server.log().matches("idle for 0.2 s").count() {
            closed if closed >= times => Ok(()),
            closed => Err(format!("closed {closed} times as idle")),
        });
    }
    client.stdin.take();
    client.finish().assert_code(0);
}

#[test]
fn a_connection_without_replies_is_replaced_by_another() {
    let mut silent = None;
    let address = peer(move |mut stream| {
        if silent.is_none() {
            silent = Some(stream);
            return;
        }
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        for line in lines.map_while(Result::ok) {
            // On a busy machine the client may have given up this connection, too.
            if stream.write_all(acknowledgement(&line).as_bytes()).is_err() {
                return;
            }
        }
    });
    let outcome = run(
        &mut client(address, &["--timeout", "0.2", "--retry-for", "20"]),
        "one\ntwo\n",
    );
    outcome.assert_code(0);
    assert_eq!(
        outcome.stdout,
        printed(["one", "two"]).as_bytes(),
        "{outcome}"
    );
    assert!(
        outcome.stderr.contains("no reply within 0.2 s"),
        "{outcome}"
    );
}

#[test]
fn an_end_of_input_in_an_outage_ends_the_run_if_all_is_acknowledged() {
    let mut server = Server::start(&[]);
    let mut client = Running::start(&mut server.client(&["-q", "--retry-for", "20"]));
    client.send("hello\n");
    assert_eq!(client.read_line(), printed(["hello"]));
    server.kill();
    client.stdin.take();
    client.finish().assert(0, "", "");
}

#[test]
fn the_summary_counts_what_happened() {
    let server = Server::start(&[]);
    let outcome = run(&mut server.client(&["--summary"]), b"one\ntw\xff\nthree\n");
    outcome.assert_code(1);
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    let counts =
        "client: 2 acknowledged, 1 rejected, 0 wrong, 0 unacknowledged, 0 too long; 0 sent again";
    assert_eq!(lines[1], counts, "{outcome}");
    assert!(
        lines[2].contains(" replies/s; reply time p50 "),
        "{outcome}"
    );
    let outages = "client: outages: 0, the longest 0.000 s; 1 connection, connect time p50 ";
    assert!(lines[3].starts_with(outages), "{outcome}");
    let own_delays = "client: its own delays p50 ";
    assert!(lines[4].starts_with(own_delays), "{outcome}");
}

#[test]
fn at_a_terminal_the_prompt_survives_an_outage() {
    let mut server = Server::start(&[]);
    let address = server.address;
    let Some(mut terminal) = client_at_terminal(address, "--retry-for 20") else {
        return;
    };
    terminal.read_until(PROMPT);
    terminal.send("one\n");
    terminal.read_until(PROMPT);
    server.kill();
    let shown = terminal.read_until("; trying again for up to 20 s\r\n");
    assert!(
        shown.starts_with(&format!(
            "\r\nclient: connection to {address} closed; all messages"
        )),
        "{shown:?}"
    );
    let _server = Server::start_at(address, &[]);
    // The prompt appears at once, and again after the client has connected again.
    assert_eq!(terminal.read_until(PROMPT), PROMPT);
    terminal.send("two\n");
    assert_eq!(
        terminal.read_until("\r\n"),
        printed(["two"]).replace('\n', "\r\n")
    );
    terminal.read_until(PROMPT);
    terminal.send("\x04");
    terminal.finish().assert(0, "\r\n", "");
}
