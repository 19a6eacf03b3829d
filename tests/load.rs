//! The benchmark: what the server costs beside the barest one of its kind.
//!
//! The real server, and a loop without limits, checks, deadlines or log, the
//! baseline, take the same load in turns: from this process, which compares every
//! reply, each in a process of its own. It is repeated, and what is shown is the
//! median. The baseline is there twice, and what the two mostly differ by is the
//! noise. A part of a case's name as an argument selects cases.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::print_stdout, unreachable_pub)]

// Not every helper is of use here.
#[allow(dead_code, unused_imports)]
#[path = "it/util/mod.rs"]
mod util;

use std::fs::{self, File};
use std::io::{BufRead, BufWriter, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use util::{Server, ask_line, connect, number_in_proc, printed, received, temporary_file};

const ROUNDS: usize = 7;

/// How long one measurement goes on.
const SPAN: Duration = Duration::from_millis(200);

fn main() {
    // Cargo itself says `--bench`.
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| arg != "--bench")
        .collect();
    if args.first().is_some_and(|arg| arg == "--baseline") {
        return serve_baseline();
    }
    // A number is missing where there is no limit.
    let limit = number_in_proc(std::process::id(), "limits", "Max open files", 0)
        .map_or(usize::MAX, |limit| limit as usize);
    let filter = args.first().map_or("", String::as_str);
    println!("{}", machine());
    println!(
        "{:<34} {:>10} {:>9} {:>9}  ratio",
        "case", "messages/s", "p50 ms", "p99 ms"
    );
    let run = |name: &str, clients: usize, case: &dyn Fn(&str, usize)| match descriptors(clients) {
        _ if !name.contains(filter) => {}
        needed if needed > limit => {
            println!("{name:<34} skipped: needs ulimit -n {needed}");
        }
        _ => case(name, clients),
    };

    for (name, clients, batch, size) in [
        ("ping-pong, 1 client", 1, 1, 16),
        ("ping-pong, 100 clients", 100, 1, 16),
        ("ping-pong, 1000 clients", 1000, 1, 16),
        ("pipelined, 1 client, 1000 x 16 B", 1, 1000, 16),
        ("pipelined, 1 client, 100 x 200 B", 1, 100, 200),
        ("pipelined, 50 clients, 64 x 16 B", 50, 64, 16),
        ("logged, ping-pong, 1 client", 1, 1, 16),
        ("logged, 1 client, 1000 x 16 B", 1, 1000, 16),
    ] {
        let args: &[&str] = if name.starts_with("logged") {
            &[]
        } else {
            &["-q"]
        };
        let load = Load {
            clients,
            batch,
            size,
        };
        run(name, clients, &|name, _| {
            compare(name, args, |address| load.drive(address))
        });
    }
    run("connect, ask once, close", 1, &|name, _| {
        compare(name, &["-q"], churn)
    });
    println!();
    for clients in [500, 4000, 8000] {
        run("connects at once", clients, &bursts);
    }
    run("memory per client", 2000, &memory);
    run("the client beside nc", 1, &|name, _| client_beside_nc(name));
    run("seq 20000000, the client beside nc", 1, &|name, _| {
        client_beside_nc_for_seconds(name)
    });
}

/// How many descriptors a server with so many clients must be allowed, or it would
/// refuse some: it has some for itself, and leaves an eighth, or 256 if that is
/// less, to connections that linger. This process, which has the clients' ends,
/// has the same limit and needs fewer.
fn descriptors(clients: usize) -> usize {
    let busy = clients + 10;
    busy + busy.div_ceil(7).min(256)
}

/// What the figures were measured on.
fn machine() -> String {
    let script = "echo $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1), \
                  $(nproc) cores, $(uname -sr), ulimit -n $(ulimit -n)";
    let said = Command::new("sh")
        .args(["-c", script])
        .output()
        .unwrap()
        .stdout;
    String::from_utf8(said).unwrap()
}

/// The barest thread per client: no limits, no checks, no deadlines, no log.
fn serve_baseline() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("Server listening on {}", listener.local_addr().unwrap());
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        thread::Builder::new()
            .stack_size(64 * 1024)
            .spawn(move || echo(&mut stream))
            .unwrap();
    }
}

fn echo(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut buffer, mut end, mut replies) = (vec![0; 65_536], 0, Vec::new());
    loop {
        let read = stream.read(&mut buffer[end..])?;
        if read == 0 {
            return Ok(());
        }
        end += read;
        let mut rest = &buffer[..end];
        loop {
            let mut after = rest;
            let line = after.skip_until(b'\n')?;
            if line == 0 || rest[line - 1] != b'\n' {
                break;
            }
            replies.extend_from_slice(b"Server received your message: ");
            replies.extend_from_slice(&rest[..line]);
            rest = after;
        }
        let left = rest.len();
        buffer.copy_within(end - left..end, 0);
        end = left;
        stream.write_all(&replies)?;
        replies.clear();
    }
}

fn start_baseline() -> Server {
    Server::spawn(Command::new(std::env::current_exe().unwrap()).arg("--baseline"))
}

/// What one measurement gave.
struct Sample {
    rate: f64,
    /// Times of replies, sorted.
    times: Vec<Duration>,
}

impl Sample {
    fn new(messages: usize, begun: Instant, mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Sample {
            rate: messages as f64 / begun.elapsed().as_secs_f64(),
            times,
        }
    }

    fn quantile(&self, share: f64) -> f64 {
        let index = (self.times.len() - 1) as f64 * share;
        self.times[index as usize].as_secs_f64() * 1000.0
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Measures the server and the baseline in turns, and prints a line of the table.
fn compare(name: &str, args: &[&str], measure: impl Fn(SocketAddr) -> Sample) {
    let servers = [Server::start(args), start_baseline(), start_baseline()];
    let mut samples: [Vec<Sample>; 3] = Default::default();
    for round in 0..ROUNDS {
        for turn in 0..3 {
            let which = (round + turn) % 3;
            samples[which].push(measure(servers[which].address));
        }
    }
    let [server, baseline, twin] = &samples;
    let pairs = || server.iter().zip(baseline).zip(twin);
    let ratio =
        median(pairs().map(|((server, one), two)| 2.0 * server.rate / (one.rate + two.rate)));
    let noise = median(pairs().map(|((_, one), two)| (one.rate / two.rate - 1.0).abs()));
    println!(
        "{name:<34} {:>10.0} {:>9.3} {:>9.3}  {ratio:.2} (noise {noise:.2})",
        median(server.iter().map(|sample| sample.rate)),
        median(server.iter().map(|sample| sample.quantile(0.5))),
        median(server.iter().map(|sample| sample.quantile(0.99))),
    );
}

/// Clients that each send a batch of messages and await all its replies.
#[derive(Clone, Copy)]
struct Load {
    clients: usize,
    batch: usize,
    size: usize,
}

impl Load {
    fn drive(self, address: SocketAddr) -> Sample {
        let text = "x".repeat(self.size - 1);
        let messages = format!("{text}\n").repeat(self.batch);
        let expected = received(&text).repeat(self.batch);
        let threads = self.clients.min(2);
        // All are there before any thread is, so that none waits in vain for one
        // that could not connect.
        let streams: Vec<TcpStream> = (0..self.clients).map(|_| served(address)).collect();
        let ready = std::sync::Barrier::new(threads + 1);
        thread::scope(|scope| {
            let drive = |streams: &[TcpStream]| {
                let mut replies = vec![0; expected.len()];
                let mut times = Vec::new();
                ready.wait();
                let begun = Instant::now();
                while begun.elapsed() < SPAN {
                    let mut sent = Vec::new();
                    for mut stream in streams {
                        stream.write_all(messages.as_bytes()).unwrap();
                        sent.push(Instant::now());
                    }
                    for (mut stream, sent) in streams.iter().zip(sent) {
                        stream.read_exact(&mut replies).unwrap();
                        times.push(sent.elapsed());
                        assert!(replies == expected.as_bytes(), "a wrong reply");
                    }
                }
                times
            };
            let drivers: Vec<_> = streams
                .chunks(self.clients.div_ceil(threads))
                .map(|streams| scope.spawn(move || drive(streams)))
                .collect();
            ready.wait();
            let begun = Instant::now();
            let times: Vec<Duration> = drivers
                .into_iter()
                .flat_map(|driver| driver.join().unwrap())
                .collect();
            Sample::new(times.len() * self.batch, begun, times)
        })
    }
}

/// A connection that has asked once: without waiting for each, the baseline's
/// queue of connections would overflow.
fn served(address: SocketAddr) -> TcpStream {
    let stream = connect(address);
    ask_line(&stream, "hello");
    stream
}

fn churn(address: SocketAddr) -> Sample {
    let (begun, mut times) = (Instant::now(), Vec::new());
    while begun.elapsed() < SPAN {
        let connecting = Instant::now();
        served(address);
        times.push(connecting.elapsed());
    }
    Sample::new(times.len(), begun, times)
}

/// Many connects at once, each of which then asks once. The longest connect.
fn burst(server: &Server, clients: usize) -> f64 {
    const THREADS: usize = 16;
    let connects = || {
        let mut longest = Duration::ZERO;
        let connect = |_| {
            let begun = Instant::now();
            let stream = TcpStream::connect(server.address).unwrap();
            longest = longest.max(begun.elapsed());
            stream
        };
        let streams: Vec<TcpStream> = (0..clients / THREADS).map(connect).collect();
        streams.iter().for_each(|stream| ask_line(stream, "hello"));
        longest.as_secs_f64()
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(connects)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .fold(0.0, f64::max)
    })
}

fn bursts(name: &str, clients: usize) {
    let ours = (0..5)
        .map(|_| burst(&Server::start(&["-q"]), clients))
        .fold(0.0, f64::max);
    print!("{name}: the longest of five times {clients} took {ours:.3} s");
    match clients {
        500 => println!(
            ", of once with the baseline {:.3} s",
            burst(&start_baseline(), clients)
        ),
        // That would take most of a minute.
        _ => println!(),
    }
}

fn memory(name: &str, clients: usize) {
    let [server, baseline] = [Server::start(&["-q"]), start_baseline()].map(|server| {
        let resident = || number_in_proc(server.id(), "smaps_rollup", "Rss:", 0).unwrap();
        let before = resident();
        let streams: Vec<TcpStream> = (0..clients).map(|_| served(server.address)).collect();
        let grown = resident() - before;
        drop(streams);
        grown as f64 / clients as f64
    });
    println!("{name}: {server:.1} KB resident, with the baseline {baseline:.1} KB");
}

/// What the client and `nc`, which verifies nothing, took in turns with the same
/// input, in seconds, and the most memory that the client had, in KB.
struct BesideNc {
    ours: Vec<f64>,
    /// Empty if `nc` is not there.
    theirs: Vec<f64>,
    peak: u64,
}

impl BesideNc {
    fn measure(rounds: usize, input: &Path, output: &Path, check: impl Fn()) -> Self {
        let server = Server::start(&["-q"]);
        let (host, port) = (server.address.ip(), server.address.port());
        let mut nc = Command::new("nc");
        nc.args(["-N", &host.to_string(), &port.to_string()]);
        let (mut ours, mut theirs, mut peak) = (Vec::new(), Vec::new(), 0);
        for _ in 0..rounds {
            theirs.extend(time(&mut nc, input, output).map(|(seconds, _)| seconds));
            let client = time(&mut server.client(&[]), input, output);
            let (seconds, memory) = client.expect("the client did not end with exit code 0");
            check();
            ours.push(seconds);
            peak = peak.max(memory);
        }
        BesideNc { ours, theirs, peak }
    }

    /// The client's time in terms of `nc`'s.
    fn ratio(&self, of: impl Fn(&[f64], &[f64]) -> f64) -> String {
        match self.theirs.len() == self.ours.len() {
            true => format!("{:.2} times nc's time", of(&self.ours, &self.theirs)),
            false => "nc -N is not there to compare with".to_string(),
        }
    }
}

/// How long a command takes with this input, in seconds, and the most memory that
/// it had, in KB; nothing if it cannot be run or fails.
fn time(command: &mut Command, input: &Path, output: &Path) -> Option<(f64, u64)> {
    command
        .stdin(File::open(input).unwrap())
        .stdout(File::create(output).unwrap());
    let begun = Instant::now();
    let mut child = command.spawn().ok()?;
    let mut peak = 0;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status
                .success()
                .then_some((begun.elapsed().as_secs_f64(), peak));
        }
        // Once it has ended, the kernel has nothing to say of its memory.
        peak = number_in_proc(child.id(), "status", "VmHWM:", 0).unwrap_or(peak);
        thread::sleep(Duration::from_millis(1));
    }
}

/// A million lines from a file to a file, each of which is compared afterwards.
fn client_beside_nc(name: &str) {
    const LINES: u64 = 1_000_000;
    let [input, output] = [temporary_file(), temporary_file()];
    let lines: String = (0..LINES)
        .map(|n| format!("this is line {n:08}\n"))
        .collect();
    fs::write(&input, &lines).unwrap();
    let expected = printed(lines.lines());
    let measured = BesideNc::measure(ROUNDS, &input, &output, || {
        assert!(
            fs::read(&output).unwrap() == expected.as_bytes(),
            "a wrong output"
        );
    });
    let rate = LINES as f64 / median(measured.ours.iter().copied());
    let ratio = measured
        .ratio(|ours, theirs| median(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs)));
    println!(
        "{name}: {rate:.0} lines/s, {ratio}, {} KB at most",
        measured.peak
    );
    let _ = fs::remove_file(input).and_then(|()| fs::remove_file(output));
}

/// So many lines that a run takes seconds, where neither the start of a program
/// nor a slow file has a share. The best time of each is what it can do.
fn client_beside_nc_for_seconds(name: &str) {
    const LINES: u64 = 20_000_000;
    const RUNS: usize = 6;
    let input = temporary_file();
    let mut lines = BufWriter::new(File::create(&input).unwrap());
    (1..=LINES).for_each(|n| writeln!(lines, "{n}").unwrap());
    lines.into_inner().unwrap();
    // The client's exit code says that every reply was right.
    let measured = BesideNc::measure(RUNS, &input, Path::new("/dev/null"), || {});
    let best = |times: &[f64]| times.iter().copied().fold(f64::INFINITY, f64::min);
    let rate = LINES as f64 / best(&measured.ours);
    let ratio = measured.ratio(|ours, theirs| best(ours) / best(theirs));
    println!("{name}: {rate:.0} lines/s, {ratio}, best of {RUNS} each");
    let _ = fs::remove_file(input);
}
