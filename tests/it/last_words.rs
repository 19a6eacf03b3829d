//! The client's last words after a signal, where something else is in the way of
//! them.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::util::{
    Random, Server, Signalled, assert_last_words, children, command, eventually, full_pipe,
    printed, process_1, signal, signals, spawn, take_report, temporary_file,
};

#[test]
fn a_signal_ends_a_client_in_time_whose_last_words_nobody_reads() {
    let server = Server::start(&["-q"]);
    for args in [&["--summary"][..], &["--summary", "--progress"]] {
        let (_reader, full) = full_pipe();
        let report = temporary_file();
        let mut command = server.client(args);
        command.arg("--report").arg(&report).stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(full);
        let mut child = spawn(&mut command);
        // The reply comes after signals are watched.
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"hello\n").unwrap();
        let mut reply = vec![0; printed(["hello"]).len()];
        let stdout = child.stdout.as_mut().unwrap();
        stdout.read_exact(&mut reply).unwrap();
        let begun = Instant::now();
        signal(child.id(), "TERM");
        assert_eq!(child.wait().unwrap().signal(), Some(15));
        let took = begun.elapsed();
        println!("ended after {took:?}");
        assert!(took < Duration::from_secs(2), "{took:?}");
        assert_eq!(take_report(&report)["exit"].number(), 143.0);
    }
}

#[test]
fn a_second_signal_ends_a_client_at_once_with_the_exit_code_of_the_first() {
    let server = Server::start(&["-q"]);
    for (_, second) in signals().into_iter().filter(|(number, _)| *number != 15) {
        // That nobody reads the last words keeps it for a second.
        let (_reader, full) = full_pipe();
        let report = temporary_file();
        let mut command = server.client(&["--summary", "--report"]);
        command.arg(&report).stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(full);
        let mut child = spawn(&mut command);
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"hello\n").unwrap();
        let mut reply = vec![0; printed(["hello"]).len()];
        let stdout = child.stdout.as_mut().unwrap();
        stdout.read_exact(&mut reply).unwrap();
        signal(child.id(), "TERM");
        eventually(|| {
            let is_written = fs::metadata(&report).unwrap().len() > 0;
            is_written.then_some(()).ok_or("no report".to_string())
        });
        // Within 100 ms, it would be the first one repeated.
        thread::sleep(Duration::from_millis(150));
        signal(child.id(), second);
        let status = child.wait().unwrap();
        println!("SIGTERM, then SIG{second}: {status}");
        // On a slow machine, the second one comes too late.
        assert!(
            status.code() == Some(143) || status.signal() == Some(15),
            "{status}"
        );
        assert_eq!(take_report(&report)["exit"].number(), 143.0);
    }
}

#[test]
fn as_process_1_it_exits_with_128_and_the_signals_number() {
    let server = Server::start(&["-q"]);
    for (number, name) in signals() {
        let Some(mut command) = process_1(&server.client(&[])) else {
            return;
        };
        let mut client = Signalled::start(&mut command);
        client.await_reply();
        signal(children(client.process.id())[0], name);
        let (status, report, stderr) = client.end();
        assert_eq!(status.code(), Some(128 + number), "{status}: {stderr}");
        assert_last_words(&stderr, &report, (number, name));
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
    let mut client = Signalled::start(&mut shell);
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
    let mut random = Random(20_261_124);
    let mut signalled = 0;
    for _ in 0..50 {
        let mut client = Signalled::start(&mut server.client(&[]));
        client.await_reply();
        let (id, stdin) = (client.process.id(), client.process.stdin.take());
        // Starting the program that signals takes about as long.
        let later = Duration::from_micros(random.below(2000));
        let closer = thread::spawn(move || {
            thread::sleep(later);
            drop(stdin);
        });
        // It may have ended already.
        let kill = Command::new("sh")
            .args(["-c", "kill -s TERM $0 2>/dev/null; true", &id.to_string()])
            .status();
        assert!(kill.unwrap().success());
        closer.join().unwrap();
        let (status, report, stderr) = client.end();
        let exit = match status.signal() {
            Some(signal) => 128 + signal,
            None => status.code().unwrap(),
        };
        assert!(exit == 0 || exit == 143, "{status}: {stderr}");
        assert_eq!(report["exit"].number(), f64::from(exit), "{stderr}");
        signalled += usize::from(exit == 143);
    }
    println!("ended by the signal in {signalled} of 50 runs");
}
