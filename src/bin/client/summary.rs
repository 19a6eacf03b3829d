//! What `--summary` shows.

use tcp_chat::cli;

use crate::{counts::Snapshot, histogram::Histogram};

/// The lines that `--summary` shows.
pub(crate) fn summary(run: &Snapshot) -> String {
    let (counts, answers) = (&run.counts, &run.counts.answers);
    let cut_short = match run.input_was_read {
        true => "",
        false => "; the input was not read to its end",
    };
    // What was never answered has no reply time, however long it has waited.
    let waiting = run.waiting.map(|waiting| {
        let seconds = waiting.as_secs_f64();
        format!("; unacknowledged for up to {seconds:.3} s")
    });
    let reply_times = times(&counts.reply_times).map(|times| format!("reply time {times}"));
    let connect_times = times(&counts.connect_times).map(|times| format!(", connect time {times}"));
    format!(
        "client: {} acknowledged, {} rejected, {} wrong, {} unacknowledged, {} not sent; \
         {} sent again{cut_short}\n\
         client: {:.3} s, {:.0} replies/s; {}{}\n\
         client: outages: {}, the longest {:.3} s; {}{}\n\
         client: its own delays {}\n",
        answers.acknowledged,
        answers.rejected,
        answers.wrong,
        run.unacknowledged,
        counts.not_sent,
        counts.sent_again,
        run.elapsed().as_secs_f64(),
        run.rate(),
        reply_times.unwrap_or("no reply times".to_string()),
        waiting.unwrap_or_default(),
        counts.outages,
        run.longest_outage().as_secs_f64(),
        cli::counted(counts.connections, "connection"),
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
