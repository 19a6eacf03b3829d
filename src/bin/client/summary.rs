//! What `--summary` shows.

use std::time::Duration;

use crate::counts::{Answers, Counts, Snapshot};
use crate::histogram::Histogram;

/// The quantiles of reply times that are shown, and their names.
pub(crate) const QUANTILES: [(&str, f64); 4] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// The lines that `--summary` shows.
pub(crate) fn summary(run: &Snapshot) -> String {
    let Counts {
        not_sent,
        sent_again,
        outages,
        ..
    } = run.counts;
    let Answers {
        acknowledged,
        rejected,
        wrong,
        ..
    } = run.counts.answers;
    let unacknowledged = run.unacknowledged;
    let cut_short = if run.input_was_read {
        ""
    } else {
        "; the input was not read to its end"
    };
    // What was never answered has no reply time, however long it has waited.
    let waiting = match run.waiting {
        Some(waiting) => format!("; unacknowledged for up to {:.3} s", waiting.as_secs_f64()),
        None => String::new(),
    };
    let seconds = run.elapsed().as_secs_f64();
    let rate = run.rate();
    let longest = run.counts.longest_outage.as_secs_f64();
    let reply_times = match run.counts.reply_times.max() {
        Some(_) => format!("reply time {}", times(&run.counts.reply_times)),
        None => "no reply times".to_string(),
    };
    let own_delays = times(&run.counts.own_delays.all);
    format!(
        "client: {acknowledged} acknowledged, {rejected} rejected, {wrong} wrong, \
         {unacknowledged} unacknowledged, {not_sent} not sent; {sent_again} sent again{cut_short}\n\
         client: {seconds:.3} s, {rate:.0} replies/s; {reply_times}{waiting}\n\
         client: outages: {outages}, the longest {longest:.3} s\n\
         client: its own delays {own_delays}\n"
    )
}

/// The quantiles of some durations and the longest.
fn times(times: &Histogram) -> String {
    let max = times.max().unwrap_or_default();
    let mut text = String::new();
    for (name, share) in QUANTILES {
        let time = milliseconds(times.quantile(share).unwrap_or(max));
        text += &format!("{name} {time:.3} ms, ");
    }
    text + &format!("max {:.3} ms", milliseconds(max))
}

pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
