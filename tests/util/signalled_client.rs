//! A client that is sent a signal, the checks of its summary and report, and full pipes.

use std::fs::{self, File};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::{
    Json, Process, ended_by, eventually, is_signal_ignored, printed, signal, spawn, take_report,
    temporary_file,
};

/// Returns the number and the name of each signal that asks a program to end, without
/// those that the programs of this test ignore.
pub fn ending_signals() -> Vec<(i32, &'static str)> {
    let signals = [(1, "HUP"), (2, "INT"), (15, "TERM")];
    let mut signals = signals.to_vec();
    signals.retain(|(number, _)| !is_signal_ignored(*number));
    signals
}

/// A client with a summary and a report. Its input is one line, and stays open.
pub struct SignalledClient {
    pub process: Process,
    report: PathBuf,
    stderr: PathBuf,
}

impl SignalledClient {
    pub fn start(command: &mut Command) -> Self {
        Self::start_with(command, Stdio::piped())
    }

    pub fn start_with(command: &mut Command, stdout: Stdio) -> Self {
        let report = temporary_file();
        let stderr = temporary_file();
        command.args(["--summary", "--report"]).arg(&report);
        command.stdin(Stdio::piped()).stdout(stdout);
        command.stderr(File::create(&stderr).unwrap());
        let mut process = spawn(command);
        let stdin = process.stdin.as_mut().unwrap();
        stdin.write_all(b"hello\n").unwrap();
        SignalledClient {
            process,
            report,
            stderr,
        }
    }

    /// Waits until the standard error contains this text.
    pub fn await_stderr(&self, text: &str) {
        eventually(|| {
            let stderr = fs::read_to_string(&self.stderr).unwrap();
            if stderr.contains(text) {
                return Ok(());
            }
            Err(format!("no {text:?} in:\n{stderr}"))
        });
    }

    /// Waits until the reply to the line `hello` is printed.
    pub fn await_reply(&mut self) {
        let stdout = self.process.stdout.as_mut().unwrap();
        let mut line = [0; 64];
        let read = stdout.read(&mut line).unwrap();
        let line = String::from_utf8_lossy(&line[..read]);
        assert_eq!(line, printed(["hello"]));
    }

    /// Waits for the client's end. Returns the status, the report and the standard error.
    #[track_caller]
    pub fn end(self) -> (ExitStatus, Json, String) {
        let mut process = self.process;
        // `wait` would close the input first.
        let _stdin = process.stdin.take();
        process.await_end();
        let status = process.wait().unwrap();
        let stderr = fs::read_to_string(&self.stderr).unwrap();
        fs::remove_file(&self.stderr).unwrap();
        assert_eq!(stderr.matches(" acknowledged, ").count(), 1, "{stderr}");
        (status, take_report(&self.report), stderr)
    }

    /// Sends a signal (its number and name), and asserts that the client writes its summary
    /// and report and ends at once.
    #[track_caller]
    pub fn assert_ends_by(self, (number, name): (i32, &str)) {
        signal(self.process.id(), name);
        let begun = Instant::now();
        let (status, report, stderr) = self.end();
        let took = begun.elapsed();
        println!("SIG{name}: ended after {took:?}");
        assert_eq!(ended_by(status), Some(number), "{status}: {stderr}");
        assert!(took < Duration::from_millis(1100), "{took:?}");
        assert_conclusion(&stderr, &report, (number, name));
    }
}

/// Asserts that the summary and the report say that this signal ended the run.
#[track_caller]
pub fn assert_conclusion(stderr: &str, report: &Json, (number, name): (i32, &str)) {
    let acknowledged = report["lines"]["acknowledged"].number();
    let summary = format!("client: {acknowledged} acknowledged, 0 rejected, 0 wrong, ");
    assert!(stderr.contains(&summary), "{stderr}");
    let cut_short = "; the input was not read to its end\n";
    assert!(stderr.contains(cut_short), "{stderr}");
    assert_eq!(report["exit"].number(), f64::from(128 + number));
    assert_eq!(report["error"].text(), format!("SIG{name}"));
    assert_eq!(report["input_ended"], Json::Bool(false));
}

/// Returns the two ends of a full pipe: a write to it blocks.
pub fn full_pipe() -> (PipeReader, Stdio) {
    let (reader, writer) = io::pipe().unwrap();
    fill_pipe(&writer);
    (reader, writer.into())
}

/// Fills a pipe to the last byte.
#[cfg(unix)]
pub fn fill_pipe(pipe: &PipeWriter) {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::OpenOptionsExt;

    const O_NONBLOCK: i32 = 0o4000;
    let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    let mut options = File::options();
    let options = options.write(true).custom_flags(O_NONBLOCK);
    let mut pipe = options.open(path).unwrap();
    let block = [b'x'; 4096];
    for size in [block.len(), 1] {
        while pipe.write(&block[..size]).is_ok() {}
    }
}

#[cfg(not(unix))]
pub fn fill_pipe(_: &PipeWriter) {
    unimplemented!()
}
