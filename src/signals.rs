//! How a program ends by a signal: it says its last words first.
//!
//! Almost nothing may be done in a signal handler, which can interrupt any
//! thread at any instruction, even in the middle of `malloc`. So the handler
//! only writes the signal's number to a pipe, and a thread that waits at its
//! other end does the rest. Then the program ends by that same signal, its
//! default action restored: a shell script round it sees that it was
//! interrupted, and ends too.

use std::ffi::c_int;
use std::io;

/// A signal that asks the program to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal(c_int);

impl Signal {
    const HUP: Signal = Signal(1);
    const INT: Signal = Signal(2);
    const TERM: Signal = Signal(15);

    /// Its number, which is the same on all systems.
    pub fn number(self) -> i32 {
        self.0
    }

    /// Its name, such as `SIGINT`.
    pub fn name(self) -> &'static str {
        match self {
            Signal::HUP => "SIGHUP",
            Signal::INT => "SIGINT",
            _ => "SIGTERM",
        }
    }
}

/// From now on, SIGHUP, SIGINT and SIGTERM call `before`, in a thread of its
/// own, and then end the program. One that is ignored stays ignored, as `nohup`
/// and a shell's `&` in a script want it.
///
/// A second signal while `before` still runs ends the program at once, with the
/// exit code that a shell shows for the signal: 128 and its number.
///
/// On systems other than Unix, it does nothing.
///
/// # Errors
///
/// No pipe or thread is available, or this was called before
/// ([`io::ErrorKind::AlreadyExists`]).
pub fn watch(before: impl FnOnce(Signal) + Send + 'static) -> io::Result<()> {
    #[cfg(unix)]
    unix::watch(before)?;
    #[cfg(not(unix))]
    drop(before);
    Ok(())
}

#[cfg(unix)]
mod unix {
    use std::ffi::c_int;
    use std::io::{self, PipeWriter, Read, Write};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;
    use std::time::Instant;

    use super::Signal;

    const DEFAULT: usize = 0;
    const IGNORE: usize = 1;

    // Any call of `raise` and `_exit` is safe: they take a number and touch no
    // memory of ours. `signal` takes a number where a handler's address stands.
    #[allow(unsafe_code)]
    unsafe extern "C" {
        fn signal(number: c_int, action: usize) -> usize;
        pub(super) safe fn raise(number: c_int) -> c_int;
        safe fn _exit(code: c_int) -> !;
    }

    /// Where the handler writes, and what it counts time from.
    static WATCH: OnceLock<(PipeWriter, Instant)> = OnceLock::new();

    /// When the first signal came, in milliseconds.
    static FIRST: AtomicU64 = AtomicU64::new(NEVER);
    const NEVER: u64 = u64::MAX;

    /// Within this many milliseconds, another signal is the first one repeated:
    /// `timeout` signals the program and then its whole process group, and a
    /// hang-up comes from the kernel and from the shell.
    const REPEATED: u64 = 100;

    pub(super) fn watch(before: impl FnOnce(Signal) + Send + 'static) -> io::Result<()> {
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
                end(signal);
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
        // SAFETY: The action is one of the two numbers that stand for no handler,
        // or `handle`, which is safe at any instruction of any thread.
        unsafe { signal(number, action) }
    }

    /// Async-signal-safe: `get` and the exchange are atomic operations that wait
    /// for nobody, and the rest is `clock_gettime`, `write` and `_exit`, which
    /// POSIX allows here. `errno` stays what the interrupted code expects, since
    /// no call fails: the pipe is open at both ends, and empty.
    extern "C" fn handle(number: c_int) {
        let Some((pipe, since)) = WATCH.get() else {
            return;
        };
        let now = since.elapsed().as_millis() as u64;
        match FIRST.compare_exchange(NEVER, now, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => _ = { pipe }.write(&[number as u8]),
            Err(first) if now < first + REPEATED => {}
            Err(_) => _exit(128 + number),
        }
    }

    fn end(signal: Signal) -> ! {
        set_action(signal, DEFAULT);
        raise(signal.number());
        // The kernel gives process 1, as of a container, no default action.
        _exit(128 + signal.number())
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::io::Write;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, ExitStatus};
    use std::thread::{self, sleep};
    use std::time::Duration;

    use super::unix::raise;
    use super::*;

    const VARIABLE: &str = "SIGNALS_TEST";

    /// The tests themselves may have been started with signals ignored.
    const DEFAULT: &str = "exec env --default-signal";

    /// Runs this test program again, for the one test that plays the program
    /// that is signalled. Returns what it said and how it ended.
    fn play(role: &str, command: &str) -> (String, ExitStatus) {
        let mut shell = Command::new("sh");
        let script = format!("{command} \"$0\" --exact signals::tests::player --nocapture");
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
                watch(|signal| _ = writeln!(io::stdout(), "\nplayed {}", signal.name())).unwrap();
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
        assert_eq!(play("stuck 2", DEFAULT).1.code(), Some(130));
    }
}
