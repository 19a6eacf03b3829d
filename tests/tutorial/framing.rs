//! Where a message ends.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use tcp_chat::lines::{Line, LineReader};
use tcp_chat::system;

use crate::programs::{naive_client, naive_server, repaired_server, send_at_once, show};
use crate::util::{Server, acknowledgement, ask, ask_line, printed, run};

#[test]
fn messages_merge() {
    let sent: [&[u8]; 2] = [b"one\n", b"two\n"];
    let naive = send_at_once(&naive_server(), &sent);
    let real = send_at_once(&Server::start(&[]), &sent);
    show("naive", sent.concat(), &naive);
    show("real ", sent.concat(), &real);
    // Two writes, one read, one reply.
    assert_eq!(naive, "Server received your message: one\ntwo\n");
    assert_eq!(real, acknowledgement("one") + &acknowledgement("two"));
}

#[test]
fn a_long_message_becomes_several() {
    let text = "x".repeat(3000);
    let sent = format!("{text}\n");
    let naive = send_at_once(&naive_server(), &[sent.as_bytes()]);
    let real = send_at_once(&Server::start(&[]), &[sent.as_bytes()]);
    let replies = |all: &str| all.matches("Server received your message: ").count();
    println!("naive: {} replies to one message", replies(&naive));
    println!("real:  {} reply", replies(&real));
    assert_eq!(replies(&naive), 3);
    assert_eq!(real, acknowledgement(&text));
}

#[test]
fn after_a_long_reply_every_reply_is_one_message_late() {
    let long = "x".repeat(1000);
    let input = format!("{long}\nhello\n");
    let naive = run(&mut naive_client(naive_server().address), &*input);
    let real = run(&mut Server::start(&[]).client(&[]), &*input);
    show("naive", &input, &naive.stdout);
    show("real ", &input, &real.stdout);
    // The reply has 1,030 bytes, the buffer 1,024.
    let shown = String::from_utf8(naive.stdout).unwrap();
    let second = shown.lines().nth(1).unwrap();
    assert!(
        second.starts_with("Enter message: Server: xxxxxx"),
        "{second}"
    );
    real.assert(0, printed([&long, "hello"]), "");
}

#[test]
fn a_character_is_cut() {
    let text = "x".repeat(1023) + "é";
    let sent = format!("{text}\n");
    let server = naive_server();
    let naive = send_at_once(&server, &[sent.as_bytes()]);
    let real = send_at_once(&Server::start(&[]), &[sent.as_bytes()]);
    show("naive", &sent, &naive);
    show("real ", &sent, &real);
    println!("{}", server.log());
    // The first read ends between the two bytes of the é.
    assert!(!naive.contains("Server received"), "{naive}");
    server.log_with("Utf8Error { valid_up_to: 1023, error_len: None }");
    assert_eq!(real, acknowledgement(&text));
}

#[test]
fn a_line_without_an_end_uses_up_memory() {
    const MIB: u64 = 16;
    let flood = |server: &Server, reply: &str| {
        ask(&server.connect(), "warm up\n", acknowledgement("warm up"));
        let before = server.status("VmHWM");
        let mut stream = server.connect();
        for _ in 0..MIB {
            stream.write_all(&[b'x'; 1 << 20]).unwrap();
        }
        ask(&stream, "\n", reply);
        (server.status("VmHWM") - before) / 1024
    };
    // Who only repaired the framing has this bug for it.
    let naive = flood(&repaired_server(), "Server received your message: xxx");
    let real = flood(&Server::start(&["-q"]), "Server rejected your message: ");
    println!("a line of {MIB} MiB cost the repaired server {naive} MiB, the real one {real} MiB");
    assert!(naive >= MIB, "{naive} MiB");
    assert!(real < 4, "{real} MiB");
}

#[test]
fn read_line_with_a_timeout_loses_bytes() {
    // A line whose sender pauses within the é.
    let pieces: [&[u8]; 2] = [b"caf\xc3", b"\xa9\n"];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let pair = || {
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        sender.write_all(pieces[0]).unwrap();
        let (receiver, _) = listener.accept().unwrap();
        let patience = Some(Duration::from_millis(20));
        receiver.set_read_timeout(patience).unwrap();
        (sender, receiver)
    };

    let (mut sender, receiver) = pair();
    let mut reader = BufReader::new(receiver);
    let mut line = String::new();
    let error = reader.read_line(&mut line).unwrap_err();
    assert!(system::is_timeout(&error), "{error}");
    sender.write_all(pieces[1]).unwrap();
    let naive = reader.read_line(&mut line);
    println!("read_line: {naive:?} and {line:?} of \"café\\n\"");
    assert!(naive.is_err() && line.is_empty(), "{naive:?}, {line:?}");

    let (mut sender, mut receiver) = pair();
    let mut lines = LineReader::new(80);
    while lines.fill(&mut receiver).is_ok() {}
    sender.write_all(pieces[1]).unwrap();
    lines.fill(&mut receiver).unwrap();
    let real = lines.next_line();
    println!("LineReader: {real:?}");
    assert_eq!(real, Some(Line::Whole("café".as_bytes())));
    ask_line(&Server::start(&[]).connect(), "café");
}
