//! What happened to the lines of the input, counted, and the verdict on it.

use std::time::{Duration, Instant};

use crate::conversation::Conversation;
use crate::histogram::Histogram;

/// How many outages are kept one by one; further ones are only counted.
const MOST_OUTAGES: usize = 1000;

/// All that the client counts.
#[derive(Clone, Default)]
pub(crate) struct Counts {
    pub(crate) acknowledged: u64,
    pub(crate) rejected: u64,
    /// Answered by something other than their reply.
    pub(crate) wrong: u64,
    /// Over the limit, so not messages at all.
    pub(crate) not_sent: u64,
    /// How many messages were sent more than once, each time counted.
    pub(crate) sent_again: u64,
    pub(crate) outages: u64,
    pub(crate) longest_outage: Duration,
    /// The first of them.
    pub(crate) first_outages: Vec<PastOutage>,
    pub(crate) reply_times: Histogram,
}

/// An outage that has ended.
#[derive(Clone, Debug)]
pub(crate) struct PastOutage {
    /// When it began, counted from the beginning of the run.
    pub(crate) began: Duration,
    pub(crate) length: Duration,
    pub(crate) cause: String,
    pub(crate) sent_again: u64,
}

impl Counts {
    /// How many messages had some reply.
    pub(crate) fn answered(&self) -> u64 {
        self.acknowledged + self.rejected + self.wrong
    }

    /// Replies a second.
    pub(crate) fn rate(&self, elapsed: Duration) -> f64 {
        // A clock may not have moved, and JSON knows no infinity.
        self.answered() as f64 / elapsed.as_secs_f64().max(1e-6)
    }

    pub(crate) fn add_outage(&mut self, outage: PastOutage) {
        self.outages += 1;
        self.longest_outage = self.longest_outage.max(outage.length);
        if self.first_outages.len() < MOST_OUTAGES {
            self.first_outages.push(outage);
        }
    }

    /// Whether every line that was read was acknowledged.
    ///
    /// # Errors
    ///
    /// Not every one was; the error counts the others.
    pub(crate) fn verdict(&self) -> Result<(), String> {
        let Counts {
            not_sent,
            rejected,
            wrong,
            ..
        } = self;
        let failed = not_sent + rejected + wrong;
        if failed == 0 {
            return Ok(());
        }
        let lines = self.acknowledged + failed;
        Err(format!(
            "{failed} of {lines} lines were not acknowledged: \
             {not_sent} not sent, {rejected} rejected, {wrong} with a wrong reply"
        ))
    }
}

/// The shares of replies whose times are shown, and what they are called.
pub(crate) const QUANTILES: [(&str, f64); 4] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// The lines that `--summary` shows.
pub(crate) fn summary(conversation: &Conversation, now: Instant, elapsed: Duration) -> String {
    let counts = conversation.counts();
    let Counts {
        acknowledged,
        rejected,
        wrong,
        not_sent,
        sent_again,
        outages,
        ..
    } = counts;
    let unacknowledged = conversation.unacknowledged();
    let cut_short = if conversation.input_was_read() {
        ""
    } else {
        "; the input was not read to its end"
    };
    // What was never answered has no reply time, however long it has waited.
    let waiting = match conversation.unacknowledged_since() {
        Some(due) => {
            let seconds = now.saturating_duration_since(due).as_secs_f64();
            format!("; unacknowledged for up to {seconds:.3} s")
        }
        None => String::new(),
    };
    let seconds = elapsed.as_secs_f64();
    let rate = counts.rate(elapsed);
    let longest = counts.longest_outage.as_secs_f64();
    format!(
        "client: {acknowledged} acknowledged, {rejected} rejected, {wrong} wrong, \
         {unacknowledged} unacknowledged, {not_sent} not sent; {sent_again} sent again{cut_short}\n\
         client: {seconds:.3} s, {rate:.0} replies/s; {}{waiting}\n\
         client: outages: {outages}, the longest {longest:.3} s\n",
        reply_times(&counts.reply_times)
    )
}

fn reply_times(times: &Histogram) -> String {
    let Some(max) = times.max() else {
        return "no reply times".to_string();
    };
    let mut text = "reply time".to_string();
    for (name, share) in QUANTILES {
        let time = milliseconds(times.quantile(share).unwrap_or(max));
        text += &format!(" {name} {time:.3} ms,");
    }
    text + &format!(" max {:.3} ms", milliseconds(max))
}

/// The line that `--progress` shows: what has come about since some time ago,
/// and what there was before.
pub(crate) fn progress(
    conversation: &Conversation,
    before: &Counts,
    now: Instant,
    elapsed: Duration,
) -> String {
    let counts = conversation.counts();
    let answered = counts.answered() - before.answered();
    let rate = answered as f64 / elapsed.as_secs_f64().max(0.001);
    let mut line = format!("client: {} acknowledged, {rate:.0}/s", counts.acknowledged);
    let times = counts.reply_times.since(&before.reply_times);
    if let Some(p99) = times.quantile(0.99) {
        line += &format!(", p99 {:.3} ms", milliseconds(p99));
    }
    line += &format!(", {} in flight", conversation.in_flight());
    if let Some(outage) = conversation.outage(now) {
        line += &format!(", outage for {:.1} s", outage.as_secs_f64());
    }
    line
}

pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
