//! What the user sees: replies on standard output, the prompt on standard error.

use std::io::{self, IsTerminal, Write};
use std::mem;

use anyhow::Context;
use tcp_chat::printable::Printable;

use crate::outbox::{Input, Outbox, Queue};

/// Standard output and, at a terminal, the prompt.
pub(crate) struct Output {
    /// Printed, but not written yet.
    pending: Vec<u8>,
    stdout_is_terminal: bool,
    prompts: bool,
}

impl Output {
    pub(crate) fn new() -> Self {
        Output {
            pending: Vec::new(),
            stdout_is_terminal: io::stdout().is_terminal(),
            prompts: io::stdin().is_terminal() && io::stderr().is_terminal(),
        }
    }

    /// Prints a reply, at the next [`flush`](Self::flush). Into a file or pipe
    /// its bytes go unchanged.
    pub(crate) fn print(&mut self, reply: &[u8]) {
        self.pending.extend_from_slice(b"Server: ");
        if self.stdout_is_terminal {
            let _ = write!(self.pending, "{}", Printable(reply));
        } else {
            self.pending.extend_from_slice(reply);
        }
        self.pending.push(b'\n');
    }

    /// Writes what was printed, in one go. Tells whether that was anything.
    ///
    /// # Errors
    ///
    /// What the system says; [`io::ErrorKind::BrokenPipe`] if nobody reads.
    pub(crate) fn flush(&mut self) -> anyhow::Result<bool> {
        if self.pending.is_empty() {
            return Ok(false);
        }
        let mut stdout = io::stdout().lock();
        let written = stdout
            .write_all(&self.pending)
            .and_then(|()| stdout.flush());
        written.context("cannot write to standard output")?;
        self.pending.clear();
        Ok(true)
    }

    /// Asks for a message when all so far are answered, unless the cursor still
    /// stands behind such a prompt.
    pub(crate) fn prompt(&self, outbox: &Outbox) {
        if !self.prompts {
            return;
        }
        let mut queue = outbox.lock();
        let awaits_input = queue.unacknowledged() == 0 && matches!(queue.input, Input::Open);
        if awaits_input && !mem::replace(&mut queue.is_mid_line, true) {
            let _ = write!(io::stderr(), "Enter message: ");
        }
    }

    /// Ends a line that the cursor stands in the middle of, so that what is
    /// shown next has its own.
    pub(crate) fn end_line(&self, queue: &mut Queue) {
        if mem::take(&mut queue.is_mid_line) && self.prompts {
            let _ = writeln!(io::stderr());
        }
    }
}
