//! How long to go on trying in an outage, and how long it took.
//!
//! The pause between attempts grows with the outage, as exponential backoff
//! does, but so that the figure in the end is right: a client that tries again
//! after a sixteenth of the time that has passed finds the server at most a
//! sixteenth too late.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The shortest pause: a server that restarts at once is noticed this late.
pub(crate) const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// The longest pause: a server that was away for hours is noticed this late.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A connection's own address, and the server's.
pub(crate) type Addresses = (SocketAddr, SocketAddr);

/// A time without a working connection, present or past.
#[derive(Clone, Debug)]
pub(crate) struct Outage {
    /// The first reply missed, or the first attempt to connect.
    pub(crate) began: Instant,
    /// When it was noticed; since then the client has tried to end it.
    known: Instant,
    /// The error that began it.
    pub(crate) cause: String,
    /// How many messages were sent again because of it, each time counted.
    pub(crate) sent_again: u64,
    /// Set, as is the next, when it ends; zero until then.
    pub(crate) length: Duration,
    /// How late the client itself was during it, at most.
    pub(crate) own_delay: Duration,
    /// The connection's own and the server's address, if it began with a loss.
    pub(crate) lost: Option<Addresses>,
}

impl Outage {
    pub(crate) fn new(
        began: Instant,
        known: Instant,
        cause: String,
        lost: Option<Addresses>,
    ) -> Self {
        let (length, own_delay) = (Duration::ZERO, Duration::ZERO);
        Outage {
            began,
            known,
            cause,
            sent_again: 0,
            length,
            own_delay,
            lost,
        }
    }

    /// How long to wait before the next attempt.
    pub(crate) fn pause(&self, now: Instant) -> Duration {
        (now.saturating_duration_since(self.known) / 16).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
    }

    /// What is left of this time since the outage became known.
    pub(crate) fn left_of(&self, time: Duration, now: Instant) -> Duration {
        time.saturating_sub(now.saturating_duration_since(self.known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_for_a_sixteenth_of_the_outage_so_far_from_10_ms_to_1_s() {
        let known = Instant::now();
        let outage = Outage::new(known - Duration::from_secs(5), known, String::new(), None);
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
    fn counts_what_is_left_from_when_it_was_known() {
        let known = Instant::now();
        let outage = Outage::new(known - Duration::from_secs(5), known, String::new(), None);
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
