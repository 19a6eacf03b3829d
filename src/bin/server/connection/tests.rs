//! Which messages get replies in a shutdown, for each of a client's bytes at which it may begin. On
//! a system that cannot interrupt a read, there is no graceful shutdown to test.
#![cfg(unix)]

use std::io::Read;
use std::net::{self, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::*;
use crate::shutdown::Shutdown;

const REPLY: &str = "Server received your message: ";
const NOTICE: &str = "Server closed your connection: the server is stopping";

fn settings(framing: Framing) -> Settings {
    Settings {
        framing,
        idle_timeout: None,
        timeout: Some(Duration::from_secs(600)),
        reply_prefix: wire::DEFAULT_PREFIX.to_string(),
    }
}

/// When the client's thread starts to read.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Start {
    /// Before the shutdown: the thread has read the first part, and waits in the next read.
    Before,
    /// After the shutdown has begun: the first part is unread.
    After,
}

/// Whether the client half-closes after the first part.
#[derive(Clone, Copy, Debug, PartialEq)]
enum ClientSide {
    StaysOpen,
    HalfCloses,
}

/// Serves a client whose bytes come in three parts: before the shutdown, after it has
/// begun, and once the server has half-closed. Returns what the client received, the notice
/// included.
fn serve_across_shutdown(
    framing: Framing,
    start: Start,
    client_side: ClientSide,
    parts: [&[u8]; 3],
) -> String {
    let [before, after, too_late] = parts;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_nodelay(true).unwrap();
    let (tcp, peer) = listener.accept().unwrap();
    let shutdown = Arc::new(Shutdown::default());
    let stream = Arc::new(Stream::new(tcp, &shutdown));
    let settings = settings(framing);

    client.write_all(before).unwrap();
    if client_side == ClientSide::HalfCloses {
        client.shutdown(net::Shutdown::Write).unwrap();
    }
    let begin_shutdown = |mut client: &TcpStream, stream: Arc<Stream>| {
        let unread = match start {
            Start::Before => 0,
            Start::After => before.len(),
        };
        let mut buffer = vec![0; 1 << 17];
        let mut arrived = || without_waiting(&stream.tcp, || stream.tcp.peek(&mut buffer));
        while arrived().unwrap_or(0) != unread {
            thread::yield_now();
        }
        shutdown.begin();
        client.write_all(after).unwrap();
    };
    thread::scope(|scope| {
        let served = Client {
            slot: None,
            stream: Arc::clone(&stream),
            peer,
        };
        let drain = Drain::start(1).unwrap();
        let start_thread = || scope.spawn(move || serve(served, settings, &drain));
        let thread = match start {
            Start::Before => {
                let thread = start_thread();
                begin_shutdown(&client, stream);
                thread
            }
            Start::After => {
                begin_shutdown(&client, stream);
                start_thread()
            }
        };
        let is_over = AtomicBool::new(false);
        let mut received = Vec::new();
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    shutdown.threads.interrupt();
                    thread::yield_now();
                }
            });
            client.read_to_end(&mut received).unwrap();
            is_over.store(true, Ordering::Relaxed);
        });
        // The server has half-closed, and waits for the client to close.
        let _ = client.write_all(too_late);
        drop(client);
        thread.join().unwrap();
        String::from_utf8(received).unwrap()
    })
}

/// Returns each way to cut bytes into three parts, with either start of the thread.
fn cases(bytes: &[u8]) -> Vec<(Start, [&[u8]; 3])> {
    let mut cases = Vec::new();
    for start in [Start::After, Start::Before] {
        for second_cut in 0..=bytes.len() {
            for first_cut in 0..=second_cut {
                let parts = [
                    &bytes[..first_cut],
                    &bytes[first_cut..second_cut],
                    &bytes[second_cut..],
                ];
                cases.push((start, parts));
            }
        }
    }
    cases
}

#[test]
fn in_a_shutdown_each_whole_line_gets_a_reply_and_a_begun_line_gets_none() {
    let bytes = "a\n\nb\u{e9}\r\nc\nd".as_bytes();
    let whole_lines = |bytes: &[u8]| bytes.iter().filter(|&&byte| byte == b'\n').count();
    for (start, parts) in cases(bytes) {
        let received = serve_across_shutdown(Framing::Lines, start, ClientSide::StaysOpen, parts);
        let replies = received.strip_suffix(&format!("{NOTICE}\n")).unwrap();
        let replied = replies.lines().count();
        let texts = ["a", "", "b\u{e9}", "c"].iter().take(replied);
        let expected: String = texts.map(|text| format!("{REPLY}{text}\n")).collect();
        assert_eq!(replies, expected, "{start:?}, {parts:?}");
        // All that came before the shutdown, and nothing that came too late.
        let in_time = whole_lines(parts[0])..=whole_lines(&parts[..2].concat());
        assert!(
            in_time.contains(&replied),
            "{start:?}, {parts:?}: {received}"
        );
    }
}

#[test]
fn in_a_shutdown_a_character_that_a_read_cut_gets_no_reply() {
    let bytes = "a\u{e9}\u{1f389}b".as_bytes();
    let whole = |bytes: &[u8]| match str::from_utf8(bytes) {
        Ok(_) => bytes.len(),
        Err(error) => error.valid_up_to(),
    };
    for (start, parts) in cases(bytes) {
        let received = serve_across_shutdown(Framing::Raw, start, ClientSide::StaysOpen, parts);
        let replies = received.strip_suffix(NOTICE).unwrap();
        let echoed = replies.replace(REPLY, "");
        assert!(
            bytes.starts_with(echoed.as_bytes()),
            "{start:?}, {parts:?}: {received}"
        );
        let in_time = whole(parts[0])..=whole(&parts[..2].concat());
        assert!(
            in_time.contains(&echoed.len()),
            "{start:?}, {parts:?}: {received}"
        );
    }
}

#[test]
fn a_client_that_had_half_closed_before_a_shutdown_gets_all_replies_and_no_notice() {
    for (framing, replies) in [
        (Framing::Lines, format!("{REPLY}a\n{REPLY}b\n")),
        (Framing::Raw, format!("{REPLY}a\nb")),
    ] {
        let parts: [&[u8]; 3] = [b"a\nb", b"", b""];
        let received = serve_across_shutdown(framing, Start::After, ClientSide::HalfCloses, parts);
        assert_eq!(received, replies);
    }
}

#[test]
fn after_processing_has_stopped_a_client_gets_only_the_notice() {
    for framing in [Framing::Lines, Framing::Raw] {
        for client_side in [ClientSide::StaysOpen, ClientSide::HalfCloses] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (tcp, peer) = listener.accept().unwrap();
            let shutdown = Arc::new(Shutdown::default());
            let stream = Arc::new(Stream::new(tcp, &shutdown));
            let settings = settings(framing);
            // More than one read takes: some of it stays in the reader, and some in the
            // socket.
            client
                .write_all("a line\n".repeat(1000).as_bytes())
                .unwrap();
            if client_side == ClientSide::HalfCloses {
                client.shutdown(net::Shutdown::Write).unwrap();
            }
            let mut connection = Connection::new(&stream, peer, settings.clone());
            connection.lines.fill(&mut &stream.tcp).unwrap();
            shutdown.stop_processing();
            assert_eq!(connection.reply_to_messages().unwrap(), 0);
            assert!(matches!(connection.run().unwrap(), End::Shutdown));
            assert!(matches!(
                connection.reply_to_last_messages().unwrap(),
                End::Shutdown
            ));
            assert!(matches!(connection.client_ended(), End::Shutdown));
            assert_eq!(connection.messages, 0);
            assert_eq!(connection.replies.len(), 0);

            let served = Client {
                slot: None,
                stream,
                peer,
            };
            let drain = Drain::start(1).unwrap();
            let thread = thread::spawn(move || serve(served, settings, &drain));
            let mut received = String::new();
            client.read_to_string(&mut received).unwrap();
            assert_eq!(received.trim_end(), NOTICE);
            drop(client);
            thread.join().unwrap();
        }
    }
}

#[test]
fn with_raw_framing_a_message_that_a_shutdown_finds_unread_has_one_reply() {
    for length in [1, 1024, 1025, 3000, 65_536] {
        let text = "x".repeat(length);
        let parts = [text.as_bytes(), b"", b""];
        let received =
            serve_across_shutdown(Framing::Raw, Start::After, ClientSide::StaysOpen, parts);
        assert!(
            received == format!("{REPLY}{text}{NOTICE}"),
            "{length}: {} bytes",
            received.len()
        );
    }
}
