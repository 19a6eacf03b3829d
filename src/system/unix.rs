//! Unix.
//!
//! How a program ends by a signal, after its last words: almost nothing may be
//! done in a signal handler, which can interrupt any thread at any instruction,
//! even in the middle of `malloc`. So the handler only writes the signal's number
//! to a pipe, and a thread that waits at its other end does the rest. Then the
//! program ends by that same signal, its default action restored: a shell script
//! round it sees that it was interrupted, and ends too.

use std::collections::BTreeSet;
use std::ffi::{OsString, c_int};
use std::fs::{self, File};
use std::io::{self, IsTerminal, PipeWriter, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Bound::{Excluded, Unbounded};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use std::{env, process, thread};

use super::{REPEATED, Signal};

// Any call of these is safe: they take numbers and touch no memory of ours.
#[allow(unsafe_code)]
unsafe extern "C" {
    safe fn raise(number: c_int) -> c_int;
    safe fn _exit(code: c_int) -> !;
    safe fn siginterrupt(number: c_int, interrupts: c_int) -> c_int;
    // A `pthread_t` is a `long` or a pointer, each as large as a `usize`.
    safe fn pthread_self() -> usize;
    safe fn listen(fd: c_int, backlog: c_int) -> c_int;
}

// What systems number differently. The crate does not guess: a wrong number would act on
// another signal or limit, and say nothing.
#[cfg(all(
    target_os = "linux",
    not(any(target_arch = "mips", target_arch = "mips64")),
    not(any(target_arch = "mips32r6", target_arch = "mips64r6")),
    not(any(target_arch = "sparc", target_arch = "sparc64")),
    // x32 has two other structures.
    not(all(target_arch = "x86_64", target_pointer_width = "32")),
))]
mod numbers {
    use std::ffi::c_int;

    pub(super) const SIGURG: c_int = 23;
    pub(super) const RLIMIT_NOFILE: c_int = 7;
    pub(super) const RLIMIT_AS: c_int = 9;
    pub(super) const SOL_SOCKET: c_int = 1;
    pub(super) const SO_ACCEPTCONN: c_int = 30;
}

#[cfg(target_os = "macos")]
mod numbers {
    use std::ffi::c_int;

    pub(super) const SIGURG: c_int = 16;
    pub(super) const RLIMIT_NOFILE: c_int = 8;
    pub(super) const RLIMIT_AS: c_int = 5;
    pub(super) const SOL_SOCKET: c_int = 0xffff;
    pub(super) const SO_ACCEPTCONN: c_int = 2;
}

// OpenBSD has no RLIMIT_AS, and refuses its number.
#[cfg(any(target_os = "freebsd", target_os = "netbsd", target_os = "openbsd"))]
mod numbers {
    use std::ffi::c_int;

    pub(super) const SIGURG: c_int = 16;
    pub(super) const RLIMIT_NOFILE: c_int = 8;
    pub(super) const RLIMIT_AS: c_int = 10;
    pub(super) const SOL_SOCKET: c_int = 0xffff;
    pub(super) const SO_ACCEPTCONN: c_int = 2;
}

#[cfg(not(any(
    all(
        target_os = "linux",
        not(any(target_arch = "mips", target_arch = "mips64")),
        not(any(target_arch = "mips32r6", target_arch = "mips64r6")),
        not(any(target_arch = "sparc", target_arch = "sparc64")),
        not(all(target_arch = "x86_64", target_pointer_width = "32")),
    ),
    target_os = "macos",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
)))]
compile_error!(
    "tcp-chat does not know this system's numbers of signals, limits and socket options"
);

// Signals.

// `signal` takes and returns a number where a handler's address stands.
#[allow(unsafe_code)]
unsafe extern "C" {
    fn signal(number: c_int, action: usize) -> usize;
}

const DEFAULT: usize = 0;
const IGNORE: usize = 1;

/// Where the handler writes, and what it counts time from.
static WATCH: OnceLock<(PipeWriter, Instant)> = OnceLock::new();

/// When the first signal came, in milliseconds, and in the last eight bits its
/// number.
static FIRST: AtomicU64 = AtomicU64::new(NONE);
const NONE: u64 = u64::MAX;

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
/// ([`io::ErrorKind::AlreadyExists`]).
pub fn watch(before: impl FnOnce(Signal) + Send + 'static) -> io::Result<()> {
    let (mut pipe, writer) = io::pipe()?;
    if WATCH.set((writer, Instant::now())).is_err() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let thread = thread::Builder::new().name("signals".to_string());
    thread.spawn(move || {
        let mut number = [0];
        if pipe.read_exact(&mut number).is_ok() {
            let signal = Signal(number[0].into());
            before(signal);
            end_by(signal);
        }
    })?;
    let handler = handle as extern "C" fn(c_int) as usize;
    for signal in [Signal::HUP, Signal::INT, Signal::TERM] {
        // `signal` tells the action in force only by setting another. A signal
        // that comes in between is lost.
        if set_action(signal, IGNORE) != IGNORE {
            set_action(signal, handler);
        }
    }
    Ok(())
}

/// Returns the action that was in force.
#[allow(unsafe_code)]
fn set_action(Signal(number): Signal, action: usize) -> usize {
    // SAFETY: The action is one of the two numbers that stand for no handler, or a
    // handler that is safe at any instruction of any thread.
    unsafe { signal(number, action) }
}

/// Async-signal-safe: `get` and the exchange are atomic operations that wait for
/// nobody, and the rest is `clock_gettime`, `write` and `_exit`, which POSIX
/// allows here. `errno` stays what the interrupted code expects, since no call
/// fails: the pipe is open at both ends, and empty.
extern "C" fn handle(number: c_int) {
    let Some((pipe, since)) = WATCH.get() else {
        return;
    };
    let now = since.elapsed().as_millis() as u64;
    let this = now << 8 | number as u64;
    match FIRST.compare_exchange(NONE, this, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => _ = { pipe }.write(&[number as u8]),
        Err(first) if now < (first >> 8) + REPEATED.as_millis() as u64 => {}
        Err(first) => _exit(128 + (first & 0xff) as c_int),
    }
}

/// Ends the program as the signal does by default.
pub fn end_by(signal: Signal) -> ! {
    set_action(signal, DEFAULT);
    raise(signal.0);
    // The kernel gives process 1, as of a container, no default action.
    _exit(signal.exit_code().into())
}

/// From now on, a write over the limit of a file's size (`ulimit -f`) fails. By default the
/// system ends the process by SIGXFSZ.
pub fn ignore_file_size_signal() {
    const SIGXFSZ: c_int = 25;
    set_action(Signal(SIGXFSZ), IGNORE);
}

// Threads that wait.

/// Threads that may be blocked in a read or write, and can be interrupted there.
#[derive(Default)]
pub struct Interruptible(Mutex<BTreeSet<usize>>);

impl Interruptible {
    /// Whether this system can do so.
    pub const IS_SUPPORTED: bool = true;

    /// How many threads are interrupted while the list is locked.
    const AT_A_TIME: usize = 64;

    /// Runs this in the calling thread, which can be interrupted as long as it lasts.
    pub fn run<T>(&self, act: impl FnOnce() -> T) -> T {
        struct Entered<'a>(&'a Interruptible, usize);
        impl Drop for Entered<'_> {
            fn drop(&mut self) {
                self.0.lock().remove(&self.1);
            }
        }
        let entered = Entered(self, pthread_self());
        self.lock().insert(entered.1);
        act()
    }

    /// Fails the reads and writes that these threads are blocked in, with
    /// [`io::ErrorKind::Interrupted`]. A thread that is only about to read or write
    /// does not notice, so do it again until all have.
    #[allow(unsafe_code)]
    pub fn interrupt(&self) {
        // Any signal with a handler interrupts. By default this one does nothing, so it
        // harms no thread or program that it was not meant for.
        extern "C" fn do_nothing(_: c_int) {}
        unsafe extern "C" {
            fn pthread_kill(thread: usize, number: c_int) -> c_int;
        }
        set_action(
            Signal(numbers::SIGURG),
            do_nothing as extern "C" fn(c_int) as usize,
        );
        siginterrupt(numbers::SIGURG, 1);
        // A few at a time: a thread that has noticed needs the lock to leave the list.
        let mut last = None;
        loop {
            let threads = self.lock();
            let after_last = (last.map_or(Unbounded, Excluded), Unbounded);
            last = None;
            for &thread in threads.range(after_last).take(Self::AT_A_TIME) {
                // SAFETY: The thread has not ended: it is in `run`, and before it leaves
                // that, it takes itself off the list, which is locked here.
                unsafe { pthread_kill(thread, numbers::SIGURG) };
                last = Some(thread);
            }
            if last.is_none() {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// The standard streams.

/// Standard output.
pub type Stdout = File;

/// Standard input, unbuffered. The type of std takes a stream that is not open
/// for reading for one that is at its end.
///
/// # Errors
///
/// The stream is closed, or no descriptor is free.
pub fn stdin() -> io::Result<File> {
    duplicate(&io::stdin())
}

/// Standard output, unbuffered. The type of std takes a stream that is not open
/// for writing for one that takes everything.
///
/// # Errors
///
/// As those of [`stdin`].
pub fn stdout() -> io::Result<Stdout> {
    duplicate(&io::stdout())
}

fn duplicate(stream: &impl AsFd) -> io::Result<File> {
    Ok(File::from(stream.as_fd().try_clone_to_owned()?))
}

/// Whether a file is also a standard stream, as `/dev/stderr` is after `2> FILE`.
///
/// # Errors
///
/// The system does not tell, or a standard stream is closed.
pub fn is_standard_stream(file: &File) -> io::Result<bool> {
    let streams = [id(&stdin()?)?, id(&stdout()?)?];
    Ok(streams.contains(&id(file)?) || is_standard_error(file)?)
}

/// Whether the file with this path is also standard input or output. A device other than
/// a terminal, as `/dev/null`, belongs to nobody.
pub fn is_standard_input_or_output(path: &Path) -> bool {
    let Ok(file) = fs::metadata(path) else {
        return false;
    };
    let is_device = file.file_type().is_char_device();
    [stdin(), stdout()].into_iter().flatten().any(|stream| {
        let is_same = stream
            .metadata()
            .is_ok_and(|data| (data.dev(), data.ino()) == (file.dev(), file.ino()));
        is_same && (!is_device || stream.is_terminal())
    })
}

/// Whether two are the same file.
///
/// # Errors
///
/// The system does not say.
pub fn is_same_file(one: &File, other: &File) -> io::Result<bool> {
    Ok(id(one)? == id(other)?)
}

/// Whether a file is also standard error.
///
/// # Errors
///
/// As those of [`is_standard_stream`].
pub fn is_standard_error(file: &File) -> io::Result<bool> {
    Ok(id(file)? == id(&duplicate(&io::stderr())?)?)
}

/// What tells a file from every other: its device and its number there.
fn id(file: &File) -> io::Result<(u64, u64)> {
    let data = file.metadata()?;
    Ok((data.dev(), data.ino()))
}

/// None that std does not know.
pub(super) const NOBODY_READS: &[c_int] = &[];

// The connections.

/// What Linux allows unless told otherwise (`net.core.somaxconn`). Where the
/// system allows less, it takes its own limit.
const BACKLOG: c_int = 4096;

/// What a read returns whose time limit has passed.
pub const READ_TIMEOUT: io::ErrorKind = io::ErrorKind::WouldBlock;

/// The listening socket that the program which started this one has opened. It outlives
/// the server: while one server replaces another, clients wait in the socket's queue, and
/// none is refused.
///
/// With `LISTEN_PID` set to this process, it is descriptor 3, as systemd's socket units
/// pass it. Otherwise it is standard input, as inetd (`wait`) and systemd
/// (`StandardInput=socket`) give it.
///
/// # Errors
///
/// It is closed, no IP socket, or one that does not listen; or `LISTEN_FDS` is not 1.
pub fn inherited_listener() -> io::Result<TcpListener> {
    let listener = TcpListener::from(inherited_descriptor()?);
    listener.local_addr()?;
    if !listens(&listener)? {
        return Err(io::Error::other("it does not listen"));
    }
    // The flag is the socket's, so another process that shares it may have set it.
    listener.set_nonblocking(false)?;
    Ok(listener)
}

#[allow(unsafe_code)]
fn inherited_descriptor() -> io::Result<OwnedFd> {
    /// The first descriptor that systemd passes.
    const FIRST_PASSED: RawFd = 3;
    let is_for_us = |pid: OsString| pid == *process::id().to_string();
    if !env::var_os("LISTEN_PID").is_some_and(is_for_us) {
        return io::stdin().as_fd().try_clone_to_owned();
    }
    let count = env::var_os("LISTEN_FDS").unwrap_or_default();
    if count != "1" {
        let why = format!("LISTEN_FDS is {count:?}, and this serves exactly 1 socket");
        return Err(io::Error::other(why));
    }
    // SAFETY: It stays open. Either it is the socket that was passed, which nothing here
    // closes, or it was closed at the start and is the pipe of signals, which lives as
    // long as the process. If it is closed all the same, it cannot be cloned.
    let passed = unsafe { BorrowedFd::borrow_raw(FIRST_PASSED) };
    passed.try_clone_to_owned()
}

/// Whether a socket accepts connections. A trial `accept` could wait, and not to
/// wait is a flag that belongs to all who share the socket.
#[allow(unsafe_code)]
fn listens(listener: &TcpListener) -> io::Result<bool> {
    unsafe extern "C" {
        fn getsockopt(a: c_int, b: c_int, c: c_int, value: &mut c_int, size: &mut u32) -> c_int;
    }
    let fd = listener.as_raw_fd();
    let mut value = 0;
    let mut size = size_of::<c_int>() as u32;
    let (level, name) = (numbers::SOL_SOCKET, numbers::SO_ACCEPTCONN);
    // SAFETY: `size` is that of `value`.
    let result = unsafe { getsockopt(fd, level, name, &mut value, &mut size) };
    if result == 0 {
        Ok(value != 0)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Lengthens the queue of connections that wait to be accepted. With the 128
/// that [`TcpListener::bind`] asks for, of more clients that connect at once the
/// rest wait a second or more, until they repeat their SYN.
///
/// # Errors
///
/// What the system says.
pub fn lengthen_queue(listener: &TcpListener) -> io::Result<()> {
    let result = listen(listener.as_raw_fd(), BACKLOG);
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Limits how long each write on a connection may block, where
/// [`shutdown`](TcpStream::shutdown) from another thread does not end one that
/// does; elsewhere, does nothing.
///
/// # Errors
///
/// What the system says.
pub fn limit_writes(_: &TcpStream, _: Option<Duration>) -> io::Result<()> {
    Ok(())
}

/// The side of a connection that is written to. A time limit that passes is an
/// error that [`is_timeout`](super::is_timeout) knows, and nothing was sent. On
/// Windows nobody can tell what was, so there it is another one, and the end of the
/// connection.
pub fn outgoing(stream: &TcpStream) -> impl Write {
    stream
}

// The limits of resources.

#[cfg(all(target_env = "gnu", target_pointer_width = "32"))]
type Size = u32;
#[cfg(not(all(target_env = "gnu", target_pointer_width = "32")))]
type Size = u64;

#[repr(C)]
struct Limit {
    soft: Size,
    hard: Size,
}

// `setrlimit` only reads the two numbers that the reference is to, and
// `getrlimit` only writes them, so any call of them is safe.
#[allow(unsafe_code)]
unsafe extern "C" {
    safe fn getrlimit(resource: c_int, limit: &mut Limit) -> c_int;
    safe fn setrlimit(resource: c_int, limit: &Limit) -> c_int;
}

impl Limit {
    /// The one in force; none at all where there is no such resource.
    fn of(resource: c_int) -> Self {
        let mut limit = Limit {
            soft: Size::MAX,
            hard: Size::MAX,
        };
        getrlimit(resource, &mut limit);
        limit
    }

    /// The soft limit. The greatest number, signed or not, stands for none.
    fn soft(&self) -> usize {
        if self.soft < Size::MAX / 2 {
            self.soft.try_into().unwrap_or(usize::MAX)
        } else {
            usize::MAX
        }
    }
}

/// How many files may be open, [`usize::MAX`] if any number or nobody knows. If
/// it is fewer than needed, the limit is raised first, as far as the system
/// allows: shells and service managers leave it at 1,024 (macOS: 256) for programs
/// that use `select`, and whatever needs more is to raise it.
pub fn open_file_limit(needed: usize) -> usize {
    /// What every macOS takes where the hard limit is none at all; most take more.
    const OPEN_MAX: usize = 10_240;
    for wanted in [needed, needed.min(OPEN_MAX)] {
        let Limit { soft, hard } = Limit::of(numbers::RLIMIT_NOFILE);
        let wanted = hard.min(wanted as Size);
        if soft < wanted {
            setrlimit(numbers::RLIMIT_NOFILE, &Limit { soft: wanted, hard });
        }
    }
    // Whatever the system has said to that, this is in force.
    Limit::of(numbers::RLIMIT_NOFILE).soft()
}

/// How many bytes of memory may be mapped, [`usize::MAX`] if any number or nobody
/// knows.
pub fn address_space_limit() -> usize {
    Limit::of(numbers::RLIMIT_AS).soft()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, ExitStatus};
    use std::thread::{self, sleep};

    use super::*;

    #[test]
    fn a_thread_is_in_the_list_as_long_as_it_runs_even_if_it_panics() {
        let threads = Interruptible::default();
        let listed = || threads.lock().len();
        assert_eq!(threads.run(|| (listed(), threads.run(listed))), (1, 1));
        thread::scope(|scope| {
            let panics = || threads.run(|| unreachable!("as told"));
            assert!(scope.spawn(panics).join().is_err());
        });
        assert_eq!(listed(), 0);
    }

    const VARIABLE: &str = "SYSTEM_TEST";

    /// The tests themselves may have been started with signals ignored.
    const DEFAULT: &str = "exec env --default-signal";

    /// Runs this test program again, for the one test that plays the program
    /// that is signalled. Returns what it said and how it ended.
    fn play(role: &str, command: &str) -> (String, ExitStatus) {
        let mut shell = Command::new("sh");
        let script = format!("{command} \"$0\" --exact system::unix::tests::player --nocapture");
        shell
            .args(["-c", &script])
            .arg(std::env::current_exe().unwrap());
        let output = shell.env(VARIABLE, role).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let said = said.lines().filter(|line| line.starts_with("played"));
        (said.collect(), output.status)
    }

    #[test]
    fn player() {
        let Ok(role) = std::env::var(VARIABLE) else {
            return;
        };
        if role == "limits" {
            let [low, middle, high] = [20, 35, 50].map(open_file_limit);
            writeln!(io::stdout(), "\nplayed {low} {middle} {high}").unwrap();
            return;
        }
        let number = match role.split_once(' ') {
            Some(("ignored", number)) => {
                watch(|_| ()).unwrap();
                number
            }
            Some(("stuck", number)) => {
                watch(|_| sleep(Duration::MAX)).unwrap();
                raise(15);
                // Right after the first, it is the first one repeated.
                raise(15);
                sleep(Duration::from_millis(150));
                number
            }
            _ => {
                watch(|signal| _ = writeln!(io::stdout(), "\nplayed {signal}")).unwrap();
                &role
            }
        };
        raise(number.parse().unwrap());
        if role.starts_with("ignored") {
            // Time enough to end, had it a handler.
            sleep(Duration::from_millis(100));
            std::process::exit(7);
        }
        loop {
            thread::park();
        }
    }

    #[test]
    fn a_program_says_its_last_words_and_ends_by_the_same_signal() {
        for (number, name) in [(1, "SIGHUP"), (2, "SIGINT"), (15, "SIGTERM")] {
            let (said, status) = play(&number.to_string(), DEFAULT);
            assert_eq!(said, format!("played {name}"));
            assert_eq!(status.signal(), Some(number));
        }
    }

    #[test]
    fn a_signal_that_was_ignored_stays_ignored() {
        assert_eq!(play("ignored 1", "trap '' HUP; exec").1.code(), Some(7));
    }

    #[test]
    fn a_second_signal_ends_the_program_at_once_unless_it_is_the_first_repeated() {
        // The first one was SIGTERM.
        assert_eq!(play("stuck 2", DEFAULT).1.code(), Some(143));
    }

    #[test]
    fn the_limits_are_those_that_a_shell_tells() {
        let told = |flag: &str| {
            let mut shell = Command::new("sh");
            let output = shell.args(["-c", &format!("ulimit {flag}")]).output();
            let told = String::from_utf8(output.unwrap().stdout).unwrap();
            told.trim().parse().unwrap_or(usize::MAX)
        };
        assert_eq!(open_file_limit(0), told("-n"));
        assert_eq!(address_space_limit(), told("-v").saturating_mul(1024));
    }

    #[test]
    fn the_open_file_limit_is_raised_as_far_as_the_system_allows() {
        let (said, status) = play("limits", "ulimit -S -n 30; ulimit -H -n 40; exec");
        assert_eq!((&*said, status.code()), ("played 30 35 40", Some(0)));
    }
}
