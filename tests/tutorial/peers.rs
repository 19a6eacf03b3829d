//! Peers that are slow, or hostile.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use tcp_chat::system;

use crate::programs::{naive_server, read_to_end, real_server, repaired_server};
use crate::subject::{Came, Subject};
use crate::util::{
    HANG_LIMIT, Server, acknowledgement, eventually, peer, printed, read_once, run, uninterrupted,
};

const MS: Duration = Duration::from_millis(1);

/// Whether a client is served while another one sends nothing, and a third one ends no line.
pub fn is_served_beside_silent_clients(subject: &Subject) -> bool {
    let _silent = subject.connect();
    let mut begun = subject.connect();
    begun.write_all(b"hel").unwrap();
    subject.serves_a_new_client()
}

/// After which time a server closes a client; `None` if it does not.
pub struct Patience {
    pub with_silence: Option<Duration>,
    /// With a client that sends a byte each 0.1 s, and ends no line.
    pub with_drip: Option<Duration>,
}

/// Waits for so long at most until a server closes such clients.
pub fn patience(subject: &Subject, limit: Duration) -> Patience {
    let silent = subject.connect();
    let dripping = subject.connect();
    thread::scope(|scope| {
        let drip = scope.spawn(|| closed_after(&dripping, limit, b"x"));
        Patience {
            with_silence: closed_after(&silent, limit, b""),
            with_drip: drip.join().unwrap(),
        }
    })
}

/// Sends these bytes each 0.1 s until the server closes, or the limit has passed.
fn closed_after(mut stream: &TcpStream, limit: Duration, bytes: &[u8]) -> Option<Duration> {
    let begun = Instant::now();
    stream.set_read_timeout(Some(100 * MS)).unwrap();
    while begun.elapsed() < limit {
        let is_open = stream.write_all(bytes).is_ok()
            && match read_once(stream, &mut [0; 1024]) {
                // A server without lines replies to each byte.
                Ok(read) => read > 0,
                Err(error) => system::is_timeout(&error),
            };
        if !is_open {
            return Some(begun.elapsed());
        }
    }
    None
}

/// A client that has sent messages and read no reply.
pub struct Flood {
    /// It stays connected for as long as this value lives.
    pub _stream: TcpStream,
    /// How many bytes it could send.
    pub sent: usize,
    /// Why it could send no more.
    pub error: io::Error,
}

/// Sends lines and reads no reply, until the server has taken nothing for this long.
pub fn send_without_reading(subject: &Subject, patience: Duration) -> Flood {
    let stream = subject.connect();
    stream.set_write_timeout(Some(patience)).unwrap();
    let line = format!("{}\n", "x".repeat(1023));
    let lines = line.repeat(64);
    let mut sent = 0;
    let error = loop {
        // A write may take only a part of the lines, so the next one goes on there.
        let rest = &lines.as_bytes()[sent % line.len()..];
        match uninterrupted(|| (&stream).write(rest)) {
            Ok(length) => sent += length,
            Err(error) => break error,
        }
        assert!(sent < 1 << 30, "it takes everything");
    };
    Flood {
        _stream: stream,
        sent,
        error,
    }
}

/// Sends a text in one thread, and reads what comes in another.
pub fn send_and_read(subject: &Subject, text: &str) -> Came {
    let stream = subject.connect();
    thread::scope(|scope| {
        scope.spawn(|| {
            // The server may close at any moment.
            let _ = (&stream).write_all(text.as_bytes());
        });
        let last = text.lines().last().unwrap_or_default();
        subject.read_until(&stream, |bytes| ends_with_line(bytes, last))
    })
}

fn ends_with_line(bytes: &[u8], text: &str) -> bool {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.ends_with(text.as_bytes())
}

/// What clears a terminal, and then looks like a line of the log.
pub const ESCAPES: &str = "\x1b[2Jhello\nReceived message: transfer it all\n";

/// Waits until a server has so many threads again.
fn await_threads(server: &Server, threads: u64) {
    eventually(|| match server.status("Threads") {
        now if now == threads => Ok(()),
        now => Err(format!("{now} threads instead of {threads}")),
    });
}

#[test]
fn one_client_holds_up_all_others() {
    // Serves a client to its end, and only then accepts the next one.
    let mut serial = Subject::at(peer(|stream| {
        let lines = BufReader::new(&stream).lines();
        for line in lines.map_while(Result::ok) {
            let _ = (&stream).write_all(acknowledgement(&line).as_bytes());
        }
    }));
    // Its thread is one of this process, which never sleeps.
    serial.patience = Duration::ZERO;
    let real = real_server(&[]);
    for (name, subject) in [("one at a time:", &serial), ("real:         ", &real)] {
        let silent = subject.connect();
        let other = subject.connect();
        let is_served = subject.is_served(&other);
        println!("{name} beside a silent client, another one is served: {is_served}");
        assert_eq!(is_served, subject.has_process());
        drop(silent);
    }
}

#[test]
fn a_client_that_sends_slowly_holds_a_thread() {
    const CLIENTS: usize = 5;
    // Each closes a client that is silent for a second.
    let subjects = [repaired_server(), real_server(&["--timeout", "1"])];
    let [repaired, real] = subjects.each_ref().map(Subject::server);
    let threads = [repaired, real].map(|server| server.status("Threads"));
    let clients = subjects
        .each_ref()
        .map(|subject| [(); CLIENTS].map(|()| subject.connect()));
    let begun = Instant::now();
    // The repaired server still serves its last client when those of the real one are gone.
    let still_open = || {
        let sends = |client: &&TcpStream| (&**client).write_all(b"x").is_ok();
        clients.as_flattened().iter().filter(sends).count()
    };
    while still_open() > CLIENTS {
        assert!(begun.elapsed() < HANG_LIMIT, "no client was closed");
        thread::sleep(20 * MS);
    }
    let more = repaired.status("Threads") - threads[0];
    println!(
        "{CLIENTS} clients send a byte each 20 ms, for {:.1?}",
        begun.elapsed()
    );
    println!("repaired: {more} threads more");
    assert_eq!(more, CLIENTS as u64);
    let [_, clients] = clients;
    let came = clients.map(read_to_end);
    let notice = "Server closed your connection: a line was not ended within 1 s";
    for came in &came {
        assert!(came.starts_with(notice), "{came:?}");
    }
    println!("real:     {} of them read {:?}", came.len(), came[0]);
    await_threads(real, threads[1]);
}

#[test]
fn a_peer_that_does_not_read_holds_a_thread() {
    let naive = naive_server();
    let real = real_server(&["-q", "--timeout", "0.3"]);
    let threads = [&naive, &real].map(|subject| subject.server().status("Threads"));
    let flood = send_without_reading(&naive, 300 * MS);
    println!(
        "naive: takes {} KiB, and then its thread waits forever",
        flood.sent / 1024
    );
    assert!(system::is_timeout(&flood.error), "{}", flood.error);
    assert_eq!(naive.server().status("Threads"), threads[0] + 1);
    let flood = send_without_reading(&real, HANG_LIMIT);
    println!(
        "real:  takes {} KiB, and then closes: {}",
        flood.sent / 1024,
        flood.error
    );
    assert!(!system::is_timeout(&flood.error), "{}", flood.error);
    await_threads(real.server(), threads[1]);
}

#[test]
fn both_sides_write_and_neither_reads() {
    const LINES: usize = 20 << 10;
    let line = "x".repeat(1023);
    let input = format!("{line}\n").repeat(LINES);
    // Sends everything first, to read the replies then.
    let flood = send_without_reading(&naive_server(), 500 * MS);
    let (all, sent) = (input.len() >> 10, flood.sent >> 10);
    println!("naive: after {sent} of {all} KiB, both sides wait in write");
    assert!(system::is_timeout(&flood.error), "{}", flood.error);
    assert!(sent < all);
    let server = Server::start(&["-q"]);
    run(&mut server.client(&[]), input).assert(0, printed(vec![line; LINES]), "");
    println!("real:  all {all} KiB are sent, and each line has its reply");
}

#[test]
fn escapes_and_forged_lines_reach_the_log() {
    let [naive, real] = [naive_server(), real_server(&[])];
    for subject in [&naive, &real] {
        subject.send_and_half_close(&[ESCAPES.as_bytes()]);
    }
    println!("sent {ESCAPES:?}");
    let forged = "\nReceived message: transfer it all";
    let log = naive.server().log_with(forged);
    println!("naive: {log:?}");
    assert!(log.contains('\x1b'), "{log:?}");
    let log = real.server().log_with(" disconnected ");
    println!("real:\n{log}");
    assert!(!log.contains('\x1b'), "{log:?}");
    assert!(log.contains(r"\u{1b}[2Jhello"), "{log:?}");
    // The real server has two messages here, each in a line of the log with a time.
    assert_eq!(log.matches(forged).count(), 0, "{log:?}");
}
