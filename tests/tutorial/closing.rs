//! How a connection ends, and silence.

use std::io::Write;
use std::net::{Shutdown, TcpListener};

use tcp_chat::system;

use crate::programs::{
    naive_client, naive_server, naive_server_in_python, read_to_end, real_server, show, show_log,
    write_until_error,
};
use crate::subject::{Came, End, ONE, Subject, contains};
use crate::util::{
    Running, Server, accept, acknowledgement, ask_line, client, connect, peek, peer,
};

/// Three lines as long as the naive server's buffer, which so tells them apart, and a text
/// without an end of line.
pub fn lines_as_long_as_a_buffer() -> String {
    let line = "x".repeat(1023);
    format!("{line}\n{line}\n{line}\nbye")
}

/// Closes as soon as all is sent, before the server reads.
pub fn close_at_once(subject: &Subject) {
    subject.pause();
    let mut stream = subject.connect();
    let lines = lines_as_long_as_a_buffer();
    stream.write_all(lines.as_bytes()).unwrap();
    drop(stream);
    subject.resume();
}

/// Sends a line that is no UTF-8, and then one that is.
pub fn send_what_is_no_text(subject: &Subject) -> Came {
    let mut stream = subject.connect();
    stream.write_all(b"\xff\xfe\n").unwrap();
    let mut came = subject.read_until(&stream, |bytes| bytes.ends_with(b"\n"));
    if came.end == End::Open {
        // The server may close in this moment.
        let _ = stream.write_all(format!("{ONE}\n").as_bytes());
        came.extend(subject.read_until(&stream, |bytes| contains(bytes, ONE)));
    }
    came
}

#[test]
fn closing_at_once_gives_up_the_replies() {
    let line = "x".repeat(1023);
    let sent = lines_as_long_as_a_buffer();
    let replies = acknowledgement(&line).repeat(3) + acknowledgement("bye").trim_end();

    println!("sent {} bytes, then closed:", sent.len());
    let naive = naive_server();
    close_at_once(&naive);
    // The first reply comes to a socket that is gone, and what follows fails: by the
    // first of these, unless the reset was quicker than the end of the stream.
    let log = naive.server().log_with(", message: ");
    let fails = ["kind: BrokenPipe", "kind: ConnectionReset"];
    assert!(fails.iter().any(|error| log.contains(error)), "{log}");
    show_log(naive.server());
    let real = real_server(&[]);
    close_at_once(&real);
    let log = real.server().log_with(" disconnected after ");
    assert!(!log.contains("panicked"), "{log}");
    show_log(real.server());

    println!("sent {} bytes, then half-closed:", sent.len());
    let came = naive.send_and_half_close(&[sent.as_bytes()]);
    show("naive", &sent, &came);
    assert_eq!(came.to_string(), replies);
    let came = real.send_and_half_close(&[sent.as_bytes()]);
    show("real ", &sent, &came);
    assert_eq!(came.to_string(), replies + "\n");
}

#[test]
fn a_reset_breaks_a_client_that_is_still_sending() {
    // The second read of the naive server is no text, and its thread ends.
    let first = "x".repeat(1023);
    let no_text = [0xff; 1 << 20];
    let begin = |subject: &Subject| {
        subject.pause();
        let mut stream = subject.connect();
        stream.write_all(format!("{first}\n").as_bytes()).unwrap();
        stream.write_all(&no_text[..2000]).unwrap();
        subject.resume();
        stream
    };
    println!(
        "sent a line of {} bytes, and 1 MiB that is no text",
        first.len()
    );
    let naive = naive_server();
    let stream = begin(&naive);
    naive.server().log_with("panicked");
    let error = write_until_error(&stream, &no_text);
    println!("naive: the client that is still sending fails: {error}");
    assert!(!system::is_timeout(&error), "{error}");

    let real = real_server(&[]);
    let mut stream = begin(&real);
    stream.write_all(&no_text).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let replies = read_to_end(stream);
    println!("real:  it sends all, and reads {} bytes", replies.len());
    let rejected = "Server rejected your message: longer than 65536 bytes\n";
    assert_eq!(replies, acknowledgement(&first) + rejected);
}

#[test]
fn a_dead_thread_keeps_its_connection_open() {
    let Some(naive) = naive_server_in_python() else {
        return;
    };
    let naive = send_what_is_no_text(&naive.start().unwrap());
    let real = send_what_is_no_text(&real_server(&[]));
    println!(r"sent \xff\xfe\n, and then {ONE}\n");
    println!("naive: {}, while the connection is open", naive.shown());
    println!("real:  {}", real.shown());
    assert_eq!(naive.end, End::Open);
    assert!(naive.bytes.is_empty());
    let rejected = "Server rejected your message: not UTF-8 at byte 0\n";
    let replies = rejected.to_string() + &acknowledgement(ONE);
    assert_eq!(real.text(), replies);
}

#[test]
fn a_client_that_is_still_sending_misses_its_refusal() {
    // A client that is refused while it sends line after line.
    let begin_to_send = |address| {
        let mut stream = connect(address);
        stream.write_all(b"1\n").unwrap();
        peek(&stream, &mut [0]).unwrap();
        stream
    };
    // Says why, and closes.
    let naive = peer(|mut stream| {
        let _ = stream.write_all(b"Server refused your connection: full\n");
    });
    let error = write_until_error(&begin_to_send(naive), b"2\n");
    println!("naive: a client that sends all before it reads: {error}");
    assert!(!system::is_timeout(&error), "{error}");

    let server = Server::start(&["--max-clients", "1"]);
    let served = server.connect();
    ask_line(&served, "hello");
    let mut stream = begin_to_send(server.address);
    stream.write_all(&b"2\n".repeat(1000)).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let refusal = read_to_end(stream);
    println!("real:  {refusal:?}");
    let why = "1 client is connected (--max-clients 1)";
    assert_eq!(refusal, format!("Server refused your connection: {why}\n"));
}

#[test]
fn silence_is_not_an_end() {
    // As if the cable were cut: the connection stays, and nothing comes.
    let subject = naive_server();
    let server = subject.server();
    server.pause();
    let mut naive = Running::start(&mut naive_client(server.address));
    naive.send("hello\n");
    let mut real = Running::start(&mut client(server.address, &["--timeout", "0.3"]));
    real.send("hello\n");
    real.process.await_end();
    let real = real.finish();
    print!("real:  {}", real.stderr);
    assert!(real.stderr.contains("no reply within 0.3 s"), "{real}");
    real.assert_code(1);
    println!("naive: still waiting");
    // It would wait forever.
    server.resume();
    let line = naive.read_line();
    println!("naive: {line:?}, now that the server goes on");
    let reply = acknowledgement("hello");
    assert_eq!(line, format!("Enter message: Server: {reply}"));
}

#[test]
fn a_write_is_not_a_delivery() {
    // A program that dies before it reads. It has been sent something first.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let die = || {
        let stream = accept(&listener);
        peek(&stream, &mut [0]).unwrap();
    };
    let mut naive = connect(address);
    for line in ["one\n", "two\n"] {
        naive.write_all(line.as_bytes()).unwrap();
        println!("naive: {line:?} is written, without an error");
    }
    die();
    let mut real = Running::start(&mut client(address, &[]));
    real.send("one\ntwo\n");
    die();
    let real = real.finish();
    print!("real:  {}", real.stderr);
    assert!(real.stderr.contains(" in flight, from line 1: "), "{real}");
    real.assert_code(1);
}
