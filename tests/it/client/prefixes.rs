//! `--reply-prefix`: acknowledgements that begin with another text, or with none.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::Command;

use crate::util::{
    Json, Server, client, client_with, peer, read_once, replying_peer, run, server, take_report,
    temporary_file,
};

/// Returns a command for the client of the server at this address, with these prefixes.
fn client_with_prefixes(address: SocketAddr, prefixes: &[&str]) -> Command {
    let mut command = client(address, &["--timeout", "10"]);
    for prefix in prefixes {
        command.arg("--reply-prefix").arg(prefix);
    }
    command
}

/// Runs a client to its end. Returns how many lines each prefix acknowledged.
#[track_caller]
fn answered_by(command: &mut Command, input: &str, output: &str) -> Json {
    let report = temporary_file();
    run(command.arg("--report").arg(&report), input).assert(0, output, "");
    take_report(&report)["answered_by"].clone()
}

/// Starts a plain echo, which sends back every byte. Returns its address.
fn echo() -> SocketAddr {
    peer(|mut stream| {
        let mut part = [0; 65_536];
        while let Ok(read @ 1..) = read_once(&stream, &mut part) {
            if stream.write_all(&part[..read]).is_err() {
                return;
            }
        }
    })
}

#[test]
fn the_server_acknowledges_with_the_given_prefix() {
    for prefix in [
        "one ",
        "",
        "-",
        "gr\u{fc}\u{df}e: ",
        "Server rejected your message: ",
    ] {
        let server = Server::start(&["-q", "--reply-prefix", prefix]);
        let output = format!("Server: {prefix}hello\nServer: {prefix}\nServer: {prefix}bye\n");
        let answered_by = answered_by(
            &mut client_with_prefixes(server.address, &[prefix]),
            "hello\n\nbye\r",
            &output,
        );
        assert_eq!(answered_by.names(), [prefix]);
        assert_eq!(answered_by[prefix].number(), 3.0);
        // Only acknowledgements have the prefix.
        let mut stream = server.connect();
        stream.write_all(b"\xff\n").unwrap();
        let mut reply = [0; 50];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(
            &reply,
            b"Server rejected your message: not UTF-8 at byte 0\n"
        );
    }
}

#[test]
fn a_raw_server_acknowledges_with_the_given_prefix() {
    let server = Server::start(&["--framing", "raw", "--reply-prefix", "> "]);
    let mut stream = server.connect();
    stream.write_all(b"hello").unwrap();
    let mut reply = [0; 7];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"> hello");
}

#[test]
fn a_plain_echo_is_verified_and_may_keep_the_cr() {
    let longest = "x".repeat(65_536);
    let input = format!("a\nb\r\n\r\n\n\r\r\nServer rejected your message: x\n{longest}\r\nc");
    let output: String = input
        .split_inclusive('\n')
        .map(|line| format!("Server: {line}"))
        .collect();
    let answered_by = answered_by(
        &mut client_with_prefixes(echo(), &[""]),
        &input,
        &format!("{output}\n"),
    );
    assert_eq!(answered_by[""].number(), 8.0);
}

#[test]
fn an_echo_that_looks_like_a_rejection_or_notice_is_an_acknowledgement() {
    let texts = [
        "Server rejected your message: no",
        "Server refused your connection: full",
        "Server closed your connection: idle",
        "Server received your message: a",
    ];
    let input: String = texts.map(|text| format!("{text}\n")).concat();
    let output: String = texts.map(|text| format!("Server: {text}\n")).concat();
    answered_by(&mut client_with_prefixes(echo(), &[""]), &input, &output);
    // As replies to another text, the same lines are what they look like.
    for (line, why) in [
        (texts[0], "line 1: rejected: no"),
        (texts[1], "Server refused your connection: full"),
        (texts[2], "Server closed your connection: idle"),
        (
            texts[3],
            "line 1: wrong reply: expected \"b\", got \"Server r",
        ),
    ] {
        let address = replying_peer(move |_, _| format!("{line}\n"));
        let outcome = run(&mut client_with_prefixes(address, &[""]), "b\n");
        outcome.assert_code(1);
        assert!(outcome.stderr.contains(why), "{outcome}");
    }
}

#[test]
fn each_prefix_is_recognised_even_if_texts_begin_like_prefixes() {
    let prefixes = ["one ", "", "one two ", "one"];
    let texts = ["", " ", "one ", "one two ", "two one", "x", "e ", "ne"];
    let cases: Vec<(&str, &str)> = prefixes
        .iter()
        .flat_map(|prefix| texts.map(|text| (*prefix, text)))
        .collect();
    // The order is mixed: each prefix follows each other one, not always immediately.
    let cases: Vec<_> = (0..cases.len())
        .map(|n| cases[n * 5 % cases.len()])
        .collect();
    let lines = |line: fn(&(&str, &str)) -> String| cases.iter().map(line).collect::<String>();
    let input = lines(|(_, text)| format!("{text}\n"));
    let output = lines(|(prefix, text)| format!("Server: {prefix}{text}\n"));
    let used: Vec<String> = cases.iter().map(|(prefix, _)| prefix.to_string()).collect();
    let address = replying_peer(move |number, line| {
        let prefix = &used[number as usize - 1];
        format!("{prefix}{line}\n")
    });
    // A prefix that is given twice counts as one.
    let given = [&prefixes[..], &["one "]].concat();
    let answered_by = answered_by(&mut client_with_prefixes(address, &given), &input, &output);
    assert_eq!(answered_by.names(), prefixes);
    for prefix in prefixes {
        assert_eq!(
            answered_by[prefix].number(),
            texts.len() as f64,
            "{prefix:?}"
        );
    }
}

#[test]
fn a_reply_with_another_prefix_is_a_wrong_reply() {
    let address = replying_peer(|_, line| format!("two {line}\n"));
    let outcome = run(
        &mut client_with_prefixes(address, &["one ", "two o"]),
        "hello\n",
    );
    outcome.assert(
        1,
        "Server: two hello\n",
        "client: line 1: wrong reply: expected \"one hello\", got \"two hello\"\n\
         client: 1 of 1 lines were not acknowledged: 0 too long, 0 rejected, 1 with a wrong reply\n",
    );
    // The expected text in the message has the prefix that the reply has.
    let outcome = run(
        &mut client_with_prefixes(address, &["one ", "two ", ""]),
        "hellp\n",
    );
    assert_eq!(outcome.status.code(), Some(0), "{outcome}");
    let address = replying_peer(|_, _| "two hello\n".to_string());
    let outcome = run(
        &mut client_with_prefixes(address, &["one ", "two ", ""]),
        "hellp\n",
    );
    let why = "expected \"two hellp\", got \"two hello\"";
    assert!(outcome.stderr.contains(why), "{outcome}");
}

/// Starts an echo that damages the lines of a client when it has all of them.
fn damaging_echo(mut damage: impl FnMut(&mut Vec<String>) + Send + 'static) -> SocketAddr {
    peer(move |mut stream| {
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        let mut lines: Vec<String> = text.split_inclusive('\n').map(String::from).collect();
        damage(&mut lines);
        let _ = stream.write_all(lines.concat().as_bytes());
    })
}

#[test]
fn an_echo_that_alters_drops_doubles_or_swaps_a_line_is_detected() {
    const LINES: usize = 20;
    let input: String = (0..LINES).map(|line| format!("line {line}\n")).collect();
    type Damage = fn(&mut Vec<String>, usize);
    // Each with how many lines after the damage the first wrong reply is.
    let damages: [(&str, usize, Damage); 5] = [
        ("alters", 0, |lines, at| lines[at].insert(3, ' ')),
        ("cuts", 0, |lines, at| _ = lines[at].remove(5)),
        ("drops", 0, |lines, at| _ = lines.remove(at)),
        ("doubles", 1, |lines, at| {
            lines.insert(at, lines[at].clone())
        }),
        ("swaps", 0, |lines, at| lines.swap(at, at + 1)),
    ];
    let cases = damages.into_iter();
    let cases = cases.flat_map(|damage| (0..LINES - 1).map(move |at| (damage, at)));
    let mut next = cases.clone();
    let address = damaging_echo(move |lines| {
        let ((_, _, damage), at) = next.next().unwrap();
        damage(lines, at);
    });
    for ((name, after, _), at) in cases {
        let outcome = run(
            client_with_prefixes(address, &[""]).arg("--half-close"),
            input.clone(),
        );
        outcome.assert_code(1);
        let error = format!("line {}: wrong reply: expected ", at + after + 1);
        assert!(outcome.stderr.contains(&error), "{name} {at}: {outcome}");
    }
}

/// Returns an argument that is not UTF-8 on this system.
fn not_utf8() -> OsString {
    #[cfg(unix)]
    return std::os::unix::ffi::OsStringExt::from_vec(vec![0xff]);
    #[cfg(windows)]
    return std::os::windows::ffi::OsStringExt::from_wide(&[0xd800]);
}

#[test]
fn a_prefix_that_is_long_not_utf8_or_has_an_end_of_line_is_a_usage_error() {
    let longest = "x".repeat(1024);
    let longer = "x".repeat(1025);
    for program in [server, client_with] {
        for (prefix, why) in [
            ("a\r", "must not contain CR or LF"),
            ("\na", "must not contain CR or LF"),
            (&longer, "must have at most 1024 bytes"),
        ] {
            let outcome = run(&mut program(&["--reply-prefix", prefix]), "");
            outcome.assert_code(2);
            assert!(outcome.stderr.contains(why), "{outcome}");
        }
        let mut command = program(&["--reply-prefix"]);
        let outcome = run(command.arg(not_utf8()), "");
        outcome.assert_code(2);
        assert!(outcome.stderr.contains("invalid UTF-8"), "{outcome}");
    }
    let server = Server::start(&["-q", "--reply-prefix", &longest]);
    let text = "y".repeat(65_536);
    let output = format!("Server: {longest}{text}\n");
    let answered_by = answered_by(
        &mut client_with_prefixes(server.address, &["", &longest]),
        &text,
        &output,
    );
    assert_eq!(answered_by[&longest].number(), 1.0);
}
