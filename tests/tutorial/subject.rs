//! A server that a case of the book is tried on: a prepared one, the real one, or the
//! reader's own.

use std::fmt;
use std::fs;
use std::io::Write;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tcp_chat::system;

use crate::programs::shown;
use crate::util::{Server, children, connect, number_in_proc, read_once};

/// Words that no server says by itself.
pub const ONE: &str = "quokka";
pub const OTHER: &str = "wombat";

/// After this time without a byte, a server whose threads all sleep has nothing to say.
const QUIET: Duration = Duration::from_millis(1500);

/// By how much longer a server may say nothing of which only the address is known, or that
/// never sleeps.
const PATIENCE: Duration = Duration::from_millis(2500);

/// A server that a case is tried on.
pub struct Subject {
    pub address: SocketAddr,
    /// `None` if it was running before the test: then only its address is known.
    server: Option<Server>,
    /// How long a server may say nothing, although its threads all sleep.
    pub quiet: Duration,
    /// By how much longer, if only its address is known or it never sleeps.
    pub patience: Duration,
}

/// What came over a connection.
pub struct Came {
    pub bytes: Vec<u8>,
    pub end: End,
}

/// How a connection stands after what came over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The server has closed it.
    Closed,
    /// It failed: this is the error.
    Failed(String),
    /// It is open, and the server has nothing more to say.
    Open,
}

impl Subject {
    /// A server that runs already.
    pub fn at(address: SocketAddr) -> Self {
        Subject {
            address,
            server: None,
            quiet: QUIET,
            patience: PATIENCE,
        }
    }

    /// Its process. Cases that ask for it are left out if there is none.
    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("the process is known")
    }

    pub fn has_process(&self) -> bool {
        self.server.is_some()
    }

    pub fn connect(&self) -> TcpStream {
        connect(self.address)
    }

    /// The process and all that it has started: a server may be a script that runs another
    /// program, or may fork for each client.
    pub fn family(&self) -> Vec<u32> {
        let mut family = Vec::new();
        if let Some(server) = &self.server {
            family.push(server.id());
        }
        let mut next = 0;
        while let Some(id) = family.get(next).copied() {
            family.extend(children(id));
            next += 1;
        }
        family
    }

    /// Pauses the process, if it is known, until all its threads stand still.
    pub fn pause(&self) {
        for id in self.family() {
            send_signal(id, "STOP");
        }
        let stands_still = || self.all_threads(|state| state == 'T');
        assert!(comes_about(stands_still), "not all threads stand still");
    }

    /// Lets a paused process go on.
    pub fn resume(&self) {
        for id in self.family() {
            send_signal(id, "CONT");
        }
    }

    /// Sends these pieces while the server is paused: all are there when it reads.
    /// Reads until this text has come, then half-closes and reads the rest. To a server whose
    /// process is not known, all goes in one write.
    pub fn send_at_once(&self, pieces: &[&[u8]], last: &str) -> Came {
        let stream = self.write_at_once(pieces, |_| ());
        let mut came = self.read_until(&stream, |bytes| contains(bytes, last));
        let _ = stream.shutdown(Shutdown::Write);
        came.extend(self.read_all(&stream));
        came
    }

    /// Does so, but half-closes before the server reads.
    pub fn send_and_half_close(&self, pieces: &[&[u8]]) -> Came {
        let half_close = |stream: &TcpStream| stream.shutdown(Shutdown::Write).unwrap();
        self.read_all(&self.write_at_once(pieces, half_close))
    }

    fn write_at_once(&self, pieces: &[&[u8]], and_then: impl FnOnce(&TcpStream)) -> TcpStream {
        self.pause();
        let mut stream = self.connect();
        if self.has_process() {
            for piece in pieces {
                stream.write_all(piece).unwrap();
            }
        } else {
            stream.write_all(&pieces.concat()).unwrap();
        }
        and_then(&stream);
        self.resume();
        stream
    }

    /// Reads until the end, or until the server has nothing more to say.
    pub fn read_all(&self, stream: &TcpStream) -> Came {
        self.read_until(stream, |_| false)
    }

    /// Reads until this is enough, the connection ends, or the server has nothing more to
    /// say.
    pub fn read_until(&self, stream: &TcpStream, mut is_enough: impl FnMut(&[u8]) -> bool) -> Came {
        let step = Some(Duration::from_millis(20));
        stream.set_read_timeout(step).unwrap();
        let mut bytes = Vec::new();
        let mut part = vec![0; 65_536];
        let mut last = Instant::now();
        let end = loop {
            match read_once(stream, &mut part) {
                Ok(0) => break End::Closed,
                Ok(length) => {
                    bytes.extend_from_slice(&part[..length]);
                    last = Instant::now();
                    if is_enough(&bytes) {
                        break End::Open;
                    }
                }
                Err(error) if system::is_timeout(&error) => {
                    if self.is_silent_since(last) {
                        break End::Open;
                    }
                }
                Err(error) => break End::Failed(error.to_string()),
            }
        };
        Came { bytes, end }
    }

    /// Whether a server from which nothing has come since then has nothing to say.
    ///
    /// On a busy machine a reply may take any time. But a server whose threads all sleep,
    /// while no byte comes, waits for something.
    fn is_silent_since(&self, last: Instant) -> bool {
        let quiet = last.elapsed();
        quiet >= self.quiet + self.patience
            || quiet >= self.quiet && self.has_process() && self.is_asleep()
    }

    /// Waits until it has done all that it can do: until its threads sleep, each time that one
    /// looks.
    pub fn settle(&self) {
        let mut looks = 0;
        comes_about(|| {
            looks = if self.is_asleep() { looks + 1 } else { 0 };
            looks == 5
        });
    }

    pub fn is_asleep(&self) -> bool {
        // A process that has ended, too, does nothing more.
        self.all_threads(|state| matches!(state, 'S' | 'Z'))
    }

    /// Whether the state of each of its threads is so, by the kernel's letter.
    fn all_threads(&self, is_so: impl Fn(char) -> bool) -> bool {
        let mut states = self.family().into_iter().flat_map(states_of_threads);
        states.all(is_so)
    }

    /// Forgets how much memory it has needed until now.
    pub fn reset_peak_memory(&self) {
        for id in self.family() {
            // Another user's process keeps its peak.
            let _ = fs::write(format!("/proc/{id}/clear_refs"), "5");
        }
    }

    /// What has become of the server, if it has ended or accepts no more.
    pub fn state(&self) -> &'static str {
        if !self.has_process() || is_listening(self.address) {
            return "";
        }
        // The kernel keeps the status of a process that has ended until that is read.
        match number_in_proc(self.server().id(), "stat", ") ", 49) {
            Some(13) => ": it has ended by SIGPIPE",
            _ if states_of_threads(self.server().id()) == ['Z'] => ": it has ended",
            _ => ": it accepts no more",
        }
    }

    /// How much memory it and what it has started have needed at most, in KiB.
    pub fn peak_memory(&self) -> u64 {
        self.sum_of("VmHWM")
    }

    /// The sum of a number that the kernel keeps of each process, in `/proc/PID/status`.
    pub fn sum_of(&self, name: &str) -> u64 {
        let text = format!("{name}:");
        let number = |id| number_in_proc(id, "status", &text, 0).unwrap_or_default();
        self.family().into_iter().map(number).sum()
    }

    pub fn threads(&self) -> usize {
        let threads = |id| entries(&format!("/proc/{id}/task")).len();
        self.family().into_iter().map(threads).sum()
    }

    /// How many descriptors the process has open; 0 once it has ended.
    pub fn open_files(&self) -> usize {
        entries(&format!("/proc/{}/fd", self.server().id())).len()
    }

    /// Which share of a processor it takes during this time.
    pub fn busy_share(&self, time: Duration) -> f64 {
        let begun = Instant::now();
        let before = self.processor_time();
        thread::sleep(time);
        (self.processor_time() - before).max(0.0) / begun.elapsed().as_secs_f64()
    }

    /// In seconds. The kernel counts in hundredths.
    fn processor_time(&self) -> f64 {
        let of_user_and_system = |id| {
            let field = |words| number_in_proc(id, "stat", ") ", words).unwrap_or_default();
            field(11) + field(12)
        };
        let hundredths: u64 = self.family().into_iter().map(of_user_and_system).sum();
        hundredths as f64 / 100.0
    }

    /// Whether a client gets a reply.
    pub fn is_served(&self, mut stream: &TcpStream) -> bool {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let text = format!("{ONE} {}", NEXT.fetch_add(1, Ordering::Relaxed));
        if stream.write_all(format!("{text}\n").as_bytes()).is_err() {
            return false;
        }
        let came = self.read_until(stream, |bytes| contains(bytes, &text));
        came.contains(&text)
    }

    /// Does something while another client sends a message each 0.1 s. Returns whether each of
    /// these had a reply. (A client that only waited might be closed as idle.)
    pub fn is_served_beside(&self, act: impl FnOnce()) -> bool {
        let stream = self.connect();
        let mut is_served = self.is_served(&stream);
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let asking = scope.spawn(|| {
                while is_served && !is_over.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(100));
                    is_served = self.is_served(&stream);
                }
            });
            act();
            is_over.store(true, Ordering::Relaxed);
            asking.join().unwrap();
        });
        is_served
    }

    /// Whether a client that connects now, or within some seconds, gets a reply: a server that
    /// has no descriptor may wait for a while before it accepts again.
    pub fn serves_a_new_client(&self) -> bool {
        let mut is_served = false;
        comes_about(|| {
            if let Ok(stream) = TcpStream::connect_timeout(&self.address, QUIET) {
                is_served = self.is_served(&stream);
            }
            is_served || self.has_process() && !is_listening(self.address)
        });
        is_served
    }

    /// Kills it, with what it has started.
    pub fn kill(&self) {
        for id in self.family() {
            send_signal(id, "KILL");
        }
    }
}

impl From<Server> for Subject {
    fn from(server: Server) -> Self {
        Subject {
            address: server.address,
            server: Some(server),
            quiet: QUIET,
            patience: PATIENCE,
        }
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // What it has started would go on without it.
        for id in self.family().into_iter().skip(1) {
            send_signal(id, "KILL");
        }
    }
}

impl Came {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    pub fn contains(&self, text: &str) -> bool {
        contains(&self.bytes, text)
    }

    /// It in quotes, without the middle of a long one, and how it ended if not by a close.
    pub fn shown(&self) -> String {
        let text = shown(&self.bytes);
        match &self.end {
            End::Closed if self.bytes.is_empty() => "the end".to_string(),
            End::Closed => text,
            End::Failed(error) if self.bytes.is_empty() => error.clone(),
            End::Failed(error) => format!("{text}, and then: {error}"),
            End::Open if self.bytes.is_empty() => "nothing".to_string(),
            End::Open => format!("{text}, and then nothing"),
        }
    }

    /// Adds what came next over the same connection.
    pub fn extend(&mut self, next: Came) {
        self.bytes.extend(next.bytes);
        self.end = next.end;
    }
}

impl AsRef<[u8]> for Came {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Display for Came {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())?;
        match &self.end {
            End::Closed => Ok(()),
            End::Failed(error) => write!(f, "<{error}>"),
            End::Open => f.write_str("<nothing more comes>"),
        }
    }
}

pub fn contains(bytes: &[u8], text: &str) -> bool {
    String::from_utf8_lossy(bytes).contains(text)
}

/// Whether a process listens at this address. Nothing connects: a server that serves a
/// single client would be used up.
pub fn is_listening(address: SocketAddr) -> bool {
    let Ok(sockets) = fs::read_to_string("/proc/net/tcp") else {
        return TcpStream::connect(address).is_ok();
    };
    let sockets = sockets + &fs::read_to_string("/proc/net/tcp6").unwrap_or_default();
    sockets.lines().any(|line| listens_at(line, address))
}

/// Whether a line of the kernel's list of sockets is one that listens at this address, or at
/// its port on all addresses. The kernel writes each 32 bits of an address as one number.
fn listens_at(line: &str, address: SocketAddr) -> bool {
    const LISTEN: &str = "0A";
    let mut words = line.split_whitespace().skip(1);
    let (Some(local), Some(_), Some(state)) = (words.next(), words.next(), words.next()) else {
        return false;
    };
    let Some((ip, port)) = local.split_once(':') else {
        return false;
    };
    let wanted = match address.ip() {
        IpAddr::V4(ip) => format!("{:08X}", u32::from_ne_bytes(ip.octets())),
        IpAddr::V6(ip) => {
            let words = ip.octets();
            let words = words
                .chunks_exact(4)
                .map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
            words.map(|word| format!("{word:08X}")).collect()
        }
    };
    let is_every_address = ip.bytes().all(|digit| digit == b'0');
    let is_mapped = ip.strip_prefix("0000000000000000FFFF0000") == Some(&wanted);
    state == LISTEN
        && port == format!("{:04X}", address.port())
        && (ip == wanted || is_every_address || is_mapped)
}

/// Sends a signal to a process, which may have ended.
fn send_signal(process: u32, name: &str) {
    let mut shell = Command::new("sh");
    shell.args(["-c", "kill -s $1 $0", &process.to_string(), name]);
    let _ = shell.stderr(Stdio::null()).status();
}

/// The state of each thread of a process, by the kernel's letter; `S` sleeps.
fn states_of_threads(process: u32) -> Vec<char> {
    let mut states = Vec::new();
    for thread in entries(&format!("/proc/{process}/task")) {
        let path = format!("/proc/{process}/task/{thread}/stat");
        // The name before the state may contain anything.
        let stat = fs::read_to_string(path).unwrap_or_default();
        let after_name = stat.rsplit_once(") ").map(|(_, after)| after);
        states.extend(after_name.and_then(|after| after.chars().next()));
    }
    states
}

fn entries(folder: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.collect()
}

/// Waits until something is so, for 5 s at most. Returns whether it came about.
pub fn comes_about(is_so: impl FnMut() -> bool) -> bool {
    comes_about_within(Duration::from_secs(5), is_so)
}

/// Waits until something is so. Returns whether it came about within this time.
pub fn comes_about_within(limit: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        if is_so() {
            return true;
        }
        if begun.elapsed() > limit {
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
}
