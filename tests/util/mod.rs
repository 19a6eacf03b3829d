//! Helpers that the tests share, one idea in each module. The first line of each module
//! says what it gives.

use std::sync::{PoisonError, RwLock, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant};

// The real programs and other processes.
mod process;
mod program;
mod server_process;

// Clients for one purpose each.
mod bystander;
mod numbered_client;
mod probe;
mod signalled_client;

// What a test plays itself: sockets, servers, terminals, networks, name servers.
mod host_names;
#[cfg(unix)]
mod network;
mod peer;
mod sockets;
mod terminal;

// What is read and checked afterwards.
mod json;
mod kernel;
mod leaks;
mod report_files;
mod shown;

// The machine on which the tests run, and what else runs there.
mod needs;
mod pauses;
mod random;
mod test_threads;
mod unique;

pub use bystander::Bystander;
pub use host_names::{NameServer, with_host_addresses};
pub use json::Json;
pub use kernel::{number_in_proc, os_error};
pub use leaks::assert_leaves_nothing_behind;
// Only the tests of the pages name another place than their own.
#[allow(unused_imports)]
pub use needs::installed_for;
pub use needs::{
    as_process_1, has_ipv6, installed, may_open_files, may_start_threads, print_to_stderr, skip,
    strace, threads_allowed, with_thread_limit,
};
#[cfg(unix)]
pub use network::Network;
pub use numbered_client::{NumberedClient, assert_received_once};
pub use pauses::Pauses;
pub use peer::{fill_queue, peer, peer_replying_at_the_end, replying_peer};
pub use probe::Probe;
pub use process::{Process, children, ended_by, pause, signal, spawn};
pub use program::{
    Outcome, Running, client, client_to, client_with, command, excerpt, is_signal_ignored, run,
    run_from,
};
pub use random::Random;
pub use report_files::{Row, read_series, take_report};
pub use server_process::{Server, announced_address, server};
pub use shown::{count_lines, quoted, rounded, rounded_seconds};
pub use signalled_client::{
    SignalledClient, assert_conclusion, ending_signals, fill_pipe, full_pipe,
};
pub use sockets::{
    LF_HINT, accept, accept_unless, acknowledgement, ask, ask_line, connect, exchange, peek,
    printed, read_line, read_once, read_rest, uninterrupted,
};
pub use terminal::{PROMPT, at_terminal, client_at_terminal};
use test_threads::restart_with_more_test_threads;
pub use unique::{
    await_refusal, temporary_file, unique_ip, unique_name, unique_user, unused_address,
};

/// A step of a test that takes longer counts as a hang.
pub const HANG_LIMIT: Duration = Duration::from_secs(30);

/// Repeats an attempt until it succeeds, for changes that have no event to wait for.
/// Panics with the last reason if that takes longer than `HANG_LIMIT`.
pub fn eventually<T>(mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(why) if begun.elapsed() > HANG_LIMIT => panic!("{why}"),
            Err(_) => thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// Locked for writing while a test loads the whole machine for some seconds, and for
/// reading while a test measures a figure.
static MACHINE: RwLock<()> = RwLock::new(());

/// Keeps every other test from measuring for as long as the guard lives.
pub fn reserve_machine() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().unwrap_or_else(PoisonError::into_inner)
}

/// Measures up to ten times until a figure is as expected: a busy machine falsifies one
/// now and then, but a wrong program falsifies it each time.
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
