//! The server as a process of a test's own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use super::{
    Process, client, command, connect, eventually, number_in_proc, own_ip, program, run, signal,
    spawn, stop, temporary_file,
};

/// The server, to be run with these arguments.
pub fn server(args: &[&str]) -> Command {
    let mut command = command(env!("CARGO_BIN_EXE_server"));
    command.args(args);
    command
}

/// The address in the line by which a server announces itself, if it is that line.
pub fn announced_address(line: &str) -> Option<SocketAddr> {
    let address = line.strip_prefix("Server listening on ")?;
    address.trim_end().parse().ok()
}

/// The server, for as long as this value lives.
pub struct Server {
    process: Process,
    pub address: SocketAddr,
    log: PathBuf,
}

impl Server {
    /// Starts the server on a free port of an address of its own, unless told
    /// otherwise, and waits until it has announced it.
    pub fn start(args: &[&str]) -> Self {
        if args.contains(&"--host") {
            return Self::spawn(server(&["--port", "0"]).args(args));
        }
        Self::start_at(SocketAddr::new(own_ip(), 0), args)
    }

    /// Starts the server at this address.
    pub fn start_at(address: SocketAddr, args: &[&str]) -> Self {
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        Self::spawn(server(&["--host", &host, "--port", &port]).args(args))
    }

    /// Runs a command that is or becomes the server.
    pub fn spawn(command: &mut Command) -> Self {
        Self::spawn_with_input(command, Stdio::null())
    }

    /// Does so with this standard input.
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

    /// A process that serves at this address and logs to this file.
    pub fn new(process: Process, address: SocketAddr, log: PathBuf) -> Self {
        Server {
            process,
            address,
            log,
        }
    }

    /// What the server has written to its standard error so far.
    pub fn log(&self) -> String {
        String::from_utf8(fs::read(&self.log).unwrap()).unwrap()
    }

    /// The log, once a line of it contains this text.
    pub fn log_with(&self, text: &str) -> String {
        eventually(|| {
            Some(self.log())
                .filter(|log| log.contains(text))
                .ok_or_else(|| format!("no line of the log contains {text:?}:\n{}", self.log()))
        })
    }

    pub fn connect(&self) -> TcpStream {
        connect(self.address)
    }

    /// Stops the process, until all its threads stand still.
    pub fn stop(&self) {
        stop(self.id());
    }

    pub fn go_on(&self) {
        signal(self.id(), "CONT");
    }

    /// Sets how many open files it may have, where the machine has a program for that.
    #[track_caller]
    pub fn limit_open_files(&self, limit: u32) -> bool {
        let Some(mut prlimit) = program("prlimit") else {
            return false;
        };
        let (id, limit) = (self.id().to_string(), format!("--nofile={limit}:"));
        run(prlimit.args(["--pid", &id, &limit]), "").assert(0, "", "");
        true
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// A number of this process that the kernel keeps in `/proc/PID/status`.
    pub fn status(&self, name: &str) -> u64 {
        number_in_proc(self.id(), "status", &format!("{name}:"), 0).unwrap()
    }

    /// The client, to be run against this server.
    pub fn client(&self, args: &[&str]) -> Command {
        client(self.address, args)
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.process.wait().unwrap()
    }

    /// Stops it gracefully, and waits for its end. Returns its log.
    #[track_caller]
    pub fn terminate(&mut self) -> String {
        signal(self.id(), "TERM");
        let (status, log) = (self.wait(), self.log());
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
