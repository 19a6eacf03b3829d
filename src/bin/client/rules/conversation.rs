//! Every rule about messages, replies and deadlines.
//!
//! A [`Conversation`] is all that the client knows of its lines: which are queued,
//! in flight or answered, how long it has waited, and whether the server is away.
//! Things happen to it (a line is queued, bytes arrive, the connection is lost),
//! and it decides what follows: what to send, print and tell, how long to wait,
//! when to give up. It knows no socket, thread or clock; each call is told the
//! time. So a test can try every order of events, and let an hour pass at once.

mod connections;
mod replies;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};
use std::{collections::HashSet, io, mem};

use log::Level;
use tcp_chat::cli::{self, Limit};
use tcp_chat::lines::{Line, LineReader};
use tcp_chat::system::is_retryable;
use tcp_chat::wire::{self, MAX_MESSAGE_LINE};

pub(crate) use connections::{Loss, Next};

use crate::args::Settings;
use crate::figures::counts::{Answers, Counts};
use crate::figures::histogram::Histogram;
use crate::figures::outages::{Addresses, PastOutage};
use crate::figures::own_delay::Replies;
use crate::figures::snapshot::Snapshot;
use crate::rules::outage::Outage;
use crate::rules::outbox::Outbox;

/// How many bytes of messages are held at most, up to one message more. Enough
/// to keep a fast path busy, and little enough to forget about.
const BYTE_BUDGET: usize = 512 * 1024;

/// How many outages are listed one by one; further ones are only counted.
const MOST_OUTAGES: usize = 1000;

/// How many lines are reported one by one, of each kind of trouble.
const MOST_TOLD: u64 = 10;

/// All connections of one run, as one exchange of messages and replies.
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Conversation {
    /// What the user knows the server by.
    server: String,
    settings: Settings,
    began: Instant,
    /// How many lines of input there were.
    lines: u64,
    input: Input,
    outbox: Outbox,
    /// When an answer last made room in the outbox, or the beginning.
    room_since: Instant,
    counts: Counts,
    /// Which of the prefixes the last acknowledgement had, and the next one most
    /// likely has.
    prefix: usize,
    link: Link,
    /// Of the connection that there is, or was until now.
    addresses: Option<Addresses>,
    /// Since when a reply is awaited: since the last one, or since the first batch that
    /// was sent while nothing was in flight. It means something only while something is.
    awaited_since: Option<Instant>,
    /// The present outage, if there is one.
    outage: Option<Outage>,
    /// The first ones that are over, [`MOST_OUTAGES`] at most.
    first_outages: Vec<PastOutage>,
    /// Since when the thread that connects and reads replies would notice what comes;
    /// `None` while it prints or logs, which can take any time.
    listening_since: Option<Instant>,
    /// Replies for the user, not handed out yet.
    output: Vec<u8>,
    /// Whether replies are being printed.
    is_printing: bool,
    /// What counts if they cannot be printed.
    before_output: BeforeOutput,
    /// How many lines this connection has brought in reply to messages.
    replies_here: u64,
    /// How many of them were wrong from their beginning.
    wrong_here: u64,
    /// Whether the user knows of `--reply-prefix ''` by now.
    has_hinted_at_echo: bool,
    /// News for the user, not handed out yet.
    news: Vec<News>,
}

/// What counted before the replies that are being printed.
#[derive(Default)]
#[cfg_attr(test, derive(Clone))]
struct BeforeOutput {
    answers: Answers,
    /// When the oldest message was due.
    first_due: Option<Instant>,
}

/// Whether there is a connection.
#[cfg_attr(test, derive(Clone))]
enum Link {
    Down,
    /// The last connection has done its part, and the next one opens when there is a
    /// line to send.
    Resting,
    Connecting {
        since: Instant,
    },
    Up {
        since: Instant,
        /// How many lines may still be sent over it.
        left: u64,
        /// Whether this side of it was ended.
        half_closed: bool,
    },
}

/// A line for the user that is not a reply, and how important it is.
pub(crate) type News = (Level, String);

/// What is known of the input.
#[derive(Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(Clone))]
enum Input {
    Open,
    /// Every line was read.
    Ended,
    /// It cannot be read any further; this is why.
    Failed(String),
}

/// What a read leaves to do on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// More replies are to come.
    More,
    /// Nothing: everything is answered, or all that the connection was for.
    Done,
}

/// What the writer does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ToSend {
    /// Sends a batch of messages.
    Batch,
    /// Ends this side of the stream: there will be no more messages on it.
    HalfClose,
    /// No more: the connection is lost, or everything is answered.
    Over,
}

impl Conversation {
    pub(crate) fn new(server: String, mut settings: Settings, now: Instant) -> Self {
        let mut known = HashSet::new();
        (settings.reply_prefix).retain(|prefix| known.insert(prefix.clone()));
        // No more can be in flight, so more that were read would only wait.
        if let Some(every) = settings.reconnect_every {
            settings.window = settings.window.min(every.try_into().unwrap_or(usize::MAX));
        }
        let mut counts = Counts::default();
        counts.answers.by_prefix = vec![0; known.len()];
        Conversation {
            server,
            settings,
            began: now,
            lines: 0,
            input: Input::Open,
            outbox: Outbox::default(),
            room_since: now,
            counts,
            prefix: 0,
            link: Link::Down,
            addresses: None,
            awaited_since: None,
            outage: None,
            first_outages: Vec::new(),
            listening_since: Some(now),
            output: Vec::new(),
            is_printing: false,
            before_output: BeforeOutput::default(),
            replies_here: 0,
            wrong_here: 0,
            has_hinted_at_echo: false,
            news: Vec::new(),
        }
    }

    // What it knows.

    /// How the run stood at its beginning.
    pub(crate) fn first_snapshot(&mut self) -> Snapshot {
        self.snapshot(self.began)
    }

    /// How the run stands.
    pub(crate) fn snapshot(&mut self, now: Instant) -> Snapshot {
        self.counts.own_delays.catch_up(self.replies(), now);
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
            outage: self.outage_so_far(now),
            first_outages: Vec::new(),
            listening_since: self.listening_since,
        }
    }

    /// How long the present outage has lasted.
    fn outage_so_far(&self, now: Instant) -> Option<Duration> {
        let outage = self.outage.as_ref()?;
        Some(
            self.outage_ends_at(now)
                .saturating_duration_since(outage.began),
        )
    }

    /// When the present outage has ended, if the connection works by now.
    ///
    /// The server was back at the connect. The time in which nothing was asked of it is
    /// no part of the outage.
    fn outage_ends_at(&self, now: Instant) -> Instant {
        let Some(connected) = self.connected_since() else {
            return now;
        };
        match self.awaited_since {
            Some(asked) if self.outbox.in_flight() > 0 => {
                now - asked.saturating_duration_since(connected)
            }
            _ => connected,
        }
    }

    /// What the own delay depends on.
    fn replies(&self) -> Replies {
        let read = self.counts.answers.total();
        let asked = read + self.outbox.in_flight() as u64;
        Replies {
            asked,
            read,
            listening_since: self.listening_since,
        }
    }

    /// Whether another line may be queued.
    pub(crate) fn has_room(&self) -> bool {
        self.outbox.len() < self.settings.window && self.outbox.bytes() < BYTE_BUDGET
    }

    /// Since when another line may be queued, if one may.
    pub(crate) fn room_since(&self) -> Option<Instant> {
        self.has_room().then_some(self.room_since)
    }

    /// Whether it is the user's turn: all so far is answered.
    pub(crate) fn awaits_input(&self) -> bool {
        let listens = matches!(self.link, Link::Up { .. } | Link::Resting);
        listens && self.outbox.len() == 0 && self.input == Input::Open
    }

    /// Since when there is a connection, if there is one.
    fn connected_since(&self) -> Option<Instant> {
        if let Link::Up { since, .. } = self.link {
            Some(since)
        } else {
            None
        }
    }

    /// Whether a line waits to be sent.
    pub(crate) fn has_unsent(&self) -> bool {
        self.outbox.in_flight() < self.outbox.len()
    }

    /// Whether all input was read and everything is answered. Without any input,
    /// that takes a connection at least.
    pub(crate) fn is_done(&self) -> bool {
        self.counts.connections > 0 && self.outbox.len() == 0 && self.input != Input::Open
    }

    /// What there is to say of the first attempt to connect while it is under way.
    pub(crate) fn first_attempt(&self) -> Option<News> {
        let is_first = self.counts.connections == 0 && self.outage.is_none();
        is_first.then(|| (Level::Warn, format!("connecting to {}", self.server)))
    }

    /// Whether it is done while an attempt to connect is under way, which cannot be
    /// interrupted.
    pub(crate) fn is_done_while_connecting(&self) -> bool {
        self.is_done() && matches!(self.link, Link::Connecting { .. })
    }

    /// The longest reply in bytes, its LF not counted: one that keeps the CR.
    pub(crate) fn longest_reply(&self) -> usize {
        let lengths = self.settings.reply_prefix.iter().map(String::len);
        lengths.max().unwrap_or_default() + MAX_MESSAGE_LINE
    }

    /// The shortest of the time limits that are judged while a reply is awaited.
    pub(crate) fn shortest_limit(&self) -> Limit {
        cli::shorter(self.settings.timeout, self.retry_limit())
    }

    /// How long an outage may last, if it ends the run only then.
    pub(super) fn retry_limit(&self) -> Limit {
        let retry_for = self.settings.retry_for;
        if retry_for.is_zero() {
            None
        } else {
            Some(retry_for)
        }
    }

    /// Once everything is answered: whether each answer was an acknowledgement, and
    /// the whole input was read.
    ///
    /// # Errors
    ///
    /// The one line that says what is missing.
    pub(crate) fn verdict(&self) -> Result<(), String> {
        if let Input::Failed(error) = &self.input {
            return Err(format!("cannot read standard input: {error}"));
        }
        self.counts.verdict()
    }

    // What happens to it.

    /// Takes a line of input, for which there must be room. Its reply time counts
    /// from when it was due.
    pub(crate) fn enqueue(&mut self, line: Line<'_>, due: Instant) {
        self.lines += 1;
        // Every message goes out with an LF, so a CR at the end of the input
        // becomes part of its end of line.
        if let Line::Whole(sent) | Line::Cut(sent) = line
            && wire::text(Line::Whole(sent)).is_ok()
        {
            return self.outbox.push(self.lines, sent, due);
        }
        self.counts.too_long += 1;
        let report = format!(
            "line {}: not sent: {}",
            self.lines,
            wire::Rejection::TooLong
        );
        self.report(self.counts.too_long, "lines over the limit", report);
    }

    /// The input has come to its end, or cannot be read any further.
    pub(crate) fn end_input(&mut self, how: io::Result<()>) {
        self.input = match how {
            Ok(()) => Input::Ended,
            Err(error) => Input::Failed(error.to_string()),
        };
    }

    /// Appends to `batch` what must be sent; `None` while there is nothing.
    pub(crate) fn take_unsent(&mut self, batch: &mut Vec<u8>, now: Instant) -> Option<ToSend> {
        if self.is_done() {
            return Some(ToSend::Over);
        }
        let (has_ended, has_unsent) = (self.input != Input::Open, self.has_unsent());
        let Link::Up {
            left, half_closed, ..
        } = &mut self.link
        else {
            return Some(ToSend::Over);
        };
        if has_unsent && *left > 0 {
            let before = self.outbox.in_flight();
            if before == 0 {
                self.awaited_since = Some(now);
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
        if self.settings.half_close && is_last && !mem::replace(half_closed, true) {
            return Some(ToSend::HalfClose);
        }
        None
    }

    /// A read from the connection has ended: takes the replies that it brought,
    /// and judges the deadlines.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    pub(crate) fn receive(
        &mut self,
        replies: &mut LineReader,
        read: io::Result<usize>,
        now: Instant,
    ) -> Result<Received, Loss> {
        let since = self.listening_since.unwrap_or(now);
        if replies.has_read_all() {
            self.counts.own_delays.nothing_is_left(since, now);
        }
        self.before_output.answers.clone_from(&self.counts.answers);
        self.before_output.first_due = self.outbox.first_due();
        self.is_printing = true;
        let taken = self.take_replies(replies, now);
        self.counts
            .own_delays
            .replies_are_read(self.counts.answers.total(), now);
        if self.output.is_empty() {
            self.is_printing = false;
        } else {
            self.stop_listening();
        }
        if let Err(violation @ Loss::Violation(_)) = taken {
            return Err(violation);
        }
        if self.is_done() || self.has_done_its_part() {
            // An outage that no reply has ended was ended by this connection.
            self.end_outage(self.connected_since().unwrap_or(now), now);
            return Ok(Received::Done);
        }
        taken?;
        match read {
            Ok(0) => return Err(Loss::Ended),
            Err(error) if !is_retryable(&error) => return Err(Loss::Broken(error.to_string())),
            _ => {}
        }
        self.judge_deadlines(replies, since, now)?;
        Ok(Received::More)
    }

    /// The replies that were taken are printed.
    pub(crate) fn end_printing(&mut self) {
        self.is_printing = false;
    }

    /// Whether replies are being printed.
    pub(crate) fn is_printing(&self) -> bool {
        self.is_printing
    }

    /// The thread that reads replies is about to print or to log.
    pub(crate) fn stop_listening(&mut self) {
        self.listening_since = None;
    }

    /// That is done, and the thread is about to read or to connect. A slow reader of its
    /// output may have kept it from that: no reply is missed before now.
    pub(crate) fn begin_to_listen(&mut self, now: Instant) {
        self.listening_since = Some(now);
        // What would stand behind no other reply is noticed at once.
        self.counts
            .own_delays
            .replies_are_read(self.counts.answers.total(), now);
    }

    /// Measures how late the client itself is; from now on each snapshot and each end of
    /// an outage does so, too. Returns when to measure again.
    pub(crate) fn measure_own_delay(&mut self, now: Instant) -> Instant {
        let replies = self.replies();
        self.counts.own_delays.measure(self.began, replies, now)
    }

    /// No reply is awaited any more: all that came was noticed by now, or by the thread
    /// that listens.
    fn settle_own_delays(&mut self, now: Instant) {
        let noticed = self.listening_since.unwrap_or(now);
        self.counts.own_delays.nothing_is_left(noticed, now);
    }

    // What is for the user.

    /// The run is over: how it ended. Replies that are still being printed do not count.
    pub(crate) fn conclude(&mut self, now: Instant) -> Snapshot {
        if self.outage.is_some() {
            let ended = self.outage_ends_at(now);
            self.close_outage(ended, now);
        }
        // Ticks that came before this moment are as late as they are by now.
        self.counts.own_delays.catch_up(self.replies(), now);
        self.settle_own_delays(now);
        let mut end = self.snapshot(now);
        end.first_outages = mem::take(&mut self.first_outages);
        if self.is_printing {
            let printed = self.before_output.answers.clone();
            let due = self.before_output.first_due;
            end.waiting = due.map(|due| now.saturating_duration_since(due));
            end.unacknowledged += end.counts.answers.total() - printed.total();
            end.counts.answers = printed;
            if end.counts.answers.total() == 0 {
                end.counts.reply_times = Histogram::default();
            }
        }
        end
    }

    /// Moves the replies that have come to `out`, each as a line.
    pub(crate) fn take_output(&mut self, out: &mut Vec<u8>) {
        out.clear();
        mem::swap(out, &mut self.output);
    }

    /// The news since the last time, to be told after the replies.
    pub(crate) fn take_news(&mut self) -> Vec<News> {
        mem::take(&mut self.news)
    }
}
