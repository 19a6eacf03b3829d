//! The terminal: replies on standard output, the prompt and the log on standard error. It
//! alone knows where the cursor stands.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;
use std::{mem, thread};

use log::Level;
use tcp_chat::printable::Printable;
use tcp_chat::running_time;
use tcp_chat::system::{self, Stdout};

/// How long the end of the run waits for what else is being written.
const OTHER_WORDS: Duration = Duration::from_millis(100);

/// Standard output and standard error.
pub(crate) struct Output {
    stdout: Stdout,
    stdout_is_terminal: bool,
    prompts: bool,
    /// Whether the line of `--progress` is rewritten in place.
    rewrites: bool,
    /// Whether the cursor stands behind a prompt, a line that was not ended, or
    /// the line of progress.
    is_mid_line: AtomicBool,
    /// Held while something is written to the terminal.
    terminal: Mutex<()>,
}

impl Output {
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

    /// Writes replies, each a line. Into a file or pipe their bytes go unchanged.
    ///
    /// # Errors
    ///
    /// What the system says; [`io::ErrorKind::BrokenPipe`] if nobody reads.
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

    /// Logs what is not a reply, a line each.
    pub(crate) fn log(&self, lines: impl IntoIterator<Item = (Level, String)>) {
        for (level, line) in lines {
            if log::log_enabled!(level) {
                let _terminal = self.begin_line();
                log::log!(level, "{line}");
            }
        }
    }

    /// Whether somebody types who wants to be asked for a message.
    pub(crate) fn prompts(&self) -> bool {
        self.prompts
    }

    /// Puts the cursor behind a prompt. Returns whether it stood elsewhere: then the
    /// prompt is to be shown.
    pub(crate) fn begin_prompt(&self) -> bool {
        !self.is_mid_line.swap(true, Ordering::Relaxed)
    }

    /// Shows the prompt that was begun.
    pub(crate) fn show_prompt(&self) {
        let _terminal = self.lock();
        let _ = write!(io::stderr(), "Enter message: ");
    }

    /// The user has typed something, and perhaps not ended the line.
    pub(crate) fn record_typed(&self, is_mid_line: bool) {
        if self.prompts {
            self.is_mid_line.store(is_mid_line, Ordering::Relaxed);
        }
    }

    /// Shows how far the run is: in place at a terminal, where nobody types, and
    /// else on a line of its own. A prompt is left alone: nothing goes on behind it.
    pub(crate) fn progress(&self, line: &str) {
        if self.prompts && self.is_mid_line.load(Ordering::Relaxed) {
            return;
        }
        let _terminal = self.begin_line();
        let end = if self.rewrites { "" } else { "\n" };
        self.is_mid_line.store(self.rewrites, Ordering::Relaxed);
        let _ = write!(io::stderr(), "{line}{end}");
    }

    /// Whether somebody waits at a terminal.
    pub(crate) fn is_at_terminal(&self) -> bool {
        self.prompts || self.rewrites
    }

    /// Shows the last words, after which nothing else comes. A terminal shows the Ctrl-C
    /// that has interrupted the run.
    pub(crate) fn end(&self, last_words: &str, was_interrupted: bool) {
        let is_shown = was_interrupted && (self.prompts || self.rewrites);
        self.is_mid_line.fetch_or(is_shown, Ordering::Relaxed);
        // Whoever writes to a terminal or pipe that takes nothing keeps the lock; then
        // waiting for it is useless.
        if let Some(terminal) = lock_within(&self.terminal, OTHER_WORDS) {
            self.end_line();
            // Never given back.
            mem::forget(terminal);
        }
        let _ = io::stderr().write_all(last_words.as_bytes());
    }

    /// Ends the line that the cursor may stand in, so that what is shown next has
    /// its own, and keeps others from the terminal meanwhile.
    fn begin_line(&self) -> MutexGuard<'_, ()> {
        let terminal = self.lock();
        self.end_line();
        terminal
    }

    fn end_line(&self) {
        if self.is_mid_line.swap(false, Ordering::Relaxed) {
            // Either its end, or back to its beginning, and erase it (ECMA-48's EL).
            let end = if self.prompts { "\n" } else { "\r\x1b[K" };
            let _ = write!(io::stderr(), "{end}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.terminal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a lock, unless that takes too long or its last holder panicked.
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
