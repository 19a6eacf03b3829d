//! A client that must be served without delay while others misbehave.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::{Server, ask_line, rounded};

/// A client that sends a line every 50 ms and has nothing to do with the others.
pub struct Bystander {
    end: mpsc::Sender<()>,
    /// Returns the longest wait for a reply.
    thread: thread::JoinHandle<Duration>,
}

impl Bystander {
    pub fn start(server: &Server) -> Self {
        let stream = server.connect();
        ask_line(&stream, "bystander");
        let (end, is_ended) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut longest = Duration::ZERO;
            for number in 0.. {
                let begun = Instant::now();
                let line = format!("bystander {number}");
                ask_line(&stream, &line);
                longest = longest.max(begun.elapsed());
                if is_ended.recv_timeout(Duration::from_millis(50)).is_ok() {
                    break;
                }
            }
            longest
        });
        Bystander { end, thread }
    }

    /// Ends the client, and asserts that each reply came within 5 s.
    pub fn assert_served(self) {
        let _ = self.end.send(());
        let longest = self.thread.join().expect("the bystander was not served");
        println!(
            "another client waited at most {} for a reply",
            rounded(longest)
        );
        assert!(longest < Duration::from_secs(5), "a reply took {longest:?}");
    }
}
