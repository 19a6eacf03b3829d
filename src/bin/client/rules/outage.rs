//! How long to go on trying in an outage, and how long the outage was.
//!
//! The pause between attempts grows with the outage, as in exponential backoff: it is a
//! sixteenth of the time since the outage became known, but from 10 ms to 1 s. So the client
//! notices the server late by at most a sixteenth of that time, or by 10 ms if that is more.
//! The reported length is exact to the same.

use std::time::{Duration, Instant};

use crate::figures::outages::{Addresses, PastOutage};

/// The shortest pause: a server that restarts at once is noticed this late.
pub(crate) const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// The longest pause: a server that was away for hours is noticed this late.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The current outage: a time without a working connection that goes on.
#[derive(Clone, Debug)]
pub(crate) struct Outage {
    /// See [`PastOutage::began`]. Not after `known`.
    pub(crate) began: Instant,
    /// From when `--retry-for` counts: the loss, or the beginning of the attempt that failed.
    pub(crate) known: Instant,
    /// The error that began it.
    pub(crate) cause: String,
    /// How many messages were resent because of it so far. A message that was resent twice
    /// counts twice.
    pub(crate) sent_again: u64,
    /// The addresses of the connection that was lost, if the outage began with a loss.
    pub(crate) lost: Option<Addresses>,
}

impl Outage {
    /// Ends the outage, which was this long.
    pub(crate) fn end(self, length: Duration, own_delay: Duration) -> PastOutage {
        // The reports show microseconds. Rounded down to them here, the reported lengths
        // add up to the reported sum.
        let length = Duration::from_micros(length.as_micros() as u64);
        PastOutage {
            began: self.began,
            length,
            own_delay: own_delay.min(length),
            cause: self.cause,
            sent_again: self.sent_again,
            lost: self.lost,
        }
    }

    /// How long to wait before the next attempt.
    pub(crate) fn pause(&self, now: Instant) -> Duration {
        let known_for = now.saturating_duration_since(self.known);
        (known_for / 16).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
    }

    /// How much of `time` is left, counted from when the outage became known.
    pub(crate) fn left_of(&self, time: Duration, now: Instant) -> Duration {
        let known_for = now.saturating_duration_since(self.known);
        time.saturating_sub(known_for)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns an outage that was noticed 5 s after its beginning.
    fn outage(known: Instant) -> Outage {
        Outage {
            began: known - Duration::from_secs(5),
            known,
            cause: String::new(),
            sent_again: 0,
            lost: None,
        }
    }

    #[test]
    fn pauses_for_a_sixteenth_of_the_outage_so_far_from_10_ms_to_1_s() {
        let known = Instant::now();
        let outage = outage(known);
        for (after, pause) in [
            (0, 10),
            (100, 10),
            (160, 10),
            (320, 20),
            (1600, 100),
            (15_984, 999),
            (16_000, 1000),
            (600_000, 1000),
        ] {
            assert_eq!(
                outage.pause(known + Duration::from_millis(after)),
                Duration::from_millis(pause),
                "after {after} ms"
            );
        }
    }

    #[test]
    fn the_time_left_counts_from_when_the_outage_became_known() {
        let known = Instant::now();
        let outage = outage(known);
        let time = Duration::from_secs(2);
        assert_eq!(outage.left_of(time, known), time);
        let later = known + Duration::from_millis(1999);
        assert_eq!(outage.left_of(time, later), Duration::from_millis(1));
        assert_eq!(outage.left_of(time, known + time), Duration::ZERO);
        assert_eq!(outage.left_of(time, known + 2 * time), Duration::ZERO);
        assert_eq!(
            outage.left_of(Duration::MAX, later) + Duration::from_millis(1999),
            Duration::MAX
        );
    }
}
