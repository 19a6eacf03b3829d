//! Peers that know no framing.

use std::io::{Read, Write};

use crate::util::{Server, ask, exchange, last_words};

#[test]
fn each_read_is_a_message_and_no_reply_has_an_end_of_line() {
    let server = Server::start(&["--framing", "raw"]);
    let stream = server.connect();
    for text in ["hello", "two\nlines\r\n", "\r", "\n"] {
        ask(
            &stream,
            text,
            format!("Server received your message: {text}"),
        );
    }
    let long = "x".repeat(5000);
    ask(
        &stream,
        &long,
        format!("Server received your message: {long}"),
    );
    ask(
        &stream,
        b"a\xffb",
        "Server rejected your message: not UTF-8 at byte 1",
    );
    ask(&stream, b"next", "Server received your message: next");
    assert_eq!(exchange(stream, b""), b"");
}

#[test]
fn a_peer_that_sends_no_newline_and_reads_once_is_served() {
    let server = Server::start(&["--framing", "raw"]);
    let mut stream = server.connect();
    for message in ["hello", "Gr\u{fc}\u{df}e \u{1f389}", "how are you?"] {
        stream.write_all(message.as_bytes()).unwrap();
        let mut room = [0; 1024];
        let read = stream.read(&mut room).unwrap();
        let reply = String::from_utf8(room[..read].to_vec()).unwrap();
        assert_eq!(reply, format!("Server received your message: {message}"));
    }
}

#[test]
fn a_character_that_a_read_cut_waits_for_its_other_bytes() {
    let server = Server::start(&["--framing", "raw", "--timeout", "0.3"]);
    let stream = server.connect();
    ask(&stream, b"gr\xc3", "Server received your message: gr");
    ask(&stream, b"\xbcn", "Server received your message: \u{fc}n");
    let rest = exchange(stream, b"\xf0\x9f\x8e");
    assert_eq!(rest, b"Server rejected your message: not UTF-8 at byte 0");

    let waits = server.connect();
    ask(&waits, b"a\xf0\x9f", "Server received your message: a");
    assert_eq!(
        last_words(waits),
        "Server closed your connection: a line was not ended within 0.3 s"
    );
}

#[test]
fn a_refusal_has_no_end_of_line_either() {
    let server = Server::start(&["--framing", "raw", "--max-clients", "1"]);
    let stream = server.connect();
    ask(&stream, b"hello", "Server received your message: hello");
    let refusal = "Server refused your connection: 1 client is connected (--max-clients 1)";
    assert_eq!(exchange(server.connect(), b""), refusal.as_bytes());
}
