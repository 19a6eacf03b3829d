//! Where a message ends.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use tcp_chat::lines::{Line, LineReader};
use tcp_chat::system;

use crate::programs::{naive_client, naive_server, real_server, repaired_server, show};
use crate::subject::{Came, End, ONE, OTHER, Subject, contains};
use crate::util::{Running, Server, acknowledgement, ask_line, printed, run};

/// Sends a line, and another one once the first has come back.
pub fn one_line_then_another(subject: &Subject) -> Came {
    let mut stream = subject.connect();
    stream.write_all(format!("{ONE}\n").as_bytes()).unwrap();
    let mut came = subject.read_until(&stream, |bytes| contains(bytes, &format!("{ONE}\n")));
    if came.end == End::Open && came.contains(ONE) {
        // The server may close in this moment.
        let _ = stream.write_all(format!("{OTHER}\n").as_bytes());
        let has_other = |bytes: &[u8]| contains(bytes, &format!("{OTHER}\n"));
        came.extend(subject.read_until(&stream, has_other));
    }
    came
}

/// Two lines in one segment.
pub fn two_lines_at_once(subject: &Subject) -> Came {
    let lines = [ONE, OTHER].map(|text| format!("{text}\n"));
    subject.send_at_once(&lines.each_ref().map(|line| line.as_bytes()), &lines[1])
}

/// A line that is longer than the buffer of most servers.
pub fn a_long_line(subject: &Subject, text: &str) -> Came {
    let end: String = text.chars().skip(text.chars().count() - 3).collect();
    subject.send_at_once(&[format!("{text}\n").as_bytes()], &format!("{end}\n"))
}

/// A text with an `é` across the end of each read, if a server reads 1,024, 2,048, 4,096 or
/// 8,192 bytes at a time.
pub fn text_with_a_character_across_each_read() -> String {
    let mut text = String::new();
    for end in [1024, 2048, 4096, 8192] {
        text += &"x".repeat(end - 1 - text.len());
        text.push('é');
    }
    text
}

/// What became of a line of many MiB.
pub struct LongLine {
    /// How much more memory the server has needed than before.
    pub mib: u64,
    pub came: Came,
}

/// Sends a line of so many MiB.
pub fn a_line_of_mebibytes(subject: &Subject, mib: usize) -> LongLine {
    assert!(subject.is_served(&subject.connect()));
    subject.reset_peak_memory();
    let before = subject.peak_memory();
    let stream = subject.connect();
    let mut writer = stream.try_clone().unwrap();
    let writer = thread::spawn(move || {
        for _ in 0..mib {
            writer.write_all(&[b'x'; 1 << 20])?;
        }
        writer.write_all(b"\n")
    });
    let mut peak = before;
    let came = subject.read_until(&stream, |_| {
        peak = peak.max(subject.peak_memory());
        false
    });
    peak = peak.max(subject.peak_memory());
    let _ = stream.shutdown(Shutdown::Both);
    // It fails if the server has closed.
    let _ = writer.join();
    LongLine {
        mib: (peak - before) / 1024,
        came,
    }
}

#[test]
fn messages_merge() {
    let naive = two_lines_at_once(&naive_server());
    let real = two_lines_at_once(&real_server(&[]));
    let sent = format!("{ONE}\n{OTHER}\n");
    show("naive", &sent, &naive);
    show("real ", &sent, &real);
    // Two writes, one read, one reply.
    let merged = format!("Server received your message: {sent}");
    assert_eq!(naive.to_string(), merged);
    let replies = acknowledgement(ONE) + &acknowledgement(OTHER);
    assert_eq!(real.to_string(), replies);
}

#[test]
fn a_long_message_becomes_several() {
    let text = "x".repeat(3000);
    let naive = a_long_line(&naive_server(), &text).to_string();
    let real = a_long_line(&real_server(&[]), &text).to_string();
    let replies = |all: &str| all.matches("Server received your message: ").count();
    println!("sent one message of {} bytes", text.len());
    println!("naive: {} replies", replies(&naive));
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
fn an_empty_line_hangs_the_client() {
    let server = naive_server();
    let mut naive = Running::start(&mut naive_client(server.address));
    naive.read_until("Enter message: ");
    naive.send("\n");
    // It has written nothing, so the server has read nothing, and both wait.
    let waits = Instant::now();
    while waits.elapsed() < Duration::from_secs(1) || !server.is_asleep() {
        thread::sleep(Duration::from_millis(20));
    }
    let log = server.server().log();
    println!(
        "naive: sends nothing for an empty line, and the server has read {} messages",
        log.matches("Received message").count()
    );
    assert!(!log.contains("Received message"), "{log}");
    let real = run(&mut Server::start(&[]).client(&[]), "\n");
    show("real ", "\n", &real.stdout);
    real.assert(0, printed([""]), "");
}

#[test]
fn a_character_is_cut() {
    let text = text_with_a_character_across_each_read();
    let naive = naive_server();
    let from_naive = a_long_line(&naive, &text);
    let from_real = a_long_line(&real_server(&[]), &text);
    show("naive", format!("{text}\n"), &from_naive);
    show("real ", format!("{text}\n"), &from_real);
    println!("{}", naive.server().log());
    // The first read ends between the two bytes of the é.
    assert!(!from_naive.contains("Server received"), "{from_naive}");
    let why = "Utf8Error { valid_up_to: 1023, error_len: None }";
    naive.server().log_with(why);
    assert_eq!(from_real.to_string(), acknowledgement(&text));
}

#[test]
fn a_line_without_an_end_uses_up_memory() {
    const MIB: usize = 16;
    // A server whose framing is repaired has this bug instead.
    let repaired = a_line_of_mebibytes(&repaired_server(), MIB);
    let real = a_line_of_mebibytes(&real_server(&["-q"]), MIB);
    println!("sent a line of {MIB} MiB");
    println!("repaired: {} MiB of memory more", repaired.mib);
    println!("real:     {} MiB of memory more", real.mib);
    assert!(repaired.mib >= MIB as u64, "{} MiB", repaired.mib);
    assert!(real.mib < 4, "{} MiB", real.mib);
    let rejected = "Server rejected your message: longer than 65536 bytes\n";
    assert_eq!(real.came.text(), rejected);
    assert_eq!(repaired.came.bytes.len(), (MIB << 20) + 31);
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
        let limit = Some(Duration::from_millis(20));
        receiver.set_read_timeout(limit).unwrap();
        (sender, receiver)
    };
    println!("sent \"café\\n\" in two parts, with a read timeout within the é");

    let (mut sender, receiver) = pair();
    let mut reader = BufReader::new(receiver);
    let mut line = String::new();
    let error = reader.read_line(&mut line).unwrap_err();
    assert!(system::is_timeout(&error), "{error}");
    sender.write_all(pieces[1]).unwrap();
    let naive = reader.read_line(&mut line).unwrap_err();
    println!("read_line:  {line:?}, and {naive}");
    assert!(line.is_empty(), "{line:?}");

    let (mut sender, mut receiver) = pair();
    let mut lines = LineReader::new(80);
    while lines.fill(&mut receiver).is_ok() {}
    sender.write_all(pieces[1]).unwrap();
    lines.fill(&mut receiver).unwrap();
    let Some(Line::Whole(real)) = lines.next_line() else {
        panic!("no line came");
    };
    println!("LineReader: {:?}", String::from_utf8_lossy(real));
    assert_eq!(real, "café".as_bytes());
    ask_line(&Server::start(&[]).connect(), "café");
}
