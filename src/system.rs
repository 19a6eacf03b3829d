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

pub use imp::{
    Interruptible, READ_TIMEOUT, Stdout, address_space_limit, end_by, ignore_file_size_signal,
    inherited_listener, is_same_file, is_standard_error, is_standard_input_or_output,
    is_standard_stream, lengthen_queue, limit_writes, open_file_limit, outgoing, stdin, stdout,
    watch,
};

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

/// Whether a blocking read or write ended only because its time limit has passed. A
/// connection that TCP has given up (`ETIMEDOUT`) is another error: it comes once, and
/// the next read looks like a clean end of the stream.
pub fn is_timeout(error: &io::Error) -> bool {
    error.kind() == READ_TIMEOUT
}

/// Whether the stream is as good as before: the time limit of a blocking read or write
/// has passed, or a signal or a pause of the process has interrupted it. The caller
/// judges by the clock: the system begins the time limit again with each call.
pub fn is_retryable(error: &io::Error) -> bool {
    is_timeout(error) || error.kind() == ErrorKind::Interrupted
}

/// Whether a write found that nobody will read: the other end of the pipe is
/// closed, or this end of the connection is shut down.
pub fn is_broken_pipe(error: &io::Error) -> bool {
    let says_so = |number| imp::NOBODY_READS.contains(&number);
    error.kind() == ErrorKind::BrokenPipe || error.raw_os_error().is_some_and(says_so)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_time_limit_is_what_a_read_that_waits_in_vain_returns_and_no_other_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_millis(1)))
            .unwrap();
        let error = stream.read(&mut [0]).unwrap_err();
        assert!(is_timeout(&error) && is_retryable(&error), "{error:?}");

        assert!(is_retryable(&ErrorKind::Interrupted.into()));
        for kind in [
            ErrorKind::ConnectionReset,
            ErrorKind::TimedOut,
            ErrorKind::WouldBlock,
        ] {
            if kind != READ_TIMEOUT {
                assert!(!is_retryable(&kind.into()), "{kind:?}");
            }
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_connection_that_tcp_has_given_up_is_not_a_time_limit() {
        const ETIMEDOUT: i32 = 110;
        assert!(!is_retryable(&io::Error::from_raw_os_error(ETIMEDOUT)));
    }
}
