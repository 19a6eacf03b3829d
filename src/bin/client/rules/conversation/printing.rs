//! Replies count only if they are printed.
//!
//! The thread that reads replies counts them under the lock, and prints them without it.
//! Printing can take any time, and the run may end in between. Then the report must not
//! claim replies that the user never saw.
//!
//! ```text
//!   receive              take_output           end_printing
//!      |                      |                     |
//! -----+----------------------+---------------------+------------> time
//!      |<---- replies are counted, not printed ---->|
//!      |      conclude takes them back              |  conclude counts them
//! ```
//!
//! A panic while replies are taken leaves counts that are only half changed. For this
//! reason the interval begins before the first reply is taken.

use std::mem;
use std::time::Instant;

use tcp_chat::lines::LineReader;

use super::{Conversation, Loss};
use crate::figures::counts::ReplyCounts;
use crate::figures::histogram::Histogram;
use crate::figures::snapshot::Snapshot;

/// Whether replies are being printed, and what counted before them. One value serves the
/// whole run, because its memory is used again at each read.
#[derive(Default)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Printing {
    /// Whether replies are counted that are not printed yet.
    pub(super) has_unprinted: bool,
    /// The counts without these replies. Valid only while they are being printed.
    pub(super) replies_before: ReplyCounts,
    /// When the message of the first of these replies was due. Valid only while they are
    /// being printed.
    first_due_before: Option<Instant>,
}

impl Conversation {
    /// Takes every reply that is here, and counts it. It is printed from now on until
    /// [`end_printing`](Self::end_printing).
    ///
    /// # Errors
    ///
    /// A line of the server ends the connection. The replies before it count.
    pub(super) fn take_replies_to_print(
        &mut self,
        replies: &mut LineReader,
        now: Instant,
    ) -> Result<(), Loss> {
        self.printing
            .replies_before
            .clone_from(&self.counts.replies);
        self.printing.first_due_before = self.outbox.first_due();
        self.printing.has_unprinted = true;
        let taken = self.take_replies(replies, now);
        self.counts
            .own_delays
            .record_replies_read(self.counts.replies.total(), now);
        if self.output.is_empty() {
            self.printing.has_unprinted = false;
        } else {
            self.stop_listening();
        }
        taken
    }

    /// Moves the replies to print, each a line, into `out`, and drops what was there. The two
    /// buffers change places, so no memory is allocated.
    pub(crate) fn take_output(&mut self, out: &mut Vec<u8>) {
        out.clear();
        mem::swap(out, &mut self.output);
    }

    /// Records that the replies are printed: they count from now on.
    pub(crate) fn end_printing(&mut self) {
        self.printing.has_unprinted = false;
    }

    /// Whether replies are being printed.
    pub(crate) fn is_printing(&self) -> bool {
        self.printing.has_unprinted
    }

    /// Takes replies that are still being printed out of the counts at the end of the run.
    pub(super) fn take_back_unprinted(&self, end: &mut Snapshot) {
        if !self.is_printing() {
            return;
        }
        let printed = self.printing.replies_before.clone();
        let due = self.printing.first_due_before;
        end.waiting = due.map(|due| end.now.saturating_duration_since(due));
        end.unacknowledged += end.counts.replies.total() - printed.total();
        end.counts.replies = printed;
        // The histogram still holds the times of the replies that were taken back. It is
        // emptied only if no reply is left.
        if end.counts.replies.total() == 0 {
            end.counts.reply_times = Histogram::default();
        }
    }
}
