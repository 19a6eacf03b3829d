//! How many clients this machine allows.
//!
//! Each client costs a descriptor and a thread, and each thread four memory
//! mappings: its stack and its signal stack, each with a guard page. The
//! system's refusal of a descriptor or a thread can be dealt with, but Rust's
//! std aborts the whole process where a new thread cannot map its signal stack,
//! so that limit must never be reached.

use std::fs;

/// How many clients are served at once, unless told otherwise.
const DEFAULT_CLIENTS: usize = 10_000;

/// How many connections at most are kept open for a moment after their notice.
const MOST_LINGERING: usize = 256;

/// Descriptors for the standard streams, the listener and a connection just
/// accepted, with a few to spare.
const OWN_FILES: usize = 10;

/// Numbers of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Served at once.
    pub(crate) clients: usize,
    /// Kept open for a moment after their notice.
    pub(crate) lingering: usize,
}

/// The limits for as many clients as were asked for, or what the machine
/// allows. The log says which limit of the machine's is the lower one, and how
/// to raise it.
pub(crate) fn limits(asked: Option<usize>) -> Limits {
    let open_files = open_file_limit();
    let lingering = MOST_LINGERING.min(open_files / 8);
    let by_files = open_files.saturating_sub(lingering + OWN_FILES);
    // An eighth is left to what else is mapped and to threads about to end.
    let by_maps = max_map_count() / 4 / 8 * 7;

    let wanted = asked.unwrap_or(DEFAULT_CLIENTS);
    let clients = wanted.min(by_files).min(by_maps).max(1);
    if clients < wanted {
        let cause = if by_files < by_maps {
            format!("the open-file limit is {open_files} (ulimit -n raises it)")
        } else {
            "of vm.max_map_count (sysctl raises it)".to_string()
        };
        let level = if asked.is_some() {
            log::Level::Warn
        } else {
            log::Level::Debug
        };
        log::log!(
            level,
            "At most {clients} clients are served, not {wanted}: {cause}"
        );
    }
    Limits { clients, lingering }
}

/// The soft limit of open files; no limit where it cannot be told.
fn open_file_limit() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    soft.and_then(|soft| soft.parse().ok())
        .unwrap_or(usize::MAX)
}

/// How many memory mappings a process may have; no limit where it cannot be
/// told.
fn max_map_count() -> usize {
    let count = fs::read_to_string("/proc/sys/vm/max_map_count").unwrap_or_default();
    count.trim().parse().unwrap_or(usize::MAX)
}
