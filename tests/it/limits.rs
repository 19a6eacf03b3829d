//! What the server does at each of its limits.

use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::util::{
    Canary, LIMIT, Server, ask, ask_line, eventually, exchange, last_words, number_in_proc,
    read_line, received, three_rounds,
};

#[test]
fn serves_as_many_clients_as_allowed_and_refuses_further_ones_in_a_whole_line() {
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
        assert_eq!(last_words(refused), refusal);
        server.log_with(&format!(
            "Refused connection from {address}: 3 clients are connected"
        ));
    }
    for client in &clients {
        ask_line(client, "still served");
    }
}

#[test]
fn a_slot_is_free_before_its_client_can_see_the_close() {
    let server = Server::start(&["-q", "--max-clients", "1", "--timeout", "0.05"]);
    for round in 0..100 {
        let mut stream = server.connect();
        if round % 10 == 0 {
            stream.write_all(b"no end of line").unwrap();
            let notice = "Server closed your connection: a line was not ended within 0.05 s\n";
            assert_eq!(last_words(stream), notice);
        } else {
            assert_eq!(exchange(stream, b"hello"), received("hello").as_bytes());
        }
    }
}

#[test]
fn a_refusal_survives_that_the_client_has_sent_a_mebibyte() {
    let server = Server::start(&["-q", "--max-clients", "1"]);
    let canary = Canary::start(&server);
    let sent = vec![b'x'; 1 << 20];
    thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let mut stream = server.connect();
                    stream.write_all(&sent).unwrap();
                    let refusal = "Server refused your connection: 1 clients are connected (--max-clients 1)\n";
                    assert_eq!(last_words(stream), refusal);
                }
            });
        }
    });
    canary.stop();
}

/// Starts the server under a limit of open files.
fn with_open_files(limit: &str, args: &[&str]) -> Server {
    let script = format!("ulimit -S -n {limit}; exec \"$0\" --port 0 \"$@\"");
    let mut shell = Command::new("sh");
    Server::spawn(
        shell
            .args(["-c", &script, env!("CARGO_BIN_EXE_server")])
            .args(args),
    )
}

#[test]
fn the_open_file_limit_lowers_the_number_of_clients() {
    let served = 64 - 64 / 8 - 10;
    let server = with_open_files("64", &["--max-clients", "60"]);
    server.log_with(&format!(
        "At most {served} clients are served, not 60: the open-file limit is 64 (ulimit -n raises it)"
    ));
    let clients: Vec<TcpStream> = (0..served).map(|_| server.connect()).collect();
    for client in &clients {
        ask_line(client, "hello");
    }
    let refused: Vec<TcpStream> = (0..20).map(|_| server.connect()).collect();
    let refusal = format!("{served} clients are connected (--max-clients {served})");
    for stream in refused {
        assert_eq!(
            last_words(stream),
            format!("Server refused your connection: {refusal}\n")
        );
    }
    assert!(!server.log().contains("Cannot accept"), "{}", server.log());

    // Nobody asked for more than the machine allows, so nobody is warned.
    assert_eq!(with_open_files("64", &[]).log(), "");
}

/// How long the processors have worked for this process.
fn cpu_time(server: &Server) -> Duration {
    // These count from the program's name, which may hold anything and is in
    // parentheses. A tick is 10 ms.
    let ticks = |words| number_in_proc(server.id(), "stat", ")", words).unwrap();
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

#[test]
fn without_free_descriptors_it_waits_and_then_recovers() {
    let server = Server::start(&[]);
    let canary = Canary::start(&server);
    server.shell("prlimit --pid $0 --nofile=40:");
    let mut waiting: Vec<TcpStream> = (0..60).map(|_| server.connect()).collect();
    server.log_with("Cannot accept a connection: Too many open files (os error 24)");
    let served = waiting.drain(..20).collect::<Vec<_>>();
    for client in &served {
        ask_line(client, "hello");
    }

    let (begun, cpu_before) = (Instant::now(), cpu_time(&server));
    thread::sleep(Duration::from_millis(500));
    let (elapsed, cpu) = (begun.elapsed(), cpu_time(&server) - cpu_before);
    assert!(
        cpu * 10 <= elapsed,
        "{cpu:?} of processor time in {elapsed:?}"
    );
    for client in &served {
        ask_line(client, "still here");
    }

    server.shell("prlimit --pid $0 --nofile=400:");
    let begun = Instant::now();
    for client in &waiting {
        ask_line(client, "at last");
    }
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "recovered in {:?}",
        begun.elapsed()
    );
    canary.stop();
    let complaints = server.log().matches("Cannot accept").count();
    assert!(
        complaints <= 3,
        "{complaints} complaints:\n{}",
        server.log()
    );
}

#[test]
fn lines_of_32_mebibytes_cost_no_memory_and_one_rejection_each() {
    let server = Server::start(&["-q"]);
    ask_line(&server.connect(), "warm up");
    let before = server.status("VmHWM");
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut stream = server.connect();
                let part = vec![b'x'; 1 << 20];
                for _ in 0..32 {
                    stream.write_all(&part).unwrap();
                }
                let rejection = "Server rejected your message: longer than 65536 bytes\n";
                ask(&stream, "\n", rejection);
                ask_line(&stream, "next");
            });
        }
    });
    let grown = server.status("VmHWM") - before;
    assert!(grown < 2048, "8 long lines cost {grown} KB");
}

#[test]
fn clients_that_come_and_go_at_the_limit_leave_nothing_behind() {
    let server = Server::start(&["-q", "--max-clients", "20"]);
    three_rounds(&server, || {
        let clients: Vec<TcpStream> = (0..100).map(|_| server.connect()).collect();
        let first_words: Vec<String> = clients
            .iter()
            .map(|client| {
                let _ = writeln!(&mut &*client, "hello");
                read_line(client)
            })
            .collect();
        let served = first_words
            .iter()
            .filter(|words| **words == received("hello"))
            .count();
        assert_eq!(served, 19, "{first_words:?}");
    });
    eventually(|| match exchange(server.connect(), b"hello") {
        reply if reply == received("hello").as_bytes() => Ok(()),
        reply => Err(format!(
            "not served within {LIMIT:?}: {}",
            reply.escape_ascii()
        )),
    });
}
