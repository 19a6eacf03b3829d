//! Commands for the client and others, run in pipes: status, stdout and stderr at the end.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;

use super::{Process, children, signal, skip, spawn};

/// Returns a command without the `RUST_LOG` of the user who runs these tests.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_remove("RUST_LOG");
    command
}

/// Returns a command for the client with these arguments.
pub fn client_with(args: &[&str]) -> Command {
    let mut command = command(env!("CARGO_BIN_EXE_client"));
    command.args(args);
    command
}

/// Returns a command for the client of the server at this host and port.
pub fn client_to(host: &str, port: u16, args: &[&str]) -> Command {
    let mut command = client_with(&["--host", host, "--port", &port.to_string()]);
    command.args(args);
    command
}

/// Returns a command for the client of the server at this address.
pub fn client(address: SocketAddr, args: &[&str]) -> Command {
    client_to(&address.ip().to_string(), address.port(), args)
}

/// Runs a command with this input, to its end.
pub fn run(command: &mut Command, input: impl Into<Vec<u8>>) -> Outcome {
    let input = input.into();
    let mut running = Running::start(command);
    let mut stdin = running.stdin.take().unwrap();
    // A program that ends early does not read all of it.
    thread::spawn(move || stdin.write_all(&input));
    running.finish()
}

/// Runs a command with this file, pipe or socket as its standard input, to its end.
pub fn run_from(command: &mut Command, stdin: impl Into<Stdio>) -> Outcome {
    let command = command.stdin(stdin).stdout(Stdio::piped());
    spawn(command.stderr(Stdio::piped())).finish()
}

/// Whether the programs that this test starts ignore a signal, because the test itself
/// was started so, for example by `nohup` or a script's `&`; skips the test if so.
#[track_caller]
pub fn is_signal_ignored(number: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = u64::from_str_radix(mask.unwrap().trim(), 16).unwrap();
    let is_ignored = mask & (1 << (number - 1)) != 0;
    if is_ignored {
        skip(format_args!("signal {number} is ignored here"));
    }
    is_ignored
}

/// A program with pipes for its standard streams.
pub struct Running {
    pub process: Process,
    pub stdin: Option<ChildStdin>,
    pub stdout: BufReader<ChildStdout>,
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = spawn(command);
        Running {
            stdin: process.stdin.take(),
            stdout: BufReader::new(process.stdout.take().unwrap()),
            process,
        }
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends a signal to the programs that this one has started, for example `unshare`.
    pub fn signal_child(&self, name: &str) {
        for id in children(self.id()) {
            signal(id, name);
        }
    }

    pub fn send(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
    }

    /// Reads the next line of the standard output, with its LF.
    pub fn read_line(&mut self) -> String {
        self.read_until("\n")
    }

    /// Reads the standard output up to and including this text, or to its end.
    pub fn read_until(&mut self, text: &str) -> String {
        let mut read = Vec::new();
        while !read.ends_with(text.as_bytes()) {
            match self.stdout.fill_buf().unwrap() {
                [] => break,
                bytes => read.push(bytes[0]),
            }
            self.stdout.consume(1);
        }
        String::from_utf8(read).unwrap()
    }

    /// Waits for the end. The input stays open unless the test took it.
    pub fn finish(self) -> Outcome {
        self.process.finish_reading(Some(self.stdout))
    }
}

/// How a program ended, and what it wrote.
pub struct Outcome {
    pub command: String,
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Outcome {
    /// Asserts everything that a user sees: the exit code and both streams.
    #[track_caller]
    pub fn assert(&self, code: i32, stdout: impl AsRef<[u8]>, stderr: &str) {
        let as_expected = self.status.code() == Some(code) && self.stdout == stdout.as_ref();
        let stdout = String::from_utf8_lossy(stdout.as_ref());
        assert!(
            as_expected && self.stderr == stderr,
            "{self}\nexpected: exit code {code}\nstdout:\n{}\nstderr:\n{stderr}",
            excerpt(&stdout)
        );
    }

    #[track_caller]
    pub fn assert_code(&self, code: i32) {
        assert_eq!(self.status.code(), Some(code), "{self}");
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stdout = String::from_utf8_lossy(&self.stdout);
        let Outcome {
            command,
            status,
            stderr,
            ..
        } = self;
        write!(
            f,
            "{command}: {status}\nstdout:\n{}\nstderr:\n{}",
            excerpt(&stdout),
            excerpt(stderr)
        )
    }
}

/// Returns a text, or the first 2000 characters of a long one and its length.
pub fn excerpt(text: &str) -> String {
    match text.char_indices().nth(2000) {
        Some((at, _)) => format!("{}… ({} bytes)", &text[..at], text.len()),
        None => text.to_string(),
    }
}
