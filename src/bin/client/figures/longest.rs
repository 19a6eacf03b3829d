//! The longest duration since any moment.

use std::time::{Duration, Instant};

/// Durations, each with when it ended. One is kept only until a later one is as
/// long, so of durations in random order it keeps about the logarithm of their
/// number.
#[derive(Clone, Default)]
pub(crate) struct Longest {
    /// In order of time, each shorter than the one before.
    kept: Vec<(Instant, Duration)>,
}

impl Longest {
    /// Takes a duration that has ended now. (The clock may have been read before that of
    /// the last one was.)
    pub(crate) fn add(&mut self, now: Instant, duration: Duration) {
        let now = self.kept.last().map_or(now, |(ended, _)| now.max(*ended));
        while self.kept.pop_if(|(_, kept)| *kept <= duration).is_some() {}
        self.kept.push((now, duration));
    }

    /// The longest that has ended after this time; zero if none has.
    pub(crate) fn after(&self, time: Instant) -> Duration {
        let after = self.kept.iter().find(|(ended, _)| *ended > time);
        after.map_or(Duration::ZERO, |(_, longest)| *longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn knows_the_longest_after_any_time_in_every_order() {
        let begin = Instant::now();
        // Each digit is how long one of five was.
        for order in 0..5_u32.pow(5) {
            let lengths: Vec<u32> = (0..5).map(|place| order / 5_u32.pow(place) % 5).collect();
            let mut longest = Longest::default();
            for (ended, length) in (0..).zip(&lengths) {
                longest.add(begin + ended * SECOND, *length * SECOND);
            }
            assert_eq!(
                longest.after(begin - SECOND),
                *lengths.iter().max().unwrap() * SECOND
            );
            for after in 0..5 {
                let rest = lengths[after as usize + 1..].iter().max();
                let rest = rest.map_or(Duration::ZERO, |length| *length * SECOND);
                assert_eq!(longest.after(begin + after * SECOND), rest, "{lengths:?}");
            }
        }
    }

    #[test]
    fn keeps_few_of_many() {
        let begin = Instant::now();
        let mut longest = Longest::default();
        let mut random = Random::default();
        for number in 0..100_000 {
            let duration = Duration::from_nanos(random.next() >> 40);
            longest.add(begin + number * SECOND, duration);
            assert!(longest.kept.len() < 50);
        }
    }
}
