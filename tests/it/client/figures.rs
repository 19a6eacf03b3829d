//! The client's figures for outages, reply times and rates, compared with what the test
//! itself did and measured.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::util::{
    HANG_LIMIT, Json, Probe, Running, Server, acknowledgement, client, despite_load, peer, printed,
    read_once, replying_peer, rounded_seconds, run, signal, take_report, temporary_file,
};

/// By how many seconds a busy machine may falsify a figure. If it is more, the test
/// measures again.
const SLACK: f64 = 0.15;

fn check_near(what: &str, reported: f64, truth: f64) -> Result<(), String> {
    let right = truth - SLACK..truth * 1.07 + 0.03 + SLACK;
    match right.contains(&reported) {
        true => Ok(()),
        false => Err(format!("{what}: {truth:.3} s, reported as {reported:.3} s")),
    }
}

/// Returns one of the reply times of a report, in seconds.
fn reply_time(report: &Json, name: &str) -> f64 {
    report["reply_time_ms"][name].number() / 1000.0
}

#[test]
#[cfg_attr(windows, ignore = "needs signals")]
fn an_outage_is_reported_as_long_as_it_was() {
    despite_load(|| {
        let mut server = Server::start(&["-q"]);
        let address = server.address;
        let probe = Probe::start(address, &["--rate", "500", "--retry-for", "20"]);
        let mut truths = Vec::new();
        for seconds in [0.1, 0.3, 0.8] {
            probe.await_replies(50);
            let killed = Instant::now();
            server.kill();
            thread::sleep(Duration::from_secs_f64(seconds));
            server = Server::start_at(address, &["-q"]);
            truths.push(killed.elapsed().as_secs_f64());
        }
        probe.await_replies(50);
        let (report, stderr) = probe.interrupt();
        let outages = report["outages"].list();
        assert_eq!(outages.len(), 3, "{stderr}");
        let is_back = format!("client: connected to {address} again after ");
        let mut logged: Vec<f64> = Vec::new();
        for line in stderr.lines() {
            if let Some(after) = line.strip_prefix(&is_back) {
                let (seconds, _) = after.split_once(" s; ").unwrap();
                logged.push(seconds.parse().unwrap());
            }
        }
        assert_eq!(logged.len(), 3, "{stderr}");
        assert_eq!(stderr.matches("; trying again for up to 20 s").count(), 3);
        let reported: Vec<f64> = outages
            .iter()
            .map(|outage| outage["seconds"].number())
            .collect();
        for (logged, reported) in logged.iter().zip(&reported) {
            assert!((logged - reported).abs() < 0.001, "{logged} and {reported}");
        }
        let longest = reported.iter().copied().fold(0.0, f64::max);
        assert_eq!(report["longest_outage_seconds"].number(), longest);
        for (reported, truth) in reported.iter().zip(truths) {
            println!("away: {truth:.3} s, reported: {reported:.3} s");
            check_near("away", *reported, truth)?;
        }
        Ok(())
    });
}

/// Lines a second: few enough for a busy machine, on which each reply takes a while even
/// without a stall.
const RATE_WITH_STALL: f64 = 20.0;

/// How many replies come before the stall, and how many more until the end.
const REPLIES_AROUND_STALL: [u64; 2] = [20, 60];

/// Starts a server that stalls once, for 0.7 s. Returns its address, and a channel for the
/// true length of the stall.
fn start_stalling() -> (SocketAddr, mpsc::Receiver<Duration>) {
    let (stalled, stall) = mpsc::channel();
    let address = replying_peer(move |number, line| {
        if number == REPLIES_AROUND_STALL[0] {
            let begun = Instant::now();
            thread::sleep(Duration::from_millis(700));
            let _ = stalled.send(begun.elapsed());
        }
        acknowledgement(line)
    });
    (address, stall)
}

/// Checks that the replies have the times of one stall.
fn check_shows_stall(what: &str, report: &Json, truth: Duration) -> Result<(), String> {
    let truth = truth.as_secs_f64();
    let [max, p90, p50] =
        ["max", "p90", "p50"].map(|name| rounded_seconds(reply_time(report, name)));
    println!(
        "{what} for {}: reply times max {max}, p90 {p90}, p50 {p50}",
        rounded_seconds(truth)
    );
    check_near(what, reply_time(report, "max"), truth)?;
    // The longest times are one interval apart, and p90 of 80 is the ninth.
    let ninth = truth - 8.0 / RATE_WITH_STALL;
    check_near(what, reply_time(report, "p90"), ninth)?;
    match reply_time(report, "p50") {
        p50 if p50 < SLACK => Ok(()),
        p50 => Err(format!("{what}: p50 {p50:.3} s")),
    }
}

#[test]
#[cfg_attr(windows, ignore = "needs signals")]
fn reply_times_show_a_stall_with_every_window() {
    let rate = RATE_WITH_STALL.to_string();
    let rate = rate.as_str();
    let [before, after] = REPLIES_AROUND_STALL;
    thread::scope(|scope| {
        for window in ["1", "4096"] {
            scope.spawn(move || {
                despite_load(|| {
                    let (address, stall) = start_stalling();
                    let probe = Probe::start(address, &["--rate", rate, "--window", window]);
                    probe.await_replies(before + after);
                    let (report, stderr) = probe.interrupt();
                    assert_eq!(report["outage_count"].number(), 0.0);
                    assert_eq!(stderr, "");
                    let truth = stall.recv_timeout(HANG_LIMIT).unwrap();
                    let what = format!("window {window}, a server that stalled");
                    check_shows_stall(&what, &report, truth)
                })
            });
            scope.spawn(move || {
                despite_load(|| {
                    let mut server = Server::start(&["-q"]);
                    let address = server.address;
                    let args = ["--rate", rate, "--retry-for", "20", "--window", window];
                    let probe = Probe::start(address, &args);
                    probe.await_replies(before);
                    let killed = Instant::now();
                    server.kill();
                    thread::sleep(Duration::from_millis(700));
                    let _server = Server::start_at(address, &["-q"]);
                    let truth = killed.elapsed();
                    probe.await_replies(after);
                    let (report, _) = probe.interrupt();
                    assert_eq!(report["outage_count"].number(), 1.0);
                    let what = format!("window {window}, no server");
                    check_shows_stall(&what, &report, truth)
                })
            });
        }
    });
}

/// Starts a server that measures the time from the first to the last of so many lines,
/// each an `x`. Returns its address, and a channel for the time.
fn start_timing(lines: usize) -> (SocketAddr, mpsc::Receiver<Duration>) {
    let (timed, time) = mpsc::channel();
    let address = peer(move |mut stream| {
        let mut buffer = [0; 65_536];
        let mut count = 0;
        let mut first = None;
        while let Ok(read @ 1..) = read_once(&stream, &mut buffer) {
            let first = *first.get_or_insert_with(Instant::now);
            let here = buffer[..read].iter().filter(|&&byte| byte == b'\n').count();
            count += here;
            if count == lines {
                let _ = timed.send(first.elapsed());
            }
            if stream
                .write_all(acknowledgement("x").repeat(here).as_bytes())
                .is_err()
            {
                return;
            }
        }
    });
    (address, time)
}

#[test]
fn lines_are_sent_at_the_requested_rate() {
    thread::scope(|scope| {
        for (rate, lines) in [("1", 2), ("100", 101), ("1e4", 10_001), ("100000", 100_001)] {
            scope.spawn(move || {
                despite_load(|| {
                    let (address, time) = start_timing(lines);
                    let begun = Instant::now();
                    let outcome = run(&mut client(address, &["--rate", rate]), "x\n".repeat(lines));
                    // The first line may arrive late, but none is sent early.
                    assert!(begun.elapsed() > Duration::from_secs(1), "{rate}");
                    outcome.assert(0, printed(["x"]).repeat(lines), "");
                    let took = time.recv_timeout(HANG_LIMIT).unwrap().as_secs_f64();
                    println!("{lines} lines, {rate} a second: {took:.3} s");
                    match took > 0.95 && took < 1.05 + SLACK {
                        true => Ok(()),
                        false => Err(format!("{lines} lines, {rate} a second: {took:.3} s")),
                    }
                })
            });
        }
    });
}

#[test]
fn an_input_slower_than_the_rate_does_not_inflate_reply_times() {
    thread::scope(|scope| {
        for (window, stalls) in [("1", false), ("4096", false), ("1", true)] {
            scope.spawn(move || despite_load(|| check_slow_input(window, stalls)));
        }
    });
}

/// Checks the reply times with a rate three times that of the input. If no line shifted the
/// schedule, the last line would be due 1.2 s before it arrives.
fn check_slow_input(window: &str, stalls: bool) -> Result<(), String> {
    let address = replying_peer(move |number, line| {
        if stalls && number == 10 {
            thread::sleep(Duration::from_millis(300));
        }
        acknowledgement(line)
    });
    let report = temporary_file();
    let mut client = client(address, &["--rate", "100", "--window", window]);
    let mut client = Running::start(client.arg("--report").arg(&report));
    for _ in 0..60 {
        client.send("x\n");
        thread::sleep(Duration::from_millis(30));
    }
    client.stdin.take();
    client.finish().assert(0, printed(["x"]).repeat(60), "");
    let report = take_report(&report);
    println!("window {window}: {:?}", report["reply_time_ms"]);
    let stall = if stalls { 0.3 } else { 0.0 };
    let [max, p50] = ["max", "p50"].map(|name| reply_time(&report, name));
    match max < stall + SLACK && p50 < 0.1 {
        true => Ok(()),
        false => Err(format!("window {window}: max {max:.3} s, p50 {p50:.3} s")),
    }
}

#[test]
#[cfg_attr(windows, ignore = "needs signals")]
fn a_rate_too_low_for_the_clock_lets_one_line_pass() {
    let server = Server::start(&["-q"]);
    for rate in ["1e-300", "1e-9"] {
        let report = temporary_file();
        let mut client = server.client(&["--rate", rate]);
        let mut client = Running::start(client.arg("--report").arg(&report));
        client.send("one\ntwo\n");
        assert_eq!(client.read_line(), printed(["one"]));
        signal(client.id(), "TERM");
        let outcome = client.finish();
        assert!(
            outcome.stdout.is_empty() && outcome.stderr.is_empty(),
            "{outcome}"
        );
        assert_eq!(take_report(&report)["exit"].number(), 143.0);
    }
}
