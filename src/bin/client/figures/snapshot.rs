//! All figures of a run at one moment. Everything that the user is shown of a run is made
//! from one snapshot, or from two that follow each other.

use std::time::{Duration, Instant};

use crate::figures::counts::Counts;
use crate::figures::histogram::Histogram;
use crate::figures::outages::PastOutage;

/// The shortest time that a rate is computed for, in seconds. The clock may not have moved,
/// and JSON knows no infinity.
const SHORTEST_SECONDS: f64 = 1e-6;

/// How a run stands.
#[derive(Clone)]
pub(crate) struct Snapshot {
    /// The server's name or address with its port, as the user gave them.
    pub(crate) server: String,
    pub(crate) counts: Counts,
    /// The prefixes that acknowledgements may have, in the order of
    /// [`by_prefix`](crate::figures::counts::ReplyCounts::by_prefix).
    pub(crate) prefixes: Vec<String>,
    /// When the run began.
    pub(crate) began: Instant,
    /// The moment of this snapshot.
    pub(crate) now: Instant,
    /// Whether the input was read to its end.
    pub(crate) input_was_read: bool,
    /// How many messages have no reply yet, sent or not.
    pub(crate) unacknowledged: u64,
    /// How many of these messages were never sent.
    pub(crate) never_sent: u64,
    /// How long ago the oldest message without a reply was due.
    pub(crate) waiting: Option<Duration>,
    /// How many of the messages without a reply were sent over the current connection.
    pub(crate) in_flight: u64,
    /// How long the current outage has lasted.
    pub(crate) outage: Option<Duration>,
    /// The first outages that are over. Filled in at the end of the run only.
    pub(crate) first_outages: Vec<PastOutage>,
    /// Since when the session thread would notice a reply at once: it reads, connects or
    /// waits. `None` while it prints or logs.
    pub(crate) listening_since: Option<Instant>,
}

/// What happened between two snapshots.
pub(crate) struct Since {
    /// How many replies came. Negative, as is the rate, if replies that the earlier
    /// snapshot counted could not be printed in the end.
    pub(crate) replies: i64,
    /// Replies a second.
    pub(crate) rate: f64,
    /// The reply times of these replies.
    pub(crate) times: Histogram,
}

impl Snapshot {
    /// Returns how long the run has taken so far.
    pub(crate) fn elapsed(&self) -> Duration {
        self.now.saturating_duration_since(self.began)
    }

    /// Returns what has happened since an earlier snapshot.
    pub(crate) fn since(&self, before: &Snapshot) -> Since {
        let replies = self.counts.replies.total() as i64 - before.counts.replies.total() as i64;
        let seconds = self.now.saturating_duration_since(before.now).as_secs_f64();
        Since {
            replies,
            rate: replies as f64 / seconds.max(SHORTEST_SECONDS),
            times: self.counts.reply_times.since(&before.counts.reply_times),
        }
    }

    /// Returns the longest own delay that has ended after this time, or that goes on.
    pub(crate) fn longest_own_delay(&self, since: Instant) -> Duration {
        self.counts
            .own_delays
            .longest_after(since, self.listening_since, self.now)
    }

    /// Returns the longest outage of the run that is over.
    pub(crate) fn longest_outage(&self) -> Duration {
        self.counts.longest_outage.after(self.began)
    }

    /// Returns the replies a second since the run began.
    pub(crate) fn rate(&self) -> f64 {
        let seconds = self.elapsed().as_secs_f64();
        self.counts.replies.total() as f64 / seconds.max(SHORTEST_SECONDS)
    }
}
