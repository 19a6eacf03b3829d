//! A histogram of durations, exact to 2 %, in a limited amount of memory.
//!
//! As in HdrHistogram, a bucket holds all durations that have the same highest bit and
//! the same six bits after it. To find the bucket of a duration takes only a shift:
//!
//! ```text
//! 1000 ns:  1 111101 000      3 bits are shifted out: this bucket holds 1000 to 1007 ns
//! ```

use std::time::Duration;

/// How many bits after the highest one tell buckets apart.
const BITS: u32 = 6;

/// Counts of durations, from a nanosecond to 584 years.
#[derive(Clone, Default)]
pub(crate) struct Histogram {
    /// One count for each bucket, up to the last bucket that was needed. Below `2 << BITS`
    /// nanoseconds, each duration has its own bucket.
    counts: Vec<u64>,
    /// The sum of `counts`.
    total: u64,
    /// The longest duration, exactly.
    max: Duration,
}

/// The names of the figures that are shown, each with its share of all durations.
const SHARES: [(&str, f64); 5] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("max", 1.0),
];

/// A figure that is shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) milliseconds: f64,
}

impl Histogram {
    /// Counts a duration, `times` times.
    pub(crate) fn record(&mut self, duration: Duration, times: u64) {
        let bucket = bucket(duration.as_nanos().try_into().unwrap_or(u64::MAX));
        if bucket >= self.counts.len() {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += times;
        self.total += times;
        self.max = self.max.max(duration);
    }

    /// Returns the duration that this share of all (0.0 to 1.0) does not exceed, rounded
    /// up by at most 2 %. Returns `None` if nothing was recorded.
    pub(crate) fn quantile(&self, share: f64) -> Option<Duration> {
        let wanted = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Some(Duration::from_nanos(last_of(bucket)).min(self.max));
            }
        }
        None
    }

    /// Returns the figures that are shown; `None` if nothing was recorded.
    pub(crate) fn figures(&self) -> Option<[Figure; 5]> {
        if self.total == 0 {
            return None;
        }
        Some(SHARES.map(|(name, share)| {
            let time = self.quantile(share).unwrap_or(self.max);
            let milliseconds = milliseconds(time);
            Figure { name, milliseconds }
        }))
    }

    /// Returns what was recorded since an earlier state of this histogram. Its longest
    /// duration is only exact to 2 %, too.
    pub(crate) fn since(&self, earlier: &Histogram) -> Histogram {
        let mut counts = self.counts.clone();
        // The earlier state has more buckets only if this histogram was emptied since.
        for (bucket, before) in earlier.counts.iter().enumerate() {
            if let Some(count) = counts.get_mut(bucket) {
                *count -= before;
            }
        }
        Histogram {
            counts,
            total: self.total.saturating_sub(earlier.total),
            max: self.max,
        }
    }
}

pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Returns the number of the bucket for a duration in nanoseconds. Each value of `shift`
/// has `1 << BITS` buckets; a shift of 0 has twice as many.
fn bucket(nanos: u64) -> usize {
    let shift = nanos.max(1).ilog2().saturating_sub(BITS);
    ((shift as usize) << BITS) + (nanos >> shift) as usize
}

/// Returns the longest duration of a bucket, in nanoseconds.
fn last_of(bucket: usize) -> u64 {
    // If `shift` is not 0, `nanos >> shift` is from `1 << BITS` to `(2 << BITS) - 1`. So it
    // adds exactly 1 to the upper bits of the bucket's number.
    let shift = (bucket >> BITS).saturating_sub(1);
    let first = (bucket - (shift << BITS)) as u64;
    (first << shift) + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bucket_begins_where_the_one_before_it_ends() {
        let count = bucket(u64::MAX) + 1;
        for number in 0..count {
            let last = last_of(number);
            assert_eq!(bucket(last), number, "{last} ns");
            match last.checked_add(1) {
                Some(next) => assert_eq!(bucket(next), number + 1, "{next} ns"),
                None => assert_eq!(number, count - 1),
            }
        }
    }

    #[test]
    fn quantiles_are_exact_to_2_percent_and_never_too_low() {
        let mut times = Histogram::default();
        for micros in 1..=10_000 {
            times.record(Duration::from_micros(micros), 1);
        }
        for (share, exact) in [(0.0, 1.0), (0.001, 10.0), (0.5, 5000.0), (0.99, 9900.0)] {
            let micros = times.quantile(share).unwrap().as_secs_f64() * 1e6;
            assert!((exact..exact * 1.02).contains(&micros), "{share}: {micros}");
        }
        let longest = Some(Duration::from_micros(10_000));
        assert_eq!(times.quantile(1.0), longest);
    }

    #[test]
    fn without_durations_there_is_no_quantile_and_no_longest() {
        let times = Histogram::default();
        assert_eq!((times.quantile(0.5), times.quantile(1.0)), (None, None));
        assert_eq!(times.figures(), None);
    }

    #[test]
    fn the_figures_are_quantiles_and_the_longest_in_milliseconds() {
        let mut times = Histogram::default();
        (1..=10_000).for_each(|micros| times.record(Duration::from_micros(micros), 1));
        let exact = [
            ("p50", 5.0),
            ("p90", 9.0),
            ("p99", 9.9),
            ("p99.9", 9.99),
            ("max", 10.0),
        ];
        for (shown, exact) in times.figures().unwrap().iter().zip(exact) {
            let (name, exact) = exact;
            assert_eq!(shown.name, name);
            assert!(
                shown.milliseconds >= exact && shown.milliseconds < exact * 1.02,
                "{shown:?}"
            );
        }
    }

    #[test]
    fn any_duration_has_its_bucket() {
        let mut times = Histogram::default();
        times.record(Duration::ZERO, 1);
        times.record(Duration::MAX, 1);
        assert_eq!(times.quantile(0.5), Some(Duration::ZERO));
        assert_eq!(times.max, Duration::MAX);
    }

    #[test]
    fn counts_only_durations_since_an_earlier_state() {
        let mut times = Histogram::default();
        times.record(Duration::from_secs(9), 99);
        let earlier = times.clone();
        assert_eq!(times.since(&earlier).quantile(0.99), None);
        times.record(Duration::from_nanos(50), 9);
        assert_eq!(
            times.since(&earlier).quantile(0.99),
            Some(Duration::from_nanos(50))
        );
        let since_the_start = times.since(&Histogram::default());
        let longest = since_the_start.quantile(1.0);
        assert_eq!(longest, Some(Duration::from_secs(9)));
        let earlier = times.clone();
        times.record(Duration::from_nanos(1), 200);
        times.record(Duration::from_nanos(2), 1);
        let longest = times.since(&earlier).quantile(1.0);
        assert_eq!(longest, Some(Duration::from_nanos(2)));
    }
}
