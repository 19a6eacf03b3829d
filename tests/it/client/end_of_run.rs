//! The files at the end of a run: the report is whole, and the output has exactly the
//! replies that the report counts.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
#[cfg(unix)]
use std::sync::Arc;
#[cfg(unix)]
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
#[cfg(unix)]
use std::thread;

use crate::util::{
    HANG_LIMIT, Json, Process, Running, Server, acknowledgement, client, command, ended_by,
    eventually, full_pipe, replying_peer, run, signal, spawn, strace, take_report, temporary_file,
    unused_address,
};
#[cfg(unix)]
use crate::util::{Probe, os_error};

/// Returns the text before the report at the end of a file, and the report.
#[track_caller]
fn split_report(path: &Path) -> (String, Json) {
    let mut text = fs::read_to_string(path).unwrap();
    let begins = text.rfind("{\n  \"server\"");
    let report = text.split_off(begins.unwrap_or_else(|| panic!("no report in:\n{text}")));
    (text, Json::read(&report))
}

#[test]
#[cfg_attr(windows, ignore = "needs named pipes in the file system")]
fn a_report_in_a_standard_streams_file_is_whole_and_last() {
    let server = Server::start(&["-q"]);
    let file = temporary_file();
    let path = file.to_str().unwrap();
    let fifo = format!("{path}.fifo");
    run(command("mkfifo").arg(&fifo), "").assert_code(0);
    let summary = "client: outages: ";
    for (redirected, report, before) in [
        ("\"$@\" 2> \"$0\"", "/dev/stderr", summary),
        ("\"$@\" 2>> \"$0\"", "/dev/stderr", summary),
        ("\"$@\" 2> \"$0\"", path, summary),
        ("\"$@\" 2>> \"$0\"", path, summary),
        ("\"$@\" > \"$0\" 2>&1", path, summary),
        ("\"$@\" >> \"$0\" 2>&1", path, summary),
        ("\"$@\" > \"$0\" 2>&1", "/dev/stdout", summary),
        ("\"$@\" > \"$0\" 2>&1", "/dev/stderr", summary),
        ("\"$@\" > \"$0\" 2> /dev/null", "/dev/stdout", ""),
        (
            "\"$@\" 2>&1 > /dev/null | cat > \"$0\"",
            "/dev/stderr",
            summary,
        ),
        (
            "cat \"$0.fifo\" > \"$0\" & \"$@\" 2> /dev/null; wait",
            &fifo,
            "",
        ),
    ] {
        for (address, code) in [(server.address, 0.0), (unused_address(), 1.0)] {
            // `2>>` appends to something.
            fs::write(&file, "before\n").unwrap();
            let client = client(address, &["--summary", "--report", report]);
            let mut shell = command("sh");
            shell.args(["-c", redirected, path]);
            shell.arg(client.get_program()).args(client.get_args());
            let outcome = run(&mut shell, "1\n2\n3\n");
            let (text, report) = split_report(&file);
            assert_eq!(report["exit"].number(), code, "{outcome}");
            assert!(text.contains(before), "{text}{outcome}");
            let fails = code > 0.0 && !before.is_empty();
            assert_eq!(text.contains("cannot connect"), fails, "{text}{outcome}");
        }
    }
    fs::remove_file(&file).unwrap();
    fs::remove_file(&fifo).unwrap();
}

/// Starts a client with endless input. Returns it and the process that writes the input.
fn start_with_endless_input(
    server: &Server,
    report: &Path,
    stdout: &Path,
    stderr: Stdio,
) -> (Process, Process) {
    let mut lines = spawn(command("yes").stdout(Stdio::piped()));
    let mut command = server.client(&["--summary", "--report"]);
    command.arg(report).stdin(lines.stdout.take().unwrap());
    command.stdout(File::create(stdout).unwrap()).stderr(stderr);
    (spawn(&mut command), lines)
}

#[test]
#[cfg_attr(windows, ignore = "needs a pipe that can be filled")]
fn after_a_signal_the_output_has_exactly_the_lines_that_the_report_counts() {
    let server = Server::start(&["-q"]);
    let (stdout, other) = (temporary_file(), temporary_file());
    for round in 0..5 {
        for (report, is_full) in [(&stdout, false), (&other, false), (&other, true)] {
            let (_reader, full) = full_pipe();
            let stderr = if is_full { full } else { Stdio::null() };
            let (mut client, _lines) = start_with_endless_input(&server, report, &stdout, stderr);
            eventually(|| match fs::metadata(&stdout).unwrap().len() {
                0 => Err("no reply".to_string()),
                _ => Ok(()),
            });
            signal(client.id(), "TERM");
            assert_eq!(ended_by(client.wait().unwrap()), Some(15));
            let (printed, report) = match report == &stdout {
                true => split_report(&stdout),
                false => (fs::read_to_string(&stdout).unwrap(), take_report(&other)),
            };
            let replies = printed.matches("Server: Server received your message: y\n");
            let acknowledged = report["lines"]["acknowledged"].number();
            assert_eq!(
                replies.clone().count() as f64,
                acknowledged,
                "round {round}"
            );
            assert_eq!(replies.map(str::len).sum::<usize>(), printed.len());
        }
    }
    fs::remove_file(&stdout).unwrap();
}

#[test]
#[cfg_attr(windows, ignore = "needs a pipe that can be filled")]
fn replies_in_an_unfinished_write_do_not_count_as_acknowledged() {
    let (answer, answered) = mpsc::channel();
    let address = replying_peer(move |number, line| {
        if number == 2 {
            answer.send(()).unwrap();
        }
        acknowledgement(line)
    });
    let report = temporary_file();
    let (_reader, full) = full_pipe();
    let mut command = client(address, &["--report"]);
    command.arg(&report).stdin(Stdio::piped()).stdout(full);
    let mut child = spawn(&mut command);
    child
        .stdin
        .as_mut()
        .unwrap()
        .write_all(b"one\ntwo\n")
        .unwrap();
    answered.recv_timeout(HANG_LIMIT).unwrap();
    signal(child.id(), "TERM");
    assert_eq!(ended_by(child.wait().unwrap()), Some(15));
    let lines = &take_report(&report)["lines"];
    assert_eq!(lines["acknowledged"].number(), 0.0);
    assert_eq!(lines["unacknowledged"].number(), 2.0);
}

#[test]
fn a_signal_right_after_emptying_the_report_leaves_a_whole_report() {
    let server = Server::start(&["-q"]);
    let report = temporary_file();
    fs::write(&report, "yesterday's\n").unwrap();
    let mut client = server.client(&["--report"]);
    client.arg(&report);
    let args = [
        "-e",
        "trace=ftruncate",
        "-e",
        "inject=ftruncate:signal=TERM",
    ];
    let Some(mut strace) = strace(&args, &client) else {
        return;
    };
    // The input stays open, so only the signal can end the client.
    let outcome = Running::start(&mut strace).finish();
    assert_eq!(ended_by(outcome.status), Some(15), "{outcome}");
    assert_eq!(take_report(&report)["exit"].number(), 143.0, "{outcome}");
}

#[test]
fn an_error_in_the_last_line_is_printed_before_the_run_ends() {
    let server = Server::start(&["-q"]);
    let long = "x".repeat(65_537);
    for _ in 0..30 {
        let outcome = run(&mut server.client(&[]), &*long);
        let why = "client: line 1: not sent: longer than 65536 bytes\n";
        assert!(outcome.stderr.starts_with(why), "{outcome}");
        outcome.assert_code(1);
    }
}

#[test]
#[cfg_attr(windows, ignore = "needs a pipe that can be filled")]
fn the_summary_does_not_wait_for_a_report_without_a_reader() {
    let server = Server::start(&[]);
    let (_reader, full) = full_pipe();
    let mut client = server.client(&["--summary", "--report", "/dev/stdout"]);
    client.stdin(Stdio::piped()).stdout(full);
    let mut client = spawn(client.stderr(Stdio::piped()));
    client
        .stdin
        .as_mut()
        .unwrap()
        .write_all(b"hello\n")
        .unwrap();
    server.log_with("hello");
    signal(client.id(), "TERM");
    let outcome = client.finish();
    assert_eq!(ended_by(outcome.status), Some(15), "{outcome}");
    assert!(outcome.stderr.contains("0 acknowledged"), "{outcome}");
}

/// Compares the report with the count of a server that counts the lines that it reads.
#[test]
#[cfg(unix)]
fn nothing_is_sent_or_logged_after_the_reported_end() {
    thread::scope(|scope| {
        for (number, rate) in [(0, "1000"), (1, "1000"), (2, "200000"), (3, "200000")] {
            scope.spawn(move || assert_nothing_after_the_end(number, rate));
        }
    });
}

#[cfg(unix)]
fn assert_nothing_after_the_end(number: u64, rate: &str) {
    let lines = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&lines);
    let address = replying_peer(move |_, line| {
        counted.fetch_add(1, Ordering::Relaxed);
        acknowledgement(line)
    });
    // The end of the run waits for a reader of the last row. Until then threads could go on.
    let fifo = temporary_file();
    run(command("mkfifo").arg(&fifo), "").assert_code(0);
    let args = [
        "--rate",
        rate,
        "--retry-for",
        "5",
        "--series",
        fifo.to_str().unwrap(),
    ];
    let probe = Probe::start(address, &args);
    probe.await_replies(100 + number * 37);
    let (report, stderr) = probe.interrupt();
    fs::remove_file(&fifo).unwrap();
    let count = |name: &str| report["lines"][name].number();
    let sent = count("acknowledged") + count("unacknowledged") - count("never_sent");
    let came = lines.load(Ordering::Relaxed) as f64;
    assert!(
        came <= sent,
        "{came} lines arrived, {sent} were sent: {report:?}"
    );
    let logged = stderr.matches("trying again").count() as f64;
    assert_eq!(logged, report["outage_count"].number(), "{stderr}");
}

#[test]
#[cfg(unix)]
fn exceeding_the_file_size_limit_is_an_ordinary_error() {
    let server = Server::start(&["-q"]);
    let path = temporary_file();
    let (host, port) = (
        server.address.ip().to_string(),
        server.address.port().to_string(),
    );
    for (flag, kind) in [("--report", "report"), ("--series", "series")] {
        let mut shell = command("sh");
        let script = "ulimit -f 0; exec \"$0\" \"$@\"";
        shell.args([
            "-c",
            script,
            env!("CARGO_BIN_EXE_client"),
            &host,
            &port,
            flag,
        ]);
        let outcome = run(shell.arg(&path), "hello\n");
        let why = format!(
            "client: cannot write the {kind} {}: {}\n",
            path.display(),
            os_error(27)
        );
        outcome.assert_code(1);
        assert_eq!(outcome.stderr, why, "{outcome}");
    }
    fs::remove_file(&path).unwrap();
}

#[test]
fn the_series_never_shares_a_file_with_the_report_or_the_output() {
    let server = Server::start(&["-q"]);
    let path = temporary_file();
    let name = path.to_str().unwrap();
    let other_name = format!(
        "{}/./{}",
        path.parent().unwrap().display(),
        path.file_name().unwrap().display()
    );
    for series in [name, &other_name] {
        let _ = fs::remove_file(&path);
        let both = run(
            &mut server.client(&["--report", name, "--series", series]),
            "hello\n",
        );
        both.assert_code(1);
        let why = ": it is also the report's file; name another one\n";
        assert!(both.stderr.contains(why), "{both}");
    }
    #[cfg(unix)]
    {
        let series = run(&mut server.client(&["--series", "/dev/stdout"]), "hello\n");
        series.assert_code(1);
        let why = ": it is standard input or output; name a file, or /dev/stderr\n";
        assert!(series.stderr.contains(why), "{series}");
        run(&mut server.client(&["--series", "/dev/null"]), "hello\n").assert_code(0);
    }
}
