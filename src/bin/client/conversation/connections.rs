//! What connections mean to a conversation: attempts, deadlines, outages.

use std::fmt;
use std::time::{Duration, Instant};

use tcp_chat::cli;

use super::{Conversation, News, Settings};
use crate::outage::{Outage, SHORTEST_PAUSE};
use crate::summary::PastOutage;

/// How long a connection without anything to answer must stay to end an outage:
/// a proxy accepts for a dead server too, and closes soon.
const STAYS: Duration = Duration::from_secs(1);

/// Why an attempt or a connection ended before everything was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// No connection came about.
    Unreachable(String),
    /// The server sent a notice that it does not serve this client.
    Refused(String),
    /// The peer ended the stream between two replies and did not say why. Another
    /// error on the connection may tell more.
    Closed,
    /// The connection broke, fell silent, or was closed with a notice.
    Broken(String),
    /// The peer does not keep to the protocol, so another connection would not
    /// help.
    Violation(String),
}

impl Conversation {
    /// An attempt to connect begins. Returns how long it may take.
    pub(crate) fn connecting(&mut self, now: Instant) -> Duration {
        self.first_attempt.get_or_insert(now);
        let Settings {
            connect_timeout,
            retry_for,
            ..
        } = self.settings;
        match &self.outage {
            Some(outage) => {
                let left = outage.left_of(retry_for, now);
                connect_timeout.min(left.max(SHORTEST_PAUSE))
            }
            None if retry_for.is_zero() => connect_timeout,
            None => connect_timeout.min(retry_for),
        }
    }

    /// There is a new connection, over which nothing was sent yet.
    pub(crate) fn connected(&mut self, now: Instant) {
        self.connected = Some(now);
        self.was_connected = true;
        self.half_closed = false;
        self.outbox.rewind();
    }

    /// Judges the deadlines while a reply is awaited, and whether a connection has
    /// stayed while none is.
    pub(super) fn judge_deadlines(
        &mut self,
        listening_since: Instant,
        now: Instant,
    ) -> Result<(), End> {
        let Settings {
            timeout, retry_for, ..
        } = self.settings;
        let since = self.awaited_since.filter(|_| self.outbox.in_flight() > 0);
        let Some(since) = since else {
            let stays = |at: &Instant| now.saturating_duration_since(*at) >= STAYS;
            if let Some(connected) = self.connected.filter(stays) {
                self.end_outage(connected);
            }
            return Ok(());
        };
        if now.saturating_duration_since(since.max(listening_since)) >= timeout {
            let seconds = timeout.as_secs_f64();
            return Err(End::Broken(format!("no reply within {seconds} s")));
        }
        let is_over = |outage: &Outage| outage.left_of(retry_for, now).is_zero();
        if self.outage.as_ref().is_some_and(is_over) {
            return Err(End::Broken("no complete reply".to_string()));
        }
        Ok(())
    }

    /// The connection is over. What is still to come of it does not count.
    pub(crate) fn disconnected(&mut self) {
        self.connected = None;
    }

    /// An attempt or a connection was of no use. Returns the pause before the
    /// next attempt.
    ///
    /// # Errors
    ///
    /// There is none; the one line says why.
    pub(crate) fn lost(&mut self, end: &End, now: Instant) -> Result<Duration, String> {
        self.connected = None;
        let Settings {
            server, retry_for, ..
        } = &self.settings;
        let (server, retry_for) = (server.clone(), *retry_for);
        let is_violation = matches!(end, End::Violation(_));
        if self.is_done() && !is_violation {
            // The end of the input has come meanwhile, and there is nothing to lose.
            return Ok(Duration::ZERO);
        }
        if retry_for.is_zero() || is_violation {
            return Err(self.describe(end));
        }
        let seconds = retry_for.as_secs_f64();
        let mut news = None;
        if self.outage.is_none() {
            let what = self.describe(end);
            news = Some(format!("{what}; trying again for up to {seconds} s"));
            // Before the first connection, the outage began with the first attempt.
            let first_attempt = self.first_attempt.filter(|_| !self.was_connected);
            let known = first_attempt.unwrap_or(now);
            let in_flight = self.outbox.in_flight() > 0;
            let began = self.awaited_since.filter(|_| in_flight).unwrap_or(known);
            let sent_again = self.counts.sent_again;
            self.outage = Some(Outage::new(began, known, what, sent_again));
        }
        let pause = |outage: &Outage| {
            let left = outage.left_of(retry_for, now);
            (!left.is_zero()).then(|| outage.pause(now).min(left))
        };
        let pause = self.outage.as_ref().and_then(pause).ok_or_else(|| {
            let unacknowledged = self.what_is_unacknowledged();
            format!("cannot reach {server} for {seconds} s, with {unacknowledged}: {end}")
        })?;
        self.news.extend(news.map(News::Warning));
        Ok(pause)
    }

    /// An outage, if there is one, has ended, and the user is told so.
    pub(super) fn end_outage(&mut self, at: Instant) {
        if let Some(past) = self.close_outage(at) {
            let (server, seconds) = (&self.settings.server, past.length.as_secs_f64());
            let lines = cli::counted(past.sent_again, "line");
            self.news.push(News::Warning(format!(
                "{server} is back after {seconds:.3} s, {lines} sent again"
            )));
        }
    }

    /// Counts the outage that goes on, if there is one, among the past ones.
    pub(crate) fn close_outage(&mut self, now: Instant) -> Option<PastOutage> {
        let outage = self.outage.take()?;
        let past = PastOutage {
            began: outage.began.saturating_duration_since(self.began),
            length: now.saturating_duration_since(outage.began),
            cause: outage.cause,
            sent_again: self.counts.sent_again - outage.sent_again_before,
        };
        self.counts.add_outage(past.clone());
        Some(past)
    }

    /// What there is to say when a connection cannot be had or is lost.
    fn describe(&self, end: &End) -> String {
        let server = &self.settings.server;
        match end {
            End::Unreachable(why) => format!("cannot connect to {server}: {why}"),
            End::Refused(why) | End::Violation(why) => format!("{server}: {why}"),
            End::Closed | End::Broken(_) => {
                let answered = self.counts.answered();
                let sent = answered + self.outbox.in_flight() as u64;
                let unacknowledged = self.what_is_unacknowledged();
                format!(
                    "{server} lost with {unacknowledged}: {end} ({sent} sent, {answered} answered)"
                )
            }
        }
    }

    fn what_is_unacknowledged(&self) -> String {
        match self.outbox.first_line() {
            Some(line) => {
                let messages = cli::counted(self.outbox.len() as u64, "message");
                format!("{messages} unacknowledged, the first is line {line}")
            }
            None if self.counts.answered() == 0 => "no message sent yet".to_string(),
            None => "every message answered, so nothing is missing".to_string(),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Closed => f.write_str("closed by the server"),
            End::Unreachable(why) | End::Refused(why) | End::Broken(why) | End::Violation(why) => {
                f.write_str(why)
            }
        }
    }
}
