//! Real proxies, a load balancer, TLS and other clients around the server and the client,
//! with the configuration files that a user starts them with.
//!
//! Few machines have all these programs, so `cargo test` leaves these tests out. With the
//! programs installed:
//!
//! ```text
//! cargo test --test it neighbours -- --ignored
//! ```

use std::fs::{self, File};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::util::{
    HANG_LIMIT, NumberedClient, Process, Running, Server, acknowledgement, assert_received_once,
    await_refusal, client, eventually, peer_replying_at_the_end, printed, run, signal, spawn,
    take_report, temporary_file, unused_address,
};

/// Another project's program that serves at an address for as long as this value lives.
struct Neighbour {
    command: String,
    process: Process,
    address: SocketAddr,
    log: PathBuf,
    configuration: Option<PathBuf>,
}

impl Neighbour {
    /// Starts a program with one of the files in `tests/neighbours`, and waits
    /// until it accepts connections at this address.
    fn start(
        command: &mut Command,
        file: &str,
        changes: &[(&str, &str)],
        address: SocketAddr,
    ) -> Self {
        let configuration = configuration(file, changes);
        command.arg(&configuration);
        Self::serve(command, Some(configuration), address)
    }

    /// Starts a program, and waits until it accepts connections at this address.
    fn serve(command: &mut Command, configuration: Option<PathBuf>, address: SocketAddr) -> Self {
        let log = temporary_file();
        let stdout = File::create(&log).unwrap();
        command
            .stdin(Stdio::null())
            .stderr(stdout.try_clone().unwrap())
            .stdout(stdout);
        // As a user would type it, without what the environment is given.
        let shown = format!("{command:?}");
        let process = spawn(with_system_programs(command));
        let mut neighbour = Neighbour {
            command: shown,
            process,
            address,
            log,
            configuration,
        };
        eventually(|| {
            if let Ok(Some(status)) = neighbour.process.try_wait() {
                panic!("{} ended: {status}", neighbour.command);
            }
            let why = |error| format!("{} at {address}: {error}", neighbour.command);
            TcpStream::connect(address).map_err(why)
        });
        neighbour
    }

    /// Returns what the program has written so far.
    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        // SIGTERM comes first: killed, nginx would leave its worker behind.
        if matches!(self.process.try_wait(), Ok(None)) {
            signal(self.process.id(), "TERM");
        }
        let begun = Instant::now();
        while matches!(self.process.try_wait(), Ok(None)) && begun.elapsed() < HANG_LIMIT {
            thread::sleep(Duration::from_millis(2));
        }
        let _ = self.process.kill();
        let end = self.process.wait().map(|status| status.to_string());
        if thread::panicking() {
            println!("{}: {end:?}\noutput:\n{}", self.command, self.log());
        }
        let _ = fs::remove_file(&self.log);
        let _ = self.configuration.take().map(fs::remove_file);
    }
}

/// Copies a file of `tests/neighbours` with these changes to its text. All else in it is
/// what a user has. Returns the copy's path.
fn configuration(file: &str, changes: &[(&str, &str)]) -> PathBuf {
    let original = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/neighbours")
        .join(file);
    let mut text = fs::read_to_string(original).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{file} has no {from:?}:\n{text}");
        text = text.replace(from, to);
    }
    let copy = temporary_file();
    fs::write(&copy, text).unwrap();
    copy
}

/// Adds to a command's PATH where Debian keeps daemons: not every user's PATH has it.
fn with_system_programs(command: &mut Command) -> &mut Command {
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin"))
}

/// Starts nginx before the server at this address, with further changes to its file.
fn nginx(server: SocketAddr, changes: &[(&str, &str)]) -> Neighbour {
    let address = unused_address();
    let listen = format!("listen {address};");
    let proxy_pass = format!("proxy_pass {server};");
    let pid = format!("pid {};", temporary_file().display());
    let mut all = vec![
        ("listen 127.0.0.1:12346;", listen.as_str()),
        ("proxy_pass 127.0.0.1:12345;", &proxy_pass),
        ("pid /tmp/tcp-chat-nginx.pid;", &pid),
    ];
    all.extend(changes);
    Neighbour::start(Command::new("nginx").arg("-c"), "nginx.conf", &all, address)
}

/// Starts HAProxy before the servers at these addresses.
fn haproxy(servers: [SocketAddr; 2]) -> Neighbour {
    haproxy_at(unused_address(), servers)
}

fn haproxy_at(address: SocketAddr, servers: [SocketAddr; 2]) -> Neighbour {
    let bind = format!("bind {address}");
    let [one, two] = servers.map(|server| server.to_string());
    let changes = [
        ("bind 127.0.0.1:12345", bind.as_str()),
        ("127.0.0.1:12351", &one),
        ("127.0.0.1:12352", &two),
    ];
    let mut command = Command::new("haproxy");
    Neighbour::start(command.arg("-f"), "haproxy.cfg", &changes, address)
}

/// A certificate for `localhost` and its key, in files that last as long as this value.
struct Certificate {
    key: PathBuf,
    certificate: PathBuf,
}

impl Certificate {
    /// Makes both as the head of `stunnel-server.conf` says.
    fn make() -> Self {
        let [key, certificate] = [(); 2].map(|()| temporary_file());
        let mut openssl = Command::new("openssl");
        openssl
            .args("req -x509 -newkey rsa:2048 -nodes -days 365 -subj /CN=localhost".split(' '))
            .args("-addext subjectAltName=DNS:localhost".split(' '))
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate);
        run(&mut openssl, "").assert_code(0);
        Certificate { key, certificate }
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.key);
        let _ = fs::remove_file(&self.certificate);
    }
}

/// Two stunnels: the two ends of TLS connections.
struct Tls {
    client_end: Neighbour,
    _server_end: Neighbour,
    _certificate: Certificate,
}

impl Tls {
    /// Starts one stunnel beside the server at this address, and one beside the client. The
    /// latter expects the certificate to be for this name.
    fn start(server: SocketAddr, name: &str) -> Self {
        let files = Certificate::make();
        let (key, certificate) = (files.key.display(), files.certificate.display());
        let address = unused_address();
        let changes = [
            ("accept = 127.0.0.1:12443", format!("accept = {address}")),
            ("connect = 127.0.0.1:12345", format!("connect = {server}")),
            ("cert = cert.pem", format!("cert = {certificate}")),
            ("key = key.pem", format!("key = {key}")),
        ];
        let server_end = stunnel("stunnel-server.conf", &changes, address);

        let connect = format!("connect = {address}");
        let address = unused_address();
        let changes = [
            ("accept = 127.0.0.1:12444", format!("accept = {address}")),
            ("connect = localhost:12443", connect),
            ("CAfile = cert.pem", format!("CAfile = {certificate}")),
            ("checkHost = localhost", format!("checkHost = {name}")),
        ];
        Tls {
            client_end: stunnel("stunnel-client.conf", &changes, address),
            _server_end: server_end,
            _certificate: files,
        }
    }
}

fn stunnel(file: &str, changes: &[(&str, String)], address: SocketAddr) -> Neighbour {
    let changes: Vec<_> = changes
        .iter()
        .map(|(from, to)| (*from, to.as_str()))
        .collect();
    Neighbour::start(&mut Command::new("stunnel"), file, &changes, address)
}

/// So many lines that neither a window nor any buffer on the path holds them all.
const LINES: usize = 100_000;

fn input() -> String {
    (0..LINES).map(|number| format!("{number}\n")).collect()
}

/// Asserts that the client gets every reply over this path.
#[track_caller]
fn assert_every_reply(address: SocketAddr, args: &[&str]) {
    run(&mut client(address, args), input()).assert(0, printed(0..LINES), "");
}

/// Asserts that a half-close passes this proxy. Its server must reply only after the
/// half-close.
#[track_caller]
fn assert_passes_half_close(proxy: &Neighbour) {
    run(&mut client(proxy.address, &["--half-close"]), "1\n2\n3\n").assert(0, printed(1..=3), "");
}

#[test]
#[ignore = "needs nginx with its stream module"]
fn every_reply_comes_through_nginx() {
    let server = Server::start(&["-q"]);
    assert_every_reply(nginx(server.address, &[]).address, &[]);
}

#[test]
#[ignore = "needs nginx with its stream module"]
fn nginx_closes_at_a_half_close_and_the_client_says_what_is_missing() {
    let nginx = nginx(peer_replying_at_the_end(0), &[]);
    let address = nginx.address;
    let why = "closed by the other end (3 sent, 0 answered)";
    run(&mut client(address, &["--half-close"]), "1\n2\n3\n").assert(
        1,
        "",
        &format!(
            "client: connection to {address} lost with 3 messages in flight, from line 1: {why}\n"
        ),
    );
}

#[test]
#[ignore = "needs nginx with its stream module, 1.21.4 or later"]
fn the_line_that_nginx_needs_to_pass_a_half_close_is_in_its_file() {
    let cure = [("#proxy_half_close on;", "proxy_half_close on;")];
    assert_passes_half_close(&nginx(peer_replying_at_the_end(0), &cure));
    let server = Server::start(&["-q"]);
    assert_every_reply(nginx(server.address, &cure).address, &["--half-close"]);
}

#[test]
#[ignore = "needs nginx with its stream module, and OpenBSD's nc"]
fn nc_loses_replies_through_nginx_and_does_not_say_so() {
    let nginx = nginx(peer_replying_at_the_end(0), &[]);
    run(&mut nc(nginx.address), "1\n2\n3\n").assert(0, "", "");
}

#[test]
#[ignore = "needs haproxy"]
fn every_reply_and_a_half_close_come_through_haproxy() {
    let servers = [(); 2].map(|()| Server::start(&["-q"]));
    let proxy = haproxy(servers.each_ref().map(|server| server.address));
    assert_every_reply(proxy.address, &[]);
    assert_every_reply(proxy.address, &["--half-close"]);
    assert_passes_half_close(&haproxy([(); 2].map(|()| peer_replying_at_the_end(0))));
}

#[test]
#[ignore = "needs haproxy"]
fn a_haproxy_reload_is_an_outage_only_for_new_connections() {
    let servers = [(); 2].map(|()| Server::start(&["-q"]));
    let addresses = servers.each_ref().map(|server| server.address);
    let before = haproxy(addresses);
    let lines: String = (0..500).map(|line| format!("{line}\n")).collect();
    let start = |more: &[&str]| {
        let report = temporary_file();
        let args = ["-q", "--rate", "100", "--retry-for", "20", "--report"];
        let mut command = client(before.address, &args);
        let mut client = Running::start(command.arg(&report).args(more));
        client.send(&lines);
        drop(client.stdin.take());
        (client, report)
    };
    let clients = [start(&[]), start(&["--reconnect-every", "1"])];
    thread::sleep(Duration::from_secs(1));
    // SIGUSR1: HAProxy keeps its connections, and accepts no more.
    signal(before.process.id(), "USR1");
    await_refusal(before.address);
    let begun = Instant::now();
    thread::sleep(Duration::from_millis(1500));
    let away = begun.elapsed().as_secs_f64();
    let _after = haproxy_at(before.address, addresses);
    let slack = 0.03 + begun.elapsed().as_secs_f64() - away;
    let [long, short] = clients.map(|(client, report)| {
        client.finish().assert(0, printed(0..500), "");
        take_report(&report)
    });
    assert_eq!(long["outage_count"].number(), 0.0);
    assert_eq!(long["connections"].number(), 1.0);
    assert_eq!(short["outage_count"].number(), 1.0);
    assert_eq!(short["connections"].number(), 500.0);
    let outage = short["longest_outage_seconds"].number();
    let expected = away - 0.03..away * 1.07 + slack;
    assert!(expected.contains(&outage), "{outage} s instead of {away} s");
}

#[test]
#[ignore = "needs haproxy"]
fn the_report_says_which_server_behind_haproxy_replied() {
    let prefixes = ["one ", "two "];
    let servers = prefixes.map(|prefix| Server::start(&["--reply-prefix", prefix]));
    let proxy = haproxy(servers.each_ref().map(|server| server.address));
    let report = temporary_file();
    let mut client = client(proxy.address, &["--reconnect-every", "7", "--report"]);
    client.arg(&report);
    for prefix in prefixes {
        client.args(["--reply-prefix", prefix]);
    }
    let input: String = (0..500).map(|line| format!("{line}\n")).collect();
    run(&mut client, input).assert_code(0);
    let report = take_report(&report);
    let logs = servers.map(|mut server| server.terminate());
    for (prefix, log) in prefixes.iter().zip(&logs) {
        let received = log.matches(": Received message: ").count();
        assert_eq!(
            report["answered_by"][*prefix].number(),
            received as f64,
            "{prefix}"
        );
        assert!(received > 100, "{prefix}: {received}");
    }
    // HAProxy's own checks of the servers send nothing.
    let ends = |how: &str| logs.concat().matches(how).count();
    let connections = ends(" disconnected after ") - ends(" disconnected after 0 messages");
    assert_eq!(report["connections"].number(), connections as f64);
}

#[test]
#[ignore = "needs haproxy"]
fn nothing_is_lost_or_doubled_when_servers_behind_haproxy_are_shut_down_in_turn() {
    let mut servers = [(); 2].map(|()| Server::start(&[]));
    let proxy = haproxy(servers.each_ref().map(|server| server.address));
    let mut command = client(proxy.address, &["--retry-for", "20"]);
    let client = NumberedClient::start("line".to_string(), &mut command, Duration::ZERO);
    let mut logs = Vec::new();
    for _ in 0..2 {
        for server in &mut servers {
            // Time to send lines, and to reconnect to the other server.
            thread::sleep(Duration::from_millis(200));
            logs.push(server.terminate());
            thread::sleep(Duration::from_millis(200));
            *server = Server::start_at(server.address, &[]);
        }
    }
    let (lines, _) = client.end();
    logs.extend(servers.each_mut().map(Server::terminate));
    assert_received_once(&logs, &lines);
}

#[test]
#[ignore = "needs haproxy"]
fn nothing_is_lost_when_servers_behind_haproxy_are_killed_in_turn() {
    let mut servers = [(); 2].map(|()| Server::start(&["-q"]));
    let proxy = haproxy(servers.each_ref().map(|server| server.address));
    let mut command = client(proxy.address, &["-q", "--retry-for", "20", "--summary"]);
    let mut client = Running::start(&mut command);
    let mut stdin = client.stdin.take().unwrap();
    let is_enough = AtomicBool::new(false);
    let (lines, outcome) = thread::scope(|scope| {
        let feeder = scope.spawn(|| {
            let (mut lines, begun) = (0, Instant::now());
            // After a failure nobody sets the flag.
            while !is_enough.load(Ordering::Relaxed) && begun.elapsed() < HANG_LIMIT {
                let part: String = (lines..lines + 50)
                    .map(|line| format!("{line}\n"))
                    .collect();
                if stdin.write_all(part.as_bytes()).is_err() {
                    break;
                }
                lines += 50;
                thread::sleep(Duration::from_millis(1));
            }
            drop(stdin);
            lines
        });
        let client = scope.spawn(|| client.finish());
        // While lines are sent to one of the two servers, each is killed twice.
        for _ in 0..2 {
            for server in &mut servers {
                thread::sleep(Duration::from_millis(200));
                server.kill();
                // Time to reconnect to the other server.
                thread::sleep(Duration::from_millis(200));
                *server = Server::start_at(server.address, &["-q"]);
            }
        }
        is_enough.store(true, Ordering::Relaxed);
        (feeder.join().unwrap(), client.join().unwrap())
    });
    outcome.assert_code(0);
    assert!(
        outcome.stdout == printed(0..lines).as_bytes(),
        "of {lines} lines: {outcome}"
    );
    let counts =
        format!("client: {lines} acknowledged, 0 rejected, 0 wrong, 0 unacknowledged, 0 too long");
    assert!(outcome.stderr.starts_with(&counts), "{outcome}");
    assert!(!outcome.stderr.contains("outages: 0,"), "{outcome}");
}

#[test]
#[ignore = "needs stunnel and openssl"]
fn every_reply_and_a_half_close_come_through_tls() {
    let server = Server::start(&["-q"]);
    let tls = Tls::start(server.address, "localhost");
    assert_every_reply(tls.client_end.address, &[]);
    assert_every_reply(tls.client_end.address, &["--half-close"]);
    let tls = Tls::start(peer_replying_at_the_end(0), "localhost");
    assert_passes_half_close(&tls.client_end);
}

#[test]
#[ignore = "needs stunnel and openssl"]
fn a_certificate_for_another_name_is_refused() {
    let server = Server::start(&[]);
    let tls = Tls::start(server.address, "example.org");
    let address = tls.client_end.address;
    let outcome = run(&mut client(address, &[]), "secret\n");
    outcome.assert_code(1);
    assert_eq!(outcome.stdout, b"", "{outcome}");
    // The client sees an end or a reset, depending on what stunnel had read.
    let lost = format!("client: connection to {address} lost with 1 message in flight, ");
    assert!(outcome.stderr.starts_with(&lost), "{outcome}");
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome}");
    // The name was the only reason, and nothing was sent before.
    let log = tls.client_end.log();
    assert!(log.contains("CERT: Subject checks failed"), "{log}");
    assert!(!server.log().contains("secret"), "{}", server.log());
}

/// Starts a program that connects every client to a `cat`.
fn echo(program: &str, args: impl Fn(SocketAddr) -> Vec<String>) -> Neighbour {
    let address = unused_address();
    Neighbour::serve(Command::new(program).args(args(address)), None, address)
}

/// Asserts that the client verifies this echo, even if its input lacks an LF at the end.
#[track_caller]
fn assert_echoes(echo: &Neighbour) {
    let input = format!("{}\r\n{}", input(), "no end of line");
    let lines = input.split_inclusive('\n');
    let output: String = lines.map(|line| format!("Server: {line}")).collect();
    let mut client = client(echo.address, &["--reply-prefix", ""]);
    run(&mut client, input.clone()).assert(0, output + "\n", "");
}

#[test]
#[ignore = "needs ncat"]
fn an_echo_made_of_ncat_and_cat_is_verified() {
    assert_echoes(&echo("ncat", |address| {
        let (ip, port) = (address.ip().to_string(), address.port().to_string());
        ["-l", &ip, &port, "-k", "-e", "/bin/cat"]
            .map(str::to_string)
            .to_vec()
    }));
}

#[test]
#[ignore = "needs socat"]
fn an_echo_made_of_socat_and_cat_is_verified() {
    assert_echoes(&echo("socat", |address| {
        let (ip, port) = (address.ip(), address.port());
        let listen = format!("TCP-LISTEN:{port},bind={ip},fork,reuseaddr");
        vec![listen, "EXEC:cat".to_string()]
    }));
}

/// Returns a command for OpenBSD's nc, which half-closes after the input (`-N`).
fn nc(address: SocketAddr) -> Command {
    let mut nc = Command::new("nc");
    nc.args(["-N", &address.ip().to_string(), &address.port().to_string()]);
    nc
}

/// Asserts that another client program gets every reply of the server.
#[track_caller]
fn assert_is_served(other: impl FnOnce(SocketAddr) -> Command) {
    let server = Server::start(&["-q"]);
    let replies: String = (0..LINES)
        .map(|line| acknowledgement(&line.to_string()))
        .collect();
    run(&mut other(server.address), input()).assert(0, replies, "");
}

#[test]
#[ignore = "needs OpenBSD's nc"]
fn nc_is_served() {
    assert_is_served(nc);
}

#[test]
#[ignore = "needs ncat"]
fn ncat_is_served() {
    assert_is_served(|address| {
        let mut ncat = Command::new("ncat");
        ncat.args([address.ip().to_string(), address.port().to_string()]);
        ncat
    });
}

#[test]
#[ignore = "needs socat"]
fn socat_is_served() {
    assert_is_served(|address| {
        let mut socat = Command::new("socat");
        // By default it waits only half a second for replies after the end of its input.
        socat.args(["-t", "30", "-", &format!("TCP:{address}")]);
        socat
    });
}
