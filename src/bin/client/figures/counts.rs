//! What happened to the lines of the input, counted, and how a run stands at one
//! moment.

use std::time::{Duration, Instant};

use crate::figures::histogram::Histogram;
use crate::figures::longest::Longest;
use crate::figures::outages::PastOutage;
use crate::figures::own_delay::OwnDelays;

/// All that the client counts.
#[derive(Clone, Default)]
pub(crate) struct Counts {
    pub(crate) answers: Answers,
    /// Lines over the limit, which are no messages.
    pub(crate) too_long: u64,
    /// How many messages were sent more than once, each time counted.
    pub(crate) sent_again: u64,
    /// How many connections there were.
    pub(crate) connections: u64,
    /// How long each took to come about, from the beginning of the attempt.
    pub(crate) connect_times: Histogram,
    pub(crate) outages: u64,
    /// How long all of them took together.
    pub(crate) outage_time: Duration,
    pub(crate) longest_outage: Longest,
    pub(crate) reply_times: Histogram,
    /// How late the client itself was, where that is measured.
    pub(crate) own_delays: OwnDelays,
}

/// How many messages were answered, and how.
#[derive(Clone, Default)]
pub(crate) struct Answers {
    pub(crate) acknowledged: u64,
    /// How many of these by each prefix, in their order.
    pub(crate) by_prefix: Vec<u64>,
    pub(crate) rejected: u64,
    /// Answered by something other than their reply.
    pub(crate) wrong: u64,
}

impl Answers {
    /// How many messages were answered.
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

    /// Once everything is answered: whether each answer was an acknowledgement.
    ///
    /// # Errors
    ///
    /// Some were not; the error counts them.
    pub(crate) fn verdict(&self) -> Result<(), String> {
        let Answers {
            acknowledged,
            rejected,
            wrong,
            ..
        } = self.answers;
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

/// What came between two snapshots. The numbers are negative if replies that were counted
/// before could not be printed in the end.
pub(crate) struct Since {
    pub(crate) replies: i64,
    /// Replies a second.
    pub(crate) rate: f64,
    /// The times of the replies.
    pub(crate) times: Histogram,
}

/// How a run stands.
#[derive(Clone)]
pub(crate) struct Snapshot {
    /// What the user knows the server by.
    pub(crate) server: String,
    pub(crate) counts: Counts,
    /// What acknowledgements may begin with.
    pub(crate) prefixes: Vec<String>,
    /// When the run began.
    pub(crate) began: Instant,
    pub(crate) now: Instant,
    /// Whether the input was read to its end.
    pub(crate) input_was_read: bool,
    /// How many messages are unacknowledged, sent or not.
    pub(crate) unacknowledged: u64,
    /// How many of them were never sent.
    pub(crate) never_sent: u64,
    /// How long the oldest of them has waited.
    pub(crate) waiting: Option<Duration>,
    /// How many of them were sent over the present connection.
    pub(crate) in_flight: u64,
    /// How long the present outage has lasted.
    pub(crate) outage: Option<Duration>,
    /// The first outages that are over, at the end of the run alone.
    pub(crate) first_outages: Vec<PastOutage>,
    /// Since when the thread that reads replies is in a read.
    pub(crate) listening_since: Option<Instant>,
}

impl Snapshot {
    /// How long the run has taken so far.
    pub(crate) fn elapsed(&self) -> Duration {
        self.now.saturating_duration_since(self.began)
    }

    /// What came since an earlier moment.
    pub(crate) fn since(&self, before: &Snapshot) -> Since {
        let replies = self.counts.answers.total() as i64 - before.counts.answers.total() as i64;
        let seconds = self.now.saturating_duration_since(before.now).as_secs_f64();
        let times = self.counts.reply_times.since(&before.counts.reply_times);
        Since {
            replies,
            rate: replies as f64 / seconds.max(1e-6),
            times,
        }
    }

    /// How late the client itself was at most since an earlier moment, and still is.
    pub(crate) fn longest_own_delay(&self, since: Instant) -> Duration {
        self.counts
            .own_delays
            .longest_after(since, self.listening_since, self.now)
    }

    /// The longest outage since the run began.
    pub(crate) fn longest_outage(&self) -> Duration {
        self.counts.longest_outage.after(self.began)
    }

    /// Replies a second since the run began.
    pub(crate) fn rate(&self) -> f64 {
        // A clock may not have moved, and JSON knows no infinity.
        self.counts.answers.total() as f64 / self.elapsed().as_secs_f64().max(1e-6)
    }
}
