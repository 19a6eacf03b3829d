//! Windows: console events as signals, standard streams, connections.
//!
//! Windows has no inherited listening sockets, no longer queue, no interruption of blocked
//! threads, and no limits of open files or of the address space. Those functions do nothing
//! or return no limit.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::os::windows::io::{AsHandle, BorrowedHandle};
use std::path::Path;
use std::process;
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use super::{REPEATED, Signal};

type Handler = extern "system" fn(event: u32) -> i32;

/// The fields of C's `BY_HANDLE_FILE_INFORMATION`, each a 32-bit number.
type FileInformation = [u32; 13];
const VOLUME: usize = 7;
const INDEX_HIGH: usize = 11;
const INDEX_LOW: usize = 12;

// Foreign functions: only what std does not offer. Any call of these is safe: a handler is
// a function that lives as long as the process, and the other function fills the array.
#[allow(unsafe_code)]
#[link(name = "kernel32")]
unsafe extern "system" {
    /// Sets the handler for the events of the console; std cannot.
    safe fn SetConsoleCtrlHandler(handler: Handler, add: i32) -> i32;

    /// Reads what identifies a file; std's methods for it are unstable.
    safe fn GetFileInformationByHandle(file: BorrowedHandle<'_>, data: &mut FileInformation)
    -> i32;
}

// Signals: the events of a console. The system calls the handler in a new thread, so
// unlike a Unix handler it may do anything.

/// Takes the first signal to the thread that waits for it.
static WATCH: OnceLock<Sender<Signal>> = OnceLock::new();

static FIRST: OnceLock<First> = OnceLock::new();

/// The first signal.
struct First {
    signal: Signal,
    /// When it came.
    at: Instant,
}

/// Makes the first event of the console call `before`, and then end the program. Another
/// event at least 100 ms later ends the program at once.
///
/// # Errors
///
/// No thread is available, the system refuses the handler, or this is not the first call
/// ([`ErrorKind::AlreadyExists`]).
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
    let first = FIRST.get_or_init(|| {
        if let Some(sender) = WATCH.get() {
            let _ = sender.send(signal);
        }
        First {
            signal,
            at: Instant::now(),
        }
    });
    if first.at.elapsed() >= REPEATED {
        end_by(first.signal);
    }
    // At all events but Ctrl-C and Ctrl-Break, the system ends the process when the handler
    // returns.
    while event > 1 {
        thread::park();
    }
    1
}

/// Does nothing: Windows has no such signal.
pub fn ignore_file_size_signal() {}

// Threads that wait.

/// The threads that may be blocked in a read or write. Here nothing can interrupt them.
#[derive(Default)]
pub struct Interruptible;

impl Interruptible {
    /// Whether this system can interrupt threads.
    pub const IS_SUPPORTED: bool = false;

    /// Runs `act` in the calling thread.
    pub fn run_interruptibly<T>(&self, act: impl FnOnce() -> T) -> T {
        act()
    }

    /// Does nothing.
    pub fn interrupt(&self) {}
}

// The standard streams. They have std's types, because a console reads and writes UTF-16,
// which files do not convert.

pub use std::io::Stdout;

/// Returns standard input.
///
/// # Errors
///
/// None on Windows.
pub fn stdin() -> io::Result<io::Stdin> {
    Ok(io::stdin())
}

/// Returns standard output.
///
/// # Errors
///
/// None on Windows.
pub fn stdout() -> io::Result<Stdout> {
    Ok(io::stdout())
}

/// Whether a file is also a standard stream. It waits while another thread reads from a
/// pipe at standard input, or writes to a pipe at standard output or error.
///
/// # Errors
///
/// None on Windows.
pub fn is_standard_stream(file: &File) -> io::Result<bool> {
    let streams = [id(&io::stdin()), id(&io::stdout()), id(&io::stderr())];
    Ok(id(file).is_some() && streams.contains(&id(file)))
}

/// Returns false: on Windows no path leads to a standard stream.
pub fn is_standard_input_or_output(_: &Path) -> bool {
    false
}

/// Whether two are the same file.
///
/// # Errors
///
/// None on Windows.
pub fn is_same_file(one: &File, other: &File) -> io::Result<bool> {
    Ok(id(one).is_some() && id(one) == id(other))
}

/// Whether a file is also standard error. It waits while another thread writes to a pipe
/// there.
///
/// # Errors
///
/// None on Windows.
pub fn is_standard_error(file: &File) -> io::Result<bool> {
    Ok(id(file).is_some() && id(file) == id(&io::stderr()))
}

/// Returns what distinguishes a file from every other one: its volume and its index there.
/// Returns `None` for anything else than a file.
fn id(file: &impl AsHandle) -> Option<[u32; 3]> {
    let mut data: FileInformation = [0; 13];
    let result = GetFileInformationByHandle(file.as_handle(), &mut data);
    if result == 0 {
        return None;
    }
    Some([data[VOLUME], data[INDEX_HIGH], data[INDEX_LOW]])
}

/// The reader of the pipe is gone.
const ERROR_PIPE_NOT_CONNECTED: i32 = 233;

/// The connection is shut down.
const WSAESHUTDOWN: i32 = 10058;

/// The errors of a write that nobody can read, unless std knows them as a broken pipe.
pub(super) const NOBODY_READS: &[i32] = &[ERROR_PIPE_NOT_CONNECTED, WSAESHUTDOWN];

// The connections.

/// The error of a read whose time limit has passed. On Windows, the error of a connection
/// that TCP has given up is of the same kind.
pub const READ_TIMEOUT: ErrorKind = ErrorKind::TimedOut;

/// Returns no listening socket: Windows passes none.
///
/// # Errors
///
/// Always [`ErrorKind::Unsupported`].
pub fn inherited_listener() -> io::Result<TcpListener> {
    Err(io::Error::new(
        ErrorKind::Unsupported,
        "Windows passes none; start the server without --inherit",
    ))
}

/// Leaves the queue as it is.
///
/// # Errors
///
/// None on Windows.
pub fn lengthen_queue(_: &TcpListener) -> io::Result<()> {
    Ok(())
}

/// Limits how long each write on a connection may block, because `shutdown` from another
/// thread does not end a blocked write.
///
/// # Errors
///
/// The system refuses the limit.
pub fn limit_writes(stream: &TcpStream, limit: Option<Duration>) -> io::Result<()> {
    stream.set_write_timeout(limit)
}

/// Returns the side of a connection that is written to. If the time limit of a write passes,
/// nobody knows how much was sent, so the error ends the connection: it is no timeout.
pub fn outgoing(stream: &TcpStream) -> impl Write {
    Outgoing(stream)
}

struct Outgoing<'a>(&'a TcpStream);

impl Write for Outgoing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        /// The size of a piece in bytes. The time limit restarts with each piece.
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

/// Returns no limit.
pub fn open_file_limit(_: usize) -> usize {
    usize::MAX
}

/// Returns no limit.
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
