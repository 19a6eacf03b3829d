//! What the server survives.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::util::{
    Bystander, Running, Server, announced_address, ask_line, command, connect, eventually,
    exchange, may_start, peek, read_line, received, server, spawn, strace, temporary_file,
    three_rounds, unused_address,
};

#[test]
#[cfg_attr(windows, ignore = "needs signals")]
fn stopped_and_continued_it_drops_nobody() {
    const CLIENTS: usize = 10;
    const LINES: usize = 200;
    let server = Server::start(&["-q"]);
    let line = "x".repeat(65_536);
    let written = AtomicUsize::new(0);
    let idle: Vec<TcpStream> = (0..CLIENTS).map(|_| server.connect()).collect();
    let busy: Vec<TcpStream> = (0..CLIENTS).map(|_| server.connect()).collect();
    thread::scope(|scope| {
        for stream in &busy {
            let (line, written) = (&line, &written);
            scope.spawn(move || {
                for _ in 0..LINES {
                    writeln!(&mut &*stream, "{line}").unwrap();
                    written.fetch_add(1, Ordering::Relaxed);
                }
                stream.shutdown(Shutdown::Write).unwrap();
            });
        }
        // Nobody takes the replies, so in the end all of them are blocked.
        let mut before = 0;
        let blocked_at = eventually(|| {
            thread::sleep(Duration::from_millis(50));
            let now = written.load(Ordering::Relaxed);
            match now == std::mem::replace(&mut before, now) {
                true => Ok(now),
                false => Err(format!("{now} lines were taken, and it goes on")),
            }
        });
        assert!(blocked_at < CLIENTS * LINES, "nobody was blocked");

        for _ in 0..3 {
            server.stop();
            thread::sleep(Duration::from_millis(100));
            server.go_on();
        }
        let expected = received(&line).repeat(LINES);
        for mut stream in &busy {
            let mut replies = Vec::new();
            stream.read_to_end(&mut replies).unwrap();
            assert!(replies == expected.as_bytes(), "{} bytes", replies.len());
        }
        for stream in &idle {
            ask_line(stream, "hello");
        }
    });
    assert_eq!(server.log(), "");
}

#[test]
#[cfg_attr(windows, ignore = "needs /proc")]
fn thousands_of_resets_leave_nothing_behind_and_nothing_in_the_log() {
    if !may_start(200) {
        return;
    }
    let server = Server::start(&["-q"]);
    three_rounds(&server, || {
        for number in 0..1000 {
            let mut stream = server.connect();
            let sent = if number % 2 == 0 {
                "answered\nno end of line"
            } else {
                "a\nb\nc\n"
            };
            stream.write_all(sent.as_bytes()).unwrap();
            // Closing resets when a reply is unread.
            assert_eq!(peek(&stream, &mut [0]).unwrap(), 1);
        }
    });
    assert_eq!(server.log(), "");
}

#[test]
#[cfg_attr(windows, ignore = "needs /proc")]
fn thousands_of_probes_leave_nothing_behind_and_nothing_in_the_log() {
    // Most are gone before the next one comes.
    if !may_start(200) {
        return;
    }
    let server = Server::start(&["-q"]);
    three_rounds(&server, || (0..1000).for_each(|_| drop(server.connect())));
    assert_eq!(server.log(), "");
}

/// Runs a command that becomes a server at this address, whether it can say so
/// or not; its standard streams are the command's.
fn unannounced(command: &mut Command, address: SocketAddr) -> Server {
    let process = spawn(command.stdin(Stdio::null()));
    Server::new(process, address, temporary_file())
}

/// A connection to a server that does not say when it accepts.
fn connect_in_time(server: &Server) -> TcpStream {
    let connected = || TcpStream::connect(server.address).map_err(|error| error.to_string());
    let stream = eventually(connected);
    stream.set_nodelay(true).unwrap();
    stream
}

#[test]
#[cfg_attr(windows, ignore = "needs a shell")]
fn serves_though_standard_output_and_error_are_closed() {
    for closed in [">&-", "2>&-", ">&- 2>&-"] {
        // A failing test shows what it has printed.
        println!("with {closed}");
        let address = unused_address();
        let (host, port) = (address.ip(), address.port());
        let script = format!("exec \"$0\" --host {host} --port {port} {closed}");
        let mut shell = command("sh");
        shell
            .args(["-c", &script, env!("CARGO_BIN_EXE_server")])
            .stdout(Stdio::null());
        let server = unannounced(shell.stderr(Stdio::null()), address);
        ask_line(&connect_in_time(&server), "hello");
    }
}

#[test]
fn serves_though_nobody_reads_its_standard_output_and_error_when_quiet() {
    let address = unused_address();
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let (nobody_reads, stdout) = std::io::pipe().unwrap();
    let (_never_read, stderr) = std::io::pipe().unwrap();
    drop(nobody_reads);
    let mut command = server(&["-q", "--max-clients", "1", "--host", &host, "--port", &port]);
    let server = unannounced(command.stdout(stdout).stderr(stderr), address);
    let stream = connect_in_time(&server);
    // Far more than a pipe takes, had it a line for each of these.
    for _ in 0..1000 {
        ask_line(&stream, "hello");
        let refused = exchange(server.connect(), b"");
        assert!(refused.starts_with(b"Server refused your connection: "));
    }
}

#[test]
fn killed_and_started_again_it_has_its_port_at_once() {
    if !may_start(220) {
        return;
    }
    let mut server = Server::start(&["-q"]);
    let address = server.address;
    let clients: Vec<TcpStream> = (0..200).map(|_| server.connect()).collect();
    for client in &clients {
        ask_line(client, "hello");
    }
    server.kill();
    let again = Server::start_at(address, &["-q"]);
    assert_eq!(again.address, address);
    ask_line(&again.connect(), "again");
}

#[test]
fn the_same_bytes_in_every_split_have_the_same_replies() {
    let server = Server::start(&["-q"]);
    let corpus = "one\n\ntwo\r\n\rGr\u{fc}\u{df}e \u{1f389}\n\0\r\r\n".as_bytes();
    let corpus = [corpus, b"a\xffb\n\xe4\xb8\ncut"].concat();
    let expected = exchange(server.connect(), &corpus);
    assert_eq!(expected.iter().filter(|&&byte| byte == b'\n').count(), 8);
    for at in 0..=corpus.len() {
        let mut stream = server.connect();
        // The replies to the first part show that it was read alone.
        let (first, second) = corpus.split_at(at);
        stream.write_all(first).unwrap();
        let lines = first.iter().filter(|&&byte| byte == b'\n').count();
        let mut replies = String::new();
        (0..lines).for_each(|_| replies += &read_line(&stream));
        let rest = exchange(stream, second);
        assert_eq!(
            [replies.as_bytes(), &rest].concat(),
            expected,
            "split at {at}"
        );
    }
    let mut stream = server.connect();
    for byte in &corpus {
        stream.write_all(&[*byte]).unwrap();
    }
    assert_eq!(exchange(stream, b""), expected);
}

#[test]
fn no_client_can_hold_up_the_refusal_of_others() {
    let server = Server::start(&["-q", "--max-clients", "1"]);
    let bystander = Bystander::start(&server);
    // They send without end and take nothing.
    let floods: Vec<TcpStream> = (0..10).map(|_| server.connect()).collect();
    thread::scope(|scope| {
        for mut flood in floods {
            scope.spawn(move || while flood.write_all(&[b'x'; 65_536]).is_ok() {});
        }
        for _ in 0..50 {
            assert!(exchange(server.connect(), b"").ends_with(b"(--max-clients 1)\n"));
        }
    });
    bystander.stop();
}

/// Starts a server of which the first `accept` fails so. Returns it and its address.
fn server_with_failing_accept(error: &str) -> Option<(Running, SocketAddr)> {
    let inject = format!("inject=accept4:error={error}:when=1");
    let args = ["-e", "trace=accept4", "-e", &inject];
    let mut traced = Running::start(&mut strace(&args, &server(&["--port", "0"]))?);
    let announced = traced.read_line();
    Some((traced, announced_address(&announced).unwrap()))
}

#[test]
fn a_connection_that_is_gone_before_it_is_accepted_is_no_trouble() {
    let Some((traced, address)) = server_with_failing_accept("ECONNABORTED") else {
        return;
    };
    // The first connection is what the injected error is about.
    ask_line(&connect(address), "hello");
    traced.signal_child("TERM");
    let outcome = traced.finish();
    assert!(!outcome.stderr.contains("WARN"), "{outcome}");
}

/// accept(2) lists what Linux passes on of a new connection's own trouble: to be treated
/// as EAGAIN is.
#[test]
fn no_trouble_of_a_new_connection_ends_the_server() {
    for error in [
        "ENETDOWN",
        "EPROTO",
        "ENOPROTOOPT",
        "EHOSTDOWN",
        "ENONET",
        "EHOSTUNREACH",
        "EOPNOTSUPP",
        "ENETUNREACH",
        "EPERM",
        "ENOBUFS",
        "ENOMEM",
        "ETIMEDOUT",
    ] {
        let Some((traced, address)) = server_with_failing_accept(error) else {
            return;
        };
        ask_line(&connect(address), "hello");
        traced.signal_child("TERM");
        let outcome = traced.finish();
        assert!(
            outcome
                .stderr
                .contains("WARN ] Cannot accept a connection: "),
            "{outcome}"
        );
    }
}
