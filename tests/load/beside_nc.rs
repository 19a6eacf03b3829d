//! The speed of the client, compared with `nc`, which verifies nothing.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::ROUNDS;
use crate::measure::median;
use crate::util::{Server, number_in_proc, printed, temporary_file};

/// The times of the client and of `nc`, in turns, with the same input.
struct BesideNc {
    /// The client's times, in seconds.
    ours: Vec<f64>,
    /// The times of `nc`, in seconds; empty if `nc` is not installed.
    theirs: Vec<f64>,
    /// The most memory that the client had, in KB.
    peak: u64,
}

impl BesideNc {
    fn measure(rounds: usize, input: &Path, output: &Path, check: impl Fn()) -> Self {
        let server = Server::start(&["-q"]);
        let (host, port) = (server.address.ip(), server.address.port());
        let mut nc = Command::new("nc");
        nc.args(["-N", &host.to_string(), &port.to_string()]);
        let mut ours = Vec::new();
        let mut theirs = Vec::new();
        let mut peak = 0;
        for _ in 0..rounds {
            if let Some(run) = time(&mut nc, input, output) {
                theirs.push(run.seconds);
            }
            let run = time(&mut server.client(&[]), input, output);
            let run = run.expect("the client did not end with exit code 0");
            check();
            ours.push(run.seconds);
            peak = peak.max(run.peak);
        }
        BesideNc { ours, theirs, peak }
    }

    /// Says how many times `nc`'s time the client takes.
    fn ratio(&self, of: impl Fn(&[f64], &[f64]) -> f64) -> String {
        match self.theirs.len() == self.ours.len() {
            true => format!("{:.2} times nc's time", of(&self.ours, &self.theirs)),
            false => "nc -N is not there to compare with".to_string(),
        }
    }
}

/// One run of a program.
pub struct Run {
    pub seconds: f64,
    /// The most memory that the program had, in KB.
    pub peak: u64,
}

/// Runs a command from a file to a file; returns nothing if it cannot be run or fails.
pub fn time(command: &mut Command, input: &Path, output: &Path) -> Option<Run> {
    command
        .stdin(File::open(input).unwrap())
        .stdout(File::create(output).unwrap());
    let begun = Instant::now();
    let mut child = command.spawn().ok()?;
    let mut peak = 0;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            if !status.success() {
                return None;
            }
            let seconds = begun.elapsed().as_secs_f64();
            return Some(Run { seconds, peak });
        }
        // After its end, the kernel no longer says how much memory it had.
        peak = number_in_proc(child.id(), "status", "VmHWM:", 0).unwrap_or(peak);
        thread::sleep(Duration::from_millis(1));
    }
}

/// Measures a million lines from a file to a file, and compares each line afterwards.
pub fn a_million_lines(name: &str) {
    const LINES: u64 = 1_000_000;
    let [input, output] = [temporary_file(), temporary_file()];
    let lines: String = (0..LINES)
        .map(|n| format!("this is line {n:08}\n"))
        .collect();
    fs::write(&input, &lines).unwrap();
    let expected = printed(lines.lines());
    let measured = BesideNc::measure(ROUNDS, &input, &output, || {
        assert!(
            fs::read(&output).unwrap() == expected.as_bytes(),
            "a wrong output"
        );
    });
    let rate = LINES as f64 / median(measured.ours.iter().copied());
    let ratio = measured
        .ratio(|ours, theirs| median(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs)));
    println!(
        "{name}: {rate:.0} lines/s, {ratio}, {} KB at most",
        measured.peak
    );
    let _ = fs::remove_file(input).and_then(|()| fs::remove_file(output));
}

/// Measures so many lines that a run takes seconds: then neither the start of a program
/// nor a slow file counts. Shows the best time of each.
pub fn for_seconds(name: &str) {
    const LINES: u64 = 20_000_000;
    const RUNS: usize = 6;
    let input = temporary_file();
    let mut lines = BufWriter::new(File::create(&input).unwrap());
    (1..=LINES).for_each(|n| writeln!(lines, "{n}").unwrap());
    lines.into_inner().unwrap();
    // The client's exit code says that every reply was right.
    let measured = BesideNc::measure(RUNS, &input, Path::new("/dev/null"), || {});
    let best = |times: &[f64]| times.iter().copied().fold(f64::INFINITY, f64::min);
    let rate = LINES as f64 / best(&measured.ours);
    let ratio = measured.ratio(|ours, theirs| best(ours) / best(theirs));
    println!("{name}: {rate:.0} lines/s, {ratio}, best of {RUNS} each");
    let _ = fs::remove_file(input);
}
