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
             client: outages: {outages}, the longest {longest:.3} s\n"
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

/// Durations counted in buckets, each of which reaches 3 % further than the one
/// before, from a microsecond on.
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: Duration,
}

/// How many buckets there are for each doubling.
const STEPS: f64 = 24.0;

impl Default for Histogram {
    fn default() -> Self {
        // Up to 2^64 microseconds, of which nobody will see the end.
        Histogram {
            counts: vec![0; 64 * STEPS as usize],
            total: 0,
            max: Duration::ZERO,
        }
    }
}

impl Histogram {
    pub(crate) fn record(&mut self, duration: Duration) {
        let micros = duration.as_secs_f64() * 1e6;
        let bucket = (micros.max(1.0).log2() * STEPS) as usize;
        let bucket = bucket.min(self.counts.len() - 1);
        self.counts[bucket] += 1;
        self.total += 1;
        self.max = self.max.max(duration);
    }

    /// The duration that this share of all (0.0 to 1.0) does not exceed, rounded
    /// up to what its bucket holds.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        let bucket = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        let micros = ((bucket.unwrap_or(0) + 1) as f64 / STEPS).exp2();
        Duration::from_secs_f64(micros / 1e6).min(self.max)
    }

    pub(crate) fn max(&self) -> Duration {
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_exact_to_3_percent_and_never_too_low() {
        let mut times = Histogram::default();
        assert_eq!(times.quantile(0.5), Duration::ZERO);
        for micros in 1..=10_000 {
            times.record(Duration::from_micros(micros));
        }
        for (share, exact) in [(0.001, 10.0), (0.5, 5000.0), (0.99, 9900.0)] {
            let micros = times.quantile(share).as_secs_f64() * 1e6;
            assert!((exact..exact * 1.03).contains(&micros), "{share}: {micros}");
        }
        assert_eq!(times.quantile(1.0), Duration::from_micros(10_000));
        assert_eq!(times.max(), Duration::from_micros(10_000));
    }

    #[test]
    fn any_duration_has_its_bucket() {
        let mut times = Histogram::default();
        times.record(Duration::ZERO);
        times.record(Duration::MAX);
        assert_eq!(
            times.quantile(0.5),
            Duration::from_secs_f64(2_f64.powf(1.0 / 24.0) / 1e6)
        );
        assert_eq!(times.max(), Duration::MAX);
    }
}
