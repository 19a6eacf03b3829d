//! One bash for the commands of a section, fed one command at a time.

use std::env;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use crate::folder::Folder;
use crate::namespaces::Namespaces;
use crate::util::{HANG_LIMIT, Process, children, signal, spawn, unique_name};

/// Reads commands that each end in a NUL, and runs each in this shell. After each it writes
/// a line with a mark and the exit status, which the next command has as its `$?`. A
/// command neither sees the pipe with the commands nor can it redirect the marks.
const LOOP: &str = r#"
exec {pages_commands}<&0 {pages_marks}>&1 </dev/null 2>&1
pages_mark=$1
pages_status=0
shift
pages_set_status() { return "$1"; }
while IFS= read -r -d '' -u "$pages_commands" pages_command; do
  pages_set_status "$pages_status"
  eval "$pages_command"
  pages_status=$?
  printf '\n%s %s\n' "$pages_mark" "$pages_status" >&"$pages_marks"
done
"#;

/// A command that prints more than this is stopped, in bytes.
const MAX_OUTPUT: usize = 1 << 20;

/// A bash in new namespaces.
pub struct Shell {
    process: Process,
    commands: Option<ChildStdin>,
    /// What all its processes write, in order; disconnected at the end of the last of them.
    output: Receiver<Vec<u8>>,
    /// The output that belongs to no finished command.
    unread: Vec<u8>,
    /// What a line with the status of a command begins with. No command can guess it.
    mark: String,
    /// When the time of all its commands together is over.
    deadline: Instant,
    folder: Folder,
}

/// How a command ended.
#[derive(Debug, PartialEq)]
pub enum End {
    Status(i32),
    /// The command ended the shell.
    OfShell,
    TimedOut,
    TooMuchOutput,
}

/// What a command did.
#[derive(Debug)]
pub struct Outcome {
    pub output: Vec<u8>,
    pub end: End,
}

/// What came from the shell.
enum Received {
    Output(Vec<u8>),
    Nothing,
    EndOfShell,
}

impl Shell {
    /// Starts a bash, and waits until it runs commands. All of them together may then take
    /// as long as the limit.
    pub fn start(namespaces: &Namespaces, limit: Duration) -> Shell {
        let folder = Folder::new();
        let mark = format!("end-of-command-{}", unique_name());
        let mut bash = namespaces.command("bash");
        bash.args(["--norc", "--noprofile", "-c", LOOP, "bash", &mark]);
        bash.current_dir(folder.path());
        bash.env("PATH", path_with_programs());
        bash.env("TMPDIR", folder.temporary());
        // Messages of the system are shown in English.
        bash.env("LC_ALL", "C");
        bash.env_remove("BASH_ENV");
        bash.stdin(Stdio::piped()).stdout(Stdio::piped());
        // LOOP gives the commands one pipe for both streams. `unshare` itself may complain
        // when its child is killed.
        bash.stderr(Stdio::null());
        let mut process = spawn(&mut bash);
        let stdout = process.stdout.take().unwrap();
        let mut shell = Shell {
            commands: process.stdin.take(),
            output: read_in_thread(stdout),
            process,
            unread: Vec::new(),
            mark,
            deadline: Instant::now() + HANG_LIMIT,
            folder,
        };
        // On a busy machine the start alone may take seconds, which no command has used.
        let started = shell.run(":");
        assert_eq!(started.end, End::Status(0), "the shell does not start");
        shell.deadline = Instant::now() + limit;
        shell
    }

    /// Runs a command to its end.
    pub fn run(&mut self, command: &str) -> Outcome {
        let commands = self.commands.as_mut().unwrap();
        // This fails if the shell has ended, which its output shows, too.
        let _ = commands.write_all(format!("{command}\0").as_bytes());
        loop {
            if let Some(outcome) = self.take_outcome() {
                return outcome;
            }
            if self.unread.len() > MAX_OUTPUT {
                return self.give_up(End::TooMuchOutput);
            }
            match self.receive(self.deadline) {
                Received::Output(output) => self.unread.extend(output),
                Received::Nothing => return self.give_up(End::TimedOut),
                Received::EndOfShell => return self.give_up(End::OfShell),
            }
        }
    }

    /// Waits for more output of the programs in the background. Returns nothing if none
    /// comes by then.
    pub fn read_background(&mut self, until: Instant) -> Option<Vec<u8>> {
        if !self.unread.is_empty() {
            return Some(std::mem::take(&mut self.unread));
        }
        match self.receive(until.min(self.deadline)) {
            Received::Output(output) => Some(output),
            Received::Nothing | Received::EndOfShell => None,
        }
    }

    /// Ends the shell and all its processes, before the folder is removed.
    pub fn finish(mut self) {
        drop(self.commands.take());
        if Instant::now() < self.deadline && self.has_ended(Duration::from_secs(1)) {
            return;
        }
        // The child of `unshare` is process 1 of the namespace: all others end with it.
        for child in children(self.process.id()) {
            signal(child, "KILL");
        }
        self.process.await_end();
    }

    pub fn folder(&self) -> &Path {
        self.folder.root()
    }

    /// Whether the shell ends within this time.
    fn has_ended(&mut self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        loop {
            match self.receive(until) {
                Received::Output(_) => {}
                Received::Nothing => return false,
                Received::EndOfShell => break,
            }
        }
        self.process.await_end();
        true
    }

    fn receive(&mut self, until: Instant) -> Received {
        let timeout = until.saturating_duration_since(Instant::now());
        if timeout.is_zero() {
            return Received::Nothing;
        }
        match self.output.recv_timeout(timeout) {
            Ok(output) => Received::Output(output),
            Err(mpsc::RecvTimeoutError::Timeout) => Received::Nothing,
            Err(mpsc::RecvTimeoutError::Disconnected) => Received::EndOfShell,
        }
    }

    /// Takes the output up to the next mark, if that has come.
    fn take_outcome(&mut self) -> Option<Outcome> {
        let mark = format!("\n{} ", self.mark);
        let at = position(&self.unread, mark.as_bytes())?;
        let status_at = at + mark.len();
        let length = position(&self.unread[status_at..], b"\n")?;
        let status = String::from_utf8_lossy(&self.unread[status_at..status_at + length]);
        let end = End::Status(status.parse().unwrap());
        let rest = self.unread.split_off(status_at + length + 1);
        let mut output = std::mem::replace(&mut self.unread, rest);
        output.truncate(at);
        Some(Outcome { output, end })
    }

    fn give_up(&mut self, end: End) -> Outcome {
        Outcome {
            output: std::mem::take(&mut self.unread),
            end,
        }
    }
}

/// Returns the PATH with the built programs first.
fn path_with_programs() -> std::ffi::OsString {
    let client = Path::new(env!("CARGO_BIN_EXE_client"));
    let mut folders = vec![client.parent().unwrap().to_path_buf()];
    let path = env::var_os("PATH").unwrap_or_default();
    folders.extend(env::split_paths(&path));
    env::join_paths(folders).unwrap()
}

fn position(bytes: &[u8], searched: &[u8]) -> Option<usize> {
    let mut windows = bytes.windows(searched.len());
    windows.position(|window| window == searched)
}

/// Passes on what is read from the pipe, up to its end.
fn read_in_thread(mut pipe: ChildStdout) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let length = match pipe.read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            let is_wanted = sender.send(buffer[..length].to_vec()).is_ok();
            if !is_wanted {
                return;
            }
        }
    });
    receiver
}
