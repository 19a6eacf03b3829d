//! The server as a process of a test's own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::{client, connect, eventually, number_in_proc, own_ip, temporary_file};

/// The server, to be run with these arguments.
pub fn server(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_server"));
    command.args(args).env_remove("RUST_LOG");
    command
}

/// The server, for as long as this value lives.
pub struct Server {
    child: Child,
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
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let announced = line
            .strip_prefix("Server listening on ")
            .and_then(|rest| rest.trim_end().parse().ok());
        let Some(address) = announced else {
            let status = child.wait();
            let log = fs::read_to_string(&log);
            panic!("{command:?} announced {line:?} instead of its address: {status:?}\n{log:?}");
        };
        Self::new(child, address, log)
    }

    /// A process that serves at this address and logs to this file.
    pub fn new(child: Child, address: SocketAddr, log: PathBuf) -> Self {
        Server {
            child,
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

    /// Runs a shell command line in which `$0` is the server's process id.
    pub fn shell(&self, script: &str) {
        let id = self.id().to_string();
        let status = Command::new("sh")
            .args(["-c", script, &id])
            .status()
            .unwrap();
        assert!(status.success(), "sh -c '{script}' {id}: {status}");
    }

    /// Stops the process, until all its threads stand still.
    pub fn stop(&self) {
        let moving = "grep -L '^State:.T' /proc/$0/task/*/status";
        self.shell(&format!(
            "kill -STOP $0; while {moving} | grep -q .; do :; done"
        ));
    }

    pub fn go_on(&self) {
        self.shell("kill -CONT $0");
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// A number of this process that the kernel keeps in `/proc/PID/status`.
    pub fn status(&self, name: &str) -> u64 {
        number_in_proc(self.id(), "status", &format!("{name}:"), 0).unwrap()
    }

    /// The client, to be run against this server.
    pub fn client(&self, args: &[&str]) -> Command {
        client(self.address, args)
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.log);
    }
}
