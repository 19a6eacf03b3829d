//! The benchmark: how fast the server is, compared with the barest server of its kind.
//!
//! The real server and the baseline, a loop without limits, checks, deadlines or log, get
//! the same load in turns. Each is a separate process; the load comes from this process,
//! which compares every reply. A case is repeated, and its line shows medians. The baseline
//! runs twice, and the median difference between the two is the noise. A part of a case's
//! name as an argument selects cases.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::print_stdout, unreachable_pub)]

// The benchmark needs only some of the helpers.
#[allow(dead_code, unused_imports)]
#[path = "../util/mod.rs"]
mod util;

mod baseline;
mod beside_nc;
mod measure;
mod reconnects;

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use measure::{Load, SPAN, Sample, compare, served};
use util::{Server, ask_line, may_open_files, number_in_proc};

const ROUNDS: usize = 7;

fn main() {
    // Cargo itself adds `--bench`.
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| arg != "--bench")
        .collect();
    if args.first().is_some_and(|arg| arg == "--baseline") {
        return baseline::serve();
    }
    // Raises the limit.
    may_open_files(0);
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
    run("the client beside nc", 1, &|name, _| {
        beside_nc::a_million_lines(name)
    });
    run("seq 20000000, the client beside nc", 1, &|name, _| {
        beside_nc::for_seconds(name)
    });
    run("the client, a connection for each line", 1, &|name, _| {
        reconnects::a_connection_for_each_line(name)
    });
}

/// Returns how many descriptors a server needs to refuse none of so many clients. It has
/// some for itself. It leaves an eighth to connections that are drained (256 at most), and
/// an eighth to those that wait for their thread (4096 at most). This process, which has
/// the clients' ends, has the same limit and needs fewer.
fn descriptors(clients: usize) -> usize {
    let busy = clients + 10;
    busy + busy.div_ceil(3).min(256 + 4096)
}

/// Describes the machine on which the figures were measured.
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

/// Measures connections that each send one message.
fn churn(address: SocketAddr) -> Sample {
    let begun = Instant::now();
    let mut times = Vec::new();
    while begun.elapsed() < SPAN {
        let connecting = Instant::now();
        served(address);
        times.push(connecting.elapsed());
    }
    Sample::new(times.len(), begun, times)
}

/// Connects many clients at once, each of which then sends one message. Returns the longest
/// time of a connect, in seconds.
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
            burst(&baseline::start(), clients)
        ),
        // The baseline would take most of a minute.
        _ => println!(),
    }
}

fn memory(name: &str, clients: usize) {
    let [server, baseline] = [Server::start(&["-q"]), baseline::start()].map(|server| {
        let resident = || number_in_proc(server.id(), "smaps_rollup", "Rss:", 0).unwrap();
        let before = resident();
        let streams: Vec<TcpStream> = (0..clients).map(|_| served(server.address)).collect();
        let grown = resident() - before;
        drop(streams);
        grown as f64 / clients as f64
    });
    println!("{name}: {server:.1} KB resident, with the baseline {baseline:.1} KB");
}
