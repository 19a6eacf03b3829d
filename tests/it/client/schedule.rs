//! The schedule of `--rate`: due times during a stall, for each manner of input.

use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::process::ChildStdin;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::util::{
    HANG_LIMIT, Running, acknowledgement, client, despite_load, replying_peer, run_from,
    take_report, temporary_file,
};

/// How many lines are sent, in two seconds.
const LINES: usize = 2000;

/// The number of the line at which the server stalls.
const BEFORE: u64 = 333;

/// Starts a server that stalls once, for 700 ms. Returns its address, and a channel for
/// the true length of the stall.
fn start_stalling() -> (SocketAddr, mpsc::Receiver<Duration>) {
    let (stalled, stall) = mpsc::channel();
    let address = replying_peer(move |number, line| {
        if number == BEFORE {
            let begun = Instant::now();
            thread::sleep(Duration::from_millis(700));
            let _ = stalled.send(begun.elapsed());
        }
        acknowledgement(line)
    });
    (address, stall)
}

/// How the lines arrive at the client.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Input {
    /// A hundred at once every 20 ms: five times the rate.
    Bursts,
    /// As fast as the pipe lets them pass.
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

/// Sends all lines through the stall, and checks that the reply times count from the due
/// times of the schedule.
fn check_keeps_its_backlog(input: Input, window: &str) -> Result<(), String> {
    let (address, stall) = start_stalling();
    let report = temporary_file();
    let mut client = client(address, &["--rate", "1000", "--window", window]);
    client.arg("--report").arg(&report);
    let outcome = if input == Input::File {
        let file = temporary_file();
        fs::write(&file, line().repeat(LINES)).unwrap();
        let outcome = run_from(&mut client, File::open(&file).unwrap());
        fs::remove_file(file).unwrap();
        outcome
    } else {
        let mut running = Running::start(&mut client);
        let stdin = running.stdin.take().unwrap();
        thread::spawn(move || input.write(stdin));
        running.finish()
    };
    outcome.assert_code(0);
    let report = take_report(&report);
    // Two hundred of the lines, a tenth of all, waited longer than the others.
    let truth = stall.recv_timeout(HANG_LIMIT).unwrap().as_secs_f64() - 0.2;
    let p90 = report["reply_time_ms"]["p90"].number() / 1000.0;
    let seconds = report["seconds"].number();
    let figures = format!(
        "{input:?}, window {window}: p90 {p90:.3} s for {truth:.3} s, {seconds:.3} s in all"
    );
    println!("{figures}");
    // A busy machine delays both the client and its input, by twice its own delay at most.
    // With bursts, there are times without anything to send.
    let late = 2.0 * report["own_delay_ms"]["max"].number() / 1000.0;
    let longest = late + if input == Input::Bursts { 2.5 } else { 2.4 };
    let is_right = (truth * 0.98..truth + 0.25 + late).contains(&p90) && seconds < longest;
    assert!(seconds > 1.99, "{figures}");
    if is_right {
        return Ok(());
    }
    Err(figures)
}

/// How long the server takes for the first of two lines.
const STALL: Duration = Duration::from_millis(400);

/// Returns the reply time of the second of two lines. It is written when `wait`
/// returns.
fn reply_time_of_the_second(wait: impl FnOnce(&mut Running)) -> Duration {
    let address = replying_peer(|number, line| {
        if number == 1 {
            thread::sleep(STALL);
        }
        acknowledgement(line)
    });
    let report = temporary_file();
    let mut client = client(address, &["--rate", "100", "--window", "1"]);
    let mut running = Running::start(client.arg("--report").arg(&report));
    running.send("first\n");
    wait(&mut running);
    running.send("second\n");
    drop(running.stdin.take());
    running.finish().assert_code(0);
    let times = take_report(&report);
    // Of two, it is the shorter one, and the first line took as long as the stall.
    Duration::from_secs_f64(times["reply_time_ms"]["p50"].number() / 1000.0)
}

#[test]
fn a_late_line_keeps_its_due_time_if_the_window_was_full() {
    // It is due ten milliseconds after the first line.
    let least = STALL - Duration::from_millis(10);
    let time = reply_time_of_the_second(|_| thread::sleep(STALL / 2));
    assert!(time >= least, "it came while the window was full: {time:?}");
    let time = reply_time_of_the_second(|client| {
        client.read_until("first\n");
    });
    assert!(time >= least, "it came after the window had room: {time:?}");
}

#[test]
fn reply_times_show_a_stall_however_the_input_arrives() {
    thread::scope(|scope| {
        for input in [Input::Bursts, Input::Pipe, Input::File] {
            for window in ["10", "8192"] {
                scope.spawn(move || despite_load(|| check_keeps_its_backlog(input, window)));
            }
        }
    });
}
