//! What std lacks or what differs between systems: signals, unbuffered standard streams,
//! the length of the listener's queue, writes that nothing can interrupt, resource limits.
//!
//! Apart from tests, all code that is compiled for one system only is here, with all foreign
//! functions. The rest of the crate is the same for every system. (The server looks for its
//! limits in files of `/proc` and `/dev`, which not every system has.)

use std::error::Error;
use std::ffi::c_int;
use std::fmt;
use std::io::{self, ErrorKind};
use std::time::Duration;

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

/// Another signal within this time counts as a repetition of the first. `timeout` signals
/// the program and then its whole process group; a hang-up comes from the kernel and from
/// the shell.
const REPEATED: Duration = Duration::from_millis(100);

/// A signal that asks the program to end. As an error, its message is its name, such as
/// `SIGINT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal(c_int);

impl Signal {
    /// The terminal hung up.
    pub const HUP: Signal = Signal(1);
    /// Ctrl-C.
    pub const INT: Signal = Signal(2);
    /// What `kill` and service managers send.
    pub const TERM: Signal = Signal(15);

    /// Returns the exit code that a shell shows for a program that the signal ended: 128 plus
    /// its number.
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

/// Whether a blocking read or write ended only because its time limit has passed.
///
/// On Unix, a connection that TCP has given up (`ETIMEDOUT`) is another error. It comes once;
/// the next read then looks like a clean end of the stream. Windows has one kind for both.
pub fn is_timeout(error: &io::Error) -> bool {
    error.kind() == READ_TIMEOUT
}

/// Whether the stream can be used as before. It can if the time limit of a blocking read or
/// write has passed, or if a signal or a pause of the process has interrupted it. The caller
/// has to check its deadline by the clock, because the system restarts the time limit with
/// each call.
pub fn is_retryable(error: &io::Error) -> bool {
    is_timeout(error) || error.kind() == ErrorKind::Interrupted
}

/// Whether a write failed because nobody can read: the other end of the pipe is closed, or
/// this end of the connection is shut down.
pub fn is_broken_pipe(error: &io::Error) -> bool {
    if error.kind() == ErrorKind::BrokenPipe {
        return true;
    }
    match error.raw_os_error() {
        Some(number) => imp::NOBODY_READS.contains(&number),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn only_the_error_of_a_read_whose_time_has_passed_is_a_timeout() {
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
    fn a_connection_that_tcp_has_given_up_is_no_timeout() {
        const ETIMEDOUT: i32 = 110;
        assert!(!is_retryable(&io::Error::from_raw_os_error(ETIMEDOUT)));
    }
}
