//! Restarts, and what is sent again.

use std::io::{BufRead, BufReader, Write};
use std::mem;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::mpsc;

use crate::programs::{naive_client, naive_server, naive_server_in_python, real_server, show};
use crate::subject::{Came, ONE, OTHER, Subject, contains};
use crate::util::{
    Running, Server, acknowledgement, client, command, installed, is_signal_ignored, peer, printed,
    read_once, run, signal, skip,
};

/// Kills a server while a client is connected. Returns its address: the server's end closes
/// first, so the system keeps it for a minute.
pub fn kill_while_connected(subject: Subject) -> SocketAddr {
    let address = subject.address;
    let stream = subject.connect();
    assert!(subject.is_served(&stream));
    subject.kill();
    // Until the end of the stream, or its reset.
    let _ = read_once(&stream, &mut [0; 1024]);
    address
}

/// Sends a line and then SIGTERM, both before the server can read. Returns what comes.
pub fn terminate_before_it_reads(subject: &Subject) -> Came {
    let mut stream = subject.connect();
    let lines = [ONE, OTHER].map(|text| format!("{text}\n"));
    stream.write_all(lines[0].as_bytes()).unwrap();
    let mut came = subject.read_until(&stream, |bytes| contains(bytes, &lines[0]));
    subject.pause();
    stream.write_all(lines[1].as_bytes()).unwrap();
    signal(subject.server().id(), "TERM");
    subject.resume();
    came.extend(subject.read_all(&stream));
    came
}

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
    let why = "closed by the other end in the middle of a reply";
    assert!(real.stderr.contains(why), "{real}");
    real.assert(1, "", &real.stderr);
}

#[test]
fn a_shutdown_loses_messages_that_have_arrived() {
    if is_signal_ignored(15) {
        return;
    }
    let naive = terminate_before_it_reads(&naive_server());
    let real = terminate_before_it_reads(&real_server(&[]));
    let sent = format!("{ONE}\n{OTHER}\n");
    show("naive", &sent, &naive);
    show("real ", &sent, &real);
    assert!(!naive.contains(OTHER), "{naive}");
    let notice = "Server closed your connection: the server is stopping\n";
    let replies = acknowledgement(ONE) + &acknowledgement(OTHER);
    assert_eq!(real.to_string(), replies + notice);
}

#[test]
fn a_restart_finds_the_address_in_use() {
    let Some(target) = naive_server_in_python() else {
        return;
    };
    let address = kill_while_connected(target.start().unwrap());
    let Err(why) = target.start_at(address) else {
        panic!("it started again");
    };
    let naive = why.trim_end().lines().last().unwrap_or_default();
    println!("killed with a client connected, and started again at {address}:");
    println!("naive: {naive}");
    assert!(naive.ends_with("Address already in use"), "{why}");

    let address = kill_while_connected(real_server(&[]));
    let real = Subject::from(Server::start_at(address, &[]));
    println!(
        "real:  it listens again, and a new client is served: {}",
        real.serves_a_new_client()
    );
    assert!(real.serves_a_new_client());
}

#[test]
fn a_client_can_connect_to_itself() {
    // A machine of its own, as it were, where 40000 is the only port that the system
    // gives to outgoing connections, and nothing listens there.
    let alone = |client: &Command| {
        let script = "ip link set lo up && \
            echo 40000 40000 > /proc/sys/net/ipv4/ip_local_port_range && exec \"$0\" \"$@\"";
        installed("ip")?;
        let mut unshare = installed("unshare")?;
        unshare.args(["--map-root-user", "--net", "sh", "-c", script]);
        unshare.arg(client.get_program()).args(client.get_args());
        Some(run(&mut unshare, "hello\n"))
    };
    let Some(tried) = alone(&command("true")) else {
        return;
    };
    if !tried.status.success() {
        return skip(tried.stderr.trim_end());
    }
    let address = "127.0.0.1:40000".parse().unwrap();
    let naive = alone(&naive_client(address)).unwrap();
    let real = alone(&client(address, &[])).unwrap();
    show("naive", "hello\n", &naive.stdout);
    show("real ", "hello\n", &real.stderr);
    // It has answered itself, and is content.
    naive.assert(0, "Enter message: Server: hello\nEnter message: ", "");
    let why = "nothing listens there, and the connection met itself";
    assert!(real.stderr.contains(why), "{real}");
    real.assert_code(1);
}
