//! The longest duration since any moment.

use std::time::{Duration, Instant};

/// Durations that may still be the longest since some moment. A duration is dropped once
/// a later one is as long, because the later one then counts instead. So of durations in
/// random order, about the logarithm of their number is kept.
#[derive(Clone, Default)]
pub(crate) struct Longest {
    /// In order of time, each shorter than the one before.
    kept: Vec<Past>,
}

/// A duration that is over.
#[derive(Clone)]
struct Past {
    ended: Instant,
    length: Duration,
}

impl Longest {
    /// Adds a duration that has ended now.
    pub(crate) fn add(&mut self, now: Instant, length: Duration) {
        let mut ended = now;
        // Another thread may have read the clock later and come here first.
        if let Some(last) = self.kept.last() {
            ended = ended.max(last.ended);
        }
        while let Some(last) = self.kept.last()
            && last.length <= length
        {
            self.kept.pop();
        }
        self.kept.push(Past { ended, length });
    }

    /// Returns the longest duration that has ended after this time; zero if none has.
    pub(crate) fn after(&self, time: Instant) -> Duration {
        // The first one after it is the longest, because each is shorter than the one before.
        match self.kept.iter().find(|past| past.ended > time) {
            Some(longest) => longest.length,
            None => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn finds_the_longest_after_any_time_for_every_order_of_lengths() {
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
    fn keeps_few_of_many_durations() {
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
