//! The client beside `nc`, which verifies nothing.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::ROUNDS;
use crate::measure::median;
use crate::util::{Server, number_in_proc, printed, temporary_file};

/// What the client and `nc` took in turns with the same
/// input, in seconds, and the most memory that the client had, in KB.
struct BesideNc {
    ours: Vec<f64>,
    /// Empty if `nc` is not there.
    theirs: Vec<f64>,
    peak: u64,
}

impl BesideNc {
    fn measure(rounds: usize, input: &Path, output: &Path, check: impl Fn()) -> Self {
        let server = Server::start(&["-q"]);
        let (host, port) = (server.address.ip(), server.address.port());
        let mut nc = Command::new("nc");
        nc.args(["-N", &host.to_string(), &port.to_string()]);
        let (mut ours, mut theirs, mut peak) = (Vec::new(), Vec::new(), 0);
        for _ in 0..rounds {
            theirs.extend(time(&mut nc, input, output).map(|(seconds, _)| seconds));
            let client = time(&mut server.client(&[]), input, output);
            let (seconds, memory) = client.expect("the client did not end with exit code 0");
            check();
            ours.push(seconds);
            peak = peak.max(memory);
        }
        BesideNc { ours, theirs, peak }
    }

    /// The client's time in terms of `nc`'s.
    fn ratio(&self, of: impl Fn(&[f64], &[f64]) -> f64) -> String {
        match self.theirs.len() == self.ours.len() {
            true => format!("{:.2} times nc's time", of(&self.ours, &self.theirs)),
            false => "nc -N is not there to compare with".to_string(),
        }
    }
}

/// How long a command takes with this input, in seconds, and the most memory that
/// it had, in KB; nothing if it cannot be run or fails.
pub fn time(command: &mut Command, input: &Path, output: &Path) -> Option<(f64, u64)> {
    command
        .stdin(File::open(input).unwrap())
        .stdout(File::create(output).unwrap());
    let begun = Instant::now();
    let mut child = command.spawn().ok()?;
    let mut peak = 0;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status
                .success()
                .then_some((begun.elapsed().as_secs_f64(), peak));
        }
        // Once it has ended, the kernel has nothing to say of its memory.
        peak = number_in_proc(child.id(), "status", "VmHWM:", 0).unwrap_or(peak);
        thread::sleep(Duration::from_millis(1));
    }
}

/// A million lines from a file to a file, each of which is compared afterwards.
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

/// So many lines that a run takes seconds, where neither the start of a program
/// nor a slow file has a share. The best time of each is what it can do.
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
