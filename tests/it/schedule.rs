//! The schedule of `--rate`, whatever the manners of the input.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ChildStdin, Command};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::util::{Running, answering, client, received, take_report, temporary_file};

/// How many lines go out, at 1,000 a second.
const LINES: usize = 6000;

/// How many of them come before the stall.
const BEFORE: u64 = 1000;

/// A server that stalls once, for 2 s, and says for how long it really did.
fn stalling() -> (SocketAddr, mpsc::Receiver<Duration>) {
    let (stalled, stall) = mpsc::channel();
    let address = answering(move |number, line| {
        if number == BEFORE {
            let begun = Instant::now();
            thread::sleep(Duration::from_secs(2));
            let _ = stalled.send(begun.elapsed());
        }
        received(line)
    });
    (address, stall)
}

/// How the lines come to the client.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Input {
    /// A hundred at once every 20 ms: five times the rate.
    Bursts,
    /// As fast as the pipe takes them.
    Pipe,
    File,
}

impl Input {
    fn write(self, mut stdin: ChildStdin) {
        let burst = line().repeat(100);
        for _ in 0..LINES / 100 {
            stdin.write_all(burst.as_bytes()).unwrap();
            if self == Input::Bursts {
                thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

fn line() -> String {
    "x".repeat(999) + "\n"
}

/// A command whose standard input is this file.
fn reading(file: &Path, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", "file=$0; exec \"$@\" < \"$file\""]);
    shell
        .arg(file)
        .arg(command.get_program())
        .args(command.get_args());
    shell
}

/// Runs all lines through the stall, and asserts that the figures are those of
/// the schedule.
fn assert_keeps_its_backlog(input: Input, window: &str) {
    let (address, stall) = stalling();
    let (report, file) = (temporary_file(), temporary_file());
    let mut client = client(address, &["--rate", "1000", "--window", window]);
    client.arg("--report").arg(&report);
    if input == Input::File {
        fs::write(&file, line().repeat(LINES)).unwrap();
        client = reading(&file, &client);
    }
    let mut running = Running::start(&mut client);
    let stdin = running.stdin.take().unwrap();
    if input != Input::File {
        thread::spawn(move || input.write(stdin));
    }
    running.finish().assert_code(0);
    let _ = fs::remove_file(file);
    let report = take_report(&report);
    // Six hundred of the lines, a tenth of all, waited longer than the others.
    let truth = stall.recv().unwrap().as_secs_f64() - 0.6;
    let p90 = report["reply_time_ms"]["p90"].number() / 1000.0;
    let seconds = report["seconds"].number();
    println!("{input:?}, window {window}: p90 {p90:.3} s for {truth:.3} s, {seconds:.3} s in all");
    // A busy machine is slow to catch up, and the input slow to come.
    assert!(
        (truth * 0.98..truth + 0.2).contains(&p90),
        "{input:?}, {window}: {p90}"
    );
    // Bursts leave time in which there was nothing to send.
    let longest = if input == Input::Bursts { 6.8 } else { 6.2 };
    assert!(
        (5.99..longest).contains(&seconds),
        "{input:?}, {window}: {seconds}"
    );
}

#[test]
fn a_stall_is_not_forgotten_however_the_input_comes() {
    thread::scope(|scope| {
        for input in [Input::Bursts, Input::Pipe, Input::File] {
            for window in ["10", "8192"] {
                scope.spawn(move || assert_keeps_its_backlog(input, window));
            }
        }
    });
}
