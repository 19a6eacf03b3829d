//! A shutdown by a signal: messages that have arrived get their replies, clients get the
//! notice, and across a restart no line is lost and none arrives twice.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use crate::util::{
    NumberedClient, Process, Server, acknowledgement, announced_address, ask, ask_line,
    assert_received_once, await_refusal, client, command, connect, ending_signals, eventually,
    exchange, fill_queue, full_pipe, has_ipv6, installed, may_start_threads, quoted, read_once,
    read_rest, rounded, rounded_seconds, server, signal, spawn, unique_ip, unused_address,
    with_thread_limit,
};

const NOTICE: &str = "Server closed your connection: the server is stopping\n";

/// The limit for a shutdown that has nothing to wait for. It is below the 5 s that a
/// shutdown may take, and enough for a slow machine.
const AT_ONCE: Duration = Duration::from_secs(4);

/// Returns the number of seconds that follows this text in a log.
fn seconds(log: &str, text: &str) -> f64 {
    let Some((_, rest)) = log.split_once(text) else {
        panic!("no {text:?} in:\n{log}");
    };
    let (seconds, _) = rest.split_once(" s").unwrap();
    seconds.parse().unwrap()
}

#[test]
fn a_shutdown_replies_to_what_has_arrived_and_sends_the_notice() {
    for (number, name) in ending_signals() {
        let mut server = Server::start(&[]);
        let busy = server.connect();
        let idle = server.connect();
        let begun = server.connect();
        ask_line(&busy, "one");
        ask_line(&idle, "two");
        ask_line(&begun, "three");
        server.pause();
        (&busy)
            .write_all("four\nfive\n".repeat(100).as_bytes())
            .unwrap();
        (&begun).write_all(b"six").unwrap();
        signal(server.id(), name);
        server.resume();
        let replies = (acknowledgement("four") + &acknowledgement("five")).repeat(100);
        assert_eq!(read_rest(busy), replies + NOTICE);
        assert_eq!(read_rest(idle), NOTICE);
        // An unfinished line has no reply: its client sends it again to another server.
        assert_eq!(read_rest(begun), NOTICE);
        let (status, log) = (server.wait(), server.log());
        // After SIGTERM the server exits with 0. The other signals end it.
        match name {
            "TERM" => assert_eq!(status.code(), Some(0), "{status}: {log}"),
            _ => assert_eq!(status.signal(), Some(number), "{status}: {log}"),
        }
        assert!(
            log.contains("INFO ] Stopping: 3 clients are connected\n"),
            "{log}"
        );
        let took = seconds(&log, "INFO ] Stopped after ");
        assert!(took < AT_ONCE.as_secs_f64(), "{log}");
        // The connection with which the server wakes itself is not logged.
        assert_eq!(log.matches("Accepted connection").count(), 3, "{log}");
        assert!(!log.contains("six"), "{log}");
    }
}

#[test]
fn without_clients_a_shutdown_is_immediate_and_silent_with_q() {
    for host in ["127.0.0.1", "0.0.0.0", "::1", "::"] {
        if host.contains(':') && !has_ipv6() {
            continue;
        }
        let mut server = Server::start(&["-q", "--host", host]);
        let begun = Instant::now();
        assert_eq!(server.terminate(), "");
        println!("{host}: ended after {:?}", begun.elapsed());
        assert!(begun.elapsed() < AT_ONCE, "{host}");
    }
}

#[test]
fn a_shutdown_serves_the_queue_and_refuses_later_clients() {
    let mut server = Server::start(&[]);
    let open = server.connect();
    ask_line(&open, "hello");
    server.pause();
    let queued: Vec<TcpStream> = (0..20).map(|_| server.connect()).collect();
    for mut client in &queued {
        client.write_all(b"queued\n").unwrap();
    }
    signal(server.id(), "TERM");
    server.resume();
    let expected = acknowledgement("queued") + NOTICE;
    let mut served = 0;
    for client in queued {
        assert_eq!(read_rest(client), expected);
        served += 1;
    }
    println!(
        "{served} of 20 clients in the queue got {}",
        quoted(&expected)
    );
    let notice = read_rest(open.try_clone().unwrap());
    assert_eq!(notice, NOTICE);
    println!("the client that was served already got {}", quoted(&notice));
    // That client has not half-closed, so the server has not ended.
    let refusal = await_refusal(server.address);
    println!("a later client got: {refusal}");
    drop(open);
    let status = server.wait();
    assert_eq!(status.code(), Some(0), "{}", server.log());
    println!("the server ended with {status}");
}

#[test]
fn a_shutdown_empties_a_full_queue() {
    let listener = TcpListener::bind((unique_ip(), 0)).unwrap();
    let mut server = inheriting(&listener, &["-q"]);
    server.pause();
    let queue = fill_queue(&listener);
    if !may_start_threads(queue.len() as u64 + 20) {
        return;
    }
    signal(server.id(), "TERM");
    // The server is the only owner of the socket now. On a slow machine, its end resets
    // connections that are left in the queue.
    drop(listener);
    server.resume();
    let mut notices = 0;
    for mut client in queue {
        let mut rest = String::new();
        let _ = client.read_to_string(&mut rest);
        if rest == NOTICE {
            notices += 1;
        }
    }
    assert!(notices > 0);
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
}

#[test]
fn a_client_that_half_closed_before_a_shutdown_gets_all_replies() {
    let mut server = Server::start(&[]);
    let client = server.connect();
    ask_line(&client, "first");
    server.pause();
    (&client).write_all(b"next\nlast").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    signal(server.id(), "TERM");
    server.resume();
    assert_eq!(
        read_rest(client),
        acknowledgement("next") + &acknowledgement("last")
    );
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
}

#[test]
fn with_raw_framing_a_cut_character_has_no_reply_at_a_shutdown() {
    let mut server = Server::start(&["--framing", "raw"]);
    let client = server.connect();
    ask(&client, b"gr\xc3", "Server received your message: gr");
    signal(server.id(), "TERM");
    assert_eq!(read_rest(client), NOTICE.trim_end());
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
}

#[test]
fn a_shutdown_waits_until_300_clients_have_read_their_replies() {
    const CLIENTS: u64 = 300;
    if !may_start_threads(CLIENTS + 20) {
        return;
    }
    let mut server = Server::start(&["-q"]);
    let clients: Vec<TcpStream> = (0..CLIENTS).map(|_| server.connect()).collect();
    // If the socket's buffers do not hold all replies, the server's writes wait.
    let text = "x".repeat(1000);
    for mut client in &clients {
        client
            .write_all(format!("{text}\n").repeat(60).as_bytes())
            .unwrap();
    }
    // After each first reply, the server has all lines of that client.
    for client in &clients {
        ask(client, "", acknowledgement(&text));
    }
    signal(server.id(), "TERM");
    // Longer than the server drains a connection without a shutdown.
    thread::sleep(Duration::from_millis(1200));
    for (number, mut client) in clients.into_iter().enumerate() {
        // Lines after the notice are drained, so they reset nothing.
        client.write_all(b"too late\n").unwrap();
        let rest = read_rest(client);
        assert_eq!(
            rest,
            acknowledgement(&text).repeat(59) + NOTICE,
            "client {number}"
        );
    }
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
}

#[test]
fn a_second_signal_ends_the_server_with_the_exit_code_of_the_first() {
    for (_, second) in ending_signals() {
        let mut server = Server::start(&[]);
        let client = server.connect();
        ask_line(&client, "hello");
        signal(server.id(), "TERM");
        server.log_with("Stopping: 1 client is connected");
        // Within 100 ms, a signal counts as the first one repeated.
        thread::sleep(Duration::from_millis(150));
        let begun = Instant::now();
        signal(server.id(), second);
        let status = server.wait();
        assert_eq!(status.code(), Some(143), "{status}: {}", server.log());
        assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    }
}

#[test]
fn a_signal_that_is_ignored_at_the_start_stays_ignored() {
    let mut shell = command("sh");
    shell.args(["-c", "trap '' INT HUP; exec \"$0\" --port 0"]);
    let mut server = Server::spawn(shell.arg(env!("CARGO_BIN_EXE_server")));
    let client = server.connect();
    for name in ["INT", "HUP"] {
        signal(server.id(), name);
        ask_line(&client, "still here");
    }
    drop(client);
    server.terminate();
}

#[test]
fn without_free_descriptors_a_shutdown_is_as_fast() {
    let mut server = Server::start(&["-q"]);
    let clients: Vec<TcpStream> = (0..10).map(|_| server.connect()).collect();
    clients.iter().for_each(|client| ask_line(client, "hello"));
    if !server.limit_open_files(10) {
        return;
    }
    let waits = server.connect();
    server.log_with("Cannot accept a connection: ");
    let begun = Instant::now();
    signal(server.id(), "TERM");
    for client in clients {
        assert_eq!(read_rest(client), NOTICE);
    }
    drop(waits);
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
    println!("ended after {:?}", begun.elapsed());
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
}

/// Each of these shutdowns takes the 5 s that one may take; all run at the same time.
#[test]
fn a_shutdown_cuts_off_slow_clients_and_says_so_even_with_q() {
    let begun = Instant::now();
    thread::scope(|scope| {
        // Two clients that do not half-close: one is idle, one does not read.
        scope.spawn(|| {
            let mut server = Server::start(&["-q"]);
            let idle = server.connect();
            let mut full = server.connect();
            ask_line(&idle, "hello");
            full.set_nonblocking(true).unwrap();
            let lines = "\n".repeat(65_536);
            eventually(|| match full.write(lines.as_bytes()) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
                other => Err(format!("{other:?}")),
            });
            let log = server.terminate();
            let lines: Vec<&str> = log.lines().collect();
            assert_eq!(lines.len(), 1, "{log}");
            assert!(lines[0].ends_with(" s, with 2 clients cut off"), "{log}");
            assert!(seconds(&log, " WARN ] Stopped after ") >= 5.0, "{log}");
        });
        // A client that sends without end, and reads its replies.
        scope.spawn(|| {
            let mut server = Server::start(&["-q"]);
            let client = server.connect();
            thread::scope(|scope| {
                scope.spawn(|| {
                    let lines = "x\n".repeat(32_768);
                    while (&client).write_all(lines.as_bytes()).is_ok() {}
                });
                ask(&client, "", acknowledgement("x"));
                signal(server.id(), "TERM");
                let signalled = Instant::now();
                let mut tail = Vec::new();
                let mut buffer = vec![0; 65_536];
                while !tail.ends_with(NOTICE.as_bytes()) {
                    let read = read_once(&client, &mut buffer).unwrap();
                    assert!(read > 0, "no notice");
                    tail.drain(..tail.len().saturating_sub(NOTICE.len()));
                    tail.extend_from_slice(&buffer[..read]);
                }
                let took = signalled.elapsed();
                println!("the notice in the flood came after {took:?}");
                assert!(took < Duration::from_secs(3), "{took:?}");
            });
            assert_eq!(server.wait().code(), Some(0));
            assert!(
                server.log().ends_with(" s, with 1 client cut off\n"),
                "{}",
                server.log()
            );
        });
        // Nobody reads the log.
        scope.spawn(|| {
            let (_reader, full) = full_pipe();
            let address = SocketAddr::new(unique_ip(), unused_address().port());
            let (host, port) = (address.ip().to_string(), address.port().to_string());
            let mut command = server(&["--host", &host, "--port", &port]);
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(full);
            let mut process = spawn(&mut command);
            let _client = eventually(|| TcpStream::connect(address).map_err(|e| e.to_string()));
            signal(process.id(), "TERM");
            assert_eq!(process.wait().unwrap().code(), Some(0));
        });
    });
    let took = begun.elapsed();
    println!("cut off after {took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

/// Starts a server that inherits this socket.
fn inheriting(listener: &TcpListener, args: &[&str]) -> Server {
    let input = OwnedFd::from(listener.try_clone().unwrap());
    Server::spawn_with_input(server(&["--inherit"]).args(args), input)
}

#[test]
fn the_queue_of_an_inherited_socket_is_left_to_the_next_server() {
    let listener = TcpListener::bind((unique_ip(), 0)).unwrap();
    let mut first = inheriting(&listener, &[]);
    let client = first.connect();
    ask_line(&client, "to the first");
    signal(first.id(), "TERM");
    assert_eq!(read_rest(client.try_clone().unwrap()), NOTICE);
    // The first server still waits for its client, and nobody accepts.
    let mut waits = connect(first.address);
    waits.write_all(b"to the next\n").unwrap();
    drop(client);
    assert_eq!(first.wait().code(), Some(0), "{}", first.log());
    assert!(!first.log().contains("to the next"), "{}", first.log());
    let mut next = inheriting(&listener, &[]);
    ask(&waits, "", acknowledgement("to the next"));
    drop(waits);
    next.log_with("disconnected after 1 message");
    // The connection with which the first server woke itself is not in the queue.
    let log = next.terminate();
    assert_eq!(log.matches("Accepted connection").count(), 1, "{log}");
}

#[test]
fn a_shutdown_also_wakes_a_socket_with_deferred_accept() {
    let Some(mut perl) = installed("perl") else {
        return;
    };
    // TCP_DEFER_ACCEPT, as systemd's DeferAcceptSec sets it.
    let script = "socket(S, PF_INET, SOCK_STREAM, 0) && setsockopt(S, 6, 9, pack('i', 30)) \
                  && bind(S, sockaddr_in(0, inet_aton($ARGV[0]))) && listen(S, 9) \
                  && open(STDIN, '<&', S) && exec($ARGV[1], '--inherit', '-q'); die $!";
    perl.args(["-MSocket", "-e", script, &unique_ip().to_string()]);
    let mut server = Server::spawn(perl.arg(env!("CARGO_BIN_EXE_server")));
    assert_eq!(
        exchange(server.connect(), b"hello\n"),
        acknowledgement("hello").as_bytes()
    );
    let begun = Instant::now();
    assert_eq!(server.terminate(), "");
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
}

#[test]
fn servers_that_share_a_socket_shut_down_independently() {
    for servers in [2, 3, 4] {
        let listener = TcpListener::bind((unique_ip(), 0)).unwrap();
        let mut servers: Vec<Server> = (0..servers).map(|_| inheriting(&listener, &[])).collect();
        for server in &servers {
            server.pause();
            signal(server.id(), "TERM");
        }
        // Each may accept the connection with which another one wakes itself.
        servers.iter().for_each(Server::resume);
        for server in &mut servers {
            let (status, log) = (server.wait(), server.log());
            assert!(
                status.success() && log.contains("Stopped after "),
                "{status}: {log}"
            );
            assert!(!log.contains("cut off"), "{log}");
        }
    }
}

#[test]
fn a_signal_ends_a_server_without_a_free_thread_or_a_log_reader() {
    let server = server(&["--host", &unique_ip().to_string(), "--port", "0"]);
    // Finds the lowest limit with which the server starts.
    for threads in 1..20 {
        let Some(mut limited) = with_thread_limit(threads, &server) else {
            return;
        };
        limited
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut process = spawn(&mut limited);
        if await_announcement(&mut process).is_none() {
            continue;
        }
        println!("{threads} threads are enough to start");
        drop(process);
        let (_reader, full) = full_pipe();
        let mut process = spawn(limited.stderr(full));
        let _refused = connect(await_announcement(&mut process).unwrap());
        signal(process.id(), "TERM");
        process.await_end();
        assert_eq!(process.wait().unwrap().code(), Some(0));
        return;
    }
    panic!("it did not start");
}

/// Waits for the line with the server's address; returns nothing if the server ends first.
fn await_announcement(server: &mut Process) -> Option<SocketAddr> {
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    announced_address(&line)
}

/// A test that restarts a server while clients send.
struct Restarts {
    times: usize,
    /// Whether all servers inherit one socket.
    inherits: bool,
    clients: usize,
    /// The lines a second of each client; as fast as it can if there is none.
    rate: Option<u32>,
}

impl Restarts {
    /// Restarts a server gracefully, and asserts that no line is lost and none arrives
    /// twice.
    fn run(self) {
        let listener = TcpListener::bind((unique_ip(), 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = self.inherits.then_some(listener);
        let start = || match &listener {
            Some(listener) => inheriting(listener, &[]),
            None => Server::start_at(address, &[]),
        };
        let mut server = start();
        let pause = Duration::from_millis(self.rate.map_or(0, |rate| u64::from(1000 / rate)));
        let clients: Vec<NumberedClient> = (0..self.clients)
            .map(|number| {
                let mut command = client(address, &["--retry-for", "30"]);
                if let Some(rate) = self.rate {
                    command.args(["--rate", &rate.to_string()]);
                }
                NumberedClient::start(number.to_string(), &mut command, pause)
            })
            .collect();
        let mut logs = Vec::new();
        let mut longest_shutdown = Duration::ZERO;
        for _ in 0..self.times {
            server.log_with(": Received message: ");
            // Each server is in use for so long.
            thread::sleep(Duration::from_millis(100));
            let begun = Instant::now();
            logs.push(server.terminate());
            longest_shutdown = longest_shutdown.max(begun.elapsed());
            server = start();
        }
        server.log_with(": Received message: ");
        let mut lines = Vec::new();
        let mut reports = Vec::new();
        for client in clients {
            let (sent, report) = client.end();
            lines.extend(sent);
            reports.push(report);
        }
        logs.push(server.terminate());
        assert_received_once(&logs, &lines);
        let highest = |key: &str| {
            reports
                .iter()
                .map(|report| report[key].number())
                .fold(0.0, f64::max)
        };
        let rate = match self.rate {
            Some(rate) => format!("{rate} lines a second"),
            None => "full speed".to_string(),
        };
        println!(
            "{rate}: {} restarts, {} lines sent, each received once; longest shutdown {}, \
             longest outage {}",
            self.times,
            lines.len(),
            rounded(longest_shutdown),
            rounded_seconds(highest("longest_outage_seconds"))
        );
        assert!(!logs.concat().contains("cut off"), "a client was cut off");
        let outages = reports.iter().flat_map(|report| report["outages"].list());
        let mut causes = outages.map(|outage| outage["cause"].text());
        if self.inherits {
            assert_eq!(causes.find(|cause| cause.contains("refused")), None);
        }
        assert!(highest("outage_count") > 0.0);
    }
}

#[test]
fn across_graceful_restarts_each_line_arrives_exactly_once() {
    for rate in [Some(1000), None] {
        Restarts {
            times: 5,
            inherits: false,
            clients: 1,
            rate,
        }
        .run();
    }
}

#[test]
fn an_inherited_socket_refuses_nobody_during_graceful_restarts() {
    for rate in [Some(1000), None] {
        Restarts {
            times: 5,
            inherits: true,
            clients: 1,
            rate,
        }
        .run();
    }
}

#[test]
#[ignore = "takes two minutes"]
fn across_twenty_graceful_restarts_no_client_loses_a_line() {
    for clients in [1, 20] {
        for inherits in [false, true] {
            for rate in [Some(1000), None] {
                Restarts {
                    times: 20,
                    inherits,
                    clients,
                    rate,
                }
                .run();
            }
        }
    }
}
