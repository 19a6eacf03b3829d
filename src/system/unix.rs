//! Unix: signals, threads that wait, standard streams, connections, resource limits.
//!
//! How a signal ends a program:
//!
//! ```text
//! kernel          the handler, in any thread       the thread "signals"
//!   | -- signal --> |                                |
//!   |               | -- its number, by a pipe ----> | calls `before`
//!   |                                                | restores the default action
//!   | <-------------- the same signal -------------- |
//! ends the program
//! ```
//!
//! A handler can interrupt any thread at any instruction, even in the middle of `malloc`,
//! so it may do almost nothing. It only writes the signal's number to a pipe. A thread that
//! waits at the other end does the rest.
//!
//! The program ends by that same signal, because a shell script around it then sees
//! the interruption and ends too.

use std::collections::BTreeSet;
use std::env;
use std::ffi::{OsString, c_int};
use std::fs::{self, File, Metadata};
use std::io::{self, IsTerminal, PipeWriter, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Bound::{Excluded, Unbounded};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::{REPEATED, Signal};

// Foreign functions: only what std does not offer. Those marked `safe` are safe to call
// with any arguments: they take numbers, or a reference to the memory that they use.
#[allow(unsafe_code)]
unsafe extern "C" {
    /// Sets a signal's action; std cannot. An action is a number or a handler's address.
    fn signal(number: c_int, action: usize) -> usize;

    /// Ends the program by a signal; std can only do so by SIGABRT.
    safe fn raise(number: c_int) -> c_int;

    /// Ends the program at once. `process::exit` is not allowed in a signal handler: it runs
    /// the C library's exit handlers.
    safe fn _exit(code: c_int) -> !;

    /// Makes a signal interrupt system calls; std cannot. By default, the system restarts
    /// them after a handler that `signal` has set.
    safe fn siginterrupt(number: c_int, interrupts: c_int) -> c_int;

    /// Names the calling thread for `pthread_kill`. A `pthread_t` is a `long` or a pointer,
    /// each as large as a `usize`.
    safe fn pthread_self() -> usize;

    /// Sends a signal to one thread, to interrupt what it is blocked in.
    fn pthread_kill(thread: usize, number: c_int) -> c_int;

    /// Lengthens the queue of a listener; std fixes its length.
    safe fn listen(fd: c_int, backlog: c_int) -> c_int;

    /// Asks whether an inherited socket listens; std cannot.
    fn getsockopt(fd: c_int, level: c_int, name: c_int, value: &mut c_int, size: &mut u32)
    -> c_int;

    /// Reads a resource limit; std cannot.
    safe fn getrlimit(resource: c_int, limit: &mut ResourceLimit) -> c_int;

    /// Raises the limit of open files; std cannot.
    safe fn setrlimit(resource: c_int, limit: &ResourceLimit) -> c_int;
}

/// Turns the result of a C function into a `Result`, with the error from `errno`.
fn check(result: c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

// The numbers that differ between systems. Other systems are refused below, because a
// wrong number would silently act on another signal or limit.

#[cfg(target_os = "linux")]
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

#[cfg(any(
    // Linux has other numbers on these architectures.
    all(
        target_os = "linux",
        any(
            target_arch = "mips",
            target_arch = "mips64",
            target_arch = "mips32r6",
            target_arch = "mips64r6",
            target_arch = "sparc",
            target_arch = "sparc64",
            // x32 has two other structures.
            all(target_arch = "x86_64", target_pointer_width = "32"),
        ),
    ),
    not(any(
        target_os = "linux",
        target_os = "macos",
        target_os = "freebsd",
        target_os = "netbsd",
        target_os = "openbsd",
    )),
))]
compile_error!(
    "tcp-chat does not know this system's numbers of signals, limits and socket options"
);

// Signals.

const DEFAULT: usize = 0;
const IGNORE: usize = 1;

/// What the handler needs.
struct Watch {
    /// Takes the first signal's number to the thread that waits for it.
    pipe: PipeWriter,
    /// When the watch began. The times of signals count from here.
    since: Instant,
}

static WATCH: OnceLock<Watch> = OnceLock::new();

/// The first signal: its number in the last eight bits, and before them its time, in
/// milliseconds. One number, because a handler must not lock.
static FIRST: AtomicU64 = AtomicU64::new(NONE);
const NONE: u64 = u64::MAX;

/// Makes SIGHUP, SIGINT and SIGTERM call `before`, in a separate thread, and then end the
/// program by the same signal. To end the program in another way, `before` exits by itself.
/// A signal that is ignored stays ignored: `nohup`, and `&` in a shell script, rely on that.
///
/// Another signal at least 100 ms after the first ends the program at once, with the
/// [exit code](Signal::exit_code) of the first.
///
/// # Errors
///
/// No pipe or thread is available, or this is not the first call
/// ([`io::ErrorKind::AlreadyExists`]).
pub fn watch(before: impl FnOnce(Signal) + Send + 'static) -> io::Result<()> {
    let (mut reader, pipe) = io::pipe()?;
    let since = Instant::now();
    if WATCH.set(Watch { pipe, since }).is_err() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let thread = thread::Builder::new().name("signals".to_string());
    thread.spawn(move || {
        let mut number = [0];
        if reader.read_exact(&mut number).is_ok() {
            let signal = Signal(number[0].into());
            before(signal);
            end_by(signal);
        }
    })?;
    let handler = handle as extern "C" fn(c_int) as usize;
    for signal in [Signal::HUP, Signal::INT, Signal::TERM] {
        // `signal` can report the current action only by replacing it. A signal that comes
        // before the next replacement is lost.
        let earlier = set_action(signal.0, IGNORE);
        if earlier != IGNORE {
            set_action(signal.0, handler);
        }
    }
    Ok(())
}

/// Sets the action for the signal with this number. Returns the action before.
#[allow(unsafe_code)]
fn set_action(number: c_int, action: usize) -> usize {
    // SAFETY: The action is one of the two numbers that stand for no handler, or a
    // handler that is safe at any instruction of any thread.
    unsafe { signal(number, action) }
}

/// Handles a signal: notifies the thread of the first one, and ends the program at a later
/// one.
///
/// Async-signal-safe: `get` and the exchange are atomic operations, which never wait. The
/// rest is `clock_gettime`, `write` and `_exit`, which POSIX allows here. No call fails,
/// because the pipe is open at both ends and empty. So `errno` stays what the interrupted
/// code expects.
extern "C" fn handle(number: c_int) {
    let Some(watch) = WATCH.get() else {
        return;
    };
    let now = watch.since.elapsed().as_millis() as u64;
    let this = now << 8 | number as u64;
    match FIRST.compare_exchange(NONE, this, Ordering::Relaxed, Ordering::Relaxed) {
        // This is the first signal.
        Ok(_) => {
            let _ = (&watch.pipe).write(&[number as u8]);
        }
        Err(first) => {
            let first_time = first >> 8;
            let first_number = (first & 0xff) as c_int;
            if now >= first_time + REPEATED.as_millis() as u64 {
                _exit(128 + first_number);
            }
        }
    }
}

/// Ends the program as the signal does by default.
pub fn end_by(signal: Signal) -> ! {
    set_action(signal.0, DEFAULT);
    raise(signal.0);
    // Still running: this is process 1, as in a container. The kernel gives it no default
    // action.
    _exit(signal.exit_code().into())
}

/// Makes a write over the limit of a file's size (`ulimit -f`) fail. By default, the system
/// ends the process by SIGXFSZ.
pub fn ignore_file_size_signal() {
    const SIGXFSZ: c_int = 25;
    set_action(SIGXFSZ, IGNORE);
}

// Threads that wait.

/// The threads that may be blocked in a read or write that [`interrupt`](Self::interrupt)
/// can end. Each is in the list during [`run_interruptibly`](Self::run_interruptibly).
#[derive(Default)]
pub struct Interruptible(Mutex<BTreeSet<usize>>);

impl Interruptible {
    /// Whether this system can interrupt threads.
    pub const IS_SUPPORTED: bool = true;

    /// How many threads are interrupted before the lock is released.
    const AT_A_TIME: usize = 64;

    /// Runs `act` in the calling thread, which can be interrupted until `act` returns.
    pub fn run_interruptibly<T>(&self, act: impl FnOnce() -> T) -> T {
        /// Takes the thread off the list when dropped, so also after a panic.
        struct Listed<'a> {
            list: &'a Interruptible,
            thread: usize,
        }
        impl Drop for Listed<'_> {
            fn drop(&mut self) {
                self.list.lock().remove(&self.thread);
            }
        }
        let thread = pthread_self();
        let _listed = Listed { list: self, thread };
        self.lock().insert(thread);
        act()
    }

    /// Ends the reads and writes that these threads are blocked in, with
    /// [`io::ErrorKind::Interrupted`]. A thread that is only about to read or write does not
    /// notice, so the caller repeats this until all threads have.
    #[allow(unsafe_code)]
    pub fn interrupt(&self) {
        // Any signal with a handler interrupts. By default, SIGURG does nothing, so it
        // harms no other thread or program.
        extern "C" fn do_nothing(_: c_int) {}
        let handler = do_nothing as extern "C" fn(c_int) as usize;
        set_action(numbers::SIGURG, handler);
        siginterrupt(numbers::SIGURG, 1);

        // A few threads at a time, because a thread that has noticed needs the lock to leave
        // the list.
        let mut lower_bound = Unbounded;
        loop {
            let threads = self.lock();
            let mut last = None;
            for &thread in threads
                .range((lower_bound, Unbounded))
                .take(Self::AT_A_TIME)
            {
                // SAFETY: The thread has not ended. It is in `run_interruptibly`, and before
                // it leaves that, it takes itself off the list, which is locked here.
                unsafe { pthread_kill(thread, numbers::SIGURG) };
                last = Some(thread);
            }
            match last {
                Some(thread) => lower_bound = Excluded(thread),
                None => return,
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

/// Returns standard input, unbuffered. If the stream is not open for reading, reads fail;
/// std's own type would report its end.
///
/// # Errors
///
/// The stream is closed, or no descriptor is free.
pub fn stdin() -> io::Result<File> {
    duplicate(&io::stdin())
}

/// Returns standard output, unbuffered. If the stream is not open for writing, writes fail;
/// std's own type would discard everything and succeed.
///
/// # Errors
///
/// The same as [`stdin`].
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
/// A standard stream is closed, or the system cannot identify one of the files.
pub fn is_standard_stream(file: &File) -> io::Result<bool> {
    let streams = [id(&stdin()?)?, id(&stdout()?)?];
    Ok(streams.contains(&id(file)?) || is_standard_error(file)?)
}

/// Whether the file with this path is also standard input or output. A device other than a
/// terminal, such as `/dev/null`, does not count: programs that use it do not disturb each
/// other.
pub fn is_standard_input_or_output(path: &Path) -> bool {
    let Ok(file) = fs::metadata(path) else {
        return false;
    };
    let is_device = file.file_type().is_char_device();
    for stream in [stdin(), stdout()] {
        let Ok(stream) = stream else {
            continue;
        };
        let is_same = id(&stream).is_ok_and(|stream_id| stream_id == FileId::of(&file));
        if is_same && (!is_device || stream.is_terminal()) {
            return true;
        }
    }
    false
}

/// Whether two are the same file.
///
/// # Errors
///
/// The system cannot identify one of them.
pub fn is_same_file(one: &File, other: &File) -> io::Result<bool> {
    Ok(id(one)? == id(other)?)
}

/// Whether a file is also standard error.
///
/// # Errors
///
/// Standard error is closed, or the system cannot identify one of the files.
pub fn is_standard_error(file: &File) -> io::Result<bool> {
    Ok(id(file)? == id(&duplicate(&io::stderr())?)?)
}

/// What distinguishes a file from every other one.
#[derive(PartialEq)]
struct FileId {
    device: u64,
    /// The file's number on its device.
    inode: u64,
}

impl FileId {
    fn of(data: &Metadata) -> Self {
        FileId {
            device: data.dev(),
            inode: data.ino(),
        }
    }
}

fn id(file: &File) -> io::Result<FileId> {
    let data = file.metadata()?;
    Ok(FileId::of(&data))
}

/// The errors of a write that nobody can read, unless std knows them as a broken pipe. Here
/// std knows all.
pub(super) const NOBODY_READS: &[c_int] = &[];

// The connections.

/// The length of the listener's queue: what Linux allows by default
/// (`net.core.somaxconn`). A system that allows less uses its own limit.
const BACKLOG: c_int = 4096;

/// The error of a read whose time limit has passed.
pub const READ_TIMEOUT: io::ErrorKind = io::ErrorKind::WouldBlock;

/// Returns the listening socket that the starting program has opened. The socket outlives
/// the server. While one server replaces another, clients wait in the socket's queue, and
/// none is refused.
///
/// If `LISTEN_PID` is this process, the socket is descriptor 3, as systemd's socket units
/// pass it. Otherwise it is standard input, as inetd (`wait`) and systemd
/// (`StandardInput=socket`) pass it.
///
/// # Errors
///
/// The descriptor is closed, is no IP socket, or does not listen; or `LISTEN_FDS` is not 1.
pub fn inherited_listener() -> io::Result<TcpListener> {
    let listener = TcpListener::from(inherited_descriptor()?);
    // Fails unless it is an IP socket.
    listener.local_addr()?;
    if !is_listening(&listener)? {
        return Err(io::Error::other("it does not listen"));
    }
    // The flag belongs to the socket, so another process that shares it may have set it.
    listener.set_nonblocking(false)?;
    Ok(listener)
}

#[allow(unsafe_code)]
fn inherited_descriptor() -> io::Result<OwnedFd> {
    /// The first descriptor that systemd passes.
    const FIRST_PASSED: RawFd = 3;
    let own_pid = OsString::from(process::id().to_string());
    if env::var_os("LISTEN_PID") != Some(own_pid) {
        return io::stdin().as_fd().try_clone_to_owned();
    }
    let count = env::var_os("LISTEN_FDS").unwrap_or_default();
    if count != "1" {
        let why = format!("LISTEN_FDS is {count:?}, and this serves exactly 1 socket");
        return Err(io::Error::other(why));
    }
    // SAFETY: It stays open. If a socket was passed, nothing here closes it. If none was, it
    // is the pipe of `watch`, which lives as long as the process: the server calls `watch`
    // before this function, and opens nothing before `watch`. If it is closed all the same, it
    // cannot be cloned.
    let passed = unsafe { BorrowedFd::borrow_raw(FIRST_PASSED) };
    passed.try_clone_to_owned()
}

/// Whether a socket accepts connections. A trial `accept` could wait. The flag that
/// prevents waiting would apply to all processes that share the socket.
#[allow(unsafe_code)]
fn is_listening(listener: &TcpListener) -> io::Result<bool> {
    let mut value = 0;
    let mut size = size_of::<c_int>() as u32;
    // SAFETY: `size` is that of `value`.
    let result = unsafe {
        getsockopt(
            listener.as_raw_fd(),
            numbers::SOL_SOCKET,
            numbers::SO_ACCEPTCONN,
            &mut value,
            &mut size,
        )
    };
    check(result)?;
    Ok(value != 0)
}

/// Lengthens the queue of connections that wait to be accepted. [`TcpListener::bind`] asks
/// for 128. If more clients connect at once, the others wait a second or more, until they
/// repeat their SYN.
///
/// # Errors
///
/// The system refuses the new length.
pub fn lengthen_queue(listener: &TcpListener) -> io::Result<()> {
    check(listen(listener.as_raw_fd(), BACKLOG))
}

/// Limits how long each write on a connection may block, if
/// [`shutdown`](TcpStream::shutdown) from another thread cannot end a blocked write. On
/// Unix it can, so this does nothing.
///
/// # Errors
///
/// The system refuses the limit; on Unix never.
pub fn limit_writes(_: &TcpStream, _: Option<Duration>) -> io::Result<()> {
    Ok(())
}

/// Returns the side of a connection that is written to. If the time limit of a write
/// passes, [`is_timeout`](super::is_timeout) recognizes the error, and nothing was sent. On
/// Windows nobody can know how much was sent, so the error is another one, and ends the
/// connection.
pub fn outgoing(stream: &TcpStream) -> impl Write {
    stream
}

// The limits of resources.

#[cfg(all(target_env = "gnu", target_pointer_width = "32"))]
type LimitValue = u32;
#[cfg(not(all(target_env = "gnu", target_pointer_width = "32")))]
type LimitValue = u64;

/// C's `struct rlimit`.
#[repr(C)]
struct ResourceLimit {
    /// The limit in force.
    soft: LimitValue,
    /// How far the process may raise the soft limit.
    hard: LimitValue,
}

impl ResourceLimit {
    /// Returns the current limit. If there is no such resource, returns no limit.
    fn of(resource: c_int) -> Self {
        let mut limit = ResourceLimit {
            soft: LimitValue::MAX,
            hard: LimitValue::MAX,
        };
        getrlimit(resource, &mut limit);
        limit
    }

    /// Returns the soft limit, [`usize::MAX`] if there is none. The greatest number of the
    /// signed or unsigned type means no limit.
    fn soft(&self) -> usize {
        if self.soft < LimitValue::MAX / 2 {
            self.soft.try_into().unwrap_or(usize::MAX)
        } else {
            usize::MAX
        }
    }
}

/// Returns how many files may be open, [`usize::MAX`] if there is no limit or it is unknown.
/// Before that, raises a limit below `needed` as far as the system allows. Shells and service
/// managers leave it at 1,024 (macOS: 256), because some programs use `select`. Programs that
/// need more have to raise it.
pub fn open_file_limit(needed: usize) -> usize {
    /// What every macOS accepts if there is no hard limit. Most accept more, so the first
    /// attempt asks for all.
    const OPEN_MAX: usize = 10_240;
    for wanted in [needed, needed.min(OPEN_MAX)] {
        let ResourceLimit { soft, hard } = ResourceLimit::of(numbers::RLIMIT_NOFILE);
        let wanted = hard.min(wanted as LimitValue);
        if soft < wanted {
            let raised = ResourceLimit { soft: wanted, hard };
            setrlimit(numbers::RLIMIT_NOFILE, &raised);
        }
    }
    // The system may have refused both. This is the limit in force.
    ResourceLimit::of(numbers::RLIMIT_NOFILE).soft()
}

/// Returns how many bytes of memory may be mapped, [`usize::MAX`] if there is no limit or it
/// is unknown.
pub fn address_space_limit() -> usize {
    ResourceLimit::of(numbers::RLIMIT_AS).soft()
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
        let twice = || (listed(), threads.run_interruptibly(listed));
        assert_eq!(threads.run_interruptibly(twice), (1, 1));
        thread::scope(|scope| {
            let panics = || threads.run_interruptibly(|| unreachable!("on purpose"));
            assert!(scope.spawn(panics).join().is_err());
        });
        assert_eq!(listed(), 0);
    }

    const VARIABLE: &str = "SYSTEM_TEST";

    /// Restores the default actions, because the tests themselves may have been started with
    /// signals ignored.
    const DEFAULT: &str = "exec env --default-signal";

    /// Runs only the test [`player`] of this test program, which plays the program that is
    /// signalled. Returns what it printed and how it ended.
    fn play(role: &str, command: &str) -> (String, ExitStatus) {
        let mut shell = Command::new("sh");
        let script = format!("{command} \"$0\" --exact system::unix::tests::player --nocapture");
        shell
            .args(["-c", &script])
            .arg(std::env::current_exe().unwrap());
        let output = shell.env(VARIABLE, role).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let played = printed.lines().filter(|line| line.starts_with("played"));
        (played.collect(), output.status)
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
                // Right after the first, this counts as a repetition.
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
            // Enough time to end if there were a handler.
            sleep(Duration::from_millis(100));
            std::process::exit(7);
        }
        loop {
            thread::park();
        }
    }

    #[test]
    fn a_program_prints_its_conclusion_and_ends_by_the_same_signal() {
        for (number, name) in [(1, "SIGHUP"), (2, "SIGINT"), (15, "SIGTERM")] {
            let (printed, status) = play(&number.to_string(), DEFAULT);
            assert_eq!(printed, format!("played {name}"));
            assert_eq!(status.signal(), Some(number));
        }
    }

    #[test]
    fn a_signal_that_was_ignored_stays_ignored() {
        assert_eq!(play("ignored 1", "trap '' HUP; exec").1.code(), Some(7));
    }

    #[test]
    fn a_second_signal_ends_the_program_at_once_unless_it_repeats_the_first() {
        // The first one was SIGTERM.
        assert_eq!(play("stuck 2", DEFAULT).1.code(), Some(143));
    }

    #[test]
    fn the_limits_are_those_that_a_shell_prints() {
        let ulimit = |flag: &str| {
            let mut shell = Command::new("sh");
            let output = shell.args(["-c", &format!("ulimit {flag}")]).output();
            let printed = String::from_utf8(output.unwrap().stdout).unwrap();
            // Without a limit, it prints `unlimited`.
            printed.trim().parse().unwrap_or(usize::MAX)
        };
        assert_eq!(open_file_limit(0), ulimit("-n"));
        assert_eq!(address_space_limit(), ulimit("-v").saturating_mul(1024));
    }

    #[test]
    fn the_open_file_limit_is_raised_as_far_as_the_system_allows() {
        let (printed, status) = play("limits", "ulimit -S -n 30; ulimit -H -n 40; exec");
        assert_eq!(printed, "played 30 35 40");
        assert_eq!(status.code(), Some(0));
    }
}
