//! A client with endless input, whose replies, log and report a test watches.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::{
    Json, Process, client, ended_by, eventually, signal, spawn, take_report, temporary_file,
};

/// A client that sends the line `x` again and again until `interrupt`.
pub struct Probe {
    process: Process,
    report: PathBuf,
    stderr: PathBuf,
    /// How many replies the client has printed.
    printed: Arc<AtomicU64>,
}

impl Probe {
    pub fn start(address: SocketAddr, args: &[&str]) -> Self {
        let (report, stderr) = (temporary_file(), temporary_file());
        let mut client = client(address, args);
        client.arg("--report").arg(&report);
        client.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = spawn(client.stderr(File::create(&stderr).unwrap()));
        let mut stdin = process.stdin.take().unwrap();
        thread::spawn(move || while stdin.write_all(&b"x\n".repeat(500)).is_ok() {});
        let printed = Arc::new(AtomicU64::new(0));
        let stdout = process.stdout.take().unwrap();
        let count = Arc::clone(&printed);
        thread::spawn(move || {
            let lines = BufReader::new(stdout).lines();
            for _ in lines.map_while(Result::ok) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Probe {
            process,
            report,
            stderr,
            printed,
        }
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits until so many more replies are printed.
    pub fn await_replies(&self, more: u64) {
        let wanted = self.printed.load(Ordering::Relaxed) + more;
        eventually(|| match self.printed.load(Ordering::Relaxed) {
            printed if printed >= wanted => Ok(()),
            printed => Err(format!("{printed} replies instead of {wanted}")),
        });
    }

    /// Returns what the client has written to its standard error so far.
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }

    /// Waits until the standard error has this text so many times.
    pub fn await_stderr(&self, text: &str, times: usize) {
        eventually(|| {
            let stderr = self.stderr();
            if stderr.matches(text).count() >= times {
                return Ok(());
            }
            Err(stderr)
        });
    }

    /// Ends the client by SIGTERM. Returns its report and its standard error.
    pub fn interrupt(mut self) -> (Json, String) {
        signal(self.process.id(), "TERM");
        let status = self.process.wait().unwrap();
        let stderr = fs::read_to_string(&self.stderr).unwrap();
        assert_eq!(ended_by(status), Some(15), "{status}: {stderr}");
        fs::remove_file(&self.stderr).unwrap();
        (take_report(&self.report), stderr)
    }
}
