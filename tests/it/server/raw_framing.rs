//! `--framing raw`: a server for clients that send without line ends.

use std::io::Write;
use std::net::TcpStream;

use crate::util::{
    Server, ask, eventually, exchange, may_start_threads, quoted, read_once, read_rest,
};

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
        let mut buffer = [0; 1024];
        let read = read_once(&stream, &mut buffer).unwrap();
        let reply = String::from_utf8(buffer[..read].to_vec()).unwrap();
        assert_eq!(reply, format!("Server received your message: {message}"));
    }
}

#[test]
fn a_cut_character_waits_for_its_other_bytes() {
    let server = Server::start(&["--framing", "raw", "--timeout", "0.3"]);
    let stream = server.connect();
    let show = |sent: &[u8], reply: &str| {
        println!("the client sent {}, got {reply:?}", quoted(sent));
    };
    let parts: [(&[u8], &str); 2] = [
        (b"gr\xc3", "Server received your message: gr"),
        (b"\xbcn", "Server received your message: \u{fc}n"),
    ];
    for (sent, reply) in parts {
        ask(&stream, sent, reply);
        show(sent, reply);
    }
    let cut = b"\xf0\x9f\x8e";
    let rest = exchange(stream, cut);
    assert_eq!(rest, b"Server rejected your message: not UTF-8 at byte 0");
    println!(
        "the client sent {} and half-closed, got {}",
        quoted(cut),
        quoted(&rest)
    );

    let waits = server.connect();
    let sent = b"a\xf0\x9f";
    let reply = "Server received your message: a";
    ask(&waits, sent, reply);
    let notice = read_rest(waits);
    assert_eq!(
        notice,
        "Server closed your connection: a line was not ended within 0.3 s"
    );
    println!(
        "the client sent {} and waited, got {reply:?}, then {notice:?}",
        quoted(sent)
    );
}

#[test]
#[cfg_attr(windows, ignore = "needs /proc")]
fn a_raw_client_takes_no_more_memory_than_one_that_sends_lines() {
    const CLIENTS: u64 = 500;
    if !may_start_threads(CLIENTS + 20) {
        return;
    }
    let wave = |server: &Server, end: &str| {
        let clients: Vec<TcpStream> = (0..CLIENTS).map(|_| server.connect()).collect();
        let reply = format!("Server received your message: hello{end}");
        for client in &clients {
            ask(client, format!("hello{end}"), &reply);
        }
        let memory = server.status("VmRSS");
        drop(clients);
        eventually(|| match server.status("Threads") {
            0..10 => Ok(memory),
            threads => Err(format!("{threads} threads are left")),
        })
    };
    let lines = wave(&Server::start(&["-q"]), "\n");
    let server = Server::start(&["-q", "--framing", "raw"]);
    for number in 1..=3 {
        let raw = wave(&server, "");
        let more = (raw as f64 - lines as f64) / CLIENTS as f64;
        println!("wave {number}: {more:.1} KB more for each client");
        assert!(
            more <= 2.0,
            "wave {number}: {more:.1} KB more for each client"
        );
    }
}

#[test]
#[cfg_attr(windows, ignore = "needs signals")]
fn bytes_that_arrive_together_are_one_message_of_any_size() {
    let server = Server::start(&["--framing", "raw"]);
    let mut stream = server.connect();
    for size in [1023, 1024, 1025, 4096, 4097, 16_384, 16_385, 60_000] {
        let text = "x".repeat(size);
        // While the server is paused, all of the text arrives before it reads a part.
        server.pause();
        stream.write_all(text.as_bytes()).unwrap();
        server.resume();
        ask(&stream, "", format!("Server received your message: {text}"));
    }
    assert_eq!(exchange(stream, b""), b"");
}

#[test]
fn a_refusal_of_a_raw_server_has_no_end_of_line() {
    let server = Server::start(&["--framing", "raw", "--max-clients", "1"]);
    let stream = server.connect();
    ask(&stream, b"hello", "Server received your message: hello");
    let refusal = "Server refused your connection: 1 client is connected (--max-clients 1)";
    assert_eq!(exchange(server.connect(), b""), refusal.as_bytes());
}
