//! What connections mean to a conversation: attempts, deadlines, outages.

use std::time::{Duration, Instant};

use log::Level;
use tcp_chat::cli::{self, Limit};
use tcp_chat::lines::LineReader;
use tcp_chat::printable::Excerpt;

use super::{Conversation, Link, MOST_OUTAGES};
use crate::figures::outages::{Addresses, PastOutage};
use crate::rules::outage::{Outage, SHORTEST_PAUSE};

/// How long a connection without anything to answer must stay to end an outage:
/// a proxy accepts for a dead server too, and closes soon.
const STAYS: Duration = Duration::from_secs(1);

/// Why an attempt or a connection ended before everything was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The server could not be reached.
    Unreachable {
        why: String,
        /// Whether a machine has answered that nothing listens there.
        is_refused: bool,
    },
    /// The server sent a notice that it does not serve this client.
    Refused(String),
    /// The peer ended the stream between two replies and did not say why. Another
    /// error on the connection may tell more.
    Ended,
    /// The connection broke, fell silent, or was closed with a notice.
    Broken(String),
    /// The peer does not keep to the protocol, so another connection would not
    /// help.
    Violation(String),
}

/// What follows from a loss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another attempt to connect, after this pause.
    RetryIn(Duration),
    /// None; this is why, in one line.
    GiveUp(String),
}

impl Conversation {
    /// An attempt to connect begins. Returns how long it may take.
    pub(crate) fn begin_connect(&mut self, now: Instant) -> Limit {
        self.link = Link::Connecting { since: now };
        self.addresses = None;
        self.replies_here = 0;
        self.wrong_here = 0;
        let left = match &self.outage {
            Some(outage) => {
                let left = outage.left_of(self.settings.retry_for, now);
                Some(left.max(SHORTEST_PAUSE))
            }
            None => self.retry_limit(),
        };
        cli::shorter(self.settings.connect_timeout, left)
    }

    /// There is a new connection, over which nothing was sent yet.
    pub(crate) fn record_connect(&mut self, now: Instant) {
        self.counts.connections += 1;
        if let Link::Connecting { since } = self.link {
            self.counts
                .connect_times
                .record(now.saturating_duration_since(since), 1);
        }
        let left = self.settings.reconnect_every.unwrap_or(u64::MAX);
        self.link = Link::Up {
            since: now,
            left,
            half_closed: false,
        };
    }

    /// What the addresses of the connection are.
    pub(crate) fn record_addresses(&mut self, addresses: Addresses) {
        self.addresses = Some(addresses);
    }

    /// Judges the deadlines while a reply is awaited, and whether a connection has
    /// stayed while none is.
    pub(super) fn judge_deadlines(
        &mut self,
        replies: &LineReader,
        listening_since: Instant,
        now: Instant,
    ) -> Result<(), Loss> {
        let (timeout, retry_for) = (self.settings.timeout, self.settings.retry_for);
        let Some(since) = self.awaited_since.filter(|_| self.outbox.in_flight() > 0) else {
            let stays = |at: &Instant| now.saturating_duration_since(*at) >= STAYS;
            if let Some(connected) = self.connected_since().filter(stays) {
                self.end_outage(connected, now);
            }
            return Ok(());
        };
        let waited = now.saturating_duration_since(since.max(listening_since));
        if let Some(timeout) = timeout
            && waited >= timeout
        {
            let seconds = timeout.as_secs_f64();
            let begun = begun_reply(replies);
            let whole = if begun.is_empty() { "" } else { "whole " };
            let why = format!("no {whole}reply within {seconds} s{begun}");
            return Err(Loss::Broken(why));
        }
        let is_over = |outage: &Outage| outage.left_of(retry_for, now).is_zero();
        if self.outage.as_ref().is_some_and(is_over) {
            let why = "no complete reply before --retry-for ran out";
            return Err(Loss::Broken(format!("{why}{}", begun_reply(replies))));
        }
        Ok(())
    }

    /// Whether all lines that a connection is for were sent over it and answered.
    pub(super) fn has_done_its_part(&self) -> bool {
        matches!(self.link, Link::Up { left: 0, .. }) && self.outbox.in_flight() == 0
    }

    /// The connection is over, so nothing more can be sent over it.
    pub(crate) fn record_disconnect(&mut self) {
        self.link = if self.has_done_its_part() {
            Link::Resting
        } else {
            Link::Down
        };
    }

    /// An attempt has failed, or a connection ended too early. Returns what follows.
    pub(crate) fn record_loss(&mut self, loss: &Loss, now: Instant) -> Next {
        let attempt = match self.link {
            Link::Connecting { since } => Some(since),
            _ => None,
        };
        self.link = Link::Down;
        // Nothing more comes of this connection, and all that came was noticed by now. Ticks
        // that wait for replies which had been asked for here would wait for others.
        self.settle_own_delays(now);
        let is_violation = matches!(loss, Loss::Violation(_));
        if self.is_done() && !is_violation {
            // The end of the input has come by now, and there is nothing to lose.
            return Next::RetryIn(Duration::ZERO);
        }
        let what = self.describe(loss);
        let missed_since = match self.outbox.in_flight() {
            0 => None,
            _ => self.awaited_since,
        };
        self.outbox.rewind();
        if !is_violation && self.is_no_line_echo() {
            return Next::GiveUp(self.describe_no_line_echo(loss));
        }
        let retry_for = self.settings.retry_for;
        if retry_for.is_zero() || is_violation {
            return Next::GiveUp(what + loss.hint());
        }
        let seconds = retry_for.as_secs_f64();
        let is_new = self.outage.is_none();
        let lost = self.addresses.take();
        let outage = self.outage.get_or_insert_with(|| {
            // If no connection was lost, the outage began with the attempt.
            let known = attempt.unwrap_or(now);
            Outage {
                began: missed_since.unwrap_or(known),
                known,
                cause: what,
                sent_again: 0,
                lost,
            }
        });
        let left = outage.left_of(retry_for, now);
        let pause = outage.pause(now).min(left);
        if left.is_zero() {
            let (server, missing) = (&self.server, self.what_is_missing());
            let (why, hint) = (loss.why(), loss.hint());
            return Next::GiveUp(format!(
                "gave up on {server} after {seconds} s (--retry-for); {missing}: {why}{hint}"
            ));
        }
        if is_new {
            let news = format!("{}; trying again for up to {seconds} s", outage.cause);
            self.news.push((Level::Warn, news));
        }
        Next::RetryIn(pause)
    }

    fn describe_no_line_echo(&self, loss: &Loss) -> String {
        let (server, why) = (&self.server, loss.why());
        let replies = match self.replies_here {
            1 => "1 reply".to_string(),
            replies => format!("{replies} replies"),
        };
        format!("{server} is no line echo server: it sent {replies}, all wrong, and then: {why}")
    }

    /// Whether the connection has brought replies, all of them wrong, and no line of the
    /// run was ever acknowledged.
    fn is_no_line_echo(&self) -> bool {
        let all_are_wrong = self.wrong_here > 0 && self.wrong_here == self.replies_here;
        all_are_wrong && self.counts.answers.acknowledged == 0
    }

    /// If there is an outage, it has ended. Adds that to the news.
    pub(super) fn end_outage(&mut self, ended: Instant, now: Instant) {
        if let Some(past) = self.close_outage(ended, now) {
            let (server, seconds) = (&self.server, past.length.as_secs_f64());
            let lines = cli::counted(past.sent_again, "line");
            let news =
                format!("connected to {server} again after {seconds:.3} s; {lines} sent again");
            self.news.push((Level::Warn, news));
        }
    }

    /// Counts the outage that goes on, if there is one, among the past ones.
    pub(super) fn close_outage(&mut self, ended: Instant, now: Instant) -> Option<PastOutage> {
        let outage = self.outage.take()?;
        let replies = self.replies();
        let own_delays = &mut self.counts.own_delays;
        own_delays.catch_up(replies, now);
        let own_delay = own_delays.longest_after(outage.began, replies.listening_since, now);
        let past = outage.end(ended, own_delay);
        self.counts.record_outage(&past, now);
        if self.first_outages.len() < MOST_OUTAGES {
            self.first_outages.push(past.clone());
        }
        Some(past)
    }

    /// How a failed attempt or a lost connection is reported.
    fn describe(&self, loss: &Loss) -> String {
        let server = &self.server;
        match loss {
            Loss::Unreachable { why, .. } => format!("cannot connect to {server}: {why}"),
            Loss::Refused(why) | Loss::Violation(why) => format!("{server}: {why}"),
            Loss::Ended | Loss::Broken(_) => self.describe_lost_connection(loss.why()),
        }
    }

    fn describe_lost_connection(&self, why: &str) -> String {
        let server = &self.server;
        let answered = self.counts.answers.total();
        let in_flight = self.outbox.in_flight() as u64;
        if in_flight == 0 && answered == 0 {
            return format!("connection to {server} lost before anything was sent: {why}");
        }
        let Some(line) = self.outbox.first_line().filter(|_| in_flight > 0) else {
            return format!(
                "connection to {server} closed; all messages so far have replies: {why}"
            );
        };
        let messages = cli::counted(in_flight, "message");
        let waiting = match self.outbox.len() as u64 {
            all if all == in_flight => String::new(),
            all => format!(" ({all} unacknowledged)"),
        };
        let sent = answered + in_flight;
        format!(
            "connection to {server} lost with {messages} in flight{waiting}, \
             from line {line}: {why} ({sent} sent, {answered} answered)"
        )
    }

    /// What is unacknowledged once the client gives up.
    fn what_is_missing(&self) -> String {
        match self.outbox.first_line() {
            Some(line) => {
                let messages = cli::counted(self.outbox.len() as u64, "message");
                format!("{messages} unacknowledged, from line {line}")
            }
            None if self.counts.answers.total() == 0 => "nothing was sent".to_string(),
            None => "all messages so far have replies".to_string(),
        }
    }
}

/// What there is to say of a reply that has begun and whose line did not end.
fn begun_reply(replies: &LineReader) -> String {
    let begun = replies.begun_line();
    if begun.is_empty() {
        return String::new();
    }
    let shown = Excerpt::start(begun);
    format!(": \"{shown}\" came without its LF")
}

impl Loss {
    pub(super) fn why(&self) -> &str {
        match self {
            Loss::Ended => "closed by the server",
            Loss::Unreachable { why, .. } => why,
            Loss::Refused(why) | Loss::Broken(why) | Loss::Violation(why) => why,
        }
    }

    /// What to look at next, once the client gives up.
    fn hint(&self) -> &'static str {
        match self {
            Loss::Unreachable {
                is_refused: true, ..
            } => "; is the server running there?",
            _ => "",
        }
    }
}
