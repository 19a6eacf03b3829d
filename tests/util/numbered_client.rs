//! A client that sends numbered lines, and a check that servers received each line once.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{Json, Process, printed, spawn, take_report, temporary_file};

/// A client that is given numbered lines until `end` is called. Its name is part of each
/// line, so the lines of all clients differ.
pub struct NumberedClient {
    name: String,
    process: Process,
    is_enough: Arc<AtomicBool>,
    /// Returns how many lines it wrote.
    feeder: JoinHandle<u64>,
    stdout: PathBuf,
    report: PathBuf,
}

impl NumberedClient {
    /// Starts a client. Its input comes line by line with this pause after each, or as
    /// fast as the client reads if the pause is zero.
    pub fn start(name: String, command: &mut Command, pause: Duration) -> Self {
        let (stdout, report) = (temporary_file(), temporary_file());
        command.args(["-q", "--report"]).arg(&report);
        command.stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut process = spawn(command.stdout(File::create(&stdout).unwrap()));
        let mut stdin = process.stdin.take().unwrap();
        let is_enough = Arc::new(AtomicBool::new(false));
        let prefix = name.clone();
        let has_enough = Arc::clone(&is_enough);
        let feeder = thread::spawn(move || {
            let part = if pause.is_zero() { 64 } else { 1 };
            let mut lines = 0;
            while !has_enough.load(Ordering::Relaxed) {
                let numbers = lines..lines + part;
                let text: String = numbers.map(|line| format!("{prefix}.{line}\n")).collect();
                // If the client fails, `end` says so.
                if stdin.write_all(text.as_bytes()).is_err() {
                    break;
                }
                lines += part;
                thread::sleep(pause);
            }
            lines
        });
        NumberedClient {
            name,
            process,
            is_enough,
            feeder,
            stdout,
            report,
        }
    }

    /// Ends the input, and asserts that the client succeeds and printed the reply to each
    /// of its lines. Returns the lines and the report.
    #[track_caller]
    pub fn end(self) -> (Vec<String>, Json) {
        self.is_enough.store(true, Ordering::Relaxed);
        let lines = 0..self.feeder.join().unwrap();
        let lines: Vec<String> = lines.map(|line| format!("{}.{line}", self.name)).collect();
        let outcome = self.process.finish();
        outcome.assert(0, "", "");
        let stdout = fs::read_to_string(&self.stdout).unwrap();
        fs::remove_file(&self.stdout).unwrap();
        assert!(
            stdout == printed(&lines),
            "client {} printed others",
            self.name
        );
        (lines, take_report(&self.report))
    }
}

/// Asserts that the servers with these logs together received each of these lines once,
/// and no part of a line.
#[track_caller]
pub fn assert_received_once(logs: &[String], lines: &[String]) {
    let mut times: HashMap<&str, u32> = lines.iter().map(|line| (line.as_str(), 0)).collect();
    for line in logs.iter().flat_map(|log| log.lines()) {
        assert!(!line.contains("Rejected message"), "{line}");
        let Some((_, text)) = line.split_once(": Received message: ") else {
            continue;
        };
        match times.get_mut(text) {
            Some(times) => *times += 1,
            None => assert_eq!(text, "y", "part of a line"),
        }
    }
    let other: Vec<_> = times.iter().filter(|(_, times)| **times != 1).collect();
    assert!(other.is_empty(), "{} lines, as {:?}", other.len(), other[0]);
}
