//! The client with pipes, files and a terminal as its input and output.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::util::{
    HANG_LIMIT, PROMPT, Running, Server, acknowledgement, client, client_at_terminal, count_lines,
    fill_queue, is_signal_ignored, os_error, peer, printed, quoted, replying_peer, rounded, run,
    run_from, spawn, unique_ip, unused_address,
};

#[test]
fn prints_every_reply_in_order_and_exits_0() {
    let server = Server::start(&["-q"]);
    let input: String = (0..100_000).map(|n| format!("{n}\n")).collect();
    run(&mut server.client(&[]), input).assert(0, printed(0..100_000), "");
    run(&mut server.client(&[]), "").assert(0, "", "");
}

#[test]
fn sends_crlf_empty_and_cut_lines_without_a_mismatch() {
    let server = Server::start(&[]);
    let outcome = run(&mut server.client(&[]), "\n\r\na\r\n\r\r\nb\rc\nnul\0\ncut");
    outcome.assert(0, printed(["", "", "a", "\r", "b\rc", "nul\0", "cut"]), "");
}

#[test]
fn more_data_than_all_buffers_hold_passes_without_a_deadlock() {
    let server = Server::start(&["-q"]);
    let line = "x".repeat(65_000);
    let input = format!("{line}\n").repeat(500);
    let mib = input.len() >> 20;
    let begun = Instant::now();
    let outcome = run(&mut server.client(&[]), input);
    let took = rounded(begun.elapsed());
    outcome.assert(0, printed([&line]).repeat(500), "");
    let replies = count_lines(&outcome.stdout);
    println!("the client sent 500 lines ({mib} MiB), and printed {replies} of 500 replies");
    println!(
        "it ended after {took} ({}); in a deadlock it would not end",
        outcome.status
    );
}

#[test]
fn prints_each_reply_before_the_next_line_is_typed() {
    let server = Server::start(&[]);
    let mut client = Running::start(&mut server.client(&["--window", "1"]));
    for line in ["one", "two", "three"] {
        client.send(&format!("{line}\n"));
        assert_eq!(client.read_line(), printed([line]));
    }
    client.stdin.take();
    client.finish().assert(0, "", "");
}

#[test]
fn a_message_does_not_wait_for_the_tcp_ack_of_the_last_one() {
    // The peer replies to pairs. So no reply carries the TCP acknowledgement of the first
    // message, which a system delays by 40 ms or more.
    let (has_read, first_is_read) = mpsc::channel();
    let address = peer(move |mut stream| {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        while let Some(Ok(one)) = lines.next() {
            has_read.send(()).unwrap();
            let two = lines.next().unwrap().unwrap();
            let replies = acknowledgement(&one) + &acknowledgement(&two);
            stream.write_all(replies.as_bytes()).unwrap();
        }
    });
    let mut client = Running::start(&mut client(address, &[]));
    let mut times = [(); 50].map(|()| {
        let begun = Instant::now();
        client.send("one\n");
        first_is_read.recv_timeout(HANG_LIMIT).unwrap();
        client.send("two\n");
        assert_eq!(client.read_line(), printed(["one"]));
        assert_eq!(client.read_line(), printed(["two"]));
        begun.elapsed()
    });
    times.sort();
    println!(
        "{} pairs of messages: the slowest had its replies after {}",
        times.len(),
        rounded(times[49])
    );
    println!(
        "half had them within {} (40 ms or more if a message waited for the TCP acknowledgement)",
        rounded(times[25])
    );
    // On a busy machine a few take that long, so this looks at the median.
    assert!(times[25] < Duration::from_millis(40), "{times:?}");
}

#[test]
fn a_rejected_line_is_printed_reported_and_exits_1() {
    let server = Server::start(&[]);
    let outcome = run(&mut server.client(&[]), b"one\ntw\xff\nthree\n");
    let rejected = "Server: Server rejected your message: not UTF-8 at byte 2\n";
    outcome.assert(
        1,
        printed(["one"]) + rejected + &printed(["three"]),
        "client: line 2: rejected: not UTF-8 at byte 2\n\
         client: 1 of 3 lines were not acknowledged: 0 too long, 1 rejected, 0 with a wrong reply\n",
    );
}

#[test]
fn a_line_over_the_limit_is_reported_and_not_sent() {
    let server = Server::start(&["-q"]);
    let longest = "x".repeat(65_536);
    let outcome = run(
        &mut server.client(&[]),
        format!("one\n{longest}x\n{longest}\r\nlast"),
    );
    outcome.assert(
        1,
        printed(["one", &longest, "last"]),
        "client: line 2: not sent: longer than 65536 bytes\n\
         client: 1 of 4 lines were not acknowledged: 1 too long, 0 rejected, 0 with a wrong reply\n",
    );
}

#[test]
#[cfg_attr(windows, ignore = "needs the files of Unix")]
fn an_unreadable_input_is_a_one_line_error() {
    let server = Server::start(&[]);
    let outcome = run_from(&mut server.client(&[]), File::open("/").unwrap());
    let why = format!("cannot read standard input: {}", os_error(21));
    outcome.assert(1, "", &format!("client: {why}\n"));
}

#[test]
fn a_closed_output_ends_quietly_with_exit_code_141() {
    let server = Server::start(&["-q"]);
    let mut client = server.client(&[]);
    client
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut client = spawn(&mut client);
    let mut line = String::new();
    let mut stdout = BufReader::new(client.stdout.take().unwrap());
    let mut stdin = client.stdin.take().unwrap();
    stdin.write_all(b"one\n").unwrap();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, printed(["one"]));
    drop(stdout);
    // The pipe may still have a reader for a moment: a program that another test is starting
    // has a copy of the other end.
    while stdin.write_all(b"two\n").is_ok() {
        thread::sleep(Duration::from_millis(1));
    }
    let outcome = client.finish();
    outcome.assert(141, "", "");
    println!(
        "the client printed {}, then its output was closed",
        quoted(&line)
    );
    println!(
        "the client ended with {}, and on standard error {}",
        outcome.status,
        quoted(&outcome.stderr)
    );
}

#[test]
fn a_full_output_is_a_one_line_error() {
    let server = Server::start(&[]);
    let mut client = server.client(&[]);
    let full = File::options().write(true).open("/dev/full").unwrap();
    client.stdin(Stdio::piped()).stdout(full);
    let mut client = spawn(client.stderr(Stdio::piped()));
    client.stdin.take().unwrap().write_all(b"hello\n").unwrap();
    let why = format!("cannot write to standard output: {}", os_error(28));
    client.finish().assert(1, "", &format!("client: {why}\n"));
}

#[test]
fn a_refused_connection_is_a_one_line_error() {
    let address = unused_address();
    let outcome = run(&mut client(address, &[]), "hello\n");
    let why = os_error(111);
    outcome.assert(
        1,
        "",
        &format!("client: cannot connect to {address}: {why}; is the server running there?\n"),
    );
}

#[test]
fn a_lost_server_ends_the_run_at_once_even_if_the_input_is_open() {
    let mut server = Server::start(&[]);
    let address = server.address;
    let mut client = Running::start(&mut server.client(&[]));
    client.send("one\n");
    assert_eq!(client.read_line(), printed(["one"]));
    server.kill();
    let why = "closed; all messages so far have replies: closed by the other end";
    client
        .finish()
        .assert(1, "", &format!("client: connection to {address} {why}\n"));
}

#[test]
fn at_a_terminal_the_client_prompts_and_ctrl_d_ends_it() {
    let server = Server::start(&[]);
    let Some(mut terminal) = client_at_terminal(server.address, "") else {
        return;
    };
    for line in ["hello", "", "again"] {
        assert!(terminal.read_until(PROMPT).ends_with(PROMPT));
        terminal.send(&format!("{line}\n"));
        assert_eq!(
            terminal.read_until("\r\n"),
            printed([line]).replace('\n', "\r\n")
        );
    }
    assert_eq!(terminal.read_until(PROMPT), PROMPT);
    terminal.send("\x04");
    terminal.finish().assert(0, "\r\n", "");
}

#[test]
fn at_a_terminal_control_characters_in_replies_are_escaped() {
    let address = replying_peer(|_, _| "\x1b[2Jcleared\u{202e}\n".to_string());
    let Some(mut terminal) = client_at_terminal(address, "") else {
        return;
    };
    terminal.read_until(PROMPT);
    terminal.send("a\n");
    assert_eq!(
        terminal.read_until("\r\n"),
        "Server: \\u{1b}[2Jcleared\\u{202e}\r\n"
    );
    terminal.read_until("\r\n");
    terminal.send("\x04");
    terminal.finish().assert_code(1);

    let outcome = run(&mut client(address, &[]), "a\n");
    assert_eq!(
        outcome.stdout,
        "Server: \x1b[2Jcleared\u{202e}\n".as_bytes(),
        "{outcome}"
    );
}

#[test]
fn at_a_terminal_a_lost_server_is_reported_on_its_own_line() {
    let mut server = Server::start(&[]);
    let address = server.address;
    let Some(mut terminal) = client_at_terminal(address, "") else {
        return;
    };
    terminal.read_until(PROMPT);
    terminal.send("hello\n");
    terminal.read_until(PROMPT);
    server.kill();
    let why = "closed; all messages so far have replies: closed by the other end";
    terminal.finish().assert(
        1,
        format!("\r\nclient: connection to {address} {why}\r\n"),
        "",
    );
}

#[test]
fn at_a_terminal_a_slow_connect_is_announced() {
    let listener = TcpListener::bind((unique_ip(), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let _queue = fill_queue(&listener);
    let Some(terminal) = client_at_terminal(address, "--connect-timeout 1.5") else {
        return;
    };
    let outcome = terminal.finish();
    let failed = format!("client: cannot connect to {address}: Connection timed out\r\n");
    let connecting = format!("client: connecting to {address}\r\n");
    outcome.assert(1, connecting + &failed, "");
    // Without a terminal, only the failure is printed.
    let outcome = run(&mut client(address, &["--connect-timeout", "1.1"]), "");
    outcome.assert(1, "", &failed.replace('\r', ""));
}

#[test]
fn at_a_terminal_the_summary_after_ctrl_c_is_on_its_own_lines() {
    if is_signal_ignored(2) {
        return;
    }
    let (has_read, line_is_read) = mpsc::channel();
    let address = peer(move |mut stream| {
        while stream.read_exact(&mut [0; 6]).is_ok() {
            has_read.send(()).unwrap();
        }
    });
    let Some(mut terminal) = client_at_terminal(address, "--summary") else {
        return;
    };
    terminal.read_until(PROMPT);
    // The cursor stands at the beginning of a line when the reply is awaited.
    terminal.send("hello\n");
    line_is_read.recv_timeout(HANG_LIMIT).unwrap();
    terminal.send("\x03");
    let outcome = terminal.finish();
    outcome.assert_code(130);
    // A usual terminal shows `^C` before it; this one does not echo.
    let shown = String::from_utf8_lossy(&outcome.stdout);
    assert!(
        shown.starts_with("\r\nclient: 0 acknowledged, "),
        "{shown:?}"
    );
}
