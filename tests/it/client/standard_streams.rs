//! The client's standard streams if they are not open, full or unread, and the ends of its
//! input and its lines.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::util::{
    PROMPT, Running, Server, accept, acknowledgement, client, client_at_terminal, client_to,
    command, eventually, fill_pipe, fill_queue, has_ipv6, os_error, peer, printed, quoted,
    read_once, replying_peer, run, spawn,
};

/// Returns a command for a shell's script, in which the word `client` runs the client of
/// this server.
fn shell(address: SocketAddr, script: &str) -> Command {
    let to_server = format!("\"$0\" --host {} --port {}", address.ip(), address.port());
    let mut shell = command("sh");
    let script = script.replace("client", &to_server);
    shell.args(["-c", &script, env!("CARGO_BIN_EXE_client")]);
    shell
}

#[test]
#[cfg_attr(windows, ignore = "needs a shell")]
fn an_output_not_open_for_writing_is_an_error() {
    let server = Server::start(&[]);
    let outcome = run(&mut shell(server.address, "client 1</dev/null"), "hello\n");
    let why = format!("cannot write to standard output: {}", os_error(9));
    outcome.assert(1, "", &format!("client: {why}\n"));
    let shown = quoted(&outcome.stderr);
    println!("with an output open only for reading, the client printed the error {shown}");
    println!("and ended with {}", outcome.status);
}

#[test]
#[cfg_attr(windows, ignore = "needs a shell")]
fn an_input_not_open_for_reading_is_an_error() {
    let server = Server::start(&[]);
    let outcome = run(&mut shell(server.address, "client 0>/dev/null"), "");
    let why = format!("cannot read standard input: {}", os_error(9));
    outcome.assert(1, "", &format!("client: {why}\n"));
}

/// Checks whether a connect to this address is waiting for an answer.
fn connect_hangs(address: SocketAddr) -> Result<(), String> {
    // The kernel shows each socket's address, its peer's and its state; 02 is SYN_SENT.
    let hangs = format!("0100007F:{:04X} 02", address.port());
    let sockets = fs::read_to_string("/proc/net/tcp").unwrap();
    match sockets.contains(&hangs) {
        true => Ok(()),
        false => Err(format!("no connect hangs:\n{sockets}")),
    }
}

#[test]
fn an_end_of_input_ends_a_hanging_connect_if_all_is_acknowledged() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut client = Running::start(&mut client(address, &["-q", "--retry-for", "60"]));
    client.send("hello\n");
    let mut stream = accept(&listener);
    stream.read_exact(&mut [0; 6]).unwrap();
    stream
        .write_all(acknowledgement("hello").as_bytes())
        .unwrap();
    assert_eq!(client.read_line(), printed(["hello"]));
    // From now on nobody accepts, and the queue of new connections is full.
    let _queue = fill_queue(&listener);
    drop(stream);
    eventually(|| connect_hangs(address));
    let ended = Instant::now();
    client.stdin.take();
    client.finish().assert(0, "", "");
    assert!(
        ended.elapsed() < Duration::from_secs(2),
        "{:?}",
        ended.elapsed()
    );
}

#[test]
#[cfg_attr(windows, ignore = "needs a pipe that can be filled")]
fn replies_are_printed_even_if_nobody_reads_standard_error() {
    let address = peer(|mut stream| {
        let mut sent = [0; b"one\ntw\xff\nthree\n".len()];
        stream.read_exact(&mut sent).unwrap();
        let rejection = "Server rejected your message: not UTF-8 at byte 2\n";
        let replies = acknowledgement("one") + rejection + &acknowledgement("three");
        stream.write_all(replies.as_bytes()).unwrap();
        let _ = read_once(&stream, &mut [0]);
    });
    let (mut reports, stderr) = io::pipe().unwrap();
    fill_pipe(&stderr);
    let (stdout, printed_part) = io::pipe().unwrap();
    let mut command = client(address, &[]);
    command
        .stdin(Stdio::piped())
        .stdout(printed_part)
        .stderr(stderr);
    let mut client = spawn(&mut command);
    // The command holds the writers' ends.
    drop(command);
    let mut stdin = client.stdin.take().unwrap();
    stdin.write_all(b"one\ntw\xff\nthree\n").unwrap();

    let rejected = "Server: Server rejected your message: not UTF-8 at byte 2\n";
    let expected = printed(["one"]) + rejected + &printed(["three"]);
    let mut replies = vec![0; expected.len()];
    (&stdout).read_exact(&mut replies).unwrap();
    assert_eq!(String::from_utf8(replies).unwrap(), expected);
    drop(stdin);
    let mut errors = Vec::new();
    reports.read_to_end(&mut errors).unwrap();
    assert_eq!(client.wait().unwrap().code(), Some(1));
    let errors = String::from_utf8(errors).unwrap();
    assert_eq!(
        errors.trim_start_matches('x'),
        "client: line 2: rejected: not UTF-8 at byte 2\n\
         client: 1 of 3 lines were not acknowledged: 0 too long, 1 rejected, 0 with a wrong reply\n"
    );
}

#[test]
fn at_a_terminal_an_error_has_its_own_line_after_an_unfinished_line() {
    let server = Server::start(&[]);
    let Some(mut terminal) = client_at_terminal(server.address, "") else {
        return;
    };
    terminal.read_until(PROMPT);
    let mut typed = terminal.stdin.take().unwrap();
    typed.write_all(b"ab\xff\x04\x04").unwrap();
    terminal.finish().assert(
        1,
        "\r\nServer: Server rejected your message: not UTF-8 at byte 2\r\n\
         client: line 1: rejected: not UTF-8 at byte 2\r\n\
         client: 1 of 1 lines were not acknowledged: 0 too long, 1 rejected, 0 with a wrong reply\r\n",
        "",
    );
    drop(typed);
}

#[test]
fn a_cr_at_the_end_of_the_input_does_not_count_towards_the_limit() {
    let server = Server::start(&["-q"]);
    let longest = "x".repeat(65_536);
    run(&mut server.client(&[]), longest.clone() + "\r").assert(0, printed([longest]), "");
}

#[test]
fn a_cr_at_the_end_of_a_reply_counts_towards_the_limit() {
    let address = replying_peer(|_, line| acknowledgement(&format!("{line}\r\r")));
    let outcome = run(&mut client(address, &[]), "x".repeat(65_536) + "\n");
    outcome.assert(
        1,
        "",
        &format!(
            "client: {address}: a reply of more than 65567 bytes; is this a tcp-chat server?\n"
        ),
    );
}

#[test]
fn an_ipv6_address_in_brackets_is_accepted() {
    if !has_ipv6() {
        return;
    }
    let server = Server::start(&["--host", "::1"]);
    let mut client = client_to("[::1]", server.address.port(), &[]);
    run(&mut client, "hello\n").assert(0, printed(["hello"]), "");
}

#[test]
fn verbose_output_names_the_address_that_a_name_stands_for() {
    let server = Server::start(&["--host", "127.0.0.1"]);
    let port = server.address.port();
    let mut client = client_to("localhost", port, &["-v"]);
    run(&mut client, "hello\n").assert(
        0,
        printed(["hello"]),
        &format!("client: connected to localhost:{port} (127.0.0.1:{port})\n"),
    );
}
