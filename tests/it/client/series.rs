//! `--series`: the contents of its rows, when they are written, and how gnuplot draws them.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::thread;
use std::time::UNIX_EPOCH;

use crate::util::{
    Probe, Row, Running, Server, client, command, despite_load, eventually, installed, os_error,
    printed, read_series, run, signal, take_report, temporary_file, unique_ip,
};

/// By how many seconds a busy machine may delay a row. If it is more, the test measures
/// again.
const SLACK: f64 = 0.2;

/// Waits for the row of this number. Returns it, and how many seconds after its own time
/// it was in the file.
fn await_row(path: &Path, number: usize) -> (Row, f64) {
    let row = eventually(|| {
        let text = fs::read_to_string(path).unwrap_or_default();
        if text.is_empty() {
            return Err("no row".to_string());
        }
        let mut rows = read_series(&text);
        if rows.len() <= number {
            return Err("no such row".to_string());
        }
        Ok(rows.swap_remove(number))
    });
    let late = UNIX_EPOCH.elapsed().unwrap().as_secs_f64() - row["time"];
    (row, late)
}

fn check_rows_are_on_time_and_add_up() -> Result<(), String> {
    let server = Server::start(&["-q"]);
    let path = temporary_file();
    let args = ["--rate", "1000", "--series", path.to_str().unwrap()];
    let probe = Probe::start(server.address, &args);
    let rows = [0, 1].map(|number| await_row(&path, number));
    probe.await_replies(100);
    let (report, _) = probe.interrupt();
    let (began, seconds) = (report["began"].number(), report["seconds"].number());
    for (number, (row, late)) in (1..).zip(rows) {
        let after = row["time"] - began - f64::from(number);
        assert!(after >= 0.0, "{after}");
        if after > SLACK || late > SLACK {
            let late = format!("{after:.3} s after its time, {late:.3} s later in the file");
            return Err(format!("row {number}: {late}"));
        }
    }
    let rows = read_series(&fs::read_to_string(&path).unwrap());
    fs::remove_file(path).unwrap();
    assert_eq!(rows.len(), seconds as usize + 1, "{rows:?}");
    let last = rows.last().unwrap();
    assert!((last["time"] - began - seconds).abs() < 1e-5, "{last:?}");
    let mut replies = 0.0;
    for row in &rows {
        replies += row["replies"];
        assert_eq!(row["acknowledged"], replies, "{rows:?}");
    }
    assert_eq!(replies, report["lines"]["acknowledged"].number());
    Ok(())
}

fn assert_a_kill_takes_no_row_back() {
    let server = Server::start(&["-q"]);
    let path = temporary_file();
    let args = ["--rate", "1000", "--series", path.to_str().unwrap()];
    let probe = Probe::start(server.address, &args);
    let (row, _) = await_row(&path, 0);
    signal(probe.id(), "KILL");
    drop(probe);
    let rows = read_series(&fs::read_to_string(&path).unwrap());
    fs::remove_file(path).unwrap();
    assert_eq!(rows[0], row);
}

#[test]
#[cfg_attr(windows, ignore = "needs signals")]
fn each_second_has_its_row_and_the_rows_add_up_to_the_report() {
    thread::scope(|scope| {
        scope.spawn(|| despite_load(check_rows_are_on_time_and_add_up));
        scope.spawn(assert_a_kill_takes_no_row_back);
    });
}

#[test]
#[cfg_attr(windows, ignore = "needs named pipes in the file system")]
fn a_fifo_without_a_reader_delays_the_rows_but_not_the_run() {
    let server = Server::start(&["-q"]);
    let path = temporary_file();
    run(command("mkfifo").arg(&path), "").assert_code(0);
    let mut client = server.client(&["--series", path.to_str().unwrap()]);
    let outcome = run(&mut client, "one\n");
    let why = "the last row was not taken within 1 s; does anybody read it?";
    let error = format!(
        "client: cannot write the series {}: {why}\n",
        path.display()
    );
    outcome.assert(1, printed(["one"]), &error);
    // With a reader, all rows arrive.
    let mut client = Running::start(&mut client);
    let mut fifo = BufReader::new(File::open(&path).unwrap());
    let mut text = String::new();
    fifo.read_line(&mut text).unwrap();
    client.send("one\ntwo\n");
    drop(client.stdin.take());
    client.finish().assert(0, printed(["one", "two"]), "");
    fifo.read_to_string(&mut text).unwrap();
    assert_eq!(read_series(&text).last().unwrap()["acknowledged"], 2.0);
    fs::remove_file(path).unwrap();
}

#[test]
#[cfg_attr(windows, ignore = "needs the files of Unix")]
fn a_series_that_cannot_be_written_fails_the_run() {
    let listener = TcpListener::bind((unique_ip(), 0)).unwrap();
    let nobody = listener.local_addr().unwrap();
    let server = Server::start(&["-q"]);
    for (address, path, number, stdout) in [
        (nobody, "/nowhere/series", 2, String::new()),
        (nobody, "/", 21, String::new()),
        // The run may end before the client sees the error.
        (server.address, "/dev/full", 28, printed(["hello"])),
    ] {
        let report = temporary_file();
        let mut client = client(address, &["--series", path, "--report"]);
        let outcome = run(client.arg(&report), "hello\n");
        outcome.assert_code(1);
        let why = format!("cannot write the series {path}: {}", os_error(number));
        assert_eq!(outcome.stderr, format!("client: {why}\n"), "{outcome}");
        assert_eq!(take_report(&report)["error"].text(), why);
        assert!(stdout.as_bytes().starts_with(&outcome.stdout), "{outcome}");
    }
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "it has connected");
}

/// A run of five seconds, with an outage from the second to the fourth.
const ROWS: &str = "\
time,acknowledged,replies,replies_per_second,p50_ms,p99_ms,max_ms,in_flight,waiting_ms,\
outage_seconds,own_delay_ms
1795677690.5,1000,1000,1000.0,0.147,0.299,1.180,0,0.000,0.000,0.104
1795677691.5,1200,200,200.0,0.147,0.299,1.180,3,800.000,0.800,0.083
1795677692.5,1200,0,0.0,,,,3,1800.000,1.800,0.114
1795677693.5,4000,2800,2800.0,900.000,1900.000,2000.000,0,0.000,2.000,0.104
1795677694.1,4600,600,1000.0,0.147,0.299,1.180,0,0.000,0.000,0.000
";

#[test]
fn gnuplot_draws_a_series() {
    let Some(mut gnuplot) = installed("gnuplot") else {
        return;
    };
    let neighbours = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/neighbours");
    let (rows, picture) = (temporary_file(), temporary_file());
    fs::write(&rows, ROWS).unwrap();
    gnuplot.arg("-c").arg(neighbours.join("series.gnuplot"));
    let outcome = run(gnuplot.arg(&rows).arg(&picture), "");
    outcome.assert(0, "", "");
    let drawn = fs::read_to_string(&picture).unwrap();
    let shown = fs::read_to_string(neighbours.join("series.svg")).unwrap();
    // The same script has drawn the picture in the README.
    for svg in [&drawn, &shown] {
        assert!(svg.trim_end().ends_with("</svg>"), "{svg}");
        for text in ["p50", "p99", "waiting", "own delay", "outage", "replies/s"] {
            assert!(svg.contains(text), "no {text} in {svg}");
        }
    }
    assert!(shown.len() < 60 * 1024);
    // Each of the two diagrams has bands for three rows, and the key has one band.
    assert_eq!(
        drawn
            .matches("<polygon fill = 'rgb(216, 216, 216)'")
            .count(),
        7
    );
    fs::remove_file(rows).unwrap();
    fs::remove_file(picture).unwrap();
}
