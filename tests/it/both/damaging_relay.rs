//! The client over a path that damages what it carries: exit code 0 proves that the output
//! is right.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::util::{Random, Server, accept_unless, client, printed, run, threads_allowed};

/// The number of runs: 12 of each kind of damage in either direction, with and without
/// `--retry-for`.
const RUNS: u64 = KINDS.len() as u64 * 2 * 2 * 12;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Damage {
    None,
    FlipBit,
    DropLine,
    DuplicateLine,
    SwapLines,
    CutLine,
    Stall,
    Close,
    HalfClose,
}

const KINDS: [Damage; 9] = [
    Damage::None,
    Damage::FlipBit,
    Damage::DropLine,
    Damage::DuplicateLine,
    Damage::SwapLines,
    Damage::CutLine,
    Damage::Stall,
    Damage::Close,
    Damage::HalfClose,
];

/// Carries one direction of a connection, and damages the line with the number `at`.
fn carry(from: &TcpStream, mut to: &TcpStream, damage: Damage, at: u64, mut random: Random) {
    let mut lines = BufReader::new(from);
    let mut line = Vec::new();
    let mut held = None;
    for number in 0.. {
        line.clear();
        if !matches!(lines.read_until(b'\n', &mut line), Ok(1..)) {
            break;
        }
        let mut sent = line.clone();
        let damage_here = if number == at { damage } else { Damage::None };
        match damage_here {
            Damage::None => {}
            Damage::FlipBit => {
                sent[random.below(line.len() as u64) as usize] ^= 1 << random.below(8)
            }
            Damage::DropLine => sent.clear(),
            Damage::DuplicateLine => sent.extend_from_slice(&line),
            Damage::SwapLines => {
                held = Some(line.clone());
                continue;
            }
            Damage::CutLine => sent.truncate(random.below(line.len() as u64) as usize),
            Damage::Stall => {
                while matches!(lines.read_until(b'\n', &mut line), Ok(1..)) {}
                break;
            }
            Damage::Close | Damage::HalfClose => break,
        }
        sent.extend(held.take().unwrap_or_default());
        if to.write_all(&sent).is_err() || damage_here == Damage::CutLine {
            break;
        }
    }
    // After a half-close the other direction goes on; after all else both end.
    let _ = to.shutdown(Shutdown::Write);
    if damage != Damage::HalfClose {
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    }
}

/// The damage to some connections.
#[derive(Clone, Copy, Debug)]
struct Fault {
    damage: Damage,
    /// Whether it is on the way to the server, or else on the way back.
    is_there: bool,
}

/// Starts a relay to the server and returns its address. The first one or two connections
/// are damaged on the way there or back. The relay ends when `ended` is true.
fn relay(
    server: SocketAddr,
    fault: Fault,
    lines: u64,
    mut random: Random,
    ended: Arc<AtomicBool>,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let damaged = 1 + random.below(2);
        let mut number = 0;
        while let Some(client) = accept_unless(&listener, &ended) {
            number += 1;
            let server = TcpStream::connect(server).unwrap();
            let is_damaged = number <= damaged;
            let damage = if is_damaged {
                fault.damage
            } else {
                Damage::None
            };
            let at = random.below(lines);
            let mut there = Damage::None;
            let mut back = Damage::None;
            if fault.is_there {
                there = damage;
            } else {
                back = damage;
            }
            let [first, second] = [(); 2].map(|()| Random(random.below(u64::MAX) | 1));
            thread::spawn(move || {
                thread::scope(|scope| {
                    scope.spawn(|| carry(&client, &server, there, at, first));
                    carry(&server, &client, back, at, second);
                });
            });
        }
    });
    address
}

fn input(random: &mut Random) -> Vec<String> {
    let lines = 1 + random.below(12);
    let line = |_| match random.below(6) {
        0 => String::new(),
        1 => "x".repeat(random.below(9000) as usize),
        2 => "same".to_string(),
        _ => format!("line {}", random.below(1000)),
    };
    (0..lines).map(line).collect()
}

#[test]
fn exit_code_0_proves_an_undamaged_output_and_nothing_hangs() {
    let server = Server::start(&["-q"]);
    let next = AtomicU64::new(0);
    let right_runs = AtomicU64::new(0);
    let wrong_runs = AtomicU64::new(0);
    thread::scope(|scope| {
        // Each client, with its relay and its slot of the server, has some 18 threads.
        for _ in 0..(threads_allowed() / 18).clamp(1, 16) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= RUNS {
                        return;
                    }
                    let mut random = Random((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
                    let lines = input(&mut random);
                    let kinds = KINDS.len() as u64;
                    let damage = KINDS[(seed % kinds) as usize];
                    let [is_there, retries] = [1, 2].map(|bit| (seed / kinds) & bit > 0);
                    let ended = Arc::new(AtomicBool::new(false));
                    let count = lines.len() as u64;
                    let fault = Fault { damage, is_there };
                    let address = relay(server.address, fault, count, random, Arc::clone(&ended));
                    let retry_for = if retries { "5" } else { "0" };
                    let mut command =
                        client(address, &["--timeout", "0.05", "--retry-for", retry_for]);
                    let sent: String = lines.iter().map(|line| format!("{line}\n")).collect();
                    let outcome = run(&mut command, sent);
                    ended.store(true, Ordering::Relaxed);
                    let is_right = outcome.stdout == printed(&lines).as_bytes();
                    let code = outcome.status.code();
                    // A surplus reply after all others fails a run with a right output.
                    let is_surplus = outcome.stderr.contains("unexpected line");
                    let is_proof =
                        code == Some(0) && is_right || code == Some(1) && (!is_right || is_surplus);
                    assert!(
                        is_proof,
                        "seed {seed}, {fault:?}: right: {is_right}; {outcome}"
                    );
                    let runs = if is_right { &right_runs } else { &wrong_runs };
                    runs.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    // Both results must be frequent.
    let right = right_runs.into_inner();
    let wrong = wrong_runs.into_inner();
    println!("{right} outputs were right, {wrong} were not");
    assert!(
        wrong > RUNS / 5 && right > RUNS / 5,
        "{right} right, {wrong} wrong"
    );
}
