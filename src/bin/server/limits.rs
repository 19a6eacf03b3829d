//! How many clients this machine allows.
//!
//! Each client costs a descriptor and a thread, and each thread four memory
//! mappings: its stack and its signal stack, each with a guard page. The
//! system's refusal of a descriptor or a thread can be dealt with, but Rust's
//! std aborts the whole process where a new thread cannot map its signal stack,
//! so that limit must never be reached.

use std::{fs, sync::Arc};

use anyhow::bail;
use log::Level;
use tcp_chat::system;

/// How many clients are served at once, unless told otherwise.
const DEFAULT_CLIENTS: usize = 10_000;

/// How many connections at most are kept open for a moment after their notice.
const MOST_DRAINED: usize = 256;

/// How many connections at most are accepted and wait for their thread. More come at
/// once than threads can be started, and the kernel lets the rest repeat their SYN after
/// a second.
const MOST_WAITING: usize = 4096;

/// Descriptors for a connection just accepted and one just closing, with a few
/// to spare.
const SPARE_FILES: usize = 6;

/// The standard streams, the listener and the two ends of the pipe for signals: what
/// is open where it cannot be told.
const USUALLY_OPEN: usize = 6;

/// Numbers of connections.
#[derive(Debug)]
pub(crate) struct Limits {
    /// Served at once.
    clients: usize,
    /// What that number comes from.
    cause: String,
    /// Kept open for a moment after their notice, to be drained.
    pub(crate) drained: usize,
    /// Accepted, and not served or refused yet.
    pub(crate) waiting: usize,
    /// One reference for each slot that is taken, besides this one.
    slots: Arc<()>,
}

/// One client's share of those that are served at once. Its drop gives it back,
/// however its client's thread ends.
#[derive(Debug)]
pub(crate) struct Slot {
    _counted: Arc<()>,
}

impl Limits {
    /// Takes a slot for one more client.
    ///
    /// # Errors
    ///
    /// As many clients as allowed are being served; this is why no more are.
    pub(crate) fn take_slot(&self) -> Result<Slot, String> {
        let taken = Arc::strong_count(&self.slots) - 1;
        if taken >= self.clients {
            return Err(format!("{} connected ({})", clients_are(taken), self.cause));
        }
        Ok(Slot {
            _counted: Arc::clone(&self.slots),
        })
    }
}

/// The limits for as many clients as were asked for, or what the machine
/// allows. The soft limit of open files is raised for them where the hard one
/// allows it. The log says which limit of the machine's is the lower one, and
/// how to raise it.
///
/// # Errors
///
/// Not even one client is allowed.
pub(crate) fn limits(asked: Option<usize>) -> anyhow::Result<Limits> {
    let address_space = system::address_space_limit();
    if address_space < usize::MAX {
        log::warn!(
            "The address space is limited to {address_space} bytes (ulimit -v): \
             the server aborts when a thread finds none left"
        );
    }
    let wanted = asked.unwrap_or(DEFAULT_CLIENTS);
    let others = MOST_DRAINED + MOST_WAITING + SPARE_FILES + open_files(usize::MAX);
    let files = system::open_file_limit(wanted.saturating_add(others));
    allow(asked, files, open_files(files), max_map_count())
}

/// The rule: how many clients the limits of descriptors, of which some are open
/// already, and of memory mappings allow.
fn allow(asked: Option<usize>, files: usize, open: usize, maps: usize) -> anyhow::Result<Limits> {
    let drained = MOST_DRAINED.min(files / 8);
    let waiting = MOST_WAITING.min(files / 8);
    let by_files = files.saturating_sub(drained + waiting + open + SPARE_FILES);
    // An eighth is left to what else is mapped and to threads about to end.
    let by_maps = maps / 4 / 8 * 7;

    let wanted = asked.unwrap_or(DEFAULT_CLIENTS);
    let clients = wanted.min(by_files).min(by_maps);
    let (cause, remedy) = if clients == wanted {
        let flag = asked.map(|_| format!("--max-clients {clients}"));
        (flag.unwrap_or("the default limit".to_string()), "")
    } else if by_files < by_maps {
        (
            format!("the hard open-file limit of {files}"),
            "ulimit -Hn raises it",
        )
    } else {
        ("vm.max_map_count".to_string(), "sysctl raises it")
    };
    if clients == 0 {
        bail!("not even one client is allowed because of {cause} ({remedy})");
    }
    if clients < wanted {
        let level = if asked.is_some() {
            Level::Warn
        } else {
            Level::Info
        };
        let served = clients_are(clients);
        log::log!(
            level,
            "At most {served} served, not {wanted}, because of {cause} ({remedy})"
        );
    }
    Ok(Limits {
        clients,
        cause,
        drained,
        waiting,
        slots: Arc::default(),
    })
}

/// A number of clients, as the beginning of a sentence about them.
pub(crate) fn clients_are(number: usize) -> String {
    if number == 1 {
        "1 client is".to_string()
    } else {
        format!("{number} clients are")
    }
}

/// How many descriptors are open below the limit, inherited ones too.
fn open_files(limit: usize) -> usize {
    let Ok(files) = fs::read_dir("/dev/fd") else {
        return USUALLY_OPEN;
    };
    let numbers = files.filter_map(|file| file.ok()?.file_name().to_str()?.parse().ok());
    // One of them is the directory itself.
    numbers
        .filter(|number: &usize| *number < limit)
        .count()
        .saturating_sub(1)
}

/// How many memory mappings a process may have; no limit where it cannot be
/// told.
fn max_map_count() -> usize {
    let count = fs::read_to_string("/proc/sys/vm/max_map_count").unwrap_or_default();
    count.trim().parse().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: usize = usize::MAX;

    /// The numbers and what they come from, for these limits.
    fn allowed(asked: Option<usize>, files: usize, maps: usize) -> (usize, [usize; 2], String) {
        let limits = allow(asked, files, 4, maps).unwrap();
        (
            limits.clients,
            [limits.drained, limits.waiting],
            limits.cause,
        )
    }

    #[test]
    fn allows_what_was_asked_for_or_the_lowest_of_the_machines_limits() {
        let default = "the default limit".to_string();
        assert_eq!(allowed(None, NONE, NONE), (10_000, [256, 4096], default));
        let asked = "--max-clients 38".to_string();
        assert_eq!(allowed(Some(38), 64, NONE), (38, [8, 8], asked));
        let files = "the hard open-file limit of 64".to_string();
        assert_eq!(allowed(Some(39), 64, NONE), (38, [8, 8], files.clone()));
        assert_eq!(allowed(None, 64, NONE), (38, [8, 8], files));
        // As by default on Linux: 57,330 mappings of 65,530, four for a thread.
        let maps = "vm.max_map_count".to_string();
        assert_eq!(
            allowed(Some(20_000), 100_000, 65_530),
            (14_329, [256, 4096], maps)
        );
        let asked = "--max-clients 1".to_string();
        assert_eq!(allowed(Some(1), 13, 64), (1, [1, 1], asked));
    }

    #[test]
    fn gives_as_many_slots_as_clients_are_allowed() {
        for (asked, full) in [
            (1, "1 client is connected (--max-clients 1)"),
            (2, "2 clients are connected (--max-clients 2)"),
        ] {
            let limits = allow(Some(asked), NONE, 4, NONE).unwrap();
            let mut slots: Vec<Slot> = (0..asked).map(|_| limits.take_slot().unwrap()).collect();
            assert_eq!(limits.take_slot().unwrap_err(), full);
            slots.pop();
            limits.take_slot().unwrap();
        }
    }

    #[test]
    fn refuses_to_serve_nobody() {
        for (files, maps, why) in [
            (
                12,
                NONE,
                "the hard open-file limit of 12 (ulimit -Hn raises it)",
            ),
            (NONE, 31, "vm.max_map_count (sysctl raises it)"),
        ] {
            let error = allow(None, files, 4, maps).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("not even one client is allowed because of {why}")
            );
        }
    }
}
