//! The terminal: replies on standard output; the prompt, the log, the line of progress and
//! the conclusion on standard error. Only this module knows where the cursor stands.

use std::io::{self, IsTerminal, Write};
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::Duration;

use tcp_chat::printable::Printable;
use tcp_chat::running_time;
use tcp_chat::system::{self, Stdout};

use crate::rules::conversation::News;

/// How long the conclusion waits for other threads that are writing to the terminal.
const OTHER_WRITES: Duration = Duration::from_millis(100);

/// Standard output and standard error.
pub(crate) struct Output {
    stdout: Stdout,
    stdout_is_terminal: bool,
    stderr_is_terminal: bool,
    /// Whether a user types the input at a terminal and is prompted for it. Then standard
    /// error is a terminal, too.
    prompts: bool,
    /// Whether the cursor stands within a line: after a prompt, a typed line without its end,
    /// the line of progress, or the `^C` of a Ctrl-C.
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
        let stderr_is_terminal = io::stderr().is_terminal();
        Ok(Output {
            stdout: system::stdout()?,
            stdout_is_terminal: io::stdout().is_terminal(),
            stderr_is_terminal,
            prompts: stderr_is_terminal && io::stdin().is_terminal(),
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
                // The replies go elsewhere, so the terminal need not stay locked.
                let terminal = self.begin_line();
                drop(terminal);
            }
            stdout.write_all(replies)
        }
    }

    /// Logs these lines, each at its level.
    pub(crate) fn log(&self, lines: impl IntoIterator<Item = News>) {
        for news in lines {
            if log::log_enabled!(news.level) {
                let _terminal = self.begin_line();
                log::log!(news.level, "{}", news.line);
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
        // Another thread may have written a line since `begin_prompt`. Then it has recorded
        // that the cursor is at the beginning of a line.
        self.is_mid_line.store(true, Ordering::Relaxed);
        let _ = write!(io::stderr(), "Enter message: ");
    }

    /// Records that the user has typed something; `is_mid_line` is whether the line is not
    /// ended yet.
    pub(crate) fn record_typed(&self, is_mid_line: bool) {
        if self.prompts {
            self.is_mid_line.store(is_mid_line, Ordering::Relaxed);
        }
    }

    /// Shows how far the run is. At a terminal where nobody types, each line of progress
    /// replaces the one before; otherwise each is a separate line. Shows nothing while the
    /// cursor stands after a prompt or a typed text, which must not be written over.
    pub(crate) fn show_progress(&self, line: &str) {
        let is_replaced = self.stderr_is_terminal && !self.prompts;
        let _terminal = self.lock();
        if self.prompts && self.is_mid_line.load(Ordering::Relaxed) {
            return;
        }
        self.end_line();
        let end = if is_replaced { "" } else { "\n" };
        self.is_mid_line.store(is_replaced, Ordering::Relaxed);
        let _ = write!(io::stderr(), "{line}{end}");
    }

    /// Whether standard error is a terminal.
    pub(crate) fn stderr_is_terminal(&self) -> bool {
        self.stderr_is_terminal
    }

    /// Records a SIGINT: a terminal has shown the Ctrl-C that sent it, as `^C`.
    pub(crate) fn record_ctrl_c(&self) {
        if self.stderr_is_terminal {
            self.is_mid_line.store(true, Ordering::Relaxed);
        }
    }

    /// Writes the conclusion of the run to standard error, and keeps the terminal locked:
    /// nothing else is shown after it.
    pub(crate) fn end(&self, conclusion: &str) {
        // A thread that is blocked in a write keeps the lock, perhaps forever.
        if let Some(terminal) = lock_within(&self.terminal, OTHER_WRITES) {
            self.end_line();
            // Without this, the lock would be released here.
            mem::forget(terminal);
        }
        let _ = io::stderr().write_all(conclusion.as_bytes());
    }

    /// Ends the line that the cursor may stand in, and locks the terminal. The caller writes
    /// a separate line while it holds the lock.
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

/// Takes a lock, unless that takes longer than `limit`.
fn lock_within<T>(lock: &Mutex<T>, limit: Duration) -> Option<MutexGuard<'_, T>> {
    running_time::wait_within(limit, |_| match lock.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::WouldBlock) => {
            thread::sleep(Duration::from_millis(1));
            None
        }
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
    })
}
