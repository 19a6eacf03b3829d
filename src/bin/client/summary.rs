//! Counts and reply times, for `--summary`.

use std::time::Duration;

use anyhow::bail;

use crate::outbox::Queue;

/// What happened to the lines of the input.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) acknowledged: u64,
    pub(crate) rejected: u64,
    /// Answered by something else than their reply.
    pub(crate) wrong: u64,
    pub(crate) outages: u64,
    pub(crate) longest_outage: Duration,
    pub(crate) reply_times: Histogram,
}

impl Counts {
    /// How many messages had some reply.
    pub(crate) fn answered(&self) -> u64 {
        self.acknowledged + self.rejected + self.wrong
    }

    pub(crate) fn end_outage(&mut self, length: Duration) {
        self.longest_outage = self.longest_outage.max(length);
    }

    /// The lines that `--summary` shows.
    pub(crate) fn summary(&self, queue: &Queue, elapsed: Duration) -> String {
        let Counts {
            acknowledged,
            rejected,
            wrong,
            outages,
            ..
        } = self;
        let Queue {
            not_sent,
            sent_again,
            ..
        } = queue;
        let unacknowledged = queue.unacknowledged();
        let seconds = elapsed.as_secs_f64();
        let rate = self.answered() as f64 / seconds.max(0.001);
        let [p50, p99] = [0.5, 0.99].map(|share| milliseconds(self.reply_times.quantile(share)));
        let max = milliseconds(self.reply_times.max());
        let longest = self.longest_outage.as_secs_f64();
        format!(
            "client: {acknowledged} acknowledged, {rejected} rejected, {wrong} wrong, \
             {unacknowledged} unacknowledged, {not_sent} not sent; {sent_again} sent again\n\
             client: {seconds:.3} s, {rate:.0} replies/s; \
             reply time p50 {p50:.3} ms, p99 {p99:.3} ms, max {max:.3} ms\n\
             client: {outages} outages, the longest {longest:.3} s\n"
        )
    }

    /// Whether every line that was read was acknowledged.
    ///
    /// # Errors
    ///
    /// Not every one was; the error counts the others.
    pub(crate) fn verdict(&self, queue: &Queue) -> anyhow::Result<()> {
        let Counts {
            rejected, wrong, ..
        } = self;
        let not_sent = queue.not_sent;
        let failed = not_sent + rejected + wrong;
        if failed > 0 {
            let lines = self.acknowledged + failed;
            bail!(
                "{failed} of {lines} lines were not acknowledged: \
                 {not_sent} not sent, {rejected} rejected, {wrong} with a wrong reply"
            );
        }
        Ok(())
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Durations counted in buckets, exact to a microsecond up to 64 of them and
/// to a 32nd (3 %) above.
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: Duration,
}

/// How many buckets there are for each power of two.
const STEPS: u64 = 32;

impl Default for Histogram {
    fn default() -> Self {
        let last = bucket(u64::MAX);
        Histogram {
            counts: vec![0; last + 1],
            total: 0,
            max: Duration::ZERO,
        }
    }
}

impl Histogram {
    pub(crate) fn record(&mut self, duration: Duration) {
        self.counts[bucket(micros(duration))] += 1;
        self.total += 1;
        self.max = self.max.max(duration);
    }

    /// The duration that this share of all (0.0 to 1.0) does not exceed, rounded
    /// up to what its bucket holds.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        let index = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted.max(1)
        });
        let upper = index.map_or(Duration::ZERO, |index| {
            Duration::from_micros(upper_bound(index))
        });
        upper.min(self.max)
    }

    pub(crate) fn max(&self) -> Duration {
        self.max
    }
}

fn micros(duration: Duration) -> u64 {
    duration.as_micros().try_into().unwrap_or(u64::MAX)
}

/// The index of the bucket for a number: its five bits below the highest one,
/// for each place of the highest one.
fn bucket(number: u64) -> usize {
    let shift = number
        .checked_ilog2()
        .unwrap_or(0)
        .saturating_sub(STEPS.ilog2());
    (u64::from(shift) * STEPS + (number >> shift)) as usize
}

/// The first number beyond a bucket.
fn upper_bound(index: usize) -> u64 {
    let index = index as u64;
    let shift = (index / STEPS).saturating_sub(1);
    let steps = index - shift * STEPS;
    (steps + 1)
        .checked_shl(shift as u32)
        .filter(|bound| bound >> shift == steps + 1)
        .unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_in_the_bucket_that_its_bounds_say() {
        for number in (0..5000).chain((0..64).map(|shift| u64::MAX >> shift)) {
            let index = bucket(number);
            let lower = index.checked_sub(1).map_or(0, upper_bound);
            let upper = upper_bound(index);
            assert!(
                lower <= number && (number < upper || upper == u64::MAX),
                "{number}: {lower}..{upper}"
            );
            assert!(
                upper - lower <= 1.max(lower / STEPS),
                "{number}: {lower}..{upper}"
            );
        }
    }

    #[test]
    fn quantiles_are_exact_to_a_32nd_and_never_too_low() {
        let mut times = Histogram::default();
        assert_eq!(times.quantile(0.5), Duration::ZERO);
        for micros in 1..=10_000 {
            times.record(Duration::from_micros(micros));
        }
        for (share, exact) in [(0.0001, 1_u128), (0.5, 5000), (0.99, 9900)] {
            let micros = times.quantile(share).as_micros();
            assert!(
                (exact..=exact + exact.div_ceil(32)).contains(&micros),
                "{share}: {micros}"
            );
        }
        assert_eq!(times.quantile(1.0), Duration::from_micros(10_000));
        assert_eq!(times.max(), Duration::from_micros(10_000));
    }
}
