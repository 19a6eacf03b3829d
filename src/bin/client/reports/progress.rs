//! What `--progress` shows.

use std::thread;
use std::time::{Duration, Instant};

use crate::figures::histogram::milliseconds;
use crate::figures::snapshot::Snapshot;
use crate::shared::Shared;

/// The time from one line of progress to the next.
const INTERVAL: Duration = Duration::from_secs(1);

/// The shortest wait for a reply that is shown. A shorter one shows in the reply times.
const NOTABLE_WAIT: Duration = Duration::from_millis(100);

/// Shows each second how far the run is, until it is over.
pub(crate) fn show_progress(shared: &Shared) {
    let mut shown = shared.lock().snapshot(Instant::now());
    // There is no way out of the loop: once the run is over, `lock` blocks forever.
    loop {
        thread::sleep((shown.now + INTERVAL).saturating_duration_since(Instant::now()));
        let run = shared.lock().snapshot(Instant::now());
        shared.output.show_progress(&describe(&run, &shown));
        shown = run;
    }
}

/// Describes in one line how the run stands, and what has happened since the line before.
fn describe(run: &Snapshot, before: &Snapshot) -> String {
    let since = run.since(before);
    let acknowledged = run.counts.replies.acknowledged;
    let mut line = format!("client: {acknowledged} acknowledged, {:.0}/s", since.rate);
    if let Some(p99) = since.times.quantile(0.99) {
        line += &format!(", p99 {:.3} ms", milliseconds(p99));
    }
    line += &format!(", {} in flight", run.in_flight);
    if let Some(outage) = run.outage {
        line += &format!(", outage for {:.1} s", outage.as_secs_f64());
    }
    if let Some(waiting) = run.waiting
        && waiting >= NOTABLE_WAIT
    {
        line += &format!(", waiting for {:.1} s", waiting.as_secs_f64());
    }
    line
}
