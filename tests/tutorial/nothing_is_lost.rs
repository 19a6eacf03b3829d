//! What became of each message.

use std::io::{self, BufRead, BufReader, Write};
use std::mem;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::programs::{naive_client, naive_server, show};
use crate::util::{
    Outcome, Running, Server, acknowledgement, client, is_signal_ignored, peer, printed, read_once,
    run, signal, spawn,
};

#[test]
fn a_lost_connection_loses_messages() {
    // The first connection ends with the second message unanswered.
    let breaks_once = || {
        let mut answers = 1;
        peer(move |mut stream| {
            let mut message = [0; 1024];
            while let Ok(length @ 1..) = read_once(&stream, &mut message) {
                if answers == 0 {
                    break;
                }
                answers -= 1;
                // In one write, since the naive client takes a read for a reply.
                let reply = [b"Server received your message: ", &message[..length]].concat();
                let _ = stream.write_all(&reply);
            }
            answers = 1000;
        })
    };
    let input = "one\ntwo\nthree\n";
    let naive = run(&mut naive_client(breaks_once()), input);
    let mut client = client(breaks_once(), &["-q", "--window", "1", "--retry-for", "20"]);
    let real = run(&mut client, input);
    show("naive", input, &naive.stdout);
    show("real ", input, &real.stdout);
    // It takes the end of the stream for an empty reply, and exits with 0.
    let lost = "Enter message: Server: Server received your message: one\n\
                Enter message: Server: \nEnter message: Server: \nEnter message: ";
    naive.assert(0, lost, "");
    real.assert(0, printed(["one", "two", "three"]), "");
}

#[test]
fn a_line_arrives_twice_unless_both_ends_take_care() {
    // A server that dies after it has read a line and before it answers.
    let (read, lines) = mpsc::channel();
    let mut dies = true;
    let address = peer(move |mut stream| {
        let input = BufReader::new(stream.try_clone().unwrap());
        for line in input.lines().map_while(Result::ok) {
            read.send(line.clone()).unwrap();
            if mem::take(&mut dies) {
                return;
            }
            let _ = stream.write_all(acknowledgement(&line).as_bytes());
        }
    });
    let args = ["-q", "--retry-for", "20"];
    run(&mut client(address, &args), "one\ntwo\n").assert(0, printed(["one", "two"]), "");
    let naive: Vec<String> = lines.try_iter().collect();
    println!("a server that dies has read {naive:?}");
    assert_eq!(naive, ["one", "one", "two"]);

    // One that is asked to stop, while a line is on its way.
    if is_signal_ignored(15) {
        return;
    }
    let mut old = Server::start(&[]);
    let mut client = Running::start(&mut old.client(&args));
    client.send("one\n");
    assert_eq!(client.read_line(), printed(["one"]));
    old.pause();
    client.send("two\n");
    signal(old.id(), "TERM");
    old.resume();
    old.wait();
    let new = Server::start_at(old.address, &[]);
    client.send("three\n");
    client.stdin.take();
    client.finish().assert(0, printed(["two", "three"]), "");
    let log = old.log() + &new.log_with("Received message: three");
    let read = |line: &str| log.matches(&format!("Received message: {line}\n")).count();
    let real = ["one", "two", "three"].map(read);
    println!("one that stops, and the next: {real:?} times each");
    assert_eq!(real, [1, 1, 1], "{log}");
}

#[test]
fn a_reply_that_is_cut_looks_whole() {
    let cut = || {
        peer(|mut stream| {
            let _ = read_once(&stream, &mut [0; 1024]);
            let _ = stream.write_all(b"Server received your message: 100");
        })
    };
    let naive = run(&mut naive_client(cut()), "1000\n");
    let real = run(&mut client(cut(), &[]), "1000\n");
    show("naive", "1000\n", &naive.stdout);
    show("real ", "1000\n", &real.stderr);
    let wrong = "Enter message: Server: Server received your message: 100\nEnter message: ";
    naive.assert(0, wrong, "");
    let why = "closed by the server in the middle of a reply";
    assert!(real.stderr.contains(why), "{real}");
    real.assert(1, "", &real.stderr);
}

/// Runs a client whose output nobody reads any more.
fn without_a_reader(client: &mut Command) -> Outcome {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    client.stdin(Stdio::piped()).stdout(writer);
    let mut process = spawn(client.stderr(Stdio::piped()));
    let mut stdin = process.stdin.take().unwrap();
    // Not at once: a test that starts a program at this moment lends it the
    // reader.
    while stdin.write_all(b"hello\n").is_ok() {
        thread::sleep(Duration::from_millis(1));
    }
    process.finish()
}

#[test]
fn a_closed_output_panics() {
    let naive = without_a_reader(&mut naive_client(naive_server().address));
    println!("naive: {}\n{}", naive.status, naive.stderr);
    assert!(naive.stderr.contains("panicked"), "{naive}");
    naive.assert_code(101);
    let real = without_a_reader(&mut Server::start(&[]).client(&[]));
    println!("real:  {}, as a shell shows SIGPIPE", real.status);
    real.assert(141, "", "");
}
