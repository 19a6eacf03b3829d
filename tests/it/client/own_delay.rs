//! The client's own delays in its reports: they show whether it or the server caused a stall.

use std::fmt::Display;
use std::fs;
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use crate::util::{
    Json, Probe, Running, Server, despite_load, pause, read_series, rounded_seconds, signal,
    take_report, temporary_file,
};

/// By how many seconds a busy machine may falsify a figure. If it is more, the test
/// measures again.
const SLACK: f64 = 0.2;

/// Returns a figure of a report, in seconds.
fn seconds(report: &Json, times: &str, name: &str) -> f64 {
    report[times][name].number() / 1000.0
}

/// Checks a figure that a busy machine can falsify.
fn check(is_right: bool, figure: impl Display) -> Result<(), String> {
    if is_right {
        return Ok(());
    }
    Err(figure.to_string())
}

/// Pauses a process for a second or longer, and calls `during` in the pause. Returns the
/// seconds for which the process stood still at least.
fn pause_for_a_second(id: u32, during: impl FnOnce()) -> f64 {
    pause(id);
    let paused = Instant::now();
    during();
    let rest = Duration::from_secs(1).saturating_sub(paused.elapsed());
    thread::sleep(rest);
    let truth = paused.elapsed().as_secs_f64();
    signal(id, "CONT");
    truth
}

/// Prints the longest times of a run in which one side was paused.
fn show(paused: &str, truth: f64, report: &Json) {
    let [own, reply] = ["own_delay_ms", "reply_time_ms"]
        .map(|times| rounded_seconds(seconds(report, times, "max")));
    println!(
        "{paused} was paused for {}: own delay up to {own}, reply time up to {reply}",
        rounded_seconds(truth)
    );
}

fn check_paused_client() -> Result<(), String> {
    let server = Server::start(&["-q"]);
    let path = temporary_file();
    let rows = path.to_str().unwrap();
    let args = ["--rate", "100", "--summary", "--series", rows];
    let probe = Probe::start(server.address, &args);
    probe.await_replies(50);
    let truth = pause_for_a_second(probe.id(), || ());
    probe.await_replies(150);
    let (report, stderr) = probe.interrupt();
    let longest = seconds(&report, "own_delay_ms", "max");
    show("the client", truth, &report);
    check(
        (truth - 0.02..truth + 0.05 + SLACK).contains(&longest),
        longest,
    )?;
    // Ticks and lines have the same interval, so their quantiles are the same.
    for name in ["p90", "p99", "max"] {
        let [own, reply] =
            ["own_delay_ms", "reply_time_ms"].map(|times| seconds(&report, times, name));
        let is_near = (own - reply).abs() < reply * 0.05 + SLACK / 2.0;
        check(is_near, format!("{name}: {own}, {reply}"))?;
    }
    let rows = read_series(&fs::read_to_string(&path).unwrap());
    fs::remove_file(path).unwrap();
    let delays: Vec<f64> = rows
        .iter()
        .map(|row| row["own_delay_ms"] / 1000.0)
        .collect();
    let has_pause = |delay: &f64| *delay > truth - 0.02;
    let first = delays.iter().position(has_pause).unwrap();
    let last = delays.iter().rposition(has_pause).unwrap();
    // A row was due in the pause. If it is written before the delay has ended, it has the
    // delay so far, and the next row has all of it.
    assert!(last - first <= 1, "{rows:?}");
    assert!(delays[first] <= delays[last], "{rows:?}");
    assert!((delays[last] - longest).abs() < 1e-5, "{rows:?}");
    let shown = format!("max {:.3} ms\n", longest * 1000.0);
    let line = stderr
        .lines()
        .find(|line| line.starts_with("client: its own delays p50 "));
    assert!(format!("{}\n", line.unwrap()).ends_with(&shown), "{stderr}");
    Ok(())
}

fn check_paused_server() -> Result<(), String> {
    let server = Server::start(&["-q"]);
    let probe = Probe::start(server.address, &["--rate", "100"]);
    probe.await_replies(50);
    let truth = pause_for_a_second(server.id(), || ());
    probe.await_replies(100);
    let (report, _) = probe.interrupt();
    show("the server", truth, &report);
    assert!(seconds(&report, "reply_time_ms", "max") > truth - 0.02);
    let longest = seconds(&report, "own_delay_ms", "max");
    check(longest < SLACK, longest)
}

fn check_client_paused_in_an_outage() -> Result<(), String> {
    let mut server = Server::start(&["-q"]);
    let address = server.address;
    let probe = Probe::start(address, &["--rate", "100", "--retry-for", "20"]);
    for (number, is_paused) in [(1, true), (2, false)] {
        probe.await_replies(20);
        server.kill();
        probe.await_stderr("; trying again for up to 20 s", number);
        let mut restart = || server = Server::start_at(address, &["-q"]);
        if is_paused {
            pause_for_a_second(probe.id(), restart);
        } else {
            restart();
        }
        probe.await_stderr(" again after ", number);
    }
    let (report, _) = probe.interrupt();
    let outages = report["outages"].list();
    let own_delays = outages
        .iter()
        .map(|outage| outage["own_delay_ms"].number() / 1000.0);
    let [first, second] = own_delays.collect::<Vec<f64>>()[..] else {
        panic!("{outages:?}");
    };
    println!(
        "the client was paused in the first of two outages: own delay {} in it, {} in the second",
        rounded_seconds(first),
        rounded_seconds(second)
    );
    check((0.98..1.05 + SLACK).contains(&first), first)?;
    assert!(
        first <= outages[0]["seconds"].number() + 0.02,
        "{outages:?}"
    );
    check(second < SLACK, second)
}

#[test]
#[cfg_attr(windows, ignore = "needs signals")]
fn own_delays_show_a_paused_client_but_not_a_paused_server() {
    thread::scope(|scope| {
        scope.spawn(|| despite_load(check_paused_client));
        scope.spawn(|| despite_load(check_paused_server));
        scope.spawn(|| despite_load(check_client_paused_in_an_outage));
    });
}

/// Checks the own delays of a client whose output nobody reads for two seconds.
fn check_slow_reader() -> Result<(), String> {
    let server = Server::start(&["-q"]);
    let path = temporary_file();
    let mut command = server.client(&["--report"]);
    let mut running = Running::start(command.arg(&path));
    let mut stdin = running.stdin.take().unwrap();
    let feeder = thread::spawn(move || {
        let _ = stdin.write_all("a line\n".repeat(100_000).as_bytes());
    });
    thread::sleep(Duration::from_secs(2));
    let outcome = running.finish();
    feeder.join().unwrap();
    outcome.assert_code(0);
    let report = take_report(&path);
    let [own, reply] =
        ["own_delay_ms", "reply_time_ms"].map(|times| seconds(&report, times, "max"));
    println!(
        "nobody read the client's output for 2 s: reply time up to {}",
        rounded_seconds(reply)
    );
    println!(
        "the client's own delay was up to {} (near 0 if the server were slow)",
        rounded_seconds(own)
    );
    check(reply > 1.5, format!("the longest reply time is {reply}"))?;
    check(
        (own - reply).abs() < reply * 0.05,
        format!("{own}, {reply}"),
    )
}

#[test]
fn own_delays_show_a_slow_reader_of_the_output() {
    despite_load(check_slow_reader);
}
