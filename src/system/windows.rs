//! Windows.
//!
//! What it lacks is absent: listening sockets that are inherited, a queue of
//! another length, limits of open files and of the address space.

use std::io::{self, ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::os::windows::io::{AsHandle, BorrowedHandle};
use std::path::Path;
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};
use std::{fs::File, process, sync::OnceLock, thread};

use super::{REPEATED, Signal};

type Handler = extern "system" fn(event: u32) -> i32;

// Any call of these is safe: a handler is a function that lives as long as the
// process, and the thirteen numbers are what the other one fills.
#[allow(unsafe_code)]
#[link(name = "kernel32")]
unsafe extern "system" {
    safe fn SetConsoleCtrlHandler(handler: Handler, add: i32) -> i32;
    safe fn GetFileInformationByHandle(file: BorrowedHandle<'_>, data: &mut [u32; 13]) -> i32;
}

// Signals: the events of a console. The system calls their handler in a thread
// that it starts for it, so a handler may do anything.

/// Whom the handler tells.
static WATCH: OnceLock<Sender<Signal>> = OnceLock::new();

/// The first signal, and when it came.
static FIRST: OnceLock<(Signal, Instant)> = OnceLock::new();

/// Calls `before` at the first event of the console, and then ends the program.
pub fn watch(before: impl FnOnce(Signal) + Send + 'static) -> io::Result<()> {
    let (sender, signals) = mpsc::channel();
    if WATCH.set(sender).is_err() {
        return Err(ErrorKind::AlreadyExists.into());
    }
    let thread = thread::Builder::new().name("signals".to_string());
    thread.spawn(move || {
        if let Ok(signal) = signals.recv() {
            before(signal);
            end_by(signal);
        }
    })?;
    let result = SetConsoleCtrlHandler(handle, 1);
    if result == 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Ends the program with the signal's exit code.
pub fn end_by(signal: Signal) -> ! {
    process::exit(signal.exit_code().into())
}

extern "system" fn handle(event: u32) -> i32 {
    let signal = match event {
        // Ctrl-C and Ctrl-Break.
        0 | 1 => Signal::INT,
        // The console is closed.
        2 => Signal::HUP,
        // The user logs off, or the system shuts down.
        _ => Signal::TERM,
    };
    let (first, at) = FIRST.get_or_init(|| {
        let _ = WATCH.get().map(|watch| watch.send(signal));
        (signal, Instant::now())
    });
    if at.elapsed() >= REPEATED {
        end_by(*first);
    }
    // At all events but the first two, the system ends the process when its
    // handler returns.
    while event > 1 {
        thread::park();
    }
    1
}

/// There is none.
pub fn ignore_file_size_signal() {}

// Threads that wait. Nothing interrupts them here.

/// Threads that may be blocked in a read or write, and can be interrupted there.
#[derive(Default)]
pub struct Interruptible;

impl Interruptible {
    /// Whether this system can do so.
    pub const IS_SUPPORTED: bool = false;

    /// Runs this in the calling thread.
    pub fn run<T>(&self, act: impl FnOnce() -> T) -> T {
        act()
    }

    /// Does nothing.
    pub fn interrupt(&self) {}
}

// The standard streams. A console takes and gives UTF-16, which std's types
// convert and files do not.

pub use std::io::Stdout;

/// Standard input.
pub fn stdin() -> io::Result<io::Stdin> {
    Ok(io::stdin())
}

/// Standard output.
pub fn stdout() -> io::Result<Stdout> {
    Ok(io::stdout())
}

/// Whether a file is also a standard stream. This waits while another thread reads
/// from a pipe at standard input, or writes to one at standard output or error.
pub fn is_standard_stream(file: &File) -> io::Result<bool> {
    let streams = [id(&io::stdin()), id(&io::stdout()), id(&io::stderr())];
    Ok(id(file).is_some() && streams.contains(&id(file)))
}

/// No path names one here.
pub fn is_standard_input_or_output(_: &Path) -> bool {
    false
}

/// Whether two are the same file.
pub fn is_same_file(one: &File, other: &File) -> io::Result<bool> {
    Ok(id(one).is_some() && id(one) == id(other))
}

/// Whether a file is also standard error. This waits while another thread writes to a
/// pipe there.
pub fn is_standard_error(file: &File) -> io::Result<bool> {
    Ok(id(file).is_some() && id(file) == id(&io::stderr()))
}

/// The volume and the number of a file on it; `None` for what is no file.
fn id(file: &impl AsHandle) -> Option<[u32; 3]> {
    let mut data = [0; 13];
    let told = GetFileInformationByHandle(file.as_handle(), &mut data) != 0;
    told.then_some([data[7], data[11], data[12]])
}

/// Of a pipe whose reader is gone (`ERROR_PIPE_NOT_CONNECTED`), and of a
/// connection that is shut down (`WSAESHUTDOWN`).
pub(super) const NOBODY_READS: &[i32] = &[233, 10058];

// The connections.

/// What a read returns whose time limit has passed. A connection that TCP has given up
/// has the same name here.
pub const READ_TIMEOUT: ErrorKind = ErrorKind::TimedOut;

/// There is none.
pub fn inherited_listener() -> io::Result<TcpListener> {
    Err(io::Error::new(ErrorKind::Unsupported, "Windows gives none"))
}

/// Leaves the queue as it is.
pub fn lengthen_queue(_: &TcpListener) -> io::Result<()> {
    Ok(())
}

/// Limits how long each write on a connection may block: `shutdown` from another
/// thread does not end one.
pub fn limit_writes(stream: &TcpStream, limit: Option<Duration>) -> io::Result<()> {
    stream.set_write_timeout(limit)
}

/// A time limit that passes leaves unknown what was sent, so it ends the connection.
pub fn outgoing(stream: &TcpStream) -> impl Write {
    Outgoing(stream)
}

struct Outgoing<'a>(&'a TcpStream);

impl Write for Outgoing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        /// The time limit holds for each piece anew.
        const PIECE: usize = 65_536;
        let piece = &bytes[..bytes.len().min(PIECE)];
        self.0.write(piece).map_err(|error| match error.kind() {
            ErrorKind::TimedOut => io::Error::other("what was sent was not taken in time"),
            _ => error,
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// The limits of resources.

/// None.
pub fn open_file_limit(_: usize) -> usize {
    usize::MAX
}

/// None.
pub fn address_space_limit() -> usize {
    usize::MAX
}

#[cfg(test)]
mod tests {
    use super::super::is_timeout;
    use super::*;

    #[test]
    fn a_write_that_is_not_taken_in_time_ends_the_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        limit_writes(&stream, Some(Duration::from_millis(100))).unwrap();
        let error = loop {
            match outgoing(&stream).write(&[0; 200_000]) {
                Ok(written) => assert!(written <= 65_536),
                Err(error) => break error,
            }
        };
        assert!(!is_timeout(&error), "{error}");
    }
}
