//! Attempts to connect, deadlines, losses and outages.
//!
//! A link's states, and the calls that change them:
//!
//! | state | call | next state |
//! |---|---|---|
//! | `Down` or `Resting` | `begin_connect` | `Connecting` |
//! | `Connecting` | `record_connect` | `Up` |
//! | `Connecting` | `record_loss`: the attempt has failed | `Down` |
//! | `Up` | `record_disconnect`, if all lines that the connection is for have replies | `Resting` |
//! | `Up` | `record_disconnect` otherwise | `Down` |
//! | `Down`, `Resting` or `Up` | `record_loss`: the connection is lost | `Down` |
//!
//! A link rests only with `--reconnect-every N`, after the N lines of a connection were sent
//! and replied to.
//!
//! When a connection is lost, `record_disconnect` usually comes first. So `record_loss` finds
//! the link in one of these states:
//!
//! - `Down`, as a rule.
//! - `Resting`, if the connection has broken the protocol after its last reply.
//! - `Up`, if the time limits of the new stream cannot be set.
//!
//! An outage begins before it is known, and ends before that is known, too:
//!
//! ```text
//!   awaited    loss              connected        sent       reply
//! -----|--------|--------------------|--------------|-----------|-----> time
//!    began    known                  |              |         the end is known
//!      |<------ length, 1st part --->|              |<- 2nd  -->|
//!                                       not asked:
//!                                       no part of it
//! ```
//!
//! It begins when the first missed reply began to be awaited: at the reply before it, or when
//! its message was sent. If no reply was awaited, it begins with the loss, or with the attempt
//! to connect that failed.
//!
//! Until a message is sent, the client cannot know whether the server works. So the time
//! between the connect and the first message over it does not count.

use std::time::{Duration, Instant};

use tcp_chat::cli::{self, Limit};
use tcp_chat::lines::LineReader;
use tcp_chat::printable::Excerpt;

use super::{Conversation, MOST_OUTAGES, News};
use crate::figures::outages::{Addresses, PastOutage};
use crate::rules::outage::{Outage, SHORTEST_PAUSE};

/// How long a connection over which no reply is awaited must stay to end an outage. A proxy
/// accepts for a dead server too, and closes soon.
const STAYS: Duration = Duration::from_secs(1);

/// Whether there is a connection.
#[cfg_attr(test, derive(Clone))]
pub(super) enum Link {
    Down,
    /// The last connection has done its part. The next one opens when there is a line to
    /// send.
    Resting,
    Connecting {
        since: Instant,
    },
    Up {
        since: Instant,
        /// How many lines may still be sent over it.
        left: u64,
        /// Whether the client has ended its sending direction.
        half_closed: bool,
    },
}

/// Why an attempt or a connection ended before every message had its reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The server could not be reached.
    Unreachable(Unreachable),
    /// The server sent a notice that it does not serve this client.
    NotServed(String),
    /// The peer ended the stream between two replies and did not say why. Another error on
    /// the connection may say more.
    Ended,
    /// The connection broke, fell silent, or was closed with a notice.
    Broken(String),
    /// The peer does not keep to the protocol, so another connection would not help.
    Violation(String),
}

/// Why the server could not be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unreachable {
    /// The reasons, in one line.
    pub(crate) why: String,
    /// Whether an address has refused: the machine is there, but nothing listens.
    pub(crate) is_refused: bool,
}

/// What follows from a loss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing: everything is done, so nothing is lost.
    Done,
    /// Another attempt to connect, after this time.
    RetryIn(Duration),
    /// No other attempt; this is why, in one line for the user.
    GiveUp(String),
}

impl Conversation {
    /// Begins an attempt to connect. Returns how long it may take.
    pub(crate) fn begin_connect(&mut self, now: Instant) -> Limit {
        self.link = Link::Connecting { since: now };
        self.addresses = None;
        self.replies_here = 0;
        self.wrong_here = 0;
        let left = match &self.outage {
            Some(outage) => {
                // The pause before this attempt may have used up the time that was left. The
                // attempt still gets enough time to reach a server that is nearby.
                let left = outage.left_of(self.settings.retry_for, now);
                Some(left.max(SHORTEST_PAUSE))
            }
            None => self.longest_outage(),
        };
        cli::shorter(self.settings.connect_timeout, left)
    }

    /// Records a new connection, over which nothing was sent yet.
    pub(crate) fn record_connect(&mut self, now: Instant) {
        self.counts.connections += 1;
        if let Some(since) = self.connecting_since() {
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

    /// Records the addresses of the connection.
    pub(crate) fn record_addresses(&mut self, addresses: Addresses) {
        self.addresses = Some(addresses);
    }

    /// Returns since when there is a connection, if there is one.
    pub(super) fn connected_since(&self) -> Option<Instant> {
        match self.link {
            Link::Up { since, .. } => Some(since),
            Link::Down | Link::Resting | Link::Connecting { .. } => None,
        }
    }

    /// Returns since when the attempt to connect goes on, if there is one.
    fn connecting_since(&self) -> Option<Instant> {
        match self.link {
            Link::Connecting { since } => Some(since),
            Link::Down | Link::Resting | Link::Up { .. } => None,
        }
    }

    /// Ends an outage if no reply is awaited and the connection has stayed.
    pub(super) fn end_outage_if_connection_stays(&mut self, now: Instant) {
        let Some(connected) = self.connected_since() else {
            return;
        };
        if self.awaited_since().is_some() || now.saturating_duration_since(connected) < STAYS {
            return;
        }
        if let Some(length) = self.outage_length(now) {
            self.end_outage(length, now);
        }
    }

    /// Judges the deadlines if a reply is awaited.
    ///
    /// # Errors
    ///
    /// No reply came within `--timeout`, or the outage has lasted for `--retry-for`.
    pub(super) fn judge_deadlines(
        &self,
        replies: &LineReader,
        listening_since: Instant,
        now: Instant,
    ) -> Result<(), Loss> {
        let Some(awaited_since) = self.awaited_since() else {
            return Ok(());
        };
        let waited = now.saturating_duration_since(awaited_since.max(listening_since));
        if let Some(timeout) = self.settings.timeout
            && waited >= timeout
        {
            let seconds = timeout.as_secs_f64();
            let begun = begun_reply(replies);
            let whole = if begun.is_empty() { "" } else { "whole " };
            let why = format!("no {whole}reply within {seconds} s{begun}");
            return Err(Loss::Broken(why));
        }
        if let Some(outage) = &self.outage
            && outage.left_of(self.settings.retry_for, now).is_zero()
        {
            let why = "no complete reply before --retry-for ran out";
            return Err(Loss::Broken(format!("{why}{}", begun_reply(replies))));
        }
        Ok(())
    }

    /// Whether all lines that the connection is for were sent over it and have replies.
    pub(super) fn has_done_its_part(&self) -> bool {
        matches!(self.link, Link::Up { left: 0, .. }) && self.outbox.in_flight() == 0
    }

    /// Records the end of the connection: nothing more can be sent over it.
    pub(crate) fn record_disconnect(&mut self) {
        self.link = if self.has_done_its_part() {
            Link::Resting
        } else {
            Link::Down
        };
    }

    /// Records that an attempt failed or a connection ended too early. An outage begins or
    /// goes on, unless the client gives up. Returns what follows.
    pub(crate) fn record_loss(&mut self, loss: &Loss, now: Instant) -> Next {
        let connecting_since = self.connecting_since();
        self.link = Link::Down;
        // Nothing more comes over this connection, and the client has noticed all that came.
        // Ticks that wait for replies over it would otherwise wait for later replies. Ticks
        // up to now that are not taken yet need no such care: when they are taken, nothing
        // is in flight, so they wait for no reply. (Unless the thread that takes them is so
        // late that messages were resent; then the own delay is a round trip too long.)
        self.settle_own_delays(now);

        // Is anything lost?
        let is_violation = matches!(loss, Loss::Violation(_));
        if self.is_done() && !is_violation {
            // The input has ended since the connection did, so nothing is lost.
            return Next::Done;
        }

        // Rewinding changes what is in flight. So look at that first.
        let cause = self.describe(loss);
        let missed_since = self.awaited_since();
        self.outbox.rewind();

        // Would another attempt help, and does the user want one?
        if !is_violation && self.is_no_line_echo() {
            return self.give_up(self.describe_no_line_echo(loss));
        }
        let retry_for = self.settings.retry_for;
        if retry_for.is_zero() || is_violation {
            return self.give_up(cause + loss.hint());
        }

        // Begin an outage, unless one goes on: then it stays as it is. If no connection was
        // lost, the outage is known since the attempt began.
        let known = connecting_since.unwrap_or(now);
        let is_new = self.outage.is_none();
        let lost = self.addresses.take();
        let outage = self.outage.get_or_insert(Outage {
            began: missed_since.unwrap_or(known),
            known,
            cause,
            sent_again: 0,
            lost,
        });

        // Is there time left for another attempt?
        let left = outage.left_of(retry_for, now);
        if left.is_zero() {
            return self.give_up(self.describe_giving_up(loss));
        }
        if is_new {
            let cause = &outage.cause;
            let seconds = retry_for.as_secs_f64();
            let news = format!("{cause}; trying again for up to {seconds} s");
            self.news.push(News::warn(news));
        }
        Next::RetryIn(outage.pause(now).min(left))
    }

    fn give_up(&mut self, why: String) -> Next {
        self.has_given_up = true;
        Next::GiveUp(why)
    }

    /// Whether every reply over the current connection was wrong, at least one came, and no
    /// line of the run was ever acknowledged.
    fn is_no_line_echo(&self) -> bool {
        let all_are_wrong = self.wrong_here > 0 && self.wrong_here == self.replies_here;
        all_are_wrong && self.counts.replies.acknowledged == 0
    }

    /// Returns how long the current outage has lasted, if there is one. If a reply has come,
    /// the outage is over now, and this is its length.
    ///
    /// The length depends on the messages in flight, so `record_replies` takes it before it
    /// removes those with replies. It ends the outage only afterwards: before, these messages
    /// count twice for the own delay, as read and as in flight. For this reason, the callers
    /// take the length first, and pass it to `end_outage` or `close_outage`.
    ///
    /// The outage has two parts: until the connect, and since a reply is awaited over the
    /// new connection. In between, the server was not asked.
    pub(super) fn outage_length(&self, now: Instant) -> Option<Duration> {
        let outage = self.outage.as_ref()?;
        let Some(connected) = self.connected_since() else {
            return Some(now.saturating_duration_since(outage.began));
        };
        let until_connect = connected.saturating_duration_since(outage.began);
        let Some(asked) = self.awaited_since() else {
            return Some(until_connect);
        };
        // The writer may have read the clock after the session thread, so `asked` may be
        // after `now`.
        let since_asked = now.saturating_duration_since(asked.max(connected));
        Some(until_connect + since_asked)
    }

    /// Ends the current outage, if there is one, and reports that.
    pub(super) fn end_outage(&mut self, length: Duration, now: Instant) {
        let Some(past) = self.close_outage(length, now) else {
            return;
        };
        let server = &self.server;
        let seconds = past.length.as_secs_f64();
        let lines = cli::counted(past.sent_again, "line");
        let news = format!("connected to {server} again after {seconds:.3} s; {lines} sent again");
        self.news.push(News::warn(news));
    }

    /// Counts the current outage among the past ones, if there is one.
    pub(super) fn close_outage(&mut self, length: Duration, now: Instant) -> Option<PastOutage> {
        let outage = self.outage.take()?;
        let progress = self.reply_progress();
        let own_delays = &mut self.counts.own_delays;
        own_delays.catch_up(progress, now);
        let own_delay = own_delays.longest_after(outage.began, progress.listening_since, now);
        let past = outage.end(length, own_delay);
        self.counts.record_outage(&past, now);
        if self.first_outages.len() < MOST_OUTAGES {
            self.first_outages.push(past.clone());
        }
        Some(past)
    }

    // What the user reads.

    /// Describes a failed attempt or a lost connection.
    fn describe(&self, loss: &Loss) -> String {
        let server = &self.server;
        match loss {
            Loss::Unreachable(Unreachable { why, .. }) => {
                format!("cannot connect to {server}: {why}")
            }
            Loss::NotServed(why) | Loss::Violation(why) => format!("{server}: {why}"),
            Loss::Ended | Loss::Broken(_) => self.describe_lost_connection(loss.why()),
        }
    }

    fn describe_lost_connection(&self, why: &str) -> String {
        let server = &self.server;
        let answered = self.counts.replies.total();
        let Some(oldest) = self.outbox.oldest_in_flight() else {
            return self.describe_connection_lost_idle(why);
        };
        let in_flight = self.outbox.in_flight() as u64;
        let messages = cli::counted(in_flight, "message");
        let all = self.outbox.len() as u64;
        let waiting = if all == in_flight {
            String::new()
        } else {
            format!(" ({all} unacknowledged)")
        };
        let line = oldest.line;
        let sent = answered + in_flight;
        format!(
            "connection to {server} lost with {messages} in flight{waiting}, \
             from line {line}: {why} ({sent} sent, {answered} answered)"
        )
    }

    /// Describes a connection that was lost while nothing was in flight.
    fn describe_connection_lost_idle(&self, why: &str) -> String {
        let server = &self.server;
        let unacknowledged = self.outbox.len();
        // Unacknowledged messages may have been sent over an earlier connection.
        let is_anything_sent =
            self.counts.replies.total() > 0 || self.outbox.never_sent() < unacknowledged;
        if !is_anything_sent {
            return format!("connection to {server} lost before anything was sent: {why}");
        }
        if unacknowledged == 0 {
            return format!(
                "connection to {server} closed; all messages so far have replies: {why}"
            );
        }
        format!(
            "connection to {server} lost with nothing in flight \
             ({unacknowledged} unacknowledged): {why}"
        )
    }

    fn describe_giving_up(&self, loss: &Loss) -> String {
        let server = &self.server;
        let seconds = self.settings.retry_for.as_secs_f64();
        let missing = self.what_is_missing();
        let why = loss.why();
        let hint = loss.hint();
        format!("gave up on {server} after {seconds} s (--retry-for); {missing}: {why}{hint}")
    }

    /// Describes what is unacknowledged once the client gives up.
    fn what_is_missing(&self) -> String {
        match self.outbox.first_line() {
            Some(line) => {
                let messages = cli::counted(self.outbox.len() as u64, "message");
                format!("{messages} unacknowledged, from line {line}")
            }
            None if self.counts.replies.total() == 0 => "nothing was sent".to_string(),
            None => "all messages so far have replies".to_string(),
        }
    }

    fn describe_no_line_echo(&self, loss: &Loss) -> String {
        let server = &self.server;
        let why = loss.why();
        let replies = match self.replies_here {
            1 => "1 reply".to_string(),
            replies => format!("{replies} replies"),
        };
        format!("{server} is no line echo server: it sent {replies}, all wrong, and then: {why}")
    }
}

/// Describes a reply that has begun and not ended; empty if there is none.
fn begun_reply(replies: &LineReader) -> String {
    let begun = replies.begun_line();
    if begun.is_empty() {
        return String::new();
    }
    let shown = Excerpt::start(begun);
    format!(": \"{shown}\" came without its LF")
}

impl Loss {
    /// The reason in a few words.
    pub(super) fn why(&self) -> &str {
        match self {
            Loss::Ended => "closed by the other end",
            Loss::Unreachable(Unreachable { why, .. }) => why,
            Loss::NotServed(why) | Loss::Broken(why) | Loss::Violation(why) => why,
        }
    }

    /// What the user can check, once the client gives up; empty if there is no hint.
    fn hint(&self) -> &'static str {
        match self {
            Loss::Unreachable(Unreachable {
                is_refused: true, ..
            }) => "; is the server running there?",
            _ => "",
        }
    }
}
