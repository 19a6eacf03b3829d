//! A program in pipes, how it ended and what it said.

use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;

use super::LIMIT;

/// The client, to be run against the server at this address.
pub fn client(address: SocketAddr, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_client"));
    command.args([
        "--host",
        &address.ip().to_string(),
        "--port",
        &address.port().to_string(),
    ]);
    command.args(args).env_remove("RUST_LOG");
    command
}

/// Runs a command with this input, to its end.
pub fn run(command: &mut Command, input: impl Into<Vec<u8>>) -> Outcome {
    let input = input.into();
    let mut running = Running::start(command);
    let mut stdin = running.stdin.take().unwrap();
    // A program that ends early does not take it all.
    thread::spawn(move || stdin.write_all(&input));
    running.finish()
}

/// Sends a signal to a process: INT, TERM and so on.
pub fn signal(process: u32, name: &str) {
    let kill = Command::new("kill")
        .args(["-s", name, &process.to_string()])
        .status();
    assert!(kill.unwrap().success(), "kill -s {name} {process}");
}

/// Whether programs that this test starts ignore a signal, since the test was
/// started so, as by `nohup` or a script's `&`.
pub fn is_ignored(number: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = u64::from_str_radix(mask.unwrap().trim(), 16).unwrap();
    let is_ignored = mask & (1 << (number - 1)) != 0;
    if is_ignored {
        println!("skipped signal {number}: it is ignored here");
    }
    is_ignored
}

/// A program with pipes for its standard streams.
pub struct Running {
    command: String,
    child: Option<Child>,
    pub stdin: Option<ChildStdin>,
    pub stdout: BufReader<ChildStdout>,
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        Running {
            command: format!("{command:?}"),
            stdin: child.stdin.take(),
            stdout: BufReader::new(child.stdout.take().unwrap()),
            child: Some(child),
        }
    }

    pub fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Signals the one program that this one runs, as `unshare` does.
    pub fn signal_child(&self, signal: &str) {
        let script = "kill -s $1 $(cat /proc/$0/task/$0/children)";
        let mut shell = Command::new("sh");
        shell.args(["-c", script, &self.id().to_string(), signal]);
        assert!(shell.status().unwrap().success(), "sh -c '{script}'");
    }

    pub fn send(&mut self, text: &str) {
        self.stdin
            .as_mut()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }

    /// The next line of the standard output, with its LF.
    pub fn read_line(&mut self) -> String {
        self.read_until("\n")
    }

    /// The standard output up to and with this text, or to its end.
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

    /// Waits for the end; the input stays open unless it was taken.
    pub fn finish(mut self) -> Outcome {
        let mut child = self.child.take().unwrap();
        let id = child.id().to_string();
        let (ended, end) = mpsc::channel();
        let mut stdout = self.stdout;
        thread::spawn(move || {
            let mut stderr = child.stderr.take().unwrap();
            let stderr = thread::spawn(move || {
                let mut text = Vec::new();
                stderr.read_to_end(&mut text).map(|_| text)
            });
            let mut text = Vec::new();
            stdout.read_to_end(&mut text).unwrap();
            let _ = ended.send((child.wait().unwrap(), text, stderr.join().unwrap().unwrap()));
        });
        let Ok((status, stdout, stderr)) = end.recv_timeout(LIMIT * 4) else {
            Command::new("kill").args(["-KILL", &id]).status().unwrap();
            panic!("{} hangs", self.command);
        };
        let stderr = String::from_utf8_lossy(&stderr).into_owned();
        Outcome {
            command: self.command,
            status,
            stdout,
            stderr,
        }
    }
}

/// How a program ended and what it said.
pub struct Outcome {
    pub command: String,
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Outcome {
    /// Asserts everything that a user sees.
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

/// A text, or the beginning of a long one.
pub fn excerpt(text: &str) -> String {
    match text.char_indices().nth(2000) {
        Some((at, _)) => format!("{}… ({} bytes)", &text[..at], text.len()),
        None => text.to_string(),
    }
}
