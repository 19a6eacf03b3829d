//! Faults that the server survives: pauses, resets, closed or full streams, a kill, floods
//! and errors of `accept`.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::util::{
    Bystander, Running, Server, acknowledgement, announced_address, ask_line,
    assert_leaves_nothing_behind, command, connect, count_lines, eventually, exchange,
    may_start_threads, peek, quoted, read_line, server, spawn, strace, temporary_file,
    unused_address,
};

#[test]
#[cfg_attr(windows, ignore = "needs signals")]
fn a_paused_and_resumed_server_drops_nobody() {
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
        // Nobody reads the replies, so in the end all busy clients are blocked.
        let mut before = 0;
        let blocked_at = eventually(|| {
            thread::sleep(Duration::from_millis(50));
            let now = written.load(Ordering::Relaxed);
            match now == std::mem::replace(&mut before, now) {
                true => Ok(now),
                false => Err(format!("{now} lines were written, and it goes on")),
            }
        });
        assert!(blocked_at < CLIENTS * LINES, "nobody was blocked");

        for _ in 0..3 {
            server.pause();
            thread::sleep(Duration::from_millis(100));
            server.resume();
        }
        let expected = acknowledgement(&line).repeat(LINES);
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
    if !may_start_threads(200) {
        return;
    }
    let server = Server::start(&["-q"]);
    assert_leaves_nothing_behind(&server, || {
        for number in 0..1000 {
            let mut stream = server.connect();
            let sent = if number % 2 == 0 {
                "answered\nno end of line"
            } else {
                "a\nb\nc\n"
            };
            stream.write_all(sent.as_bytes()).unwrap();
            // A close with an unread reply resets the connection.
            assert_eq!(peek(&stream, &mut [0]).unwrap(), 1);
        }
    });
    assert_eq!(server.log(), "");
}

#[test]
#[cfg_attr(windows, ignore = "needs /proc")]
fn thousands_of_probes_leave_nothing_behind_and_nothing_in_the_log() {
    // Most clients are gone before the next one connects.
    if !may_start_threads(200) {
        return;
    }
    let server = Server::start(&["-q"]);
    assert_leaves_nothing_behind(&server, || (0..1000).for_each(|_| drop(server.connect())));
    assert_eq!(server.log(), "");
}

/// Runs a command that becomes a server at this address, without waiting for its
/// announcement. Its output goes where the command says.
fn unannounced(command: &mut Command, address: SocketAddr) -> Server {
    let process = spawn(command.stdin(Stdio::null()));
    Server::new(process, address, temporary_file())
}

/// Connects to a server that does not announce when it accepts.
fn connect_in_time(server: &Server) -> TcpStream {
    let connected = || TcpStream::connect(server.address).map_err(|error| error.to_string());
    let stream = eventually(connected);
    stream.set_nodelay(true).unwrap();
    stream
}

#[test]
#[cfg_attr(windows, ignore = "needs a shell")]
fn serves_with_closed_standard_output_and_error() {
    for closed in [">&-", "2>&-", ">&- 2>&-"] {
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
fn serves_when_quiet_even_if_nobody_reads_its_output() {
    let address = unused_address();
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let (nobody_reads, stdout) = std::io::pipe().unwrap();
    let (_never_read, stderr) = std::io::pipe().unwrap();
    drop(nobody_reads);
    let mut command = server(&["-q", "--max-clients", "1", "--host", &host, "--port", &port]);
    let server = unannounced(command.stdout(stdout).stderr(stderr), address);
    let stream = connect_in_time(&server);
    // One line for each of these would be far more than a pipe holds.
    for _ in 0..1000 {
        ask_line(&stream, "hello");
        let refused = exchange(server.connect(), b"");
        assert!(refused.starts_with(b"Server refused your connection: "));
    }
}

#[test]
fn a_killed_server_can_reuse_its_port_at_once() {
    if !may_start_threads(220) {
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
fn replies_do_not_depend_on_how_the_bytes_are_split() {
    let server = Server::start(&["-q"]);
    let corpus = "one\n\ntwo\r\n\rGr\u{fc}\u{df}e \u{1f389}\n\0\r\r\n".as_bytes();
    let corpus = [corpus, b"a\xffb\n\xe4\xb8\ncut"].concat();
    let expected = exchange(server.connect(), &corpus);
    assert_eq!(expected.iter().filter(|&&byte| byte == b'\n').count(), 8);
    println!("the client sent {}", quoted(&corpus));
    println!("in one piece, it got {} replies", count_lines(&expected));
    let mut same = 0;
    for at in 0..=corpus.len() {
        let mut stream = server.connect();
        // After the replies to the first part, the server has read that part alone.
        let (first, second) = corpus.split_at(at);
        stream.write_all(first).unwrap();
        let lines = first.iter().filter(|&&byte| byte == b'\n').count();
        let mut replies = String::new();
        for _ in 0..lines {
            replies += &read_line(&stream);
        }
        let rest = exchange(stream, second);
        assert_eq!(
            [replies.as_bytes(), &rest].concat(),
            expected,
            "split at {at}"
        );
        same += 1;
    }
    let splits = corpus.len() + 1;
    println!("split in two at each byte, it got the same replies {same} of {splits} times");
    let mut stream = server.connect();
    for byte in &corpus {
        stream.write_all(&[*byte]).unwrap();
    }
    let replies = exchange(stream, b"");
    assert_eq!(replies, expected);
    let count = count_lines(&replies);
    println!("byte by byte, it got the same {count} replies");
}

#[test]
fn no_client_can_delay_the_refusal_of_others() {
    let server = Server::start(&["-q", "--max-clients", "1"]);
    let bystander = Bystander::start(&server);
    // These clients send without end and read nothing.
    let floods: Vec<TcpStream> = (0..10).map(|_| server.connect()).collect();
    thread::scope(|scope| {
        for mut flood in floods {
            scope.spawn(move || while flood.write_all(&[b'x'; 65_536]).is_ok() {});
        }
        for _ in 0..50 {
            assert!(exchange(server.connect(), b"").ends_with(b"(--max-clients 1)\n"));
        }
    });
    bystander.assert_served();
}

/// Starts a server whose first `accept` fails with this error. Returns it and its address.
fn server_with_failing_accept(error: &str) -> Option<(Running, SocketAddr)> {
    let inject = format!("inject=accept4:error={error}:when=1");
    let args = ["-e", "trace=accept4", "-e", &inject];
    let mut traced = Running::start(&mut strace(&args, &server(&["--port", "0"]))?);
    let announced = traced.read_line();
    Some((traced, announced_address(&announced).unwrap()))
}

#[test]
fn a_connection_lost_before_accept_is_not_warned_of() {
    let Some((traced, address)) = server_with_failing_accept("ECONNABORTED") else {
        return;
    };
    // Despite the injected error, the connection is still in the queue.
    ask_line(&connect(address), "hello");
    traced.signal_child("TERM");
    let outcome = traced.finish();
    assert!(!outcome.stderr.contains("WARN"), "{outcome}");
}

/// Linux reports errors of a new connection as those of `accept`. They are to be treated
/// like EAGAIN, says accept(2), which lists them.
#[test]
fn no_error_of_a_new_connection_ends_the_server() {
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
