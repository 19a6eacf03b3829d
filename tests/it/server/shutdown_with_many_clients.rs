//! A shutdown with many clients, idle or at full speed: all get the notice, and each logged
//! message has its reply.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, PipeReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::util::{
    Server, announced_address, ask_line, may_open_files, may_start_threads, read_rest,
    reserve_machine, server, signal, spawn, temporary_file, unique_ip,
};

const NOTICE: &str = "Server closed your connection: the server is stopping";

#[test]
fn on_shutdown_thousands_of_idle_clients_get_the_notice() {
    const CLIENTS: u64 = 1500;
    if !may_open_files(CLIENTS + 100) || !may_start_threads(CLIENTS + 100) {
        return;
    }
    let _machine = reserve_machine();
    let mut server = Server::start(&[]);
    let clients: Vec<TcpStream> = (0..CLIENTS).map(|_| server.connect()).collect();
    // Clients are served in order, so all are served now.
    ask_line(clients.last().unwrap(), "hello");
    signal(server.id(), "TERM");
    let notices = clients.into_iter().map(read_rest);
    let notices = notices.filter(|rest| rest.trim_end() == NOTICE).count() as u64;
    println!("{notices} of {CLIENTS} idle clients got {NOTICE:?}");
    assert_eq!(notices, CLIENTS);
    let (status, log) = (server.wait(), server.log());
    let last = log.lines().last().unwrap();
    assert!(
        status.success() && last.contains("Stopped after "),
        "{status}: {last}"
    );
    assert!(!last.contains("cut off"), "{last}");
    let (_, event) = last.split_once("] ").unwrap();
    println!("the server logged {event:?}, and ended with {status}");
}

#[test]
fn a_refused_client_does_not_delay_a_shutdown() {
    let mut server = Server::start(&["--max-clients", "1"]);
    let served = server.connect();
    ask_line(&served, "hello");
    let refused = server.connect();
    server.log_with("Refused connection");
    signal(server.id(), "TERM");
    assert_eq!(read_rest(served).trim_end(), NOTICE);
    let (status, log) = (server.wait(), server.log());
    drop(refused);
    // A refused client that held up the shutdown would be cut off after 5 s.
    assert!(
        status.success() && !log.contains("cut off"),
        "{status}: {log}"
    );
}

#[test]
fn a_shutdown_at_full_speed_logs_exactly_what_has_a_reply() {
    if !may_start_threads(500) {
        return;
    }
    let _machine = reserve_machine();
    let mut server = Server::start(&[]);
    let crowd = Crowd::connect(&server, 100);
    crowd.assert_shutdown(&mut server);
}

#[test]
fn a_shutdown_with_a_slow_log_logs_exactly_what_has_a_reply() {
    if !may_start_threads(600) {
        return;
    }
    let _machine = reserve_machine();
    let (log, stderr) = io::pipe().unwrap();
    let host = unique_ip().to_string();
    let mut command = server(&["--host", &host, "--port", "0"]);
    let (announced, stdout) = io::pipe().unwrap();
    let process = spawn(command.stdout(stdout).stderr(stderr));
    // The command has copies of the pipes' ends, which would keep the pipes open.
    drop(command);
    let mut line = String::new();
    BufReader::new(announced).read_line(&mut line).unwrap();
    let address = announced_address(&line).unwrap();
    let file = temporary_file();
    let slow_reader = {
        let to = File::create(&file).unwrap();
        thread::spawn(move || copy_slowly(log, to))
    };
    let mut server = Server::new(process, address, file);
    let crowd = Crowd::connect(&server, 150);
    crowd.assert_shutdown_with(&mut server, || slow_reader.join().unwrap());
}

/// Copies 6 MB a second.
fn copy_slowly(mut from: PipeReader, mut to: File) {
    let mut part = [0; 60_000];
    loop {
        match from.read(&mut part).unwrap() {
            0 => return,
            read => to.write_all(&part[..read]).unwrap(),
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Clients that send as fast as they can, and read at the same time.
struct Crowd {
    clients: Vec<TcpStream>,
}

/// What one of the clients has seen at its end.
struct Seen {
    replies: u64,
    /// How many lines were sent, the last one perhaps in part.
    sent: u64,
    /// The line after the last reply.
    last_line: String,
}

impl Crowd {
    fn connect(server: &Server, clients: usize) -> Self {
        let clients = (0..clients).map(|_| server.connect()).collect();
        Crowd { clients }
    }

    fn assert_shutdown(self, server: &mut Server) {
        self.assert_shutdown_with(server, || ());
    }

    /// Shuts the server down while all clients send. Asserts that each logged line had its
    /// reply, that each client got the notice, and that none was cut off. `await_log`
    /// returns when the log is whole.
    fn assert_shutdown_with(self, server: &mut Server, await_log: impl FnOnce()) {
        let replies_so_far = AtomicU64::new(0);
        let clients = self.clients.len() as u64;
        let seen: HashMap<String, Seen> = thread::scope(|scope| {
            let threads: Vec<_> = self
                .clients
                .iter()
                .map(|client| {
                    let sent = scope.spawn(|| send_without_end(client));
                    let replies_so_far = &replies_so_far;
                    scope.spawn(move || {
                        let (replies, last_line) = read_replies(client, replies_so_far);
                        // The server reads no more or is gone. This ends the thread that sends.
                        let _ = client.shutdown(Shutdown::Both);
                        let sent = sent.join().unwrap();
                        let address = client.local_addr().unwrap().to_string();
                        (
                            address,
                            Seen {
                                replies,
                                sent,
                                last_line,
                            },
                        )
                    })
                })
                .collect();
            // By then all clients are sending.
            while replies_so_far.load(Ordering::Relaxed) < clients * 200 {
                thread::sleep(Duration::from_millis(1));
            }
            signal(server.id(), "TERM");
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let status = server.wait();
        await_log();
        let log = server.log();
        let last = log.lines().last().unwrap();
        assert!(
            status.success() && last.contains("Stopped after "),
            "{status}: {last}"
        );
        assert!(!last.contains("cut off"), "{last}");

        let mut logged: HashMap<&str, u64> = HashMap::new();
        for line in log.lines() {
            if let Some((before, _)) = line.split_once(": Received message: ") {
                let (_, address) = before.rsplit_once("] ").unwrap();
                *logged.entry(address).or_default() += 1;
            }
        }
        assert_eq!(seen.len() as u64, clients);
        for (address, seen) in &seen {
            let logged = logged.get(address.as_str()).copied().unwrap_or_default();
            assert_eq!(
                seen.replies, logged,
                "{address} had so many replies for lines logged"
            );
            assert_eq!(seen.last_line, NOTICE, "{address}");
            assert!(
                seen.sent > seen.replies,
                "{address} was not sending any more"
            );
        }
        let (_, event) = last.split_once("] ").unwrap();
        let logged: u64 = logged.values().sum();
        let replies = replies_so_far.into_inner();
        println!("{clients} clients got {replies} replies and the notice while they sent");
        println!("the server logged {logged} messages, then {event:?}");
    }
}

/// Returns how many lines were sent, the last one perhaps in part.
fn send_without_end(mut client: &TcpStream) -> u64 {
    const LINES: u64 = 4096;
    let lines = "a line\n".repeat(LINES as usize);
    let mut sent = 0;
    while client.write_all(lines.as_bytes()).is_ok() {
        sent += LINES;
    }
    sent + LINES
}

/// Returns the number of replies, and the line after them.
fn read_replies(client: &TcpStream, so_far: &AtomicU64) -> (u64, String) {
    let mut replies = 0;
    for line in BufReader::with_capacity(65_536, client).lines() {
        match line {
            Ok(line) if line == "Server received your message: a line" => {
                replies += 1;
                so_far.fetch_add(1, Ordering::Relaxed);
            }
            Ok(line) => return (replies, line),
            Err(error) => return (replies, error.to_string()),
        }
    }
    (replies, "the end of the stream".to_string())
}
