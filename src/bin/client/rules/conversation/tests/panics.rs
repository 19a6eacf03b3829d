//! Whichever thread panics, the run ends. A count that cannot grow any further
//! makes a conversation panic wherever it counts.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, mpsc};
use std::thread;

use super::*;
use crate::figures::counts::Counts;
use crate::input;
use crate::network::session;
use crate::output::Output;
use crate::reports::progress;
use crate::rules::schedule::Schedule;
use crate::shared::{End, Shared, start_thread};

/// What no step of any test should take.
const LIMIT: Duration = Duration::from_secs(30);

struct PanickingInput;

impl Read for PanickingInput {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        panic!("no input");
    }
}

/// Runs threads with these counts, and asserts that the first end of the run is
/// the panic of the thread of this name.
#[track_caller]
fn assert_ends_by_panic(name: &str, counts: Counts, run: impl FnOnce(&Arc<Shared>)) {
    let (end, first_end) = mpsc::channel();
    let mut conversation = Conversation::new("server".to_string(), settings(), Instant::now());
    conversation.enqueue(Line::Whole(b"hello"), Instant::now());
    conversation.counts = counts;
    conversation.counts.answers.by_prefix = vec![0];
    let shared = Arc::new(Shared::new(conversation, Output::new().unwrap(), end));
    run(&shared);
    let end = first_end.recv_timeout(LIMIT).unwrap();
    assert!(
        matches!(end, End::Panicked(thread) if thread == name),
        "{end:?}"
    );
    // It would wait for a reader that is gone, if it waited.
    let is_reader = name == "session" && shared.lock().outbox.in_flight() > 0;
    assert_eq!(shared.lock().is_printing(), is_reader);
}

/// Connects to a server that reads a line on each connection, and answers unless
/// it is one of the first.
fn connect(unanswered: usize, shared: &Arc<Shared>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = BufReader::new(stream.unwrap());
            let _ = stream.read_line(&mut String::new());
            if number >= unanswered {
                let _ = stream
                    .get_mut()
                    .write_all(b"Server received your message: hello\n");
            }
        }
    });
    let mut session = session::Session::new("127.0.0.1", address.port(), false, shared);
    start_thread("session", shared, move |shared| shared.end(session.run())).unwrap();
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
fn a_panic_of_the_thread_that_writes_ends_the_run() {
    let counts = Counts {
        sent_again: u64::MAX,
        ..Counts::default()
    };
    assert_ends_by_panic("writer", counts, |shared| connect(1, shared));
}

#[test]
fn a_panic_of_the_thread_that_reads_replies_ends_the_run() {
    let answers = Answers {
        acknowledged: u64::MAX,
        ..Answers::default()
    };
    let counts = Counts {
        answers,
        ..Counts::default()
    };
    assert_ends_by_panic("session", counts, |shared| connect(0, shared));
}

#[test]
fn a_panic_of_the_thread_that_shows_progress_ends_the_run() {
    let answers = Answers {
        acknowledged: u64::MAX,
        rejected: 1,
        ..Answers::default()
    };
    let counts = Counts {
        answers,
        ..Counts::default()
    };
    assert_ends_by_panic("progress", counts, |shared| {
        start_thread("progress", shared, progress::show_progress).unwrap();
    });
}
