//! What the client says of outages, reply times and rates, beside what was done
//! to it, which only the test knows.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::util::{
    Json, Probe, Running, Server, answering, client, peer, printed, received, run, signal,
    take_report, temporary_file,
};

/// By how many seconds the scheduling of a busy machine may falsify a figure.
const SLACK: f64 = 0.3;

#[track_caller]
fn assert_near(what: &str, reported: f64, truth: f64) {
    println!("{what}: {truth:.3} s, reported: {reported:.3} s");
    let right = truth - SLACK..truth * 1.07 + 0.03 + SLACK;
    assert!(
        right.contains(&reported),
        "{what}: {truth:.3} s, reported as {reported:.3} s"
    );
}

/// One of the reply times of a report, in seconds.
fn reply_time(report: &Json, name: &str) -> f64 {
    report["reply_time_ms"][name].number() / 1000.0
}

#[test]
fn an_outage_is_reported_as_long_as_it_was() {
    let mut server = Server::start(&["-q"]);
    let address = server.address;
    let probe = Probe::start(address, &["--rate", "500", "--retry-for", "20"]);
    let mut truths = Vec::new();
    for seconds in [0.11, 0.20, 0.40, 0.80, 1.60] {
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
    assert_eq!(outages.len(), 5, "{stderr}");
    let is_back = format!("client: {address} is back after ");
    let told = stderr.lines().filter_map(|line| {
        let (seconds, _) = line.strip_prefix(&is_back)?.split_once(" s, ")?;
        seconds.parse::<f64>().ok()
    });
    for ((truth, outage), told) in truths.iter().zip(outages).zip(told) {
        let reported = outage["seconds"].number();
        assert_near("away", reported, *truth);
        assert!((told - reported).abs() < 0.001, "{told} and {reported}");
    }
    assert_eq!(stderr.matches(&is_back).count(), 5, "{stderr}");
    assert_eq!(stderr.matches("; trying again for up to 20 s").count(), 5);
    let longest = report["longest_outage_seconds"].number();
    assert_near("the longest", longest, truths[4]);
}

/// A server that stalls once, for 1.5 s, after 100 lines. It says for how long it
/// really did.
fn stalling() -> (SocketAddr, mpsc::Receiver<Duration>) {
    let (stalled, stall) = mpsc::channel();
    let address = answering(move |number, line| {
        if number == 100 {
            let begun = Instant::now();
            thread::sleep(Duration::from_millis(1500));
            let _ = stalled.send(begun.elapsed());
        }
        received(line)
    });
    (address, stall)
}

/// Asserts that 400 replies at 100 lines a second have the times of one stall.
fn assert_shows_stall(what: &str, report: &Json, truth: Duration) {
    let truth = truth.as_secs_f64();
    assert_near(what, reply_time(report, "max"), truth);
    // The four longest of 400 are a hundredth of a second apart.
    assert_near(what, reply_time(report, "p99"), truth - 0.03);
    let p50 = reply_time(report, "p50");
    assert!(p50 < SLACK, "{p50}");
}

#[test]
fn reply_times_show_a_stall_whatever_the_window() {
    thread::scope(|scope| {
        for window in ["1", "4096"] {
            scope.spawn(move || {
                let (address, stall) = stalling();
                let probe = Probe::start(address, &["--rate", "100", "--window", window]);
                probe.await_replies(400);
                let (report, stderr) = probe.interrupt();
                assert_shows_stall("stalled", &report, stall.recv().unwrap());
                assert_eq!(report["outage_count"].number(), 0.0);
                assert_eq!(stderr, "");
            });
            scope.spawn(move || {
                let mut server = Server::start(&["-q"]);
                let address = server.address;
                let args = ["--rate", "100", "--retry-for", "20", "--window", window];
                let probe = Probe::start(address, &args);
                probe.await_replies(100);
                let killed = Instant::now();
                server.kill();
                thread::sleep(Duration::from_millis(1500));
                let _server = Server::start_at(address, &["-q"]);
                let truth = killed.elapsed();
                probe.await_replies(299);
                let (report, _) = probe.interrupt();
                assert_shows_stall("killed", &report, truth);
                assert_eq!(report["outage_count"].number(), 1.0);
            });
        }
    });
}

/// A server that says how long it took from the first to the last of so many
/// lines, each an `x`.
fn timing(lines: usize) -> (SocketAddr, mpsc::Receiver<Duration>) {
    let (timed, time) = mpsc::channel();
    let address = peer(move |mut stream| {
        let (mut room, mut count, mut first) = ([0; 65_536], 0, None);
        while let Ok(read @ 1..) = stream.read(&mut room) {
            let first = *first.get_or_insert_with(Instant::now);
            let here = room[..read].iter().filter(|&&byte| byte == b'\n').count();
            count += here;
            if count == lines {
                let _ = timed.send(first.elapsed());
            }
            if stream
                .write_all(received("x").repeat(here).as_bytes())
                .is_err()
            {
                return;
            }
        }
    });
    (address, time)
}

#[test]
fn lines_go_out_at_the_rate_asked_for() {
    thread::scope(|scope| {
        for (rate, lines) in [("1", 3), ("100", 201), ("1e4", 20_001), ("100000", 200_001)] {
            scope.spawn(move || {
                let (address, time) = timing(lines);
                let outcome = run(&mut client(address, &["--rate", rate]), "x\n".repeat(lines));
                outcome.assert(0, printed(["x"]).repeat(lines), "");
                let took = time.recv().unwrap().as_secs_f64();
                println!("{lines} lines, {rate} a second: {took:.3} s");
                // A busy machine can only make it late.
                assert!(took > 2.0 * 0.95 && took < 2.0 * 1.05 + SLACK, "{took}");
            });
        }
    });
}

#[test]
fn an_input_slower_than_the_rate_does_not_make_times_grow() {
    thread::scope(|scope| {
        for (window, stalls) in [("1", false), ("4096", false), ("1", true)] {
            scope.spawn(move || {
                let address = answering(move |number, line| {
                    if stalls && number == 10 {
                        thread::sleep(Duration::from_millis(500));
                    }
                    received(line)
                });
                let report = temporary_file();
                let args = ["--rate", "100", "--window", window];
                let mut client = client(address, &args);
                let mut client = Running::start(client.arg("--report").arg(&report));
                for _ in 0..100 {
                    client.send("x\n");
                    thread::sleep(Duration::from_millis(30));
                }
                client.stdin.take();
                client.finish().assert(0, printed(["x"]).repeat(100), "");
                let report = take_report(&report);
                println!("window {window}: {:?}", report["reply_time_ms"]);
                // At three times the rate of the input, the last line would be
                // due two seconds before it is there.
                let stall = if stalls { 0.5 } else { 0.0 };
                assert!(reply_time(&report, "max") < stall + SLACK, "{report:?}");
                assert!(reply_time(&report, "p50") < 0.1, "{report:?}");
            });
        }
    });
}

#[test]
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

#[test]
fn a_rate_that_is_no_number_above_0_is_a_usage_error() {
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    for rate in ["0", "-0", "-1", "nan", "inf", "-inf", "1e999", "x", ""] {
        run(&mut client(address, &[&format!("--rate={rate}")]), "").assert_code(2);
    }
}
