//! Starting the programs, and what a failing test shows.

use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// What no step of any test should take, and a hang is taken for.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Numbers that look random and are the same in each run (xorshift).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// A file of this test run's own.
pub fn temporary_file() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!(
        "{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    );
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// An address of this machine that no other test uses, not even for a client: a
/// port that is free there stays free.
pub fn own_ip() -> IpAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let [_, _, first, second] = std::process::id().to_be_bytes();
    let [_, _, third, fourth] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    IpAddr::from([127, 1 + first % 200, second ^ third, 1 + fourth % 254])
}

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
        let log = temporary_file();
        let stderr = fs::File::create(&log).unwrap();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr);
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

    /// Runs a command that becomes a server at this address, whether it can say
    /// so or not; its standard streams are the command's.
    pub fn unannounced(command: &mut Command, address: SocketAddr) -> Self {
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        Server {
            child,
            address,
            log: temporary_file(),
        }
    }

    /// Runs a shell command line in which `$0` is the server's process id.
    pub fn shell(&self, script: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("sh")
            .args(["-c", script, &id])
            .status()
            .unwrap();
        assert!(status.success(), "sh -c '{script}' {id}: {status}");
    }

    /// A number of this process that the kernel keeps in `/proc/PID/status`.
    pub fn status(&self, name: &str) -> u64 {
        status(&self.child.id().to_string(), name)
    }

    pub fn open_files(&self) -> usize {
        fs::read_dir(self.proc("fd")).unwrap().count()
    }

    /// What the kernel says of this process.
    pub fn proc(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.child.id()))
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

/// Waits for what comes about by itself and has no event to wait for.
pub fn eventually<T>(mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(why) if begun.elapsed() > LIMIT => panic!("{why}"),
            Err(_) => thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// A socket that gives up a read or write which hangs.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    stream
}

/// Sends these bytes, half-closes, and returns all that comes back.
pub fn exchange(mut stream: TcpStream, bytes: &[u8]) -> Vec<u8> {
    let mut writer = stream.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            writer.write_all(bytes).unwrap();
            writer.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut replies = Vec::new();
        stream.read_to_end(&mut replies).unwrap();
        replies
    })
}

/// Sends a line and reads its reply, LF included.
pub fn ask(stream: &TcpStream, line: &str) -> String {
    writeln!(&mut &*stream, "{line}").unwrap();
    read_line(stream)
}

/// One line, LF included; empty at the end of the stream.
pub fn read_line(mut stream: &TcpStream) -> String {
    let mut line = Vec::new();
    let mut part = [0; 65_536];
    while !line.ends_with(b"\n") {
        // What comes after the line is left for the next reader.
        let here = stream.peek(&mut part).unwrap();
        let end = part[..here]
            .iter()
            .position(|&byte| byte == b'\n')
            .map_or(here, |lf| lf + 1);
        stream.read_exact(&mut part[..end]).unwrap();
        line.extend_from_slice(&part[..end]);
        if here == 0 {
            break;
        }
    }
    String::from_utf8(line).unwrap()
}

/// The acknowledgement of this text, with its LF.
pub fn received(text: &str) -> String {
    format!("Server received your message: {text}\n")
}

/// What the client prints for these lines.
pub fn printed(lines: impl IntoIterator<Item = impl fmt::Display>) -> String {
    lines
        .into_iter()
        .map(|line| format!("Server: {}", received(&line.to_string())))
        .collect()
}

/// A number that the kernel keeps of a process in `/proc/PID/status`.
pub fn status(id: &str, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .unwrap();
    line.trim_start_matches(':')
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

/// A client that asks all the while, every 50 ms, whatever else goes on.
pub struct Canary {
    stop: mpsc::Sender<()>,
    thread: thread::JoinHandle<Duration>,
}

impl Canary {
    pub fn start(server: &Server) -> Self {
        let stream = server.connect();
        assert_eq!(ask(&stream, "canary"), received("canary"));
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut longest = Duration::ZERO;
            for number in 0.. {
                let begun = Instant::now();
                let line = format!("canary {number}");
                assert_eq!(ask(&stream, &line), received(&line));
                longest = longest.max(begun.elapsed());
                if stopped.recv_timeout(Duration::from_millis(50)).is_ok() {
                    break;
                }
            }
            longest
        });
        Canary { stop, thread }
    }

    /// Asserts that every reply came, and soon.
    pub fn stop(self) {
        let _ = self.stop.send(());
        let longest = self.thread.join().expect("the canary was not served");
        println!("the canary's longest wait: {longest:?}");
        assert!(longest < Duration::from_secs(5), "a reply took {longest:?}");
    }
}

/// Does the same to a server three times, while a canary is served. Afterwards
/// threads, descriptors and memory must be back where they were.
pub fn three_rounds(server: &Server, mut round: impl FnMut()) {
    let canary = Canary::start(server);
    let counts = || (server.status("Threads"), server.open_files());
    let before = counts();
    let mut memory = Vec::new();
    for _ in 0..3 {
        round();
        eventually(|| match counts() {
            after if after == before => Ok(()),
            after => Err(format!(
                "(threads, descriptors): {before:?} before, {after:?} after"
            )),
        });
        memory.push(server.status("VmRSS"));
    }
    canary.stop();
    println!("resident memory after each round: {memory:?} KB");
    // Some pages more or less are the allocator's, which has several heaps.
    assert!(
        memory[2] <= memory[1] + 1024,
        "resident memory grew: {memory:?} KB"
    );
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

/// A server of a test's own, which may misbehave: serves one client after the
/// other, each as told, while there is somebody to be served.
pub fn peer(mut serve: impl FnMut(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        listener
            .incoming()
            .for_each(|stream| serve(stream.unwrap()))
    });
    address
}

/// Reads the client's lines and answers each as told.
pub fn answering(mut answer: impl FnMut(u64, &str) -> String + Send + 'static) -> SocketAddr {
    peer(move |mut stream| {
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        for (number, line) in (1..).zip(lines.map_while(Result::ok)) {
            if stream.write_all(answer(number, &line).as_bytes()).is_err() {
                return;
            }
        }
    })
}

/// An address at which nothing listens.
pub fn unused_address() -> SocketAddr {
    TcpListener::bind((own_ip(), 0))
        .unwrap()
        .local_addr()
        .unwrap()
}

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

/// A program with pipes for its standard streams.
pub struct Running {
    command: String,
    child: Option<Child>,
    pub stdin: Option<std::process::ChildStdin>,
    stdout: BufReader<std::process::ChildStdout>,
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

    pub fn id(&self) -> String {
        self.child.as_ref().unwrap().id().to_string()
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

    pub fn read_exactly(&mut self, length: usize) -> String {
        let mut bytes = vec![0; length];
        self.stdout.read_exact(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
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

fn excerpt(text: &str) -> String {
    match text.char_indices().nth(2000) {
        Some((at, _)) => format!("{}… ({} bytes)", &text[..at], text.len()),
        None => text.to_string(),
    }
}
