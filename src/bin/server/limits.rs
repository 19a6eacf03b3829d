//! How many clients this machine allows.
//!
//! A client costs one descriptor and one thread. A thread costs four memory mappings: its
//! stack, its signal stack, and a guard page for each.
//!
//! If no descriptor or no thread is left, the server gets an error and goes on. But if a
//! new thread cannot map its signal stack, Rust's std aborts the whole process. So the
//! limit of mappings must never be reached.

use std::fs;
use std::sync::Arc;

use anyhow::bail;
use log::Level;
use tcp_chat::system;

/// How many clients are served at once if the command line says nothing.
const DEFAULT_CLIENTS: usize = 10_000;

/// How many connections at most are drained at once after their notice.
const MOST_DRAINED: usize = 256;

/// How many connections at most are accepted and wait for their thread. More clients may
/// connect at once than threads can be started. Those that find the kernel's queue full
/// repeat their SYN only after a second.
const MOST_WAITING: usize = 4096;

/// Descriptors for a connection just accepted and one just closing, with a few
/// to spare.
const SPARE_FILES: usize = 6;

/// How many descriptors are taken to be open on a system that does not list them: the
/// standard streams, the listener, and the two ends of the pipe for signals.
const USUALLY_OPEN: usize = 6;

/// The memory mappings of one thread.
const MAPS_PER_THREAD: usize = 4;

/// How many eighths of the threads that the mappings allow may serve clients. The rest of the
/// mappings is left to all other uses, and to threads that are about to end.
const EIGHTHS_FOR_CLIENTS: usize = 7;

/// How many connections there may be at once of each kind.
#[derive(Debug)]
pub(crate) struct Limits {
    /// Clients that are served.
    clients: usize,
    /// The reason for that number: an option, the default, or a limit of the machine.
    cause: String,
    /// Connections that are drained after their notice.
    pub(crate) drained: usize,
    /// Connections that are accepted, but neither served nor refused yet.
    pub(crate) waiting: usize,
    taken: TakenSlots,
}

/// Counts the slots that are taken: one reference for each, and one for this value.
#[derive(Debug, Default)]
struct TakenSlots(Arc<()>);

/// One client's share of the clients that are served at once. Dropping it frees the slot,
/// even if the client's thread panics.
#[derive(Debug)]
pub(crate) struct Slot {
    _counted: Arc<()>,
}

impl TakenSlots {
    fn count(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }

    fn add(&self) -> Slot {
        Slot {
            _counted: Arc::clone(&self.0),
        }
    }
}

impl Limits {
    /// Returns the limits for as many clients as were asked for, or as this machine
    /// allows. Raises the soft limit of open files if that is needed and the hard one
    /// allows it. If the machine allows fewer clients than wanted, logs which of its limits
    /// is the cause, and how to raise it.
    ///
    /// # Errors
    ///
    /// The machine allows not even one client.
    pub(crate) fn of_this_machine(asked: Option<usize>) -> anyhow::Result<Self> {
        let address_space = system::address_space_limit();
        if address_space < usize::MAX {
            log::warn!(
                "The address space is limited to {address_space} bytes (ulimit -v): \
                 if it is used up, the server aborts; remove the limit, or lower --max-clients"
            );
        }
        let wanted = asked.unwrap_or(DEFAULT_CLIENTS);
        let not_for_clients = MOST_DRAINED + MOST_WAITING + SPARE_FILES + open_files(usize::MAX);
        let file_limit = system::open_file_limit(wanted.saturating_add(not_for_clients));
        let machine = Machine {
            file_limit,
            // Counted again, because the limit is known only now: an inherited descriptor
            // above it takes no number that a client could have.
            open_files: open_files(file_limit),
            map_limit: max_map_count(),
        };
        machine.allow(asked)
    }

    /// Takes a slot for one more client.
    ///
    /// # Errors
    ///
    /// All slots are taken. The text says how many, and what limits them.
    pub(crate) fn take_slot(&self) -> Result<Slot, String> {
        let taken = self.taken.count();
        if taken >= self.clients {
            return Err(format!("{} connected ({})", clients_are(taken), self.cause));
        }
        Ok(self.taken.add())
    }
}

/// What this machine gives to this process.
struct Machine {
    /// How many descriptors may be open.
    file_limit: usize,
    /// How many are open already.
    open_files: usize,
    /// How many memory mappings there may be.
    map_limit: usize,
}

impl Machine {
    /// Computes the limits for as many clients as were asked for, or fewer.
    ///
    /// # Errors
    ///
    /// Not even one client is allowed.
    fn allow(&self, asked: Option<usize>) -> anyhow::Result<Limits> {
        let drained = MOST_DRAINED.min(self.file_limit / 8);
        let waiting = MOST_WAITING.min(self.file_limit / 8);
        let not_for_clients = drained + waiting + self.open_files + SPARE_FILES;
        let by_files = self.file_limit.saturating_sub(not_for_clients);
        let threads_by_maps = self.map_limit / MAPS_PER_THREAD;
        let by_maps = threads_by_maps / 8 * EIGHTHS_FOR_CLIENTS;

        let wanted = asked.unwrap_or(DEFAULT_CLIENTS);
        let clients = wanted.min(by_files).min(by_maps);
        let cause;
        // How to raise the limit; empty if it is the wanted number itself.
        let remedy;
        if clients == wanted {
            cause = match asked {
                Some(asked) => format!("--max-clients {asked}"),
                None => "the default limit".to_string(),
            };
            remedy = "";
        } else if by_files < by_maps {
            cause = format!("the hard open-file limit of {}", self.file_limit);
            remedy = "raise it as root or with LimitNOFILE=";
        } else {
            cause = "vm.max_map_count".to_string();
            remedy = "raise it as root with sysctl";
        }
        if clients == 0 {
            bail!("not even one client is allowed because of {cause}; {remedy}");
        }
        if clients < wanted {
            // The default is no promise, so fewer clients than that need no warning.
            let level = if asked.is_some() {
                Level::Warn
            } else {
                Level::Info
            };
            let served = clients_are(clients);
            log::log!(
                level,
                "At most {served} served, not {wanted}, because of {cause}; {remedy}"
            );
        }
        Ok(Limits {
            clients,
            cause,
            drained,
            waiting,
            taken: TakenSlots::default(),
        })
    }
}

/// Returns a number of clients as the beginning of a sentence about them.
pub(crate) fn clients_are(number: usize) -> String {
    if number == 1 {
        "1 client is".to_string()
    } else {
        format!("{number} clients are")
    }
}

/// Counts the open descriptors below this limit, inherited ones too.
fn open_files(limit: usize) -> usize {
    let Ok(files) = fs::read_dir("/dev/fd") else {
        return USUALLY_OPEN;
    };
    let mut open: usize = 0;
    for file in files.flatten() {
        // A file's name is the number of its descriptor.
        let name = file.file_name();
        let number = name.to_str().and_then(|name| name.parse::<usize>().ok());
        if number.is_some_and(|number| number < limit) {
            open += 1;
        }
    }
    // One of them is the directory itself.
    open.saturating_sub(1)
}

/// Returns how many memory mappings a process may have; `usize::MAX` on a system that
/// does not say.
fn max_map_count() -> usize {
    let count = fs::read_to_string("/proc/sys/vm/max_map_count").unwrap_or_default();
    count.trim().parse().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_LIMIT: usize = usize::MAX;

    /// A machine with four open files.
    fn machine(file_limit: usize, map_limit: usize) -> Machine {
        Machine {
            file_limit,
            open_files: 4,
            map_limit,
        }
    }

    /// Checks how many clients are allowed, because of what, and how many connections are
    /// drained and waiting at most.
    #[track_caller]
    fn check(
        asked: Option<usize>,
        machine: &Machine,
        clients: usize,
        cause: &str,
        [drained, waiting]: [usize; 2],
    ) {
        let limits = machine.allow(asked).unwrap();
        assert_eq!(limits.clients, clients);
        assert_eq!(limits.cause, cause);
        assert_eq!(limits.drained, drained);
        assert_eq!(limits.waiting, waiting);
    }

    #[test]
    fn allows_what_was_asked_for_or_the_lowest_of_the_machines_limits() {
        let unlimited = machine(NO_LIMIT, NO_LIMIT);
        check(None, &unlimited, 10_000, "the default limit", [256, 4096]);
        let few_files = machine(64, NO_LIMIT);
        let files = "the hard open-file limit of 64";
        check(Some(38), &few_files, 38, "--max-clients 38", [8, 8]);
        check(Some(39), &few_files, 38, files, [8, 8]);
        check(None, &few_files, 38, files, [8, 8]);
        // As by default on Linux: 57,316 mappings of 65,530, four for a thread.
        let linux = machine(100_000, 65_530);
        let maps = "vm.max_map_count";
        check(Some(20_000), &linux, 14_329, maps, [256, 4096]);
        check(Some(1), &machine(13, 64), 1, "--max-clients 1", [1, 1]);
    }

    #[test]
    fn gives_as_many_slots_as_clients_are_allowed() {
        for (asked, full) in [
            (1, "1 client is connected (--max-clients 1)"),
            (2, "2 clients are connected (--max-clients 2)"),
        ] {
            let limits = machine(NO_LIMIT, NO_LIMIT).allow(Some(asked)).unwrap();
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
                NO_LIMIT,
                "the hard open-file limit of 12; raise it as root or with LimitNOFILE=",
            ),
            (
                NO_LIMIT,
                31,
                "vm.max_map_count; raise it as root with sysctl",
            ),
        ] {
            let error = machine(files, maps).allow(None).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("not even one client is allowed because of {why}")
            );
        }
    }
}
