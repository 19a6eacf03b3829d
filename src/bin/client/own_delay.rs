//! How late the client itself is, whatever the server and the path do.
//!
//! A client that is stopped, or starved of a processor, prints late and reads
//! late, and its reply times look like those of a server that stalls. So a thread
//! that has nothing else to do wakes on a fixed grid. However late it wakes, the client
//! is at least that late.

use std::time::{Duration, Instant};

use crate::{histogram::Histogram, longest::Longest};

/// How far apart the ticks of the grid are.
const TICK: Duration = Duration::from_millis(10);

/// How late each tick was noticed.
#[derive(Clone, Default)]
pub(crate) struct OwnDelays {
    /// The tick that is noticed next; `None` where nothing is measured.
    next: Option<Instant>,
    pub(crate) all: Histogram,
    /// Of ticks that were noticed together, only the first is kept: the longest.
    pub(crate) longest: Longest,
}

impl OwnDelays {
    /// Notices each tick since the run began, missed ones too: as a single late tick,
    /// a stop of a second would show in no quantile. Returns when the next one is
    /// due.
    pub(crate) fn measure(&mut self, began: Instant, now: Instant) -> Instant {
        let next = self.next.get_or_insert(began);
        if let Some(longest) = now.checked_duration_since(*next) {
            self.longest.add(now, longest);
        }
        while let Some(late) = now.checked_duration_since(*next) {
            self.all.record(late, 1);
            *next += TICK;
        }
        *next
    }

    /// Does the same ahead of the thread that measures, if there is one: after a stop
    /// of the client, that thread may not run again at once.
    pub(crate) fn notice(&mut self, now: Instant) {
        if let Some(next) = self.next {
            self.measure(next, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_of_waking_counts_each_tick_once_by_when_it_was_noticed() {
        const TIMES: u32 = 10;
        let begin = Instant::now();
        // Halfway between ticks, too, and the last time always.
        let at = |time: u32| begin + time * TICK / 2;
        for pattern in 0..1_u32 << TIMES {
            let wakes = (0..=TIMES).filter(|time| (pattern | 1 << TIMES) >> time & 1 == 1);
            let mut delays = OwnDelays::default();
            for wake in wakes.clone() {
                let next = delays.measure(begin, at(wake));
                assert_eq!(next, at(wake / 2 * 2 + 2), "{pattern:b}");
            }
            let noticed = |tick| wakes.clone().find(|wake| *wake >= tick).unwrap();
            let ticks = (0..=TIMES).step_by(2);
            let mut late: Vec<Duration> =
                ticks.clone().map(|tick| at(noticed(tick)) - at(tick)).collect();
            late.sort();
            for (number, late) in (1..).zip(&late) {
                let share = f64::from(number) / late_count(TIMES);
                let quantile = delays.all.quantile(share).unwrap();
                assert!(quantile >= *late && quantile <= late.mul_f64(1.02), "{pattern:b}");
            }
            assert_eq!(delays.all.quantile(1.0), late.last().copied());
            for after in 0..=TIMES {
                let since = ticks.clone().filter(|tick| noticed(*tick) > after);
                let longest = since.map(|tick| at(noticed(tick)) - at(tick)).max();
                assert_eq!(delays.longest.after(at(after)), longest.unwrap_or_default());
            }
        }
    }

    fn late_count(times: u32) -> f64 {
        f64::from(times / 2 + 1)
    }

    #[test]
    fn a_stop_of_a_second_shows_in_the_quantiles_as_it_does_in_those_of_reply_times() {
        let begin = Instant::now();
        let mut delays = OwnDelays::default();
        for tick in (0..200).chain(300..500) {
            delays.measure(begin, begin + tick * TICK);
        }
        // Of 500 ticks, 100 were late, by ten milliseconds more each.
        for (share, millis) in [(0.5, 0), (0.9, 500), (0.99, 950), (1.0, 1000)] {
            let exact = Duration::from_millis(millis);
            let quantile = delays.all.quantile(share).unwrap();
            assert!(quantile >= exact && quantile <= exact.mul_f64(1.02), "{share}: {quantile:?}");
        }
    }
}
