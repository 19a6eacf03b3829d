//! What `--summary` shows.

use std::time::Duration;

use tcp_chat::cli;

use crate::figures::counts::{Answers, Counts, Snapshot};
use crate::figures::histogram::Histogram;

/// The lines that `--summary` shows.
pub(crate) fn summary(run: &Snapshot) -> String {
    let Snapshot {
        counts,
        unacknowledged,
        ..
    } = run;
    let Counts {
        too_long,
        sent_again,
        outages,
        ..
    } = counts;
    let never_sent = match run.never_sent {
        0 => String::new(),
        lines => format!(" ({lines} never sent)"),
    };
    let Answers {
        acknowledged,
        rejected,
        wrong,
        ..
    } = &counts.answers;
    let (seconds, rate) = (run.elapsed().as_secs_f64(), run.rate());
    let longest = run.longest_outage().as_secs_f64();
    let connections = cli::counted(counts.connections, "connection");
    let cut_short = if run.input_was_read {
        ""
    } else {
        "; the input was not read to its end"
    };
    // What was never answered has no reply time, however long it has waited.
    let waiting = run.waiting.as_ref().map(Duration::as_secs_f64);
    let waiting = waiting.map(|seconds| format!("; unacknowledged for up to {seconds:.3} s"));
    let reply_times = times(&counts.reply_times).map(|times| format!("reply time {times}"));
    let connect_times = times(&counts.connect_times).map(|times| format!(", connect time {times}"));
    format!(
        "client: {acknowledged} acknowledged, {rejected} rejected, {wrong} wrong, \
         {unacknowledged} unacknowledged{never_sent}, {too_long} too long; {sent_again} sent again{cut_short}\n\
         client: {seconds:.3} s, {rate:.0} replies/s; {}{}\n\
         client: outages: {outages}, the longest {longest:.3} s; {connections}{}\n\
         client: its own delays {}\n",
        reply_times.unwrap_or("no reply times".to_string()),
        waiting.unwrap_or_default(),
        connect_times.unwrap_or_default(),
        times(&counts.own_delays.all).unwrap_or_default(),
    )
}

/// The figures of some durations, if there are any.
fn times(times: &Histogram) -> Option<String> {
    let figures = times.figures()?;
    let shown = figures.map(|(name, time)| format!("{name} {time:.3} ms"));
    Some(shown.join(", "))
}
