//! What happened to the lines of the input, and to the connections, counted.

use std::time::{Duration, Instant};

use crate::figures::histogram::Histogram;
use crate::figures::longest::Longest;
use crate::figures::outages::PastOutage;
use crate::figures::own_delay::OwnDelays;

/// All that the client counts.
#[derive(Clone, Default)]
pub(crate) struct Counts {
    pub(crate) replies: ReplyCounts,
    /// How many lines were over the size limit. Such a line is not sent, so it is not a
    /// message.
    pub(crate) too_long: u64,
    /// How many messages were resent. A message that was resent twice counts twice.
    pub(crate) sent_again: u64,
    /// How many connections were made.
    pub(crate) connections: u64,
    /// How long each connect took, from the beginning of the attempt.
    pub(crate) connect_times: Histogram,
    /// How many outages are over.
    pub(crate) outages: u64,
    /// How long these outages took, added up.
    pub(crate) outage_time: Duration,
    pub(crate) longest_outage: Longest,
    pub(crate) reply_times: Histogram,
    /// How late the client itself was; empty unless that is measured.
    pub(crate) own_delays: OwnDelays,
}

/// How many messages were replied to, by the kind of their reply.
#[derive(Clone, Default)]
pub(crate) struct ReplyCounts {
    pub(crate) acknowledged: u64,
    /// How many of the acknowledgements had each prefix, in the order of the prefixes.
    pub(crate) by_prefix: Vec<u64>,
    pub(crate) rejected: u64,
    /// Messages whose reply was neither an acknowledgement of their text nor a rejection.
    pub(crate) wrong: u64,
}

impl ReplyCounts {
    /// Returns how many messages were replied to.
    pub(crate) fn total(&self) -> u64 {
        self.acknowledged + self.rejected + self.wrong
    }
}

impl Counts {
    /// Counts an outage that is known to be over now.
    pub(crate) fn record_outage(&mut self, past: &PastOutage, now: Instant) {
        self.longest_outage.add(now, past.length);
        self.outages += 1;
        self.outage_time += past.length;
    }

    /// Judges the run once all messages have replies: every line must be acknowledged.
    ///
    /// # Errors
    ///
    /// If some lines were not acknowledged: one line of text that counts them, by reason.
    pub(crate) fn verdict(&self) -> Result<(), String> {
        let acknowledged = self.replies.acknowledged;
        let rejected = self.replies.rejected;
        let wrong = self.replies.wrong;
        let too_long = self.too_long;
        let failed = too_long + rejected + wrong;
        if failed == 0 {
            return Ok(());
        }
        let lines = acknowledged + failed;
        Err(format!(
            "{failed} of {lines} lines were not acknowledged: \
             {too_long} too long, {rejected} rejected, {wrong} with a wrong reply"
        ))
    }
}
