//! `--report`: what it says after each kind of end of a run.

use std::fs::{self, File};
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::sync::mpsc;

use crate::util::{
    HANG_LIMIT, Json, Outcome, Server, acknowledgement, client, client_to, os_error, peer, printed,
    read_once, replying_peer, run, spawn, take_report, temporary_file, unique_ip, unused_address,
};

/// Runs the client with this input, and asserts that its end and its report agree.
/// Returns both.
#[track_caller]
fn report(command: &mut Command, input: impl Into<Vec<u8>>) -> (Outcome, Json) {
    let path = temporary_file();
    let outcome = run(command.arg("--report").arg(&path), input);
    let report = take_report(&path);
    assert_agree(&report, outcome.status.code().unwrap(), &outcome.stderr);
    (outcome, report)
}

/// Asserts that the report has this exit code and the last line of the standard error.
#[track_caller]
fn assert_agree(report: &Json, code: i32, stderr: &str) {
    assert_eq!(report["exit"].number(), f64::from(code), "{stderr}");
    match stderr.lines().last() {
        None if code == 0 => assert_eq!(report["error"], Json::Null),
        None => assert_eq!(code, 141),
        Some(line) => assert_eq!(format!("client: {}", report["error"].text()), line),
    }
}

#[test]
fn after_a_success_the_report_says_so() {
    let server = Server::start(&[]);
    let (outcome, report) = report(&mut server.client(&[]), "x\n".repeat(1000));
    outcome.assert_code(0);
    assert_eq!(report["server"].text(), server.address.to_string());
    assert_eq!(report["input_ended"], Json::Bool(true));
    assert_eq!(report["lines"]["acknowledged"].number(), 1000.0);
    assert_eq!(report["outages"], Json::List(Vec::new()));
    assert_eq!(report["longest_outage_seconds"].number(), 0.0);
    assert_eq!(report["outage_seconds"].number(), 0.0);
    assert_eq!(report["rate"], Json::Null);
    let rate = report["replies_per_second"].number() * report["seconds"].number();
    assert!((999.0..1001.0).contains(&rate), "{report:?}");
    let began = report["began"].number();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    assert!((now - 60.0..now).contains(&began), "{began}");
}

#[test]
fn after_a_failure_the_report_says_what_standard_error_says() {
    let server = Server::start(&[]);
    let server = server.address;
    let wrong = replying_peer(|_, _| "hello\n".to_string());
    let lost = peer(|stream| _ = read_once(&stream, &mut [0; 9]));
    let over_long = "x".repeat(70_000);
    for (address, input, kind) in [
        // The line may not have been read yet.
        (unused_address(), "one\n", "unreachable"),
        (lost, "one\n", "unacknowledged"),
        (wrong, "one\n", "wrong"),
        (server, "nul\0\none\n", ""),
        (server, &*over_long, "too_long"),
    ] {
        let (outcome, report) = report(&mut client(address, &[]), input);
        outcome.assert_code(i32::from(!kind.is_empty()));
        if !kind.is_empty() && kind != "unreachable" {
            assert_eq!(report["lines"][kind].number(), 1.0, "{outcome}");
        }
        let has_reply = kind.is_empty() || kind == "wrong";
        assert_eq!(
            report["reply_time_ms"] != Json::Null,
            has_reply,
            "{outcome}"
        );
    }
    let (_, report) = report(&mut client(server, &[]), b"one\ntw\xff\n");
    assert_eq!(report["lines"]["rejected"].number(), 1.0);
}

#[test]
#[cfg_attr(windows, ignore = "needs the files of Unix")]
fn an_unreadable_input_or_unwritable_output_still_leaves_a_report() {
    let server = Server::start(&[]);
    let with = |stdin: Stdio, stdout: Stdio| {
        let path = temporary_file();
        let mut client = server.client(&["--report"]);
        let client = client.arg(&path).stdin(stdin).stdout(stdout);
        let outcome = spawn(client.stderr(Stdio::piped())).finish();
        let (code, stderr) = (outcome.status.code().unwrap(), outcome.stderr);
        let report = take_report(&path);
        assert_agree(&report, code, &stderr);
        (code, stderr, report)
    };
    let (code, stderr, report) = with(File::open("/").unwrap().into(), Stdio::piped());
    assert_eq!((code, stderr.lines().count()), (1, 1), "{stderr}");
    assert_eq!(report["input_ended"], Json::Bool(false));

    let input = temporary_file();
    fs::write(&input, "hello\n").unwrap();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let (code, stderr, _) = with(File::open(&input).unwrap().into(), full.into());
    assert_eq!((code, stderr.lines().count()), (1, 1), "{stderr}");

    let (reader, closed) = std::io::pipe().unwrap();
    drop(reader);
    let (code, stderr, _) = with(File::open(&input).unwrap().into(), closed.into());
    assert_eq!((code, &*stderr), (141, ""));
    fs::remove_file(input).unwrap();
}

#[test]
fn the_report_has_the_arguments_and_counts_lines_never_sent() {
    let address = unused_address();
    let mut command = client(address, &["--retry-for", "0.2"]);
    let (outcome, report) = report(&mut command, "x\n".repeat(10));
    outcome.assert_code(1);
    assert_eq!(report["lines"]["unacknowledged"].number(), 10.0);
    assert_eq!(report["lines"]["never_sent"].number(), 10.0);
    assert_eq!(report["version"].text(), env!("CARGO_PKG_VERSION"));
    let arguments = report["arguments"].list();
    let given: Vec<_> = command.get_args().collect();
    assert_eq!(arguments.len(), given.len());
    for (argument, given) in arguments.iter().zip(given) {
        assert_eq!(Some(argument.text()), given.to_str());
    }
    // No connection was lost, so the outage has no addresses.
    let outage = &report["outages"].list()[0];
    assert_eq!([&outage["local"], &outage["remote"]], [&Json::Null; 2]);
}

#[test]
fn an_outage_is_reported_with_the_lost_connections_addresses() {
    let (connected, addresses) = mpsc::channel();
    let mut connections = 0;
    let address = peer(move |mut stream| {
        let _ = connected.send(stream.peer_addr().unwrap());
        let _ = read_once(&stream, &mut [0; 9]);
        connections += 1;
        // The second connection is lost in the same outage.
        if connections > 2 {
            let _ = stream.write_all(acknowledgement("one").as_bytes());
        }
    });
    let (outcome, report) = report(&mut client(address, &["-q", "--retry-for", "20"]), "one\n");
    outcome.assert_code(0);
    let local = addresses.recv_timeout(HANG_LIMIT).unwrap();
    let [outage] = report["outages"].list() else {
        panic!("{outcome}");
    };
    assert_eq!(outage["local"].text(), local.to_string());
    assert_eq!(outage["remote"].text(), address.to_string());
    assert_eq!(report["lines"]["never_sent"].number(), 0.0);
}

#[test]
fn control_characters_in_a_host_name_are_escaped() {
    let host = "a\"b\\c\td\x1b[2J\u{7f}\u{2028}é";
    // The limit is for machines whose name server is dead.
    let mut command = client_to(host, 7, &["--connect-timeout", "0.2"]);
    let (outcome, report) = report(&mut command, "");
    outcome.assert_code(1);
    let shown = "a\"b\\c\\u{9}d\\u{1b}[2J\\u{7f}\\u{2028}é:7";
    assert_eq!(report["server"].text(), shown);
}

#[test]
fn control_characters_in_a_notice_are_escaped_in_the_report() {
    let notice = b"Server closed your connection: \"\\ \t\x1b[2J\x7f \xff\xfe\xe2\x80\xa8\n";
    let address = peer(move |mut stream| {
        let _ = read_once(&stream, &mut [0; 9]);
        let _ = stream.write_all(notice);
    });
    let shown = "Server closed your connection: \"\\ \\u{9}\\u{1b}[2J\\u{7f} \\xff\\xfe\\u{2028}";
    let mut command = client(address, &["--retry-for", "0.3"]);
    let (outcome, report) = report(&mut command, "hello\n");
    outcome.assert_code(1);
    assert!(report["error"].text().contains(shown), "{outcome}");
    assert_eq!(report["outage_count"].number(), 1.0);
    let outage = &report["outages"].list()[0];
    assert!(outage["cause"].text().contains(shown), "{outcome}");
    assert!(outage["sent_again"].number() > 0.0, "{outcome}");
}

#[test]
#[cfg_attr(windows, ignore = "needs the files of Unix")]
fn a_report_that_cannot_be_created_ends_the_run_before_it_begins() {
    let listener = TcpListener::bind((unique_ip(), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    for (path, why) in [("/nowhere/report", os_error(2)), ("/", os_error(21))] {
        let outcome = run(&mut client(address, &["--report", path]), "hello\n");
        let line = format!("client: cannot write the report {path}: {why}\n");
        outcome.assert(1, "", &line);
    }
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "it has connected");
}

#[test]
#[cfg_attr(windows, ignore = "needs the files of Unix")]
fn a_report_that_cannot_be_written_fails_the_run_and_hides_no_other_failure() {
    let why = os_error(28);
    let line = format!("client: cannot write the report /dev/full: {why}\n");
    let args = ["--report", "/dev/full"];
    let run = |address: SocketAddr| run(&mut client(address, &args), "hello\n");
    let server = Server::start(&[]);
    run(server.address).assert(1, format!("Server: {}", acknowledgement("hello")), &line);
    let address = unused_address();
    let why = os_error(111) + "; is the server running there?";
    let why = format!("client: cannot connect to {address}: {why}\n");
    run(address).assert(1, "", &format!("{line}{why}"));
}

#[test]
fn a_report_in_the_file_of_the_replies_follows_them() {
    let server = Server::start(&[]);
    let path = temporary_file();
    let before = "what was there before\n";
    fs::write(&path, before).unwrap();
    // Like `>> FILE` and `> FILE`.
    for (appends, before) in [(true, before), (false, "")] {
        let mut stdout = File::options();
        stdout.append(appends).write(true).truncate(!appends);
        let stdout = stdout.open(&path).unwrap();
        let mut client = server.client(&["--report"]);
        client.arg(&path).stdin(Stdio::piped()).stdout(stdout);
        let mut client = spawn(&mut client);
        client.stdin.take().unwrap().write_all(b"hello\n").unwrap();
        assert!(client.wait().unwrap().success());
        let written = fs::read_to_string(&path).unwrap();
        let expected = before.to_string() + &printed(["hello"]);
        let report = written.strip_prefix(&expected).unwrap();
        assert_eq!(Json::read(report)["exit"].number(), 0.0);
    }
    fs::remove_file(&path).unwrap();
}

#[test]
fn the_last_error_counts_the_same_lines_as_the_report() {
    for _ in 0..10 {
        let address = peer(|stream| {
            read_once(&stream, &mut [0; 9]).unwrap();
        });
        // Further lines are due while the client ends.
        let mut client = client(address, &["--rate", "20000"]);
        let (outcome, report) = report(&mut client, "hello\n".repeat(20_000));
        let stderr = &outcome.stderr;
        let (_, counts) = stderr.split_once(" lost with ").expect(stderr);
        let (in_flight, _) = counts.split_once(' ').unwrap();
        let unacknowledged = match counts.split_once(" unacknowledged)") {
            Some((before, _)) => before.rsplit_once('(').unwrap().1,
            None => in_flight,
        };
        let reported = report["lines"]["unacknowledged"].number();
        assert_eq!(unacknowledged.parse(), Ok(reported), "{outcome}");
    }
}
