//! The server at the limits of clients, open files, address space, memory and the queue of
//! new connections.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
#[cfg(unix)]
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::util::{
    Bystander, HANG_LIMIT, LF_HINT, Server, acknowledgement, ask, ask_line,
    assert_leaves_nothing_behind, command, connect, despite_load, eventually, exchange, full_pipe,
    installed, may_open_files, may_start_threads, os_error, peek, quoted, read_line, read_rest,
    rounded, run, server, skip, spawn, unique_ip,
};

#[test]
fn clients_over_the_limit_are_refused_with_a_whole_line() {
    let server = Server::start(&["--max-clients", "3"]);
    let clients: Vec<TcpStream> = (0..3).map(|_| server.connect()).collect();
    for client in &clients {
        ask_line(client, "hello");
    }
    let refusal = "Server refused your connection: 3 clients are connected (--max-clients 3)\n";
    for sent in [&b""[..], b"hello\n", b"no end of line"] {
        let mut refused = server.connect();
        refused.write_all(sent).unwrap();
        let address = refused.local_addr().unwrap();
        assert_eq!(read_rest(refused), refusal);
        server.log_with(&format!(
            "Refused connection from {address}: 3 clients are connected"
        ));
    }
    for client in &clients {
        ask_line(client, "still served");
    }
}

#[test]
fn refusals_are_logged_as_warnings_once_a_second_with_a_count() {
    for (args, others) in [
        (&["-q", "--max-clients", "1"][..], 0),
        (&["--max-clients", "1"], 9),
    ] {
        let server = Server::start(args);
        let served = server.connect();
        ask_line(&served, "hello");
        despite_load(|| {
            let before = server.log().lines().count();
            let refused = || assert!(read_rest(server.connect()).contains("refused"));
            // After more than a second the next refusal is a warning again.
            thread::sleep(Duration::from_millis(1100));
            let begun = Instant::now();
            for _ in 0..10 {
                refused();
            }
            if begun.elapsed() >= Duration::from_secs(1) {
                return Err(format!("refused for {:?}", begun.elapsed()));
            }
            thread::sleep(Duration::from_millis(1100));
            refused();
            let log = server.log();
            let lines: Vec<&str> = log.lines().skip(before).collect();
            let is_warning = |line: &&&str| line.contains("WARN ] Refused connection from ");
            assert_eq!(lines.iter().filter(is_warning).count(), 2, "{log}");
            let is_other = |line: &&&str| line.contains("INFO ] Refused connection from ");
            assert_eq!(lines.iter().filter(is_other).count(), others, "{log}");
            assert!(
                lines
                    .last()
                    .unwrap()
                    .ends_with(" (9 others since the last warning)"),
                "{log}"
            );
            Ok(())
        });
    }
}

#[test]
fn a_slot_is_free_before_its_client_can_see_the_close() {
    let server = Server::start(&["-q", "--max-clients", "1", "--timeout", "0.05"]);
    for round in 0..100 {
        let mut stream = server.connect();
        if round % 10 == 0 {
            stream.write_all(b"no end of line").unwrap();
            let late = "a line was not ended within 0.05 s";
            let notice = format!("Server closed your connection: {late}{LF_HINT}\n");
            assert_eq!(read_rest(stream), notice);
        } else {
            // With the LF, no deadline of a line can pass before the half-close.
            assert_eq!(
                exchange(stream, b"hello\n"),
                acknowledgement("hello").as_bytes()
            );
        }
    }
}

#[test]
fn a_refusal_arrives_although_the_client_sent_a_mebibyte() {
    let server = Server::start(&["-q", "--max-clients", "1"]);
    let bystander = Bystander::start(&server);
    let part = vec![b'x'; 1 << 16];
    let refusal = "Server refused your connection: 1 client is connected (--max-clients 1)\n";
    let refused = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let mut stream = server.connect();
                    // The refusal has arrived, but the client goes on sending.
                    peek(&stream, &mut [0]).unwrap();
                    for _ in 0..16 {
                        stream.write_all(&part).unwrap();
                        thread::sleep(Duration::from_millis(2));
                    }
                    assert_eq!(read_rest(stream), refusal);
                    refused.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let refused = refused.into_inner();
    let kib = 16 * part.len() / 1024;
    println!("{refused} of 50 clients sent {kib} KiB, and then read the whole refusal:");
    println!("{}", quoted(refusal));
    bystander.assert_served();
}

#[test]
#[cfg_attr(windows, ignore = "needs signals")]
fn a_refusal_survives_a_pause_of_the_server() {
    let server = Server::start(&["-q", "--max-clients", "1"]);
    let served = server.connect();
    ask_line(&served, "hello");
    let mut stream = server.connect();
    peek(&stream, &mut [0]).unwrap();
    // A refused client is drained for 1 s. The pause is longer, but counts for less. After the
    // drain, a client that is still sending would get an error before it reads the refusal.
    server.pause();
    thread::sleep(Duration::from_millis(1200));
    server.resume();
    for _ in 0..10 {
        stream.write_all(&[b'x'; 16_384]).unwrap();
        thread::sleep(Duration::from_millis(20));
    }
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let refusal = "Server refused your connection: 1 client is connected (--max-clients 1)\n";
    assert_eq!(read_rest(stream), refusal);
}

#[test]
fn a_refused_client_that_sends_without_end_is_cut_off_after_a_second() {
    let server = Server::start(&["-q", "--max-clients", "1"]);
    let _served = Bystander::start(&server);
    let begun = Instant::now();
    let mut refused = server.connect();
    while refused.write_all(b"x").is_ok() {
        thread::sleep(Duration::from_millis(20));
    }
    let elapsed = begun.elapsed();
    assert!(
        (Duration::from_millis(900)..Duration::from_secs(3)).contains(&elapsed),
        "{elapsed:?}"
    );
}

/// Returns a command for a shell that runs `before` and becomes the server with these
/// arguments.
fn shell(before: &str, args: &[&str]) -> Command {
    let mut shell = command("sh");
    let script = format!("{before} exec \"$0\" --port 0 \"$@\"");
    shell.args(["-c", &script, env!("CARGO_BIN_EXE_server")]);
    shell.args(args);
    shell
}

/// Returns how many clients a server without clients can serve with so many descriptors.
/// An eighth is for connections that are drained, another eighth for those that wait for
/// their thread, and 6 are spare.
fn most_clients(server: &Server, limit: usize) -> usize {
    let files = fs::read_dir(format!("/proc/{}/fd", server.id())).unwrap();
    let number = |file: io::Result<fs::DirEntry>| file.unwrap().file_name().into_string();
    let numbers = files.map(|file| number(file).unwrap().parse::<usize>().unwrap());
    let open = numbers.filter(|number| *number < limit);
    limit - 2 * (limit / 8) - open.count() - 6
}

#[test]
#[cfg_attr(windows, ignore = "needs a shell")]
fn the_hard_open_file_limit_lowers_the_number_of_clients() {
    // The second shell has inherited descriptors. A shell opens only those with one digit.
    let before = "ulimit -n 64; for fd in 3 4 5 6 7 8 9; do eval \"exec $fd</dev/null\"; done;";
    for before in ["ulimit -n 64;", before] {
        let server = Server::spawn(&mut shell(before, &["-q", "--max-clients", "60"]));
        let served = most_clients(&server, 64);
        let log = server.log_with(&format!(
            "At most {served} clients are served, not 60, because of the hard open-file limit of 64; raise it as root or with LimitNOFILE="
        ));
        assert!(log.contains("WARN"), "{log}");
        let clients: Vec<TcpStream> = (0..served).map(|_| server.connect()).collect();
        clients.iter().for_each(|client| ask_line(client, "hello"));
        let refused: Vec<TcpStream> = (served..60).map(|_| server.connect()).collect();
        let why = format!("{served} clients are connected (the hard open-file limit of 64)");
        let refusal = format!("Server refused your connection: {why}\n");
        refused
            .into_iter()
            .for_each(|client| assert_eq!(read_rest(client), refusal));
        // No client had to wait for a descriptor.
        assert!(!server.log().contains("Cannot accept"), "{}", server.log());
    }
}

#[test]
#[cfg_attr(windows, ignore = "needs a shell")]
fn a_lowered_default_client_limit_is_logged_as_info() {
    let server = Server::spawn(&mut shell("ulimit -n 64;", &[]));
    let served = most_clients(&server, 64);
    let log = server.log_with(&format!("At most {served} clients are served, not 10000, "));
    assert!(log.contains("INFO"), "{log}");
}

#[test]
#[cfg_attr(windows, ignore = "needs a shell")]
fn with_too_few_descriptors_for_one_client_the_server_does_not_start() {
    for limit in 4..15 {
        // The shell closes the descriptors that this test has inherited.
        let before = "for fd in 3 4 5 6 7 8 9; do eval \"exec $fd<&-\"; done;";
        let outcome = run(&mut shell(&format!("{before} ulimit -n {limit};"), &[]), "");
        outcome.assert_code(1);
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome}");
        assert!(outcome.stdout.is_empty(), "{outcome}");
        let why = match limit {
            4 => format!(": cannot wait for signals: {}\n", os_error(24)),
            5 => format!(": cannot listen on 127.0.0.1:0: {}\n", os_error(24)),
            _ => format!(
                ": not even one client is allowed because of the hard open-file limit of {limit}; raise it as root or with LimitNOFILE=\n"
            ),
        };
        assert!(outcome.stderr.ends_with(&why), "{outcome}");
    }
}

#[test]
#[cfg_attr(windows, ignore = "needs a shell")]
fn warns_of_a_limited_address_space() {
    let server = Server::spawn(&mut shell("ulimit -v 4000000;", &["-q"]));
    let log = server.log_with("The address space is limited to 4096000000 bytes (ulimit -v): ");
    assert!(log.contains("WARN"), "{log}");
    ask_line(&server.connect(), "hello");
}

/// Returns how many failures of `accept` the server has logged. It logs one a second, and
/// all of them at level debug.
fn accept_failures(server: &Server) -> usize {
    server.log().matches("Cannot accept a connection: ").count()
}

#[test]
fn without_free_descriptors_the_server_waits_and_recovers() {
    thread::scope(|scope| {
        scope.spawn(|| waits_and_recovers("info"));
        scope.spawn(|| waits_and_recovers("debug"));
    });
}

fn waits_and_recovers(level: &str) {
    let server = Server::spawn(server(&["--port", "0"]).env("RUST_LOG", level));
    let bystander = Bystander::start(&server);
    if !server.limit_open_files(40) {
        return;
    }
    let begun = Instant::now();
    let mut waiting: Vec<TcpStream> = (0..60).map(|_| server.connect()).collect();
    server.log_with(&format!("Cannot accept a connection: {}", os_error(24)));
    let served = waiting.drain(..20).collect::<Vec<_>>();
    for client in &served {
        ask_line(client, "hello");
    }
    thread::sleep(Duration::from_millis(300));
    for client in &served {
        ask_line(client, "still here");
    }
    let failures = accept_failures(&server);
    let elapsed = begun.elapsed();
    let most = match level {
        "info" => 1 + elapsed.as_secs() as usize,
        // Each pause is twice the one before, from 5 ms to 100 ms. The pauses may begin
        // again once, if a descriptor was free for a moment.
        _ => {
            let ends = [0, 5, 15, 35, 75, 155]
                .into_iter()
                .chain((255..).step_by(100));
            let elapsed = elapsed.as_millis();
            2 * ends.take_while(|end| *end <= elapsed).count()
        }
    };
    assert!((1..=most).contains(&failures), "{}", server.log());

    server.limit_open_files(400);
    for client in &waiting {
        ask_line(client, "at last");
    }
    println!(
        "log level {level}: failures logged in {}: {failures}, at most {most} expected; \
         served later: {} of 60 clients",
        rounded(elapsed),
        waiting.len()
    );
    bystander.assert_served();
}

#[test]
#[cfg_attr(windows, ignore = "needs /proc")]
fn a_line_of_32_mebibytes_costs_one_rejection_and_no_memory() {
    let server = Server::start(&["-q"]);
    ask_line(&server.connect(), "warm up");
    let before = server.status("VmHWM");
    let served = AtomicUsize::new(0);
    let rejection = "Server rejected your message: longer than 65536 bytes\n";
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut stream = server.connect();
                let part = vec![b'x'; 1 << 20];
                for _ in 0..32 {
                    stream.write_all(&part).unwrap();
                }
                ask(&stream, "\n", rejection);
                ask_line(&stream, "next");
                served.fetch_add(1, Ordering::Relaxed);
            });
        }
    });
    let grown = server.status("VmHWM") - before;
    let served = served.into_inner();
    println!(
        "{served} of 8 clients sent a line of 32 MiB, and got {}",
        quoted(rejection)
    );
    println!("for all 8 lines, the server took {grown} KB more memory (2048 KB would be wrong)");
    assert!(grown < 2048, "8 long lines cost {grown} KB");
}

#[test]
#[cfg_attr(windows, ignore = "needs /proc")]
fn a_client_takes_at_most_230_kilobytes_of_memory() {
    const CLIENTS: u64 = 200;
    if !may_start_threads(CLIENTS) {
        return;
    }
    let server = Server::start(&["-q"]);
    ask_line(&server.connect(), "warm up");
    let before = server.status("VmRSS");
    let clients: Vec<TcpStream> = (0..CLIENTS).map(|_| server.connect()).collect();
    // The short replies fill the server's buffer without a write; then comes a long one.
    let (short, long) = ("\n".repeat(2100), "x".repeat(63_000));
    for client in &clients {
        ask_line(client, &"x".repeat(65_536));
        let expected = acknowledgement("").repeat(2100) + &acknowledgement(&long);
        ask(client, format!("{short}{long}\n"), expected);
    }
    let each = (server.status("VmRSS") - before) / CLIENTS;
    println!("{each} KB for each client");
    assert!(each <= 230, "{each} KB for each client");
}

#[test]
#[cfg_attr(windows, ignore = "needs /proc")]
fn clients_that_come_and_go_at_the_limit_leave_nothing_behind() {
    let server = Server::start(&["-q", "--max-clients", "20"]);
    assert_leaves_nothing_behind(&server, || {
        let clients: Vec<TcpStream> = (0..100).map(|_| server.connect()).collect();
        let first_lines: Vec<String> = clients
            .iter()
            .map(|client| {
                let _ = writeln!(&mut &*client, "hello");
                read_line(client)
            })
            .collect();
        let expected = acknowledgement("hello");
        let served = first_lines.iter().filter(|line| **line == expected).count();
        // The bystander has the twentieth slot.
        assert_eq!(served, 19, "{first_lines:?}");
    });
    eventually(|| match exchange(server.connect(), b"hello") {
        reply if reply == acknowledgement("hello").as_bytes() => Ok(()),
        reply => Err(format!(
            "not served within {HANG_LIMIT:?}: {}",
            reply.escape_ascii()
        )),
    });
}

/// Waits until no connection is left in the queue of the socket that listens there.
#[cfg(unix)]
fn await_empty_queue(address: SocketAddr) {
    eventually(|| {
        let mut ss = command("ss");
        let queried = run(ss.args(["-tlnH", "src", &address.to_string()]), "");
        queried.assert_code(0);
        let shown = String::from_utf8(queried.stdout).unwrap();
        match shown.split_whitespace().nth(1) {
            Some("0") => Ok(()),
            _ => Err(shown),
        }
    });
}

/// The loop that accepts must not wait for the log, even if the threads of clients and
/// refusals do.
#[test]
#[cfg(unix)]
fn a_short_queue_is_emptied_even_if_nobody_reads_the_log() {
    const CLIENTS: usize = 100;
    if installed("ss").is_none() {
        return;
    }
    let listener = TcpListener::bind((unique_ip(), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (_reader, full) = full_pipe();
    let (announced, stdout) = io::pipe().unwrap();
    let mut inheriting = server(&["--inherit", "--max-clients", "1"]);
    inheriting
        .env("RUST_LOG", "warn")
        .stdin(OwnedFd::from(listener))
        .stdout(stdout)
        .stderr(full);
    let _server = spawn(&mut inheriting);
    drop(inheriting);
    BufReader::new(announced)
        .read_line(&mut String::new())
        .unwrap();
    let served = connect(address);
    ask_line(&served, "hello");
    // The first refusal is a warning, which waits for the log. The queue holds 128.
    let mut clients: Vec<TcpStream> = Vec::new();
    for _ in 0..3 {
        clients.extend((0..CLIENTS).map(|_| connect(address)));
        await_empty_queue(address);
    }
    let Some(mut ss) = installed("ss") else {
        return;
    };
    let queried = run(ss.args(["-tinHO", "dst", &address.to_string()]), "");
    queried.assert_code(0);
    let shown = String::from_utf8(queried.stdout).unwrap();
    let connections: Vec<&str> = shown
        .lines()
        .filter(|line| line.contains("ESTAB"))
        .collect();
    assert!(connections.len() > clients.len(), "{shown}");
    // Only a SYN can have been sent again on a connection that is just established.
    let again = connections
        .iter()
        .filter(|line| line.contains("retrans:"))
        .count();
    assert_eq!(
        again,
        0,
        "of {} connections, so many had to try again",
        connections.len()
    );
}

#[test]
#[cfg_attr(windows, ignore = "needs signals")]
fn a_thousand_simultaneous_connects_wait_in_the_queue() {
    const CLIENTS: usize = 1000;
    let allowed = fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    if allowed.trim().parse::<usize>().unwrap() < CLIENTS {
        return skip(format_args!("net.core.somaxconn is {allowed}"));
    }
    if !may_open_files(2500) || !may_start_threads(1000) {
        return;
    }
    let server = Server::start(&["-q"]);
    server.pause();
    // If the queue were full, a connect would wait for its SYN to be repeated.
    let connect = |_| TcpStream::connect_timeout(&server.address, HANG_LIMIT).unwrap();
    let begun = Instant::now();
    let clients: Vec<TcpStream> = (0..CLIENTS).map(connect).collect();
    println!(
        "while the server was paused (SIGSTOP), {} of {CLIENTS} clients connected in {}",
        clients.len(),
        rounded(begun.elapsed())
    );
    server.resume();
    let mut served = 0;
    for client in &clients {
        ask_line(client, "hello");
        served += 1;
    }
    println!("after the pause, the server replied to {served} of {CLIENTS} clients");
}
