//! A panic of any thread ends the run. To make a thread panic, a test sets a count to its
//! largest value: the conversation panics when it counts further.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use tcp_chat::lines::Line;

use crate::args::Args;
use crate::figures::counts::{Counts, ReplyCounts};
use crate::input;
use crate::network::connect::Attempts;
use crate::network::session;
use crate::output::Output;
use crate::reports::progress;
use crate::rules::conversation::Conversation;
use crate::rules::schedule::Schedule;
use crate::shared::{End, Shared, start_thread};

/// A limit that no step of any test should reach.
const LIMIT: Duration = Duration::from_secs(30);

struct PanickingInput;

impl Read for PanickingInput {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        panic!("no input");
    }
}

/// Runs threads with these counts and one message. Asserts that the first end of the run is
/// the panic of the thread `name`.
#[track_caller]
fn assert_ends_by_panic(name: &str, counts: Counts, run: impl FnOnce(&Arc<Shared>)) {
    let (end, first_end) = mpsc::channel();
    let args = Args::parse_from(["client", "--retry-for", "3600"]);
    let mut conversation = Conversation::new("server".to_string(), args.settings, Instant::now());
    conversation.enqueue(Line::Whole(b"hello"), Instant::now());
    conversation.set_counts(counts);
    let shared = Arc::new(Shared::new(conversation, Output::new().unwrap(), end));
    run(&shared);
    let end = first_end.recv_timeout(LIMIT).unwrap();
    assert!(
        matches!(end, End::Panicked(thread) if thread == name),
        "{end:?}"
    );
    // Only a thread that panics over a reply leaves it unprinted. The end of a run that
    // waited for that reply would wait in vain.
    let is_in_flight = !shared.lock().has_unsent();
    let is_reader = name == "session" && is_in_flight;
    assert_eq!(shared.lock().is_printing(), is_reader);
}

/// Connects to a server that reads a line on each connection. It sends no reply on the first
/// `without_reply` connections, and one on each later one.
fn connect(without_reply: usize, shared: &Arc<Shared>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = BufReader::new(stream.unwrap());
            let _ = stream.read_line(&mut String::new());
            if number >= without_reply {
                let _ = stream
                    .get_mut()
                    .write_all(b"Server received your message: hello\n");
            }
        }
    });
    let mut session =
        session::Session::new("127.0.0.1", address.port(), Attempts::Repeated, shared);
    start_thread("session", shared, move |shared| {
        shared.announce_end(session.run())
    })
    .unwrap();
}

#[test]
fn a_panic_of_the_thread_that_reads_the_input_ends_the_run() {
    assert_ends_by_panic("input", Counts::default(), |shared| {
        start_thread("input", shared, |shared| {
            input::read_input(shared, Schedule::new(None), PanickingInput)
        })
        .unwrap();
    });
}

#[test]
fn a_panic_of_the_thread_that_connects_ends_the_run() {
    let counts = Counts {
        connections: u64::MAX,
        ..Counts::default()
    };
    assert_ends_by_panic("session", counts, |shared| connect(0, shared));
}

#[test]
fn a_panic_of_the_thread_that_looks_up_the_name_ends_the_run() {
    assert_ends_by_panic("look-up", Counts::default(), |shared| {
        let mut session = session::Session::new("localhost", 9, Attempts::Repeated, shared);
        session.set_resolve(|_, _| panic!("no look-up"));
        start_thread("session", shared, move |shared| {
            shared.announce_end(session.run())
        })
        .unwrap();
    });
}

#[test]
fn a_panic_of_the_thread_that_writes_ends_the_run() {
    let counts = Counts {
        sent_again: u64::MAX,
        ..Counts::default()
    };
    assert_ends_by_panic("writer", counts, |shared| connect(1, shared));
}

#[test]
fn a_panic_of_the_thread_that_reads_replies_ends_the_run() {
    let replies = ReplyCounts {
        acknowledged: u64::MAX,
        ..ReplyCounts::default()
    };
    let counts = Counts {
        replies,
        ..Counts::default()
    };
    assert_ends_by_panic("session", counts, |shared| connect(0, shared));
}

#[test]
fn a_panic_of_the_thread_that_shows_progress_ends_the_run() {
    let replies = ReplyCounts {
        acknowledged: u64::MAX,
        rejected: 1,
        ..ReplyCounts::default()
    };
    let counts = Counts {
        replies,
        ..Counts::default()
    };
    assert_ends_by_panic("progress", counts, |shared| {
        start_thread("progress", shared, progress::show_progress).unwrap();
    });
}
