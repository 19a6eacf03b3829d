//! The terminal: replies on standard output; the prompt, the log, the line of progress and
//! the conclusion on standard error. Only this module knows where the cursor stands.

use std::io::{self, IsTerminal, Write};
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::Duration;

use log::Level;
use tcp_chat::printable::Printable;
use tcp_chat::running_time;
use tcp_chat::system::{self, Stdout};

/// How long the conclusion waits for other threads that are writing to the terminal.
const OTHER_WRITES: Duration = Duration::from_millis(100);

/// Standard output and standard error.
pub(crate) struct Output {
    stdout: Stdout,
    stdout_is_terminal: bool,
    /// Whether a user types the input at a terminal and is prompted for it.
    prompts: bool,
    /// Whether standard error is a terminal at which nobody types: then the line of
    /// `--progress` is rewritten in place.
    rewrites: bool,
    /// Whether the cursor is not at the beginning of a line: it stands after a prompt, a
    /// typed line without its end, or the line of progress.
    is_mid_line: AtomicBool,
    /// Locked while something is written to the terminal.
    terminal: Mutex<()>,
}

impl Output {
    /// Opens standard output, and looks which streams are terminals.
    ///
    /// # Errors
    ///
    /// Standard output is not open, or no descriptor is free.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Output {
            stdout: system::stdout()?,
            stdout_is_terminal: io::stdout().is_terminal(),
            prompts: io::stdin().is_terminal() && io::stderr().is_terminal(),
            rewrites: io::stderr().is_terminal() && !io::stdin().is_terminal(),
            is_mid_line: AtomicBool::new(false),
            terminal: Mutex::new(()),
        })
    }

    /// Writes replies, each a line. To a file or pipe, it writes their bytes unchanged.
    ///
    /// # Errors
    ///
    /// Standard output cannot be written; [`io::ErrorKind::BrokenPipe`] if nobody reads it.
    pub(crate) fn print(&self, replies: &[u8]) -> io::Result<()> {
        let mut stdout = &self.stdout;
        if self.stdout_is_terminal {
            let lines = replies
                .strip_suffix(b"\n")
                .unwrap_or(replies)
                .split(|byte| *byte == b'\n');
            let shown: String = lines.map(|line| format!("{}\n", Printable(line))).collect();
            let _terminal = self.begin_line();
            stdout.write_all(shown.as_bytes())
        } else {
            if self.prompts {
                drop(self.begin_line());
            }
            stdout.write_all(replies)
        }
    }

    /// Logs these lines, each at its level.
    pub(crate) fn log(&self, lines: impl IntoIterator<Item = (Level, String)>) {
        for (level, line) in lines {
            if log::log_enabled!(level) {
                let _terminal = self.begin_line();
                log::log!(level, "{line}");
            }
        }
    }

    /// Whether a user types the input at a terminal and is prompted for it.
    pub(crate) fn prompts(&self) -> bool {
        self.prompts
    }

    /// Records that the cursor stands after a prompt. Returns whether the caller must show
    /// the prompt: not if the cursor is in a line already.
    pub(crate) fn begin_prompt(&self) -> bool {
        !self.is_mid_line.swap(true, Ordering::Relaxed)
    }

    /// Shows the prompt that [`begin_prompt`](Self::begin_prompt) has recorded.
    pub(crate) fn show_prompt(&self) {
        let _terminal = self.lock();
        let _ = write!(io::stderr(), "Enter message: ");
    }

    /// Records that the user has typed something; `is_mid_line` is whether the line is not
    /// ended yet.
    pub(crate) fn record_typed(&self, is_mid_line: bool) {
        if self.prompts {
            self.is_mid_line.store(is_mid_line, Ordering::Relaxed);
        }
    }

    /// Shows how far the run is: in place at a terminal where nobody types, otherwise on a
    /// line of its own. Shows nothing while the user is to type a message: a prompt must
    /// not be written over, and nothing could be typed after the line of progress.
    pub(crate) fn show_progress(&self, line: &str) {
        if self.prompts && self.is_mid_line.load(Ordering::Relaxed) {
            return;
        }
        let _terminal = self.begin_line();
        let end = if self.rewrites { "" } else { "\n" };
        self.is_mid_line.store(self.rewrites, Ordering::Relaxed);
        let _ = write!(io::stderr(), "{line}{end}");
    }

    /// Whether standard error is a terminal.
    pub(crate) fn is_at_terminal(&self) -> bool {
        self.prompts || self.rewrites
    }

    /// Records a SIGINT: a terminal has shown the Ctrl-C that sent it, as `^C`.
    pub(crate) fn record_ctrl_c(&self) {
        if self.is_at_terminal() {
            self.is_mid_line.store(true, Ordering::Relaxed);
        }
    }

    /// Writes the conclusion of the run to standard error, and keeps the terminal locked:
    /// nothing else is shown after it.
    pub(crate) fn end(&self, conclusion: &str) {
        // A thread that writes to a terminal or pipe which takes nothing keeps the lock. It
        // would be useless to wait any longer for that.
        if let Some(terminal) = lock_within(&self.terminal, OTHER_WRITES) {
            self.end_line();
            // Without this, the lock would be released here.
            mem::forget(terminal);
        }
        let _ = io::stderr().write_all(conclusion.as_bytes());
    }

    /// Ends the line that the cursor may stand in, and locks the terminal. The caller writes
    /// a line of its own while it holds the lock.
    fn begin_line(&self) -> MutexGuard<'_, ()> {
        let terminal = self.lock();
        self.end_line();
        terminal
    }

    /// Moves the cursor to the beginning of a line, unless it stands there.
    fn end_line(&self) {
        if self.is_mid_line.swap(false, Ordering::Relaxed) {
            // After a prompt, a new line. After the line of progress, back to its beginning,
            // and erase it (ECMA-48's EL).
            let end = if self.prompts { "\n" } else { "\r\x1b[K" };
            let _ = write!(io::stderr(), "{end}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.terminal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a lock, unless that takes too long or a thread has panicked while it held the lock.
fn lock_within<T>(lock: &Mutex<T>, limit: Duration) -> Option<MutexGuard<'_, T>> {
    let mut taken = None;
    running_time::wait_within(limit, |_| match lock.try_lock() {
        Ok(guard) => {
            taken = Some(guard);
            true
        }
        Err(TryLockError::WouldBlock) => {
            thread::sleep(Duration::from_millis(1));
            false
        }
        Err(TryLockError::Poisoned(_)) => true,
    });
    taken
}
