//! What std lacks, or does differently by system: signals, the standard streams
//! as they are, the listener's queue, writes that cannot be woken, limits of
//! resources.
//!
//! All code that knows a system is here, and so are all foreign functions. The
//! rest of the crate is the same for every system.

use std::error::Error;
use std::ffi::c_int;
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as this;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as this;

pub use this::{Interruptible, Stderr, Stdin, Stdout};

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

/// From now on, SIGHUP, SIGINT and SIGTERM call `before`, in a thread of its
/// own, and then end the program by that signal; a `before` that is to end it
/// otherwise exits by itself. A signal that is ignored stays ignored, as `nohup`
/// and a shell's `&` in a script want it.
///
/// Another signal, 100 ms after the first or later, ends the program at once,
/// with the [exit code](Signal::exit_code) of the first.
///
/// # Errors
///
/// No pipe or thread is available, or this was called before
/// ([`ErrorKind::AlreadyExists`]).
pub fn watch(before: impl FnOnce(Signal) + Send + 'static) -> io::Result<()> {
    this::watch(before)
}

/// Standard input, unbuffered. The type of std takes a stream that is not open
/// for reading for one that is at its end.
///
/// # Errors
///
/// The stream is closed, or no descriptor is free.
pub fn stdin() -> io::Result<Stdin> {
    this::stdin()
}

/// Standard output, unbuffered. The type of std takes a stream that is not open
/// for writing for one that takes everything.
///
/// # Errors
///
/// As those of [`stdin`].
pub fn stdout() -> io::Result<Stdout> {
    this::stdout()
}

/// Standard error, as [`stdout`].
///
/// # Errors
///
/// As those of [`stdin`].
pub fn stderr() -> io::Result<Stderr> {
    this::stderr()
}

/// Whether a file is also a standard stream, as `/dev/stderr` is after `2> FILE`.
///
/// # Errors
///
/// The system does not tell, or a standard stream is closed.
pub fn is_standard_stream(file: &File) -> io::Result<bool> {
    this::is_standard_stream(file)
}

/// Whether a file is also standard error.
///
/// # Errors
///
/// As those of [`is_standard_stream`].
pub fn is_standard_error(file: &File) -> io::Result<bool> {
    this::is_standard_error(file)
}

/// The listening socket at standard input, which the program that started this
/// one has opened. It outlives the server: while the server is replaced by
/// another one, clients wait in the socket's queue, and none is refused. systemd
/// gives it so (`StandardInput=socket`), as inetd did (`wait`).
///
/// # Errors
///
/// Standard input is no IP socket, or one that does not listen.
pub fn inherited_listener() -> io::Result<TcpListener> {
    this::inherited_listener()
}

/// Lengthens the queue of connections that wait to be accepted. With the 128
/// that [`TcpListener::bind`] asks for, of more clients that connect at once the
/// rest wait a second or more, until they repeat their SYN.
///
/// # Errors
///
/// What the system says.
pub fn lengthen_queue(listener: &TcpListener) -> io::Result<()> {
    this::lengthen_queue(listener)
}

/// Limits how long each write on a connection may block, where
/// [`shutdown`](TcpStream::shutdown) from another thread does not end one that
/// does; elsewhere, does nothing.
///
/// # Errors
///
/// What the system says.
pub fn limit_writes(stream: &TcpStream, limit: Duration) -> io::Result<()> {
    this::limit_writes(stream, limit)
}

/// The side of a connection that is written to. A time limit that passes is an
/// error that [`is_timeout`] knows, and nothing was sent. On Windows nobody can
/// tell what was, so there it is another one, and the end of the connection.
pub struct Outgoing<'a>(pub &'a TcpStream);

impl Write for Outgoing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        this::write(self.0, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How many files may be open, [`usize::MAX`] if any number or nobody knows. If
/// it is fewer than needed, the limit is raised first, as far as the system
/// allows: shells and service managers leave it at 1,024 (macOS: 256) for programs
/// that use `select`, and whatever needs more is to raise it.
pub fn open_file_limit(needed: usize) -> usize {
    this::open_file_limit(needed)
}

/// How many bytes of memory may be mapped, [`usize::MAX`] if any number or nobody
/// knows.
pub fn address_space_limit() -> usize {
    this::address_space_limit()
}

/// Whether a read or write on a connection ran into its time limit, which systems
/// name differently.
pub fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Whether a write found that nobody will read: the other end of the pipe is
/// closed, or this end of the connection is shut down.
pub fn is_broken_pipe(error: &io::Error) -> bool {
    let number = error.raw_os_error();
    error.kind() == ErrorKind::BrokenPipe
        || number.is_some_and(|number| this::NOBODY_READS.contains(&number))
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
