//! How a connection begins and ends.

use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;

use tcp_chat::system;

use crate::programs::{
    naive_client, naive_server, read_to_end, send_at_once, show, show_log, write_until_error,
};
use crate::util::{
    Running, Server, accept, acknowledgement, ask_line, await_refusal, client, command, connect,
    installed, os_error, peek, peer, printed, read_once, run, skip, unique_ip,
};

#[test]
fn closing_at_once_gives_up_the_replies() {
    // Lines as long as the naive server's buffer, which so tells them apart.
    let line = "x".repeat(1023);
    let sent = format!("{line}\n{line}\n{line}\nbye");
    let close_at_once = |server: &Server| {
        server.pause();
        server.connect().write_all(sent.as_bytes()).unwrap();
        server.resume();
    };
    let replies = acknowledgement(&line).repeat(3) + acknowledgement("bye").trim_end();

    println!("After a close:");
    let naive = naive_server();
    close_at_once(&naive);
    // The first reply came to a socket that is gone, and what follows fails: by the
    // first of these, unless the reset was quicker than the end of the stream.
    let log = naive.log_with(", message: ");
    let fails = ["kind: BrokenPipe", "kind: ConnectionReset"];
    assert!(fails.iter().any(|error| log.contains(error)), "{log}");
    show_log(&naive);
    let real = Server::start(&[]);
    close_at_once(&real);
    let log = real.log_with(" disconnected after ");
    assert!(!log.contains("panicked"), "{log}");
    show_log(&real);

    // Who ends only the own direction still has all replies to come.
    println!("After a half-close:");
    let came = send_at_once(&naive, &[sent.as_bytes()]);
    show("naive", &sent, &came);
    assert_eq!(came, replies);
    let came = send_at_once(&real, &[sent.as_bytes()]);
    show("real ", &sent, &came);
    assert_eq!(came, replies + "\n");
}

#[test]
fn a_reset_breaks_a_client_that_is_still_sending() {
    // The second read of the naive server is no text, and its thread ends.
    let first = "x".repeat(1023);
    let no_text = [0xff; 1 << 20];
    let begin = |server: &Server| {
        server.pause();
        let mut stream = server.connect();
        stream.write_all(format!("{first}\n").as_bytes()).unwrap();
        stream.write_all(&no_text[..2000]).unwrap();
        server.resume();
        stream
    };
    let server = naive_server();
    let stream = begin(&server);
    server.log_with("panicked");
    let error = write_until_error(&stream, &no_text);
    println!("naive: the client that is still sending fails: {error}");
    assert!(!system::is_timeout(&error), "{error}");

    let server = Server::start(&[]);
    let mut stream = begin(&server);
    stream.write_all(&no_text).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let replies = read_to_end(stream);
    println!("real:  it sends all, and reads {} bytes", replies.len());
    let rejected = "Server rejected your message: longer than 65536 bytes\n";
    assert_eq!(replies, acknowledgement(&first) + rejected);
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

#[test]
fn silence_is_not_an_end() {
    // As if the cable were cut: the connection stays, and nothing comes.
    let server = naive_server();
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
    // It would wait for ever.
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

#[test]
fn a_long_connection_hides_refusals() {
    // Takes what it reads for a message, as the naive server does.
    let answer = |mut stream: &TcpStream| {
        let mut message = [0; 1024];
        let length = read_once(stream, &mut message).unwrap();
        let reply = [b"Server received your message: ", &message[..length]].concat();
        stream.write_all(&reply).unwrap();
    };
    let listener = TcpListener::bind((unique_ip(), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let mut naive = Running::start(&mut naive_client(address));
    let stays = accept(&listener);
    let mut real = Running::start(&mut client(address, &["--reconnect-every", "1"]));
    real.send("one\n");
    answer(&accept(&listener));
    assert_eq!(real.read_line(), printed(["one"]));

    // As a balancer does that is reloaded: what is there goes on.
    drop(listener);
    await_refusal(address);
    naive.send("two\n");
    answer(&stays);
    real.send("two\n");
    let line = naive.read_line();
    println!("naive: {line:?}, and nothing is wrong");
    assert_eq!(
        line,
        format!("Enter message: Server: {}", acknowledgement("two"))
    );
    naive.stdin.take();
    naive.finish().assert(0, "Enter message: ", "");
    let real = real.finish();
    print!("real:  {}", real.stderr);
    assert!(real.stderr.contains(&os_error(111)), "{real}");
    real.assert(1, "", &real.stderr);
}
