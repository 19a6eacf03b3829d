//! What is answered in a shutdown, wherever in a client's bytes it begins. Where the
//! system interrupts no read, there is no graceful shutdown.
#![cfg(unix)]

use std::io::Read;
use std::net::{self, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
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

/// Serves a client whose bytes come in three parts: before the shutdown, after it has
/// begun, and once the server has half-closed. If `reads_first`, the client's thread has
/// read the first part before the shutdown, and waits in the next read. If `ends`, the
/// client half-closes after the first part. Returns what it was sent, the notice
/// included.
fn serve_across_shutdown(
    framing: Framing,
    (reads_first, ends): (bool, bool),
    parts: [&[u8]; 3],
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_nodelay(true).unwrap();
    let (tcp, peer) = listener.accept().unwrap();
    let shutdown = Arc::new(Shutdown::default());
    let stream = Arc::new(Stream::new(tcp, &shutdown));
    let settings = settings(framing);

    client.write_all(parts[0]).unwrap();
    if ends {
        client.shutdown(net::Shutdown::Write).unwrap();
    }
    let begin = |mut client: &TcpStream, stream: Arc<Stream>| {
        let unread = if reads_first { 0 } else { parts[0].len() };
        let mut room = vec![0; 1 << 17];
        let mut here = || without_waiting(&stream.tcp, || stream.tcp.peek(&mut room));
        while here().unwrap_or(0) != unread {
            thread::yield_now();
        }
        shutdown.begin();
        client.write_all(parts[1]).unwrap();
    };
    thread::scope(|scope| {
        let served = Client {
            slot: None,
            stream: Arc::clone(&stream),
            peer,
        };
        let (drain, _) = mpsc::sync_channel(0);
        let start = || scope.spawn(move || serve(served, settings, &drain));
        let thread = if reads_first {
            let thread = start();
            begin(&client, stream);
            thread
        } else {
            begin(&client, stream);
            start()
        };
        let is_over = AtomicBool::new(false);
        let mut sent = Vec::new();
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    shutdown.threads.interrupt();
                    thread::yield_now();
                }
            });
            client.read_to_end(&mut sent).unwrap();
            is_over.store(true, Ordering::Relaxed);
        });
        // The server has half-closed, and waits for the client to close.
        let _ = client.write_all(parts[2]);
        drop(client);
        thread.join().unwrap();
        String::from_utf8(sent).unwrap()
    })
}

/// Each way to cut bytes into three parts.
fn parts(bytes: &[u8]) -> impl Iterator<Item = [&[u8]; 3]> {
    let cuts = (0..=bytes.len()).flat_map(|b| (0..=b).map(move |a| (a, b)));
    cuts.map(|(a, b)| [&bytes[..a], &bytes[a..b], &bytes[b..]])
}

#[test]
fn wherever_a_shutdown_comes_whole_lines_are_answered_and_all_else_is_left_to_another_server() {
    let bytes = "a\n\nb\u{e9}\r\nc\nd".as_bytes();
    let whole_lines = |bytes: &[u8]| bytes.iter().filter(|&&byte| byte == b'\n').count();
    for (reads_first, parts) in [false, true]
        .into_iter()
        .flat_map(|reads_first| parts(bytes).map(move |parts| (reads_first, parts)))
    {
        let sent = serve_across_shutdown(Framing::Lines, (reads_first, false), parts);
        let replies = sent.strip_suffix(&format!("{NOTICE}\n")).unwrap();
        let answered = replies.lines().count();
        let texts = ["a", "", "b\u{e9}", "c"].iter().take(answered);
        let expected: String = texts.map(|text| format!("{REPLY}{text}\n")).collect();
        assert_eq!(replies, expected, "{parts:?}");
        // All that came before the shutdown, and nothing that came too late.
        let in_time = whole_lines(parts[0])..=whole_lines(&parts[..2].concat());
        assert!(in_time.contains(&answered), "{parts:?}: {sent}");
    }
}

#[test]
fn wherever_a_shutdown_comes_a_character_that_a_read_cut_is_left_to_another_server() {
    let bytes = "a\u{e9}\u{1f389}b".as_bytes();
    let whole = |bytes: &[u8]| match str::from_utf8(bytes) {
        Ok(_) => bytes.len(),
        Err(error) => error.valid_up_to(),
    };
    for (reads_first, parts) in [false, true]
        .into_iter()
        .flat_map(|reads_first| parts(bytes).map(move |parts| (reads_first, parts)))
    {
        let sent = serve_across_shutdown(Framing::Raw, (reads_first, false), parts);
        let replies = sent.strip_suffix(NOTICE).unwrap();
        let answered = replies.replace(REPLY, "");
        assert!(bytes.starts_with(answered.as_bytes()), "{parts:?}: {sent}");
        let in_time = whole(parts[0])..=whole(&parts[..2].concat());
        assert!(in_time.contains(&answered.len()), "{parts:?}: {sent}");
    }
}

#[test]
fn a_client_that_had_ended_its_side_before_a_shutdown_has_all_answered_and_no_notice() {
    for (framing, replies) in [
        (Framing::Lines, format!("{REPLY}a\n{REPLY}b\n")),
        (Framing::Raw, format!("{REPLY}a\nb")),
    ] {
        let sent = serve_across_shutdown(framing, (false, true), [b"a\nb", b"", b""]);
        assert_eq!(sent, replies);
    }
}

#[test]
fn once_no_message_is_taken_up_none_is_answered_and_the_client_gets_the_notice() {
    for framing in [Framing::Lines, Framing::Raw] {
        for ends in [false, true] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (tcp, peer) = listener.accept().unwrap();
            let shutdown = Arc::new(Shutdown::default());
            let stream = Arc::new(Stream::new(tcp, &shutdown));
            let settings = settings(framing);
            // More than is read at once: some of it stays in the reader, and some in the
            // socket.
            client
                .write_all("a line\n".repeat(1000).as_bytes())
                .unwrap();
            if ends {
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
            assert_eq!((connection.messages, connection.replies.len()), (0, 0));

            let served = Client {
                slot: None,
                stream,
                peer,
            };
            let (drain, _) = mpsc::sync_channel(0);
            let thread = thread::spawn(move || serve(served, settings, &drain));
            let mut sent = String::new();
            client.read_to_string(&mut sent).unwrap();
            assert_eq!(sent.trim_end(), NOTICE);
            drop(client);
            thread.join().unwrap();
        }
    }
}

#[test]
fn with_raw_framing_a_message_that_a_shutdown_finds_unread_has_one_reply() {
    for length in [1, 1024, 1025, 3000, 65_536] {
        let text = "x".repeat(length);
        let sent = serve_across_shutdown(Framing::Raw, (false, false), [text.as_bytes(), b"", b""]);
        assert!(
            sent == format!("{REPLY}{text}{NOTICE}"),
            "{length}: {} bytes",
            sent.len()
        );
    }
}
