//! The client's summary and report after a signal, while something hinders them: no reader,
//! a pause, another signal, an end of the input.

use std::fs;
use std::io::{PipeReader, Read, Write};
use std::path::PathBuf;
use std::process::{ChildStdin, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::util::{
    Json, Process, Server, SignalledClient, as_process_1, assert_conclusion, children, command,
    despite_load, ended_by, ending_signals, eventually, full_pipe, printed, signal, spawn,
    take_report, temporary_file,
};

/// A client whose standard error is full and has no reader. Its input is a line, and stays
/// open.
struct UnreadClient {
    process: Process,
    report: PathBuf,
    _stdin: ChildStdin,
    _never_read: PipeReader,
}

impl UnreadClient {
    /// Starts the client, and waits for a reply: then it watches for signals.
    fn start(server: &Server, args: &[&str]) -> Self {
        let (_never_read, full) = full_pipe();
        let report = temporary_file();
        let mut command = server.client(args);
        command.arg("--report").arg(&report).stdin(Stdio::piped());
        let mut process = spawn(command.stdout(Stdio::piped()).stderr(full));
        let mut stdin = process.stdin.take().unwrap();
        stdin.write_all(b"hello\n").unwrap();
        let mut reply = vec![0; printed(["hello"]).len()];
        let stdout = process.stdout.as_mut().unwrap();
        stdout.read_exact(&mut reply).unwrap();
        UnreadClient {
            process,
            report,
            _stdin: stdin,
            _never_read,
        }
    }

    /// Waits for the client's end, and reads its report.
    fn end(mut self) -> (ExitStatus, Json) {
        (self.process.wait().unwrap(), take_report(&self.report))
    }
}

#[test]
fn a_signal_ends_a_client_in_time_even_if_nobody_reads_its_summary() {
    let server = Server::start(&["-q"]);
    thread::scope(|scope| {
        for args in [&["--summary"][..], &["--summary", "--progress"]] {
            let client = UnreadClient::start(&server, args);
            scope.spawn(move || {
                signal(client.process.id(), "TERM");
                let begun = Instant::now();
                let (status, report) = client.end();
                let took = begun.elapsed();
                println!("ended after {took:?}");
                assert_eq!(ended_by(status), Some(15));
                // Without a limit, it would wait for a reader forever. Beside six busy loops, it
                // took 3.7 s.
                assert!(took < Duration::from_secs(8), "{took:?}");
                assert_eq!(report["exit"].number(), 143.0);
            });
        }
    });
}

#[test]
fn a_pause_during_the_conclusion_leaves_a_whole_report() {
    let server = Server::start(&["-q"]);
    let client = UnreadClient::start(&server, &["--summary"]);
    let id = client.process.id();
    // In this order the client sees both at once, or is paused during its conclusion.
    let mut shell = command("sh");
    shell.args(["-c", "kill -s TERM $0; kill -s STOP $0", &id.to_string()]);
    assert!(shell.status().unwrap().success());
    // Longer than the conclusion may take.
    thread::sleep(Duration::from_millis(1500));
    signal(id, "CONT");
    let (status, report) = client.end();
    assert_eq!(ended_by(status), Some(15));
    assert_eq!(report["exit"].number(), 143.0);
}

#[test]
fn a_second_signal_ends_the_client_with_the_exit_code_of_the_first() {
    let server = Server::start(&["-q"]);
    for (_, second) in ending_signals()
        .into_iter()
        .filter(|(number, _)| *number != 15)
    {
        despite_load(|| {
            // The client waits for a second for a reader of its summary.
            let client = UnreadClient::start(&server, &["--summary"]);
            signal(client.process.id(), "TERM");
            eventually(|| match fs::metadata(&client.report).unwrap().len() {
                0 => Err("no report".to_string()),
                _ => Ok(()),
            });
            // Within 100 ms, a signal counts as the first one repeated.
            thread::sleep(Duration::from_millis(150));
            signal(client.process.id(), second);
            let (status, report) = client.end();
            assert_eq!(report["exit"].number(), 143.0);
            if status.code() == Some(143) {
                return Ok(());
            }
            // On a slow machine the second signal comes too late.
            assert_eq!(ended_by(status), Some(15), "SIGTERM, then SIG{second}");
            Err(format!("SIG{second} had no effect: {status}"))
        });
    }
}

#[test]
fn as_process_1_the_client_exits_with_128_plus_the_signal() {
    let server = Server::start(&["-q"]);
    for (number, name) in ending_signals() {
        let Some(mut command) = as_process_1(&server.client(&[])) else {
            return;
        };
        let mut client = SignalledClient::start(&mut command);
        client.await_reply();
        signal(children(client.process.id())[0], name);
        let (status, report, stderr) = client.end();
        assert_eq!(status.code(), Some(128 + number), "{status}: {stderr}");
        assert_conclusion(&stderr, &report, (number, name));
    }
}

#[test]
fn a_signal_that_is_ignored_at_the_start_stays_ignored() {
    let server = Server::start(&["-q"]);
    let plain = server.client(&[]);
    let mut shell = command("sh");
    shell
        .args(["-c", "trap '' INT HUP; exec \"$0\" \"$@\""])
        .arg(plain.get_program())
        .args(plain.get_args());
    let mut client = SignalledClient::start(&mut shell);
    for name in ["INT", "HUP"] {
        client.await_reply();
        signal(client.process.id(), name);
        let stdin = client.process.stdin.as_mut().unwrap();
        stdin.write_all(b"hello\n").unwrap();
    }
    client.await_reply();
    client.assert_ends_by((15, "TERM"));
}

#[test]
fn an_end_of_input_together_with_a_signal_shows_one_summary() {
    let server = Server::start(&["-q"]);
    let mut signalled = 0;
    // How many microseconds the end of input is later than the call of `signal`. Each run
    // moves it towards the moment at which both arrive together.
    let mut later = 1000;
    let mut step = 200;
    let mut was_signalled = false;
    for _ in 0..50 {
        let mut client = SignalledClient::start(&mut server.client(&[]));
        client.await_reply();
        let id = client.process.id();
        let stdin = client.process.stdin.take();
        let closer = thread::spawn(move || {
            thread::sleep(Duration::from_micros(later));
            drop(stdin);
        });
        // The client may have ended already, but not been waited for.
        signal(id, "TERM");
        closer.join().unwrap();
        let (status, report, stderr) = client.end();
        let exit = match ended_by(status) {
            Some(signal) => 128 + signal,
            None => status.code().unwrap(),
        };
        assert!(exit == 0 || exit == 143, "{status}: {stderr}");
        assert_eq!(report["exit"].number(), f64::from(exit), "{stderr}");
        let is_signalled = exit == 143;
        signalled += usize::from(is_signalled);
        match is_signalled == was_signalled {
            true => step *= 2,
            false => step = 200,
        }
        later = match is_signalled {
            true => later.saturating_sub(step),
            false => later + step,
        };
        was_signalled = is_signalled;
    }
    println!("ended by the signal in {signalled} of 50 runs");
    assert!((1..50).contains(&signalled), "{signalled}");
}
