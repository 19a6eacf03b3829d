//! What `--progress` shows.

use std::thread;
use std::time::{Duration, Instant};

use crate::figures::counts::{Since, Snapshot};
use crate::figures::histogram::milliseconds;
use crate::shared::Shared;

const EACH: Duration = Duration::from_secs(1);

/// From what time on a wait for a reply is shown.
const NOTABLE_WAIT: Duration = Duration::from_millis(100);

/// Shows each second how far the run is, until it is over.
pub(crate) fn show_progress(shared: &Shared) {
    let mut shown = shared.lock().snapshot(Instant::now());
    loop {
        thread::sleep((shown.now + EACH).saturating_duration_since(Instant::now()));
        let run = shared.lock().snapshot(Instant::now());
        shared.output.progress(&progress(&run, &shown));
        shown = run;
    }
}

/// The line that `--progress` shows: how the run stands, and what has happened
/// since the line before.
fn progress(run: &Snapshot, before: &Snapshot) -> String {
    let Since { rate, times, .. } = run.since(before);
    let mut line = format!(
        "client: {} acknowledged, {rate:.0}/s",
        run.counts.answers.acknowledged
    );
    if let Some(p99) = times.quantile(0.99) {
        line += &format!(", p99 {:.3} ms", milliseconds(p99));
    }
    line += &format!(", {} in flight", run.in_flight);
    if let Some(outage) = run.outage {
        line += &format!(", outage for {:.1} s", outage.as_secs_f64());
    }
    // What is shorter shows in the reply times.
    if let Some(waiting) = run.waiting.filter(|waiting| *waiting >= NOTABLE_WAIT) {
        line += &format!(", waiting for {:.1} s", waiting.as_secs_f64());
    }
    line
}
