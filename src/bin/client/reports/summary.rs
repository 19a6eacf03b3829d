//! What `--summary` shows.

use tcp_chat::cli;

use crate::figures::histogram::Histogram;
use crate::figures::snapshot::Snapshot;

/// Returns the lines that `--summary` shows.
pub(crate) fn to_text(run: &Snapshot) -> String {
    let counts = &run.counts;
    let acknowledged = counts.replies.acknowledged;
    let rejected = counts.replies.rejected;
    let wrong = counts.replies.wrong;
    let unacknowledged = run.unacknowledged;
    let never_sent = match run.never_sent {
        0 => String::new(),
        lines => format!(" ({lines} never sent)"),
    };
    let too_long = counts.too_long;
    let sent_again = counts.sent_again;
    let cut_short = if run.input_was_read {
        ""
    } else {
        "; the input was not read to its end"
    };
    let seconds = run.elapsed().as_secs_f64();
    let rate = run.rate();
    let reply_times = match times(&counts.reply_times) {
        Some(times) => format!("reply time {times}"),
        None => "no reply times".to_string(),
    };
    // A message without a reply has no reply time, however long it has waited.
    let waiting = match run.waiting {
        Some(waiting) => format!("; unacknowledged for up to {:.3} s", waiting.as_secs_f64()),
        None => String::new(),
    };
    let outages = counts.outages;
    let longest = run.longest_outage().as_secs_f64();
    let connections = cli::counted(counts.connections, "connection");
    let connect_times = match times(&counts.connect_times) {
        Some(times) => format!(", connect time {times}"),
        None => String::new(),
    };
    let own_delays = times(&counts.own_delays.all).unwrap_or_default();
    format!(
        "client: {acknowledged} acknowledged, {rejected} rejected, {wrong} wrong, \
         {unacknowledged} unacknowledged{never_sent}, {too_long} too long; {sent_again} sent again{cut_short}\n\
         client: {seconds:.3} s, {rate:.0} replies/s; {reply_times}{waiting}\n\
         client: outages: {outages}, the longest {longest:.3} s; {connections}{connect_times}\n\
         client: its own delays {own_delays}\n",
    )
}

/// Returns the figures of some durations as one text, if there are any.
fn times(times: &Histogram) -> Option<String> {
    let figures = times.figures()?;
    let shown = figures.map(|figure| format!("{} {:.3} ms", figure.name, figure.milliseconds));
    Some(shown.join(", "))
}
