//! What the server does to who is slow or silent.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::util::{Canary, Server, ask, ask_line, eventually, last_words, read_line, received};

const MS: Duration = Duration::from_millis(1);

#[test]
fn closes_an_idle_client_with_a_notice() {
    let server = Server::start(&["--idle-timeout", "0.3"]);
    let silent = server.connect();
    let spoke = server.connect();
    ask_line(&spoke, "hello");
    for stream in [spoke, silent] {
        let address = stream.local_addr().unwrap();
        let begun = Instant::now();
        let text = last_words(stream);
        let elapsed = begun.elapsed();
        assert_eq!(text, "Server closed your connection: idle for 0.3 s\n");
        assert!(elapsed < 2000 * MS, "{elapsed:?}");
        server.log_with(&format!("{address} disconnected after "));
    }
}

#[test]
fn never_closes_an_idle_client_early() {
    let server = Server::start(&["--idle-timeout", "0.3"]);
    let stream = server.connect();
    let begun = Instant::now();
    last_words(stream);
    let elapsed = begun.elapsed();
    assert!(elapsed >= 299 * MS, "{elapsed:?}");
}

#[test]
fn a_client_that_sends_a_line_now_and_then_is_not_idle() {
    let server = Server::start(&["--idle-timeout", "0.4"]);
    let stream = server.connect();
    for _ in 0..8 {
        thread::sleep(100 * MS);
        ask_line(&stream, "hello");
    }
}

#[test]
fn dripping_bytes_does_not_extend_the_deadline_of_a_line() {
    let server = Server::start(&["--timeout", "0.3"]);
    let stream = server.connect();
    let writer = stream.try_clone().unwrap();
    let drip = thread::spawn(move || {
        // Until the server has closed.
        while (&writer).write_all(b"x").is_ok() {
            thread::sleep(20 * MS);
        }
    });
    let begun = Instant::now();
    let text = last_words(stream);
    let elapsed = begun.elapsed();
    assert_eq!(
        text,
        "Server closed your connection: a line was not ended within 0.3 s\n"
    );
    assert!((299 * MS..1000 * MS).contains(&elapsed), "{elapsed:?}");
    drip.join().unwrap();
}

#[test]
fn the_deadline_of_a_line_begins_with_each_line() {
    let server = Server::start(&["--timeout", "0.3"]);
    let mut stream = server.connect();
    stream.write_all(b"begun").unwrap();
    for _ in 0..6 {
        thread::sleep(100 * MS);
        ask(&stream, " ended\nand\n", received("begun ended"));
        // The next answer completes what this one has begun.
        stream.write_all(b"begun").unwrap();
        assert_eq!(read_line(&stream), received("and"));
    }
}

#[test]
fn a_client_that_takes_no_replies_is_closed_in_time_and_costs_little() {
    let server = Server::start(&["-q", "--timeout", "0.3"]);
    let canary = Canary::start(&server);
    let before = server.status("VmHWM");
    let mut stream = server.connect();
    // The worst case: each LF asks for 31 bytes.
    let flood = vec![b'\n'; 1 << 20];
    let begun = Instant::now();
    while stream.write_all(&flood).is_ok() {
        assert!(
            begun.elapsed() < 10_000 * MS,
            "not closed in {:?}",
            begun.elapsed()
        );
    }
    let grown = server.status("VmHWM") - before;
    assert!(grown < 512, "a client that takes nothing cost {grown} KB");
    canary.stop();
}

#[test]
fn the_buffers_of_a_client_that_has_gone_quiet_are_given_back() {
    let server = Server::start(&["-q", "--timeout", "0.2"]);
    let clients: Vec<TcpStream> = (0..300).map(|_| server.connect()).collect();
    for client in &clients {
        ask_line(client, "small");
    }
    let before = server.status("VmRSS");
    let long = "x".repeat(60_000);
    for client in &clients {
        ask_line(client, &long);
    }
    // Each held 128 KB; what the allocator keeps back is shared by all.
    eventually(|| match server.status("VmRSS") - before {
        grown if grown < 300 * 16 => Ok(()),
        grown => Err(format!(
            "300 quiet clients still hold {grown} KB more than before"
        )),
    });
}

#[test]
fn a_timeout_of_zero_is_for_ever() {
    let server = Server::start(&["--timeout", "0", "--idle-timeout", "0"]);
    let mut stream = server.connect();
    stream.write_all(b"begun").unwrap();
    thread::sleep(200 * MS);
    ask(&stream, "\n", received("begun"));
}
