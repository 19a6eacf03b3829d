//! A check that a server keeps no thread, no descriptor and no memory of its clients.

use std::fs;

use super::{Bystander, Server, eventually};

/// The most by which a round may grow the resident memory, in KB.
const GROWTH: u64 = 1024;

/// How many threads and open files a server has.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Held {
    threads: u64,
    files: usize,
}

impl Held {
    fn by(server: &Server) -> Self {
        let files = fs::read_dir(format!("/proc/{}/fd", server.id())).unwrap();
        Held {
            threads: server.status("Threads"),
            files: files.count(),
        }
    }
}

/// Whether the last round took more memory than the one before, as far as is known.
fn has_grown(memory: &[u64]) -> bool {
    match memory {
        [.., before, after] => *after > before + GROWTH,
        _ => true,
    }
}

/// Runs a round of clients at least three times, while a bystander is served. Asserts
/// that threads and descriptors return to their numbers after each round.
///
/// Memory may grow at first: the allocator has several heaps, which take some rounds to
/// reach their sizes. So the rounds go on, twelve at most, until one needs no more than the
/// one before.
pub fn assert_leaves_nothing_behind(server: &Server, mut round: impl FnMut()) {
    let bystander = Bystander::start(server);
    let before = Held::by(server);
    let mut memory: Vec<u64> = Vec::new();
    while memory.len() < 3 || memory.len() < 12 && has_grown(&memory) {
        round();
        eventually(|| {
            let after = Held::by(server);
            if after == before {
                return Ok(());
            }
            Err(format!("{before:?}, and {after:?} after a round"))
        });
        memory.push(server.status("VmRSS"));
    }
    bystander.assert_served();
    println!("resident memory after each round: {memory:?} KB");
    assert!(!has_grown(&memory), "it grew each time: {memory:?} KB");
    assert!(!server.log().contains("panicked"), "{}", server.log());
}
