//! Every rule about messages, replies and deadlines.
//!
//! A [`Conversation`] holds all that the client knows of its lines. It knows which of them
//! are queued, in flight or replied to, how long it has waited, and whether the server is
//! away. Each event is a call: a line is queued, bytes arrive, the connection is lost. The
//! conversation decides what to send, print and log, how long to wait, and when to give up.
//!
//! A line goes this way:
//!
//! ```text
//! enqueue --> take_unsent --> receive --> take_output --> end_printing
//!    |             ^             |
//!    | too long    |             | record_loss: everything in flight becomes unsent
//!    v             +-------------+
//! counted, never sent
//! ```
//!
//! `connections` has the states of the link and the outages. `replies` checks the lines of
//! the server. `printing` takes back replies that could not be printed.
//!
//! A conversation knows no socket, thread or clock; each call passes the time. So a test
//! can try every order of events, and let an hour pass at once.

mod connections;
mod printing;
mod replies;
#[cfg(test)]
mod tests;

use std::io;
use std::mem;
use std::time::{Duration, Instant};

use log::Level;
use tcp_chat::cli::{self, Limit};
use tcp_chat::lines::{Line, LineReader};
use tcp_chat::system::is_retryable;
use tcp_chat::wire::{self, MAX_MESSAGE_LINE, Rejection};

pub(crate) use connections::{Loss, Next, Unreachable};

use connections::Link;
use printing::Printing;

use crate::args::Settings;
use crate::figures::counts::Counts;
use crate::figures::outages::{Addresses, PastOutage};
use crate::figures::own_delay::ReplyProgress;
use crate::figures::snapshot::Snapshot;
use crate::rules::outage::Outage;
use crate::rules::outbox::Outbox;

/// The most bytes of messages to hold, exceeded by one message at most. Enough to keep a
/// fast path busy, and small enough not to matter.
const BYTE_BUDGET: usize = 512 * 1024;

/// How many outages are listed one by one; further ones are only counted.
const MOST_OUTAGES: usize = 1000;

/// How many lines are reported one by one for each kind of error; further ones are only
/// counted.
const MOST_REPORTED: u64 = 10;

/// All connections of one run, as one exchange of messages and replies.
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Conversation {
    /// The server's address as the user gave it.
    server: String,
    settings: Settings,
    began: Instant,
    /// How many lines of input have been read. This is also the number, from 1, of the last
    /// one.
    lines: u64,
    input: Input,
    outbox: Outbox,
    /// When a reply last opened the window, or when the run began. Valid only while the
    /// window is open.
    window_open_since: Instant,
    counts: Counts,
    /// Index of the prefix that the last acknowledgement had. It is tried first, because
    /// the next acknowledgement most likely has it, too.
    last_prefix: usize,
    link: Link,
    /// Of the current connection. They stay after its end until the loss is recorded or the
    /// next attempt begins.
    addresses: Option<Addresses>,
    /// When the last reply came, or, if it is later, when a batch was sent while nothing
    /// was in flight. Valid only while messages are in flight: see
    /// [`awaited_since`](Self::awaited_since).
    reply_awaited_since: Option<Instant>,
    /// The current outage, if there is one.
    outage: Option<Outage>,
    /// Whether the client has given up. Then it queues no further line, so the report counts
    /// the same lines as the error that ends the run.
    has_given_up: bool,
    /// The first [`MOST_OUTAGES`] outages that are over.
    first_outages: Vec<PastOutage>,
    /// Since when the session thread would notice a reply at once: it reads, connects or
    /// waits. `None` while it prints or logs, which can take any time.
    listening_since: Option<Instant>,
    /// Replies for the user, each a line, until [`take_output`](Self::take_output).
    output: Vec<u8>,
    printing: Printing,
    /// How many replies to messages came over the current connection.
    replies_here: u64,
    /// How many of these replies were wrong, and not even the beginning of an
    /// acknowledgement.
    wrong_here: u64,
    /// Whether the user knows of `--reply-prefix ''` by now.
    has_hinted_at_echo: bool,
    /// News for the user, until [`take_news`](Self::take_news).
    news: Vec<News>,
}

/// A line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct News {
    pub(crate) level: Level,
    pub(crate) line: String,
}

impl News {
    pub(crate) fn info(line: String) -> Self {
        let level = Level::Info;
        News { level, line }
    }

    pub(crate) fn warn(line: String) -> Self {
        let level = Level::Warn;
        News { level, line }
    }

    pub(crate) fn error(line: String) -> Self {
        let level = Level::Error;
        News { level, line }
    }
}

/// What is known of the input.
#[derive(Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(Clone))]
enum Input {
    Open,
    /// Every line was read.
    Ended,
    /// Reading it failed, for this reason.
    Failed(String),
}

/// What remains to be done on a connection after a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// More replies are to come.
    More,
    /// Nothing: there is a reply to every message, or to all that the connection was for.
    Done,
}

/// What the writer does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ToSend {
    /// Sends a batch of messages.
    Batch,
    /// Ends the sending direction: there will be no more messages on this connection.
    HalfClose,
    /// Ends: the connection is lost, it has done its part, or every message has its reply.
    Over,
}

impl Conversation {
    pub(crate) fn new(server: String, mut settings: Settings, now: Instant) -> Self {
        settings.reply_prefix = without_repeats(settings.reply_prefix);
        // A connection never has more messages in flight than it is for. Lines beyond that
        // would be read only to wait.
        if let Some(every) = settings.reconnect_every {
            settings.window = settings.window.min(every.try_into().unwrap_or(usize::MAX));
        }
        let mut counts = Counts::default();
        counts.replies.by_prefix = vec![0; settings.reply_prefix.len()];
        Conversation {
            server,
            settings,
            began: now,
            lines: 0,
            input: Input::Open,
            outbox: Outbox::default(),
            window_open_since: now,
            counts,
            last_prefix: 0,
            link: Link::Down,
            addresses: None,
            reply_awaited_since: None,
            outage: None,
            has_given_up: false,
            first_outages: Vec::new(),
            listening_since: Some(now),
            output: Vec::new(),
            printing: Printing::default(),
            replies_here: 0,
            wrong_here: 0,
            has_hinted_at_echo: false,
            news: Vec::new(),
        }
    }

    // Queries. A snapshot also takes the ticks of the own delay up to now.

    /// Returns how the run stood at its beginning.
    pub(crate) fn first_snapshot(&mut self) -> Snapshot {
        self.snapshot(self.began)
    }

    /// Returns how the run stands.
    pub(crate) fn snapshot(&mut self, now: Instant) -> Snapshot {
        let progress = self.reply_progress();
        self.counts.own_delays.catch_up(progress, now);
        let since = |then| now.saturating_duration_since(then);
        Snapshot {
            server: self.server.clone(),
            counts: self.counts.clone(),
            prefixes: self.settings.reply_prefix.clone(),
            began: self.began,
            now,
            input_was_read: self.input == Input::Ended,
            unacknowledged: self.outbox.len() as u64,
            never_sent: self.outbox.never_sent() as u64,
            waiting: self.outbox.first_due().map(since),
            in_flight: self.outbox.in_flight() as u64,
            outage: self.outage_length(now),
            first_outages: Vec::new(),
            listening_since: self.listening_since,
        }
    }

    /// Returns what the own delay depends on.
    fn reply_progress(&self) -> ReplyProgress {
        let read = self.counts.replies.total();
        let asked = read + self.outbox.in_flight() as u64;
        ReplyProgress {
            asked,
            read,
            listening_since: self.listening_since,
        }
    }

    /// Whether the window is open: another line may be queued.
    pub(crate) fn is_window_open(&self) -> bool {
        !self.has_given_up
            && self.outbox.len() < self.settings.window
            && self.outbox.bytes() < BYTE_BUDGET
    }

    /// Returns since when the window has been open; `None` while it is full.
    pub(crate) fn window_open_since(&self) -> Option<Instant> {
        if self.is_window_open() {
            Some(self.window_open_since)
        } else {
            None
        }
    }

    /// Whether the client waits for the user: every line so far has its reply.
    pub(crate) fn awaits_input(&self) -> bool {
        let listens = matches!(self.link, Link::Up { .. } | Link::Resting);
        listens && self.outbox.len() == 0 && self.input == Input::Open
    }

    /// Returns since when a reply is awaited; `None` if nothing is in flight.
    fn awaited_since(&self) -> Option<Instant> {
        if self.outbox.in_flight() == 0 {
            return None;
        }
        self.reply_awaited_since
    }

    /// Whether a line waits to be sent.
    pub(crate) fn has_unsent(&self) -> bool {
        self.outbox.in_flight() < self.outbox.len()
    }

    /// Whether no more input comes and every message has its reply. Even if the input was
    /// empty, at least one connection must have been made.
    pub(crate) fn is_done(&self) -> bool {
        self.counts.connections > 0 && self.outbox.len() == 0 && self.input != Input::Open
    }

    /// Returns the news that the first connect takes long; `None` if it is over.
    pub(crate) fn slow_connect_news(&self) -> Option<News> {
        if self.counts.connections > 0 || self.outage.is_some() {
            return None;
        }
        Some(News::warn(format!("connecting to {}", self.server)))
    }

    /// Whether everything is done while an attempt to connect goes on, which cannot be
    /// interrupted.
    pub(crate) fn is_done_while_connecting(&self) -> bool {
        self.is_done() && matches!(self.link, Link::Connecting { .. })
    }

    /// Returns the length of the longest reply in bytes: with a CR, without its LF.
    pub(crate) fn longest_reply(&self) -> usize {
        let lengths = self.settings.reply_prefix.iter().map(String::len);
        lengths.max().unwrap_or_default() + MAX_MESSAGE_LINE
    }

    /// Returns the shortest time limit that is judged while a reply is awaited.
    pub(crate) fn shortest_limit(&self) -> Limit {
        cli::shorter(self.settings.timeout, self.longest_outage())
    }

    /// Returns how long an outage may last; `None` if the first loss ends the run.
    fn longest_outage(&self) -> Option<Duration> {
        let retry_for = self.settings.retry_for;
        if retry_for.is_zero() {
            None
        } else {
            Some(retry_for)
        }
    }

    /// Checks, once everything is done, that the whole input was read and that each line
    /// was acknowledged.
    ///
    /// # Errors
    ///
    /// Reading the input failed, or some lines were not acknowledged. The error is the one
    /// line for the user, with the number of these lines.
    pub(crate) fn verdict(&self) -> Result<(), String> {
        if let Input::Failed(error) = &self.input {
            return Err(format!("cannot read standard input: {error}"));
        }
        self.counts.verdict()
    }

    // Events.

    /// Takes a line of input while the window is open. Its reply time counts from `due`.
    pub(crate) fn enqueue(&mut self, line: Line<'_>, due: Instant) {
        self.lines += 1;
        // A cut line is the last one, without its LF. It is sent with an LF as every message
        // is, so a CR at its end becomes part of the end of line.
        let (Line::Whole(text) | Line::Cut(text)) = line else {
            self.record_too_long(Rejection::TooLong);
            return;
        };
        match wire::message_text(Line::Whole(text)) {
            Ok(_) => self.outbox.push(self.lines, text, due),
            Err(why) => self.record_too_long(why),
        }
    }

    /// Counts and reports the current line, which is not sent because it is too long.
    fn record_too_long(&mut self, why: Rejection) {
        self.counts.too_long += 1;
        let report = format!("line {}: not sent: {why}", self.lines);
        self.report(self.counts.too_long, "lines over the limit", report);
    }

    /// Records the end of the input, or why it cannot be read any further.
    pub(crate) fn end_input(&mut self, how: io::Result<()>) {
        self.input = match how {
            Ok(()) => Input::Ended,
            Err(error) => Input::Failed(error.to_string()),
        };
    }

    /// Decides what the writer does next, and appends a batch to `batch`. Returns `None`
    /// while there is nothing to do.
    pub(crate) fn take_unsent(&mut self, batch: &mut Vec<u8>, now: Instant) -> Option<ToSend> {
        if self.is_done() {
            return Some(ToSend::Over);
        }
        let has_ended = self.input != Input::Open;
        let has_unsent = self.has_unsent();
        let Link::Up {
            left, half_closed, ..
        } = &mut self.link
        else {
            return Some(ToSend::Over);
        };
        if has_unsent && *left > 0 {
            let before = self.outbox.in_flight();
            if before == 0 {
                self.reply_awaited_since = Some(now);
            }
            let sent_again = self.outbox.take_unsent(*left, batch) as u64;
            *left -= (self.outbox.in_flight() - before) as u64;
            self.counts.sent_again += sent_again;
            if let Some(outage) = &mut self.outage {
                outage.sent_again += sent_again;
            }
            return Some(ToSend::Batch);
        }
        let is_last = has_ended || *left == 0;
        if self.settings.half_close && is_last && !*half_closed {
            *half_closed = true;
            return Some(ToSend::HalfClose);
        }
        None
    }

    /// Takes the replies that a read from the connection has brought, and judges the
    /// deadlines.
    ///
    /// Several things may be true after one read. They count in this order:
    ///
    /// 1. A violation of the protocol ends the run, even if every message has its reply.
    /// 2. If all that the connection is for is done, nothing can be lost any more.
    /// 3. A notice, or a reply that was cut, says why the connection ends.
    /// 4. The read itself reports the end of the stream or an error.
    /// 5. A deadline has passed.
    ///
    /// # Errors
    ///
    /// The connection is lost, in one of these ways.
    pub(crate) fn receive(
        &mut self,
        replies: &mut LineReader,
        read: io::Result<usize>,
        now: Instant,
    ) -> Result<Received, Loss> {
        let since = self.listening_since.unwrap_or(now);
        if replies.has_read_all() {
            self.counts.own_delays.notice_all(since, now);
        }
        let taken = self.take_replies_to_print(replies, now);
        if let Err(violation @ Loss::Violation(_)) = taken {
            return Err(violation);
        }
        if self.is_done() || self.has_done_its_part() {
            // An outage that no reply has ended was ended by this connection.
            if let Some(length) = self.outage_length(now) {
                self.end_outage(length, now);
            }
            return Ok(Received::Done);
        }
        taken?;
        match read {
            Ok(0) => return Err(Loss::Ended),
            Err(error) if !is_retryable(&error) => return Err(Loss::Broken(error.to_string())),
            // There were bytes, or the read has timed out.
            Ok(_) | Err(_) => {}
        }
        self.end_outage_if_connection_stays(now);
        self.judge_deadlines(replies, since, now)?;
        Ok(Received::More)
    }

    /// Records that the thread that reads replies is about to print or to log.
    pub(crate) fn stop_listening(&mut self) {
        self.listening_since = None;
    }

    /// Records that this thread has printed and logged, and is about to read or to connect.
    /// A slow reader of its output may have kept it from that, so it has missed no reply
    /// before now.
    pub(crate) fn begin_to_listen(&mut self, now: Instant) {
        self.listening_since = Some(now);
        // This notices the ticks before which each reply asked for is read. A reply that
        // arrives now would be the next one.
        self.counts
            .own_delays
            .record_replies_read(self.counts.replies.total(), now);
    }

    /// Measures how late the client itself is. After the first call, each snapshot and each
    /// end of an outage measures it, too. Returns when to measure again.
    pub(crate) fn measure_own_delay(&mut self, now: Instant) -> Instant {
        let progress = self.reply_progress();
        self.counts.own_delays.measure(self.began, progress, now)
    }

    /// Records that all ticks of the own delay are noticed, after the connection or the run
    /// has ended: the replies that they wait for no longer come. If the session thread
    /// listens, the ticks count as noticed when it began to; otherwise, as noticed now.
    fn settle_own_delays(&mut self, now: Instant) {
        let noticed = self.listening_since.unwrap_or(now);
        self.counts.own_delays.notice_all(noticed, now);
    }

    /// Ends the run. Returns how it stood at its end, without replies that are still being
    /// printed.
    pub(crate) fn conclude(&mut self, now: Instant) -> Snapshot {
        if let Some(length) = self.outage_length(now) {
            self.close_outage(length, now);
        }
        // Ticks that came before this moment are as late as they are by now.
        let progress = self.reply_progress();
        self.counts.own_delays.catch_up(progress, now);
        self.settle_own_delays(now);
        let mut end = self.snapshot(now);
        end.first_outages = mem::take(&mut self.first_outages);
        self.take_back_unprinted(&mut end);
        end
    }

    /// Returns the news since the last call, to be logged after the replies are printed.
    pub(crate) fn take_news(&mut self) -> Vec<News> {
        mem::take(&mut self.news)
    }
}

/// Drops each prefix that came before in the list.
fn without_repeats(prefixes: Vec<String>) -> Vec<String> {
    let mut distinct = Vec::new();
    for prefix in prefixes {
        if !distinct.contains(&prefix) {
            distinct.push(prefix);
        }
    }
    distinct
}
