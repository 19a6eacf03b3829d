//! The client against servers that misbehave: wrong, cut, long, late or missing replies,
//! resets and notices.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::util::{
    Running, acknowledgement, client, count_lines, despite_load, fill_queue, number_in_proc,
    os_error, peer, printed, quoted, read_once, replying_peer, run, take_report, temporary_file,
    unique_ip,
};

#[test]
fn a_wrong_reply_is_printed_and_reported_with_the_expected_text() {
    let address = replying_peer(|number, line| match number {
        2 => "hello\n".to_string(),
        _ => acknowledgement(line),
    });
    let outcome = run(&mut client(address, &[]), "one\ntwo\nthree\n");
    outcome.assert(
        1,
        printed(["one"]) + "Server: hello\n" + &printed(["three"]),
        "client: line 2: wrong reply: expected \"Server received your message: two\", got \"hello\"\n\
         client: 1 of 3 lines were not acknowledged: 0 too long, 0 rejected, 1 with a wrong reply\n",
    );
}

#[test]
fn a_reply_without_its_lf_is_reported_differently_from_no_reply() {
    // Like servers of many tutorials, which strip the end of line before they reply.
    for args in [
        &["--timeout", "0.5"][..],
        &["--timeout", "0.5", "--retry-for", "0.8"],
    ] {
        let address = replying_peer(|_, line| acknowledgement(line).trim_end().to_string());
        let outcome = run(&mut client(address, args), "hello\n");
        outcome.assert_code(1);
        let why = "no whole reply within 0.5 s: \"Server received your message: hello\" came \
                   without its LF";
        assert!(outcome.stderr.contains(why), "{outcome}");
    }
}

#[test]
fn the_hint_at_a_plain_echo_is_printed_once() {
    let address = replying_peer(|_, line| format!("{line}\n"));
    let outcome = run(&mut client(address, &[]), "one\ntwo\n");
    outcome.assert_code(1);
    let hint = "got \"one\" (a plain echo? --reply-prefix '')\n";
    assert!(outcome.stderr.contains(hint), "{outcome}");
    assert_eq!(
        outcome.stderr.matches("a plain echo?").count(),
        1,
        "{outcome}"
    );
}

#[test]
fn a_peer_that_is_no_line_echo_ends_the_run_without_a_reconnect() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let web_server = peer(move |mut stream| {
        counted.fetch_add(1, Ordering::Relaxed);
        let _ = read_once(&stream, &mut [0; 4096]);
        let page = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
        let _ = stream.write_all(page.as_bytes());
    });
    let input = "x\n".repeat(1000);
    let outcome = run(&mut client(web_server, &["--retry-for", "20", "-q"]), input);
    outcome.assert_code(1);
    let last = outcome.stderr.lines().last().unwrap();
    let why = format!("client: {web_server} is no line echo server: it sent 3 replies, all wrong");
    assert!(last.starts_with(&why), "{outcome}");
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[test]
fn a_message_cut_by_the_path_does_not_prevent_a_reconnect() {
    let mut connections = 0;
    let address = peer(move |mut stream| {
        connections += 1;
        let mut line = String::new();
        let _ = BufReader::new(&stream).read_line(&mut line);
        // Only a part of the first message arrives, and then the path is gone.
        let text = if connections == 1 {
            "hel"
        } else {
            line.trim_end()
        };
        let _ = stream.write_all(acknowledgement(text).as_bytes());
        if connections > 1 {
            let _ = read_once(&stream, &mut [0]);
        }
    });
    let outcome = run(
        &mut client(address, &["--retry-for", "20", "--window", "1"]),
        "hello\nnext\n",
    );
    // The damaged reply is still detected.
    outcome.assert_code(1);
    assert!(!outcome.stderr.contains("no line echo"), "{outcome}");
    assert!(
        outcome.stderr.contains("line 1: wrong reply: "),
        "{outcome}"
    );
}

#[test]
#[cfg(unix)]
fn an_immediate_reset_is_reported_with_its_addresses() {
    let listener = TcpListener::bind((unique_ip(), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let report = temporary_file();
    let mut client = client(address, &["-v", "--retry-for", "0.5", "--report"]);
    let mut running = Running::start(client.arg(&report));
    running.send("hello\n");
    // The client is connected while it is in the queue. Closing the listener resets it.
    thread::sleep(Duration::from_millis(300));
    drop(listener);
    running.process.await_end();
    let outcome = running.finish();
    outcome.assert_code(1);
    assert!(!outcome.stderr.contains("endpoint"), "{outcome}");
    let reset = os_error(104);
    assert!(
        outcome
            .stderr
            .contains(&format!("in flight, from line 1: {reset} ")),
        "{outcome}"
    );
    let report = take_report(&report);
    let outage = &report["outages"].list()[0];
    assert_eq!(outage["remote"].text(), address.to_string());
    assert!(outage["local"].text().starts_with("127."));
}

#[test]
fn after_ten_wrong_replies_further_ones_are_only_counted() {
    let address = replying_peer(|_, line| format!("{line}\r\n"));
    let input: String = (1..=25).map(|n| format!("{n}\n")).collect();
    let outcome = run(&mut client(address, &[]), input);
    outcome.assert_code(1);
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    assert_eq!(lines.len(), 12, "{outcome}");
    assert_eq!(
        lines[9],
        "client: line 10: wrong reply: expected \"Server received your message: 10\", got \"10\\u{d}\""
    );
    assert_eq!(lines[10], "client: further wrong replies are only counted");
    assert!(
        lines[11].contains("25 of 25 lines were not acknowledged"),
        "{outcome}"
    );
}

#[test]
fn a_long_wrong_reply_is_shown_where_it_differs() {
    let address = replying_peer(|_, line| acknowledgement(&line.replace('!', "?")));
    let outcome = run(
        &mut client(address, &[]),
        format!("{}!{}\n", "x".repeat(9_000), "y".repeat(9_000)),
    );
    outcome.assert_code(1);
    let (x, y, size) = ("x".repeat(20), "y".repeat(59), "… (18031 bytes)");
    let shown =
        format!("from column 9031 on expected \"…{x}!{y}{size}\", got \"…{x}?{y}{size}\"\n");
    let expected = format!("client: line 1: wrong reply: {shown}");
    assert!(outcome.stderr.starts_with(&expected), "{outcome}");
}

#[test]
fn a_close_before_the_last_reply_is_a_lost_connection() {
    let address = peer(|mut stream| {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let mut received = 0;
        for _ in 0..5 {
            lines.next().unwrap().unwrap();
            received += 1;
        }
        let replies = ["1", "2", "3"];
        for line in replies {
            stream.write_all(acknowledgement(line).as_bytes()).unwrap();
        }
        let sent = replies.len();
        println!("the server received {received} messages, sent {sent} replies and closed");
    });
    let outcome = run(&mut client(address, &[]), "1\n2\n3\n4\n5\n");
    let why =
        "lost with 2 messages in flight, from line 4: closed by the other end (5 sent, 3 answered)";
    outcome.assert(
        1,
        printed(1..=3),
        &format!("client: connection to {address} {why}\n"),
    );
    let replies = count_lines(&outcome.stdout);
    println!(
        "the client printed {replies} of 5 replies ({})",
        outcome.status
    );
    println!("and on standard error {}", quoted(&outcome.stderr));
}

#[test]
fn an_incomplete_reply_is_never_printed() {
    let address = peer(|mut stream| {
        let _ = read_once(&stream, &mut [0; 9]);
        let reply = acknowledgement("hello");
        let _ = stream.write_all(reply.trim_end().as_bytes());
        println!(
            "the server sent {} without a LF, and closed",
            quoted(reply.trim_end())
        );
    });
    let outcome = run(&mut client(address, &[]), "hello\n");
    let why = "lost with 1 message in flight, from line 1: closed by the other end in the middle of a reply";
    outcome.assert(
        1,
        "",
        &format!("client: connection to {address} {why} (1 sent, 0 answered)\n"),
    );
    println!(
        "the client printed {} ({})",
        quoted(&outcome.stdout),
        outcome.status
    );
    println!("and on standard error {}", quoted(&outcome.stderr));
}

#[test]
fn a_reply_over_the_limit_is_an_error_with_and_without_its_end() {
    let without_end = peer(|mut stream| while stream.write_all(&[b'x'; 65_536]).is_ok() {});
    let with_end = peer(|mut stream| {
        let _ = read_once(&stream, &mut [0; 9]);
        let _ = stream.write_all(&[b'x'; 65_567]);
        let _ = stream.write_all(b"x\n");
        let _ = stream.write_all(acknowledgement("hello").as_bytes());
    });
    for address in [without_end, with_end] {
        let why = "a reply of more than 65567 bytes; is this a tcp-chat server?";
        let outcome = run(&mut client(address, &[]), "hello\n");
        outcome.assert(1, "", &format!("client: {address}: {why}\n"));
    }
}

#[test]
fn more_replies_than_messages_are_an_error() {
    let address = replying_peer(|_, line| acknowledgement(line).repeat(2));
    let mut client = Running::start(&mut client(address, &[]));
    client.send("hello\n");
    let outcome = client.finish();
    let why =
        "unexpected line: \"Server received your message: hello\"; is this a tcp-chat server?";
    outcome.assert(
        1,
        printed(["hello"]),
        &format!("client: {address}: {why}\n"),
    );
}

#[test]
fn a_notice_is_reported_as_the_reason_for_the_loss() {
    for notice in [
        "Server refused your connection: full",
        "Server closed your connection: \x1b[2J",
    ] {
        let address = peer(move |mut stream| {
            let _ = read_once(&stream, &mut [0; 9]);
            let _ = writeln!(stream, "{notice}");
        });
        let outcome = run(&mut client(address, &[]), "hello\n");
        let shown = notice.replace('\x1b', "\\u{1b}");
        outcome.assert_code(1);
        assert!(
            outcome.stdout.is_empty() && outcome.stderr.contains(&shown),
            "{outcome}"
        );
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome}");
    }
}

#[test]
fn a_silent_peer_is_given_up_after_the_timeout() {
    let address = peer(|stream| _ = BufReader::new(stream).lines().count());
    let begun = Instant::now();
    let outcome = run(&mut client(address, &["--timeout", "0.3"]), "hello\n");
    let elapsed = begun.elapsed();
    let why =
        "lost with 1 message in flight, from line 1: no reply within 0.3 s (1 sent, 0 answered)";
    outcome.assert(1, "", &format!("client: connection to {address} {why}\n"));
    assert!(
        (Duration::from_millis(299)..Duration::from_secs(2)).contains(&elapsed),
        "{elapsed:?}"
    );
}

#[test]
fn parts_of_a_reply_do_not_extend_the_timeout() {
    let address = peer(|mut stream| {
        while stream.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    let outcome = run(&mut client(address, &["--timeout", "0.3"]), "hello\n");
    outcome.assert_code(1);
    assert!(
        outcome.stderr.contains("no whole reply within 0.3 s"),
        "{outcome}"
    );
}

#[test]
fn without_a_message_in_flight_the_timeout_does_not_run() {
    let address = replying_peer(|_, line| acknowledgement(line));
    let mut client = Running::start(&mut client(address, &["--timeout", "0.8"]));
    for line in ["one", "two"] {
        client.send(&format!("{line}\n"));
        assert_eq!(client.read_line(), printed([line]));
        thread::sleep(Duration::from_millis(900));
    }
    client.stdin.take();
    client.finish().assert(0, "", "");
}

#[test]
#[cfg_attr(windows, ignore = "needs programs that start at once")]
fn an_unanswered_connect_ends_after_the_connect_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let _queue = fill_queue(&listener);
    let expected = format!("client: cannot connect to {address}: Connection timed out\n");
    despite_load(|| {
        let mut client = client(address, &["--connect-timeout", "0.3"]);
        let begun = Instant::now();
        run(&mut client, "hello\n").assert(1, "", &expected);
        let elapsed = begun.elapsed();
        assert!(elapsed >= Duration::from_millis(299), "{elapsed:?}");
        match elapsed < Duration::from_millis(600) {
            true => Ok(()),
            false => Err(format!("ended after {elapsed:?}")),
        }
    });
}

#[test]
fn a_window_of_1_sends_one_message_at_a_time() {
    let address = peer(|mut stream| {
        let mut buffer = [0; 1024];
        // Like a peer without framing: each read is a message.
        while let Ok(read @ 1..) = read_once(&stream, &mut buffer) {
            let text = String::from_utf8(buffer[..read].to_vec()).unwrap();
            assert!(
                text.ends_with('\n') && text.matches('\n').count() == 1,
                "{text:?}"
            );
            let reply = format!("Server received your message: {text}");
            stream.write_all(reply.as_bytes()).unwrap();
        }
    });
    let input: String = (0..200).map(|n| format!("{n}\n")).collect();
    run(&mut client(address, &["--window", "1"]), input).assert(0, printed(0..200), "");
}

#[test]
fn the_window_limits_the_messages_in_flight() {
    let address = peer(|mut stream| {
        let mut read = Vec::new();
        let mut buffer = [0; 1024];
        while let Ok(bytes @ 1..) = read_once(&stream, &mut buffer) {
            read.extend_from_slice(&buffer[..bytes]);
            if read.len() >= 7 * 2 {
                // Nothing more must arrive while there is no reply.
                let pause = Some(Duration::from_millis(300));
                stream.set_read_timeout(pause).unwrap();
            }
        }
        let lines = read.iter().filter(|&&byte| byte == b'\n').count();
        println!(
            "with --window 7, the server received {lines} of 100 lines before the first reply"
        );
        let _ = writeln!(stream, "{lines} lines");
    });
    let outcome = run(&mut client(address, &["--window", "7"]), "x\n".repeat(100));
    outcome.assert_code(1);
    assert_eq!(outcome.stdout, b"Server: 7 lines\n", "{outcome}");
}

#[test]
#[cfg_attr(windows, ignore = "needs /proc")]
fn a_million_empty_lines_to_a_slow_peer_take_little_memory() {
    let address = peer(|mut stream| {
        let reply = acknowledgement("");
        let mut part = [0; 64];
        let mut number = 0;
        while let Ok(lines @ 1..) = read_once(&stream, &mut part) {
            if number / 250_000 < (number + lines) / 250_000 {
                thread::sleep(Duration::from_millis(50));
            }
            number += lines;
            stream.write_all(reply.repeat(lines).as_bytes()).unwrap();
        }
    });
    let mut command = client(address, &[]);
    let mut client = Running::start(&mut command);
    let id = client.id();
    let mut stdin = client.stdin.take().unwrap();
    let writer = thread::spawn(move || {
        stdin.write_all(&vec![b'\n'; 1_000_000]).unwrap();
        stdin
    });
    let expected = printed([""]).repeat(1000);
    let mut replies = vec![0; expected.len()];
    for _ in 0..1000 {
        client.stdout.read_exact(&mut replies).unwrap();
        assert!(replies == expected.as_bytes());
    }
    let peak = number_in_proc(id, "status", "VmHWM:", 0).unwrap();
    assert!(peak < 16 * 1024, "the client took {peak} KB");
    drop(writer.join().unwrap());
    client.finish().assert(0, "", "");
}

#[test]
fn a_reset_under_load_is_reported_as_a_reset() {
    let address = peer(|mut stream| {
        // A close with unread bytes resets the connection.
        stream.read_exact(&mut [0; 1000]).unwrap();
    });
    for _ in 0..20 {
        let outcome = run(&mut client(address, &[]), "hello\n".repeat(50_000));
        outcome.assert_code(1);
        assert!(outcome.stderr.contains(&os_error(104)), "{outcome}");
    }
}
