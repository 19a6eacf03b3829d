//! What the tests share, one idea in each module.

use std::sync::{PoisonError, RwLock, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant};

// The server as a process of a test's own.
mod server_process;

// More threads for the tests than Rust would take.
mod restart;

// A program that a test has started.
mod process;

// A program in pipes, how it ended and what it said.
mod program;

// A terminal of a test's own.
mod terminal;

// What a test needs that not every machine has.
mod needs;

// Bytes and lines over a socket.
mod conversation;

// A server that a test plays itself.
mod peer;

// Who must be served whatever else goes on.
mod bystander;

// What the kernel says of a process.
mod kernel;

// A network of a test's own.
#[cfg(unix)]
mod network;

// A process that is paused again and again.
mod pauses;

// What no other test uses.
mod exclusive;

// A client whose lines can be told from all others.
mod numbered;

// Numbers that look random.
mod random;

// JSON, read strictly.
mod json;

// What the client writes for `--report`.
mod report;

// A client that probes its server without end.
mod probe;

// A client that is sent a signal.
mod signalled;

// Files in `/etc` that only one process sees.
mod host_names;

pub use bystander::{Bystander, three_rounds};
pub use conversation::{
    accept, accept_unless, ask, ask_line, connect, exchange, last_words, peek, printed, read_line,
    read_once, received, uninterrupted,
};
pub use exclusive::{await_refusal, own_ip, own_name, own_user, temporary_file, unused_address};
pub use host_names::{NameServer, etc_hosts};
pub use json::Json;
pub use kernel::{number_in_proc, os_error};
pub use needs::{
    has_ipv6, may_open, may_start, process_1, program, say, skip, strace, threads_allowed,
    with_threads,
};
#[cfg(unix)]
pub use network::Network;
pub use numbered::{Numbered, assert_received_once};
pub use pauses::Pauses;
pub use peer::{answering, answering_at_the_end, fill_queue, peer};
pub use probe::Probe;
pub use process::{Process, children, ended_by, signal, spawn, stop};
pub use program::{
    Outcome, Running, client, client_to, client_with, command, excerpt, is_ignored, run, run_from,
};
pub use random::Random;
pub use report::{Row, series, take_report};
use restart::take_more_threads;
pub use server_process::{Server, announced_address, server};
pub use signalled::{Signalled, assert_last_words, fill_pipe, full_pipe, signals};
pub use terminal::{PROMPT, at_terminal, client_at_terminal};

/// What no step of any test should take, and a hang is taken for.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Waits for what comes about by itself and has no event to wait for.
pub fn eventually<T>(mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(why) if begun.elapsed() > LIMIT => panic!("{why}"),
            Err(_) => thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// Held for writing by a test that takes the whole machine for some seconds, and for reading
/// while a figure is measured.
static MACHINE: RwLock<()> = RwLock::new(());

/// Keeps every other test from measuring, as long as the guard is held.
pub fn take_machine() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().unwrap_or_else(PoisonError::into_inner)
}

/// Tries again, a few times, if a figure is not what it should be: a busy machine
/// falsifies one now and then, and a wrong program each time.
#[track_caller]
pub fn despite_load<T>(mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let mut attempt = || {
        let _measures = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
        attempt()
    };
    for _ in 0..9 {
        match attempt() {
            Ok(value) => return value,
            Err(why) => println!("again: {why}"),
        }
    }
    attempt().unwrap()
}
