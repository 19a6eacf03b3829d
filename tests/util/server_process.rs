//! The server as a process: start, address, log, signals and end.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use super::{
    Process, client, command, connect, eventually, installed, number_in_proc, pause, run, signal,
    spawn, temporary_file, unique_ip,
};

/// Returns a command for the server with these arguments.
pub fn server(args: &[&str]) -> Command {
    let mut command = command(env!("CARGO_BIN_EXE_server"));
    command.args(args);
    command
}

/// Returns the address from the line in which a server announces it; nothing if this is
/// another line.
pub fn announced_address(line: &str) -> Option<SocketAddr> {
    let address = line.strip_prefix("Server listening on ")?;
    address.trim_end().parse().ok()
}

/// A server that runs for as long as this value lives.
pub struct Server {
    process: Process,
    pub address: SocketAddr,
    log: PathBuf,
}

impl Server {
    /// Starts the server on a free port, and waits until it has announced its address.
    /// Without `--host` among the arguments, no other test uses its IP address.
    pub fn start(args: &[&str]) -> Self {
        if args.contains(&"--host") {
            return Self::spawn(server(&["--port", "0"]).args(args));
        }
        Self::start_at(SocketAddr::new(unique_ip(), 0), args)
    }

    /// Starts the server at this address.
    pub fn start_at(address: SocketAddr, args: &[&str]) -> Self {
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        Self::spawn(server(&["--host", &host, "--port", &port]).args(args))
    }

    /// Runs a command that is or becomes the server, and waits for the announcement.
    pub fn spawn(command: &mut Command) -> Self {
        Self::spawn_with_input(command, Stdio::null())
    }

    /// Does the same as `spawn` with this standard input.
    pub fn spawn_with_input(command: &mut Command, input: impl Into<Stdio>) -> Self {
        let log = temporary_file();
        let stderr = fs::File::create(&log).unwrap();
        command.stdin(input).stdout(Stdio::piped()).stderr(stderr);
        let mut process = spawn(command);
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let Some(address) = announced_address(&line) else {
            let status = process.wait();
            let log = fs::read_to_string(&log);
            panic!("{command:?} announced {line:?} instead of its address: {status:?}\n{log:?}");
        };
        Self::new(process, address, log)
    }

    /// Takes over a process that serves at this address and logs to this file.
    pub fn new(process: Process, address: SocketAddr, log: PathBuf) -> Self {
        Server {
            process,
            address,
            log,
        }
    }

    /// Returns what the server has written to its standard error so far.
    pub fn log(&self) -> String {
        String::from_utf8(fs::read(&self.log).unwrap()).unwrap()
    }

    /// Waits until the log contains this text. Returns the log.
    pub fn log_with(&self, text: &str) -> String {
        eventually(|| {
            let log = self.log();
            if log.contains(text) {
                return Ok(log);
            }
            Err(format!("no line of the log contains {text:?}:\n{log}"))
        })
    }

    pub fn connect(&self) -> TcpStream {
        connect(self.address)
    }

    /// Pauses the server (SIGSTOP), and waits until all its threads stand still.
    pub fn pause(&self) {
        pause(self.id());
    }

    /// Ends the pause (SIGCONT).
    pub fn resume(&self) {
        signal(self.id(), "CONT");
    }

    /// Limits how many open files the server may have. Skips the test and returns `false`
    /// if the program for that is not installed.
    #[track_caller]
    pub fn limit_open_files(&self, limit: u32) -> bool {
        let Some(mut prlimit) = installed("prlimit") else {
            return false;
        };
        let id = self.id().to_string();
        let limit = format!("--nofile={limit}:");
        run(prlimit.args(["--pid", &id, &limit]), "").assert(0, "", "");
        true
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Returns a number from the server's `/proc/PID/status`; sizes are in KB.
    pub fn status(&self, name: &str) -> u64 {
        number_in_proc(self.id(), "status", &format!("{name}:"), 0).unwrap()
    }

    /// Returns a command for a client of this server.
    pub fn client(&self, args: &[&str]) -> Command {
        client(self.address, args)
    }

    /// Waits for the server's end.
    pub fn wait(&mut self) -> ExitStatus {
        self.process.wait().unwrap()
    }

    /// Shuts the server down (SIGTERM), and asserts exit code 0. Returns its log.
    #[track_caller]
    pub fn terminate(&mut self) -> String {
        signal(self.id(), "TERM");
        let status = self.wait();
        let log = self.log();
        assert_eq!(status.code(), Some(0), "{status}: {log}");
        log
    }

    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.log);
    }
}
