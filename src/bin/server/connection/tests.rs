//! What is answered when the server is stopped, wherever in a client's bytes it
//! comes. Where the system interrupts no read, a server is not stopped so.
#![cfg(unix)]

use std::io::Read;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use super::*;
use crate::stop::Stop;

const REPLY: &str = "Server received your message: ";
const NOTICE: &str = "Server closed your connection: the server is stopping";

/// Serves a client whose bytes come in three parts: before the server is stopped,
/// after it, and once the server reads no more. Where `reads_first`, the client's
/// thread has read the first part before the stop, and waits in the next read. The
/// client ends its side after the first part where `ends`. Returns what it was sent,
/// the notice included.
fn serve_across_stop(
    framing: Framing,
    (reads_first, ends): (bool, bool),
    parts: [&[u8]; 3],
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_nodelay(true).unwrap();
    let (tcp, peer) = listener.accept().unwrap();
    let stop = Arc::new(Stop::default());
    let stream = Stream::new(tcp, &stop);
    let settings = Settings {
        framing,
        idle_timeout: Duration::MAX,
        timeout: Duration::from_secs(600),
        reply_prefix: wire::DEFAULT_PREFIX.to_string(),
    };

    client.write_all(parts[0]).unwrap();
    if ends {
        client.shutdown(Shutdown::Write).unwrap();
    }
    let begin = |mut client: &TcpStream| {
        let unread = if reads_first { 0 } else { parts[0].len() };
        let here = || without_waiting(&stream.tcp, || stream.tcp.peek(&mut [0; 64]));
        while here().unwrap_or(0) != unread {
            thread::yield_now();
        }
        stop.begin();
        client.write_all(parts[1]).unwrap();
    };
    let notice = thread::scope(|scope| {
        if !reads_first {
            begin(&client);
        }
        let thread = scope.spawn(|| stop.threads.run(|| serve(&stream, peer, settings)));
        if reads_first {
            begin(&client);
        }
        while !thread.is_finished() {
            stop.threads.interrupt();
            thread::yield_now();
        }
        thread.join().unwrap()
    });
    client.write_all(parts[2]).unwrap();
    stream.tcp.shutdown(Shutdown::Write).unwrap();
    let mut sent = Vec::new();
    client.read_to_end(&mut sent).unwrap();
    sent.append(&mut notice.unwrap_or_default());
    String::from_utf8(sent).unwrap()
}

/// Each way to cut bytes into three parts.
fn parts(bytes: &[u8]) -> impl Iterator<Item = [&[u8]; 3]> {
    let cuts = (0..=bytes.len()).flat_map(|b| (0..=b).map(move |a| (a, b)));
    cuts.map(|(a, b)| [&bytes[..a], &bytes[a..b], &bytes[b..]])
}

#[test]
fn wherever_a_stop_comes_whole_lines_are_answered_and_all_else_is_left_to_another_server() {
    let bytes = "a\n\nb\u{e9}\r\nc\nd".as_bytes();
    let whole_lines = |bytes: &[u8]| bytes.iter().filter(|&&byte| byte == b'\n').count();
    for (reads_first, parts) in [false, true]
        .into_iter()
        .flat_map(|reads_first| parts(bytes).map(move |parts| (reads_first, parts)))
    {
        let sent = serve_across_stop(Framing::Lines, (reads_first, false), parts);
        let replies = sent.strip_suffix(&format!("{NOTICE}\n")).unwrap();
        let answered = replies.lines().count();
        let texts = ["a", "", "b\u{e9}", "c"].iter().take(answered);
        let expected: String = texts.map(|text| format!("{REPLY}{text}\n")).collect();
        assert_eq!(replies, expected, "{parts:?}");
        // All that came before the stop, and nothing that came too late.
        let in_time = whole_lines(parts[0])..=whole_lines(&parts[..2].concat());
        assert!(in_time.contains(&answered), "{parts:?}: {sent}");
    }
}

#[test]
fn wherever_a_stop_comes_a_character_that_a_read_cut_is_left_to_another_server() {
    let bytes = "a\u{e9}\u{1f389}b".as_bytes();
    let whole = |bytes: &[u8]| match str::from_utf8(bytes) {
        Ok(_) => bytes.len(),
        Err(error) => error.valid_up_to(),
    };
    for (reads_first, parts) in [false, true]
        .into_iter()
        .flat_map(|reads_first| parts(bytes).map(move |parts| (reads_first, parts)))
    {
        let sent = serve_across_stop(Framing::Raw, (reads_first, false), parts);
        let replies = sent.strip_suffix(NOTICE).unwrap();
        let answered = replies.replace(REPLY, "");
        assert!(bytes.starts_with(answered.as_bytes()), "{parts:?}: {sent}");
        let in_time = whole(parts[0])..=whole(&parts[..2].concat());
        assert!(in_time.contains(&answered.len()), "{parts:?}: {sent}");
    }
}

#[test]
fn a_client_that_had_ended_its_side_before_a_stop_has_all_answered_and_no_notice() {
    for (framing, replies) in
        [(Framing::Lines, format!("{REPLY}a\n{REPLY}b\n")), (Framing::Raw, format!("{REPLY}a\nb"))]
    {
        let sent = serve_across_stop(framing, (false, true), [b"a\nb", b"", b""]);
        assert_eq!(sent, replies);
    }
}
