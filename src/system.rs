//! What std lacks, or does differently by system: signals, unbuffered standard
//! streams, the listener's queue, writes that cannot be woken, resource limits.
//!
//! All code that knows a system is here, and so are all foreign functions. The
//! rest of the crate is the same for every system.

use std::io::{self, ErrorKind};
use std::{error::Error, ffi::c_int, fmt, time::Duration};

#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as imp;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as imp;

pub use imp::*;

/// Within this time, another signal is the first one repeated: `timeout` signals
/// the program and then its whole process group, and a hang-up comes from the
/// kernel and from the shell.
const REPEATED: Duration = Duration::from_millis(100);

/// A signal that asks the program to end, as an error like others: it shows its
/// name, such as `SIGINT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal(c_int);

impl Signal {
    /// The terminal hung up.
    pub const HUP: Signal = Signal(1);
    /// Ctrl-C.
    pub const INT: Signal = Signal(2);
    /// What `kill` and service managers send.
    pub const TERM: Signal = Signal(15);

    /// The exit code that a shell shows for a program that the signal ended: 128
    /// and its number.
    pub fn exit_code(self) -> u8 {
        128 + self.0 as u8
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Signal::HUP => "SIGHUP",
            Signal::INT => "SIGINT",
            _ => "SIGTERM",
        })
    }
}

impl Error for Signal {}

/// Whether a read or write on a connection ran into its time limit, which systems
/// name differently.
pub fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Whether a write found that nobody will read: the other end of the pipe is
/// closed, or this end of the connection is shut down.
pub fn is_broken_pipe(error: &io::Error) -> bool {
    let says_so = |number| imp::NOBODY_READS.contains(&number);
    error.kind() == ErrorKind::BrokenPipe || error.raw_os_error().is_some_and(says_so)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_limit_has_either_name_and_no_other() {
        for kind in [ErrorKind::WouldBlock, ErrorKind::TimedOut] {
            assert!(is_timeout(&kind.into()));
        }
        assert!(!is_timeout(&ErrorKind::ConnectionReset.into()));
    }
}
