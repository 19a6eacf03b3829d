//! The server's side of the protocol, byte for byte.

use std::fs;
use std::io::Write;
use std::thread;

use crate::util::{
    LF_HINT, Running, Server, acknowledgement, announced_address, ask_line, connect, exchange,
    installed, may_start_threads, os_error, peek, printed, quoted, read_line, read_once, read_rest,
    run, server, strace, temporary_file,
};

#[test]
fn replies_once_per_message_in_order() {
    let server = Server::start(&["-q"]);
    let sent: String = (0..20_000).map(|n| format!("message {n}\n")).collect();
    let expected: String = (0..20_000)
        .map(|n| acknowledgement(&format!("message {n}")))
        .collect();
    let replies = exchange(server.connect(), sent.as_bytes());
    assert!(
        replies == expected.as_bytes(),
        "{} bytes of replies",
        replies.len()
    );
}

#[test]
fn acknowledges_empty_crlf_and_unfinished_messages() {
    let server = Server::start(&[]);
    let replies = exchange(server.connect(), b"\n\r\na\r\n\r\r\nb\rc\nnul\0\ncut\r");
    let expected = ["", "", "a", "\r", "b\rc", "nul\0", "cut\r"]
        .map(acknowledgement)
        .concat();
    assert_eq!(replies, expected.as_bytes());
}

#[test]
fn rejects_messages_that_are_not_utf8_and_goes_on() {
    let server = Server::start(&[]);
    let replies = exchange(server.connect(), b"a\xffb\nnext\ncut \xe4\xb8");
    let expected = "Server rejected your message: not UTF-8 at byte 1\n\
                    Server received your message: next\n\
                    Server rejected your message: not UTF-8 at byte 4\n";
    assert_eq!(String::from_utf8(replies).unwrap(), expected);
}

#[test]
fn accepts_65536_bytes_and_rejects_65537() {
    let server = Server::start(&["-q"]);
    for end in ["\n", "\r\n"] {
        for (length, is_accepted) in [
            (65_535, true),
            (65_536, true),
            (65_537, false),
            (300_000, false),
        ] {
            let text = "x".repeat(length);
            let replies = exchange(server.connect(), format!("{text}{end}next{end}").as_bytes());
            let rejected = "Server rejected your message: longer than 65536 bytes\n".to_string();
            let first = if is_accepted {
                acknowledgement(&text)
            } else {
                rejected
            };
            let expected = first + &acknowledgement("next");
            assert!(
                replies == expected.as_bytes(),
                "{length} bytes, then {end:?}"
            );
        }
    }
}

#[test]
fn replies_to_whole_lines_while_one_is_unfinished() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    stream.write_all(b"one\ntwo\nthr").unwrap();
    assert_eq!(read_line(&stream), acknowledgement("one"));
    assert_eq!(read_line(&stream), acknowledgement("two"));
    stream.write_all(b"ee\n").unwrap();
    assert_eq!(read_line(&stream), acknowledgement("three"));
}

#[test]
fn after_a_half_close_the_server_replies_to_all_then_closes() {
    let server = Server::start(&[]);
    let nothing = exchange(server.connect(), b"");
    assert_eq!(nothing, b"");
    println!(
        "a client sent \"\" and half-closed: the server sent {} and closed",
        quoted(&nothing)
    );
    let replies = exchange(server.connect(), b"last");
    assert_eq!(replies, acknowledgement("last").as_bytes());
    println!(
        "a client sent \"last\" and half-closed: the server sent {} and closed",
        quoted(&replies)
    );
    let log = server.log_with("disconnected after 1 message");
    let (_, event) = log.trim_end().rsplit_once("] ").unwrap();
    println!("the server logged {event:?}");
}

#[test]
fn serves_20_clients_at_once_each_with_its_own_replies() {
    if !may_start_threads(180) {
        return;
    }
    let server = Server::start(&["-q"]);
    thread::scope(|scope| {
        for client in 0..20 {
            let server = &server;
            scope.spawn(move || {
                let lines = || (0..500).map(move |n| format!("client {client} line {n}"));
                let input: String = lines().map(|line| line + "\n").collect();
                run(&mut server.client(&[]), input).assert(0, printed(lines()), "");
            });
        }
    });
}

#[test]
fn a_silent_client_delays_nobody() {
    let server = Server::start(&[]);
    let silent = server.connect();
    let mut begun = server.connect();
    begun.write_all(b"no end of line").unwrap();
    ask_line(&server.connect(), "hello");
    ask_line(&silent, "at last");
}

#[test]
fn a_client_that_resets_in_mid_line_harms_no_other() {
    let server = Server::start(&[]);
    let other = server.connect();
    ask_line(&other, "before");
    let mut resets = server.connect();
    resets.write_all(b"answered\nunfinished").unwrap();
    // A close with an unread reply resets the connection.
    let mut byte = [0];
    assert_eq!(peek(&resets, &mut byte).unwrap(), 1);
    let address = resets.local_addr().unwrap();
    drop(resets);
    // Wine may report the reset as an end of the stream, so the unfinished line counts.
    let messages = if cfg!(windows) { "" } else { "1 message: " };
    server.log_with(&format!("{address} disconnected after {messages}"));
    ask_line(&other, "after");
}

#[test]
fn each_log_line_is_one_event_without_control_characters() {
    // With the default limit, the log would have a line if the machine allows fewer.
    let server = Server::start(&["--max-clients", "2"]);
    let stream = server.connect();
    let address = stream.local_addr().unwrap();
    let sent = "\x1b[2J\r\u{9b}\u{7f}\u{202e}\u{200b}\u{200d}\0\tend \"quoted\" C:\\dir\n";
    let replies = exchange(stream, sent.as_bytes());
    assert_eq!(
        replies,
        acknowledgement(sent.trim_end_matches('\n')).as_bytes()
    );
    let log = server.log_with("disconnected");
    let mut lines = Vec::new();
    for line in log.lines() {
        let (stamp, text) = line.split_once("] ").unwrap();
        // To the millisecond: `[2026-11-26T06:10:56.123Z INFO `.
        assert_eq!(stamp.find("."), Some(20), "{log}");
        lines.push(text);
    }
    let shown = "\\u{1b}[2J\\u{d}\\u{9b}\\u{7f}\\u{202e}\\u{200b}\u{200d}\\u{0}\\u{9}\
                 end \"quoted\" C:\\dir";
    assert_eq!(
        lines,
        [
            format!("Accepted connection from {address}"),
            format!("{address}: Received message: {shown}"),
            format!("{address} disconnected after 1 message"),
        ]
    );
    println!("the client sent {}", quoted(sent));
    for line in lines {
        println!("the server logged: {line}");
    }
}

#[test]
fn a_client_that_never_ends_a_line_gets_a_hint_in_its_notice() {
    let server = Server::start(&["--timeout", "0.2", "--idle-timeout", "2"]);
    let late = "a line was not ended within 0.2 s";
    for (sent, messages, hint) in [
        ("hello", "0 messages", LF_HINT),
        ("hello\nbegun", "1 message", ""),
        ("\nbegun", "1 message", ""),
    ] {
        let stream = server.connect();
        (&stream).write_all(sent.as_bytes()).unwrap();
        let address = stream.local_addr().unwrap();
        let notice = format!("Server closed your connection: {late}{hint}\n");
        let came = read_rest(stream);
        println!("sent {sent:?}, and got {came:?}");
        assert!(came.ends_with(&notice), "{came:?}");
        // Who has the notice needs no hint in the log.
        let end = format!("{address} disconnected after {messages}: {late}\n");
        server.log_with(&end);
    }
}

#[test]
fn the_log_has_the_hint_for_a_client_that_gets_no_notice() {
    let server = Server::start(&[]);
    // Only a client that asks for it resets a connection without an unread reply, and std
    // cannot ask.
    let script = "import socket, struct, sys\n\
        client = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n\
        client.sendall(sys.argv[3].encode())\n\
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))\n\
        client.close()\n";
    let (ip, port) = (
        server.address.ip().to_string(),
        server.address.port().to_string(),
    );
    for (sent, messages, hint) in [
        ("hello", "0 messages", LF_HINT),
        ("hello\nbegun", "1 message", ""),
        ("", "0 messages", ""),
    ] {
        let Some(mut python) = installed("python3") else {
            return;
        };
        run(python.args(["-c", script, &ip, &port, sent]), "").assert(0, "", "");
        let log = server.log_with(&format!("disconnected after {messages}: {}", os_error(104)));
        let line = log.lines().last().unwrap();
        println!("sent {sent:?} and a reset: {line}");
        assert!(line.ends_with(&(os_error(104) + hint)), "{log}");
    }
}

#[test]
fn quiet_logs_nothing_of_ordinary_work() {
    let server = Server::start(&["-q"]);
    let mut stream = server.connect();
    ask_line(&stream, "hello");
    stream.write_all(b"\xff\n").unwrap();
    read_line(&stream);
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(read_once(&stream, &mut [0]).unwrap(), 0);
    assert_eq!(server.log(), "");
}

#[test]
fn a_reply_does_not_wait_for_the_tcp_ack_of_the_last_one() {
    // Only the system knows when a reply waits, so this looks for TCP_NODELAY.
    let trace = temporary_file();
    let args = ["-e", "trace=setsockopt", "-o", trace.to_str().unwrap()];
    let Some(mut strace) = strace(&args, &server(&["--port", "0"])) else {
        return;
    };
    let mut traced = Running::start(&mut strace);
    let announced = traced.read_line();
    ask_line(&connect(announced_address(&announced).unwrap()), "hello");
    traced.signal_child("KILL");
    traced.finish();
    let calls = fs::read_to_string(&trace).unwrap();
    fs::remove_file(trace).unwrap();
    assert!(calls.contains("TCP_NODELAY, [1]"), "{calls}");
}
