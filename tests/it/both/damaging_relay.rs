//! The client over a path that damages what it carries: exit code 0 is a proof.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::util::{Random, Server, accept_unless, client, printed, run, threads_allowed};

/// Each kind of damage in either direction, with and without another try, so many
/// times.
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

/// Carries one direction of a connection and damages it at a line.
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
        match damage {
            _ if number != at => {}
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
        if to.write_all(&sent).is_err() || number == at && damage == Damage::CutLine {
            break;
        }
    }
    // The other direction goes on after a half-close only.
    let _ = to.shutdown(Shutdown::Write);
    if damage != Damage::HalfClose {
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    }
}

/// An address from which everything goes to a server and back, and the first
/// connections suffer some damage there or on the way back; until it is told to end.
fn relay(
    server: SocketAddr,
    (damage, is_there): (Damage, bool),
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
            let damage = if is_damaged { damage } else { Damage::None };
            let at = random.below(lines);
            let (there, back) = match is_there {
                true => (damage, Damage::None),
                false => (Damage::None, damage),
            };
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
    let counts = [(); 2].map(|()| AtomicU64::new(0));
    thread::scope(|scope| {
        // Each client, its relay and its place at the server have some 18 threads.
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
                    let damage = (damage, is_there);
                    let address = relay(server.address, damage, count, random, Arc::clone(&ended));
                    let retry_for = if retries { "5" } else { "0" };
                    let mut command =
                        client(address, &["--timeout", "0.05", "--retry-for", retry_for]);
                    let sent: String = lines.iter().map(|line| format!("{line}\n")).collect();
                    let outcome = run(&mut command, sent);
                    ended.store(true, Ordering::Relaxed);
                    let is_right = outcome.stdout == printed(&lines).as_bytes();
                    let code = outcome.status.code();
                    // One reply more, after all others, leaves the output right.
                    let is_surplus = outcome.stderr.contains("unexpected line");
                    let is_proof =
                        code == Some(0) && is_right || code == Some(1) && (!is_right || is_surplus);
                    assert!(
                        is_proof,
                        "seed {seed}, {damage:?}: right: {is_right}; {outcome}"
                    );
                    counts[usize::from(is_right)].fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    // Neither answer is the only one.
    let [wrong, right] = counts.map(AtomicU64::into_inner);
    println!("{right} outputs were right, {wrong} were not");
    assert!(
        wrong > RUNS / 5 && right > RUNS / 5,
        "{right} right, {wrong} wrong"
    );
}
