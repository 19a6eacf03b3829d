//! A client that must be served while others misbehave.

use std::fs;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::{Server, ask_line, eventually};

/// A client that asks every 50 ms, and has nothing to do with the others.
pub struct Bystander {
    stop: mpsc::Sender<()>,
    thread: thread::JoinHandle<Duration>,
}

impl Bystander {
    pub fn start(server: &Server) -> Self {
        let stream = server.connect();
        ask_line(&stream, "bystander");
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut longest = Duration::ZERO;
            for number in 0.. {
                let begun = Instant::now();
                let line = format!("bystander {number}");
                ask_line(&stream, &line);
                longest = longest.max(begun.elapsed());
                if stopped.recv_timeout(Duration::from_millis(50)).is_ok() {
                    break;
                }
            }
            longest
        });
        Bystander { stop, thread }
    }

    /// Asserts that every reply came, and soon.
    pub fn stop(self) {
        let _ = self.stop.send(());
        let longest = self.thread.join().expect("the bystander was not served");
        println!("the bystander's longest wait: {longest:?}");
        assert!(longest < Duration::from_secs(5), "a reply took {longest:?}");
    }
}

/// Does the same to a server three times or more, while a bystander is served.
/// Afterwards threads and descriptors must be back where they were, and a round
/// must come that takes no more memory than the one before: the allocator has
/// several heaps, which take some rounds to grow to their sizes.
pub fn three_rounds(server: &Server, mut round: impl FnMut()) {
    let bystander = Bystander::start(server);
    let descriptors = format!("/proc/{}/fd", server.id());
    let open_files = || fs::read_dir(&descriptors).unwrap().count();
    let counts = || (server.status("Threads"), open_files());
    let before = counts();
    let mut memory: Vec<u64> = Vec::new();
    let has_grown = |memory: &[u64]| match memory {
        [.., before, after] => *after > before + 1024,
        _ => true,
    };
    while memory.len() < 3 || memory.len() < 12 && has_grown(&memory) {
        round();
        eventually(|| match counts() {
            after if after == before => Ok(()),
            after => Err(format!(
                "(threads, descriptors): {before:?} before, {after:?} after"
            )),
        });
        memory.push(server.status("VmRSS"));
    }
    bystander.stop();
    println!("resident memory after each round: {memory:?} KB");
    assert!(!has_grown(&memory), "it grew each time: {memory:?} KB");
    assert!(!server.log().contains("panicked"), "{}", server.log());
}
