//! The retransmission buffer: every message without a reply, in order.
//!
//! The messages lie one behind the other, exactly as they are sent. So all unsent messages
//! are one slice, however many they are.
//!
//! ```text
//!           0               start         start + in_flight_bytes      end
//! bytes     |  have replies  |  in flight            |  unsent          |
//!
//! lengths                    |  4  1  7  2           |  3  5  9         |
//!                            in_flight of them: 4
//!
//! sent before on any connection: ever_sent of them, here 5
//!                            |-----------------------------|
//!
//! spans                      |  lines 4-5  | lines 7-9         | 10-11  |
//!                               due at t0    due at t1           at t2
//! ```
//!
//! A lost connection sets `in_flight` to 0, and everything is resent.

use std::collections::VecDeque;
use std::time::Instant;

/// [`Outbox::push`] removes messages with replies from the buffer if they have at least so
/// many bytes. With fewer, moving the others would cost more than the freed bytes are worth.
const LEAST_MOVE: usize = 64 * 1024;

/// The messages without a reply. A message is removed at any reply, also at a rejection or
/// a wrong reply.
#[derive(Clone, Default)]
pub(crate) struct Outbox {
    /// Each message as it is sent, with its LF. The messages before `start` have replies.
    bytes: Vec<u8>,
    /// Offset of the oldest message in `bytes`; 0 if there is no message.
    start: usize,
    /// The length of each message in bytes, its LF included. They add up to
    /// `bytes.len() - start`.
    lengths: VecDeque<u32>,
    /// The line and the due time of each message, one entry for a whole run of messages.
    /// Their counts add up to `lengths.len()`, and none is 0.
    spans: VecDeque<Span>,
    /// How many messages are in flight: the oldest ones.
    in_flight: usize,
    /// How many bytes the messages in flight have: the sum of the first `in_flight` of
    /// `lengths`.
    in_flight_bytes: usize,
    /// How many messages were ever sent, on this connection or an earlier one: the oldest
    /// ones. `in_flight <= ever_sent <= lengths.len()`.
    ever_sent: usize,
}

/// Messages of consecutive lines that were due at the same time.
#[derive(Clone)]
struct Span {
    /// The line number, from 1, of the oldest of them.
    line: u64,
    messages: u64,
    due: Instant,
}

/// One message, and the line of input that it is.
pub(crate) struct Message<'a> {
    /// The line number, from 1.
    pub(crate) line: u64,
    /// The message as it was sent, with its LF.
    pub(crate) sent: &'a [u8],
}

impl Outbox {
    /// Adds the message of a line of input.
    pub(crate) fn push(&mut self, line: u64, text: &[u8], due: Instant) {
        // A move frees at least as many bytes as it copies. So on average no byte is
        // copied more than once.
        if self.start >= LEAST_MOVE.max(self.bytes()) {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(text);
        self.bytes.push(b'\n');
        self.lengths.push_back(text.len() as u32 + 1);
        match self.spans.back_mut() {
            Some(span) if span.due == due && span.line + span.messages == line => {
                span.messages += 1
            }
            _ => self.spans.push_back(Span {
                line,
                messages: 1,
                due,
            }),
        }
    }

    /// Appends the oldest unsent messages, at most `most`, to `out`; from now on they are
    /// in flight. Returns how many of them had been sent before.
    pub(crate) fn take_unsent(&mut self, most: u64, out: &mut Vec<u8>) -> usize {
        let first = self.in_flight;
        let unsent = self.lengths.len() - first;
        let end = first + most.min(unsent as u64) as usize;
        let length: u32 = self.lengths.range(first..end).sum();
        let from = self.start + self.in_flight_bytes;
        let to = from + length as usize;
        out.extend_from_slice(&self.bytes[from..to]);
        let sent_again = self.ever_sent.min(end) - first;
        self.in_flight = end;
        self.in_flight_bytes += length as usize;
        self.ever_sent = self.ever_sent.max(end);
        sent_again
    }

    /// Makes every message unsent again, for another connection.
    pub(crate) fn rewind(&mut self) {
        self.in_flight = 0;
        self.in_flight_bytes = 0;
    }

    /// Returns the messages in flight, the oldest first, each with its LF.
    pub(crate) fn messages_in_flight(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.bytes[self.start..];
        let lengths = self.lengths.iter().take(self.in_flight);
        lengths.map(move |length| {
            let (message, after) = rest.split_at(*length as usize);
            rest = after;
            message
        })
    }

    /// Returns the oldest message in flight: the one that the next reply is for.
    pub(crate) fn oldest_in_flight(&self) -> Option<Message<'_>> {
        let sent = self.messages_in_flight().next()?;
        let line = self.first_line()?;
        Some(Message { line, sent })
    }

    /// Drops the oldest `count` messages in flight, or all of them if they are fewer.
    /// Calls `each` with each due time and the number of dropped messages that had it.
    pub(crate) fn pop(&mut self, count: usize, mut each: impl FnMut(Instant, u64)) {
        let count = count.min(self.in_flight);
        let length: u32 = self.lengths.drain(..count).sum();
        self.in_flight -= count;
        self.ever_sent -= count;
        self.in_flight_bytes -= length as usize;
        self.start += length as usize;
        if self.lengths.is_empty() {
            self.bytes.clear();
            self.start = 0;
        }
        let mut left = count as u64;
        while left > 0 {
            let Some(span) = self.spans.front_mut() else {
                break;
            };
            let popped = left.min(span.messages);
            each(span.due, popped);
            left -= popped;
            span.line += popped;
            span.messages -= popped;
            if span.messages == 0 {
                self.spans.pop_front();
            }
        }
    }

    /// How many messages there are, in flight or not.
    pub(crate) fn len(&self) -> usize {
        self.lengths.len()
    }

    /// How many bytes all messages have together.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// How many messages are in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// How many messages were never sent.
    pub(crate) fn never_sent(&self) -> usize {
        self.lengths.len() - self.ever_sent
    }

    /// When the oldest message was due.
    pub(crate) fn first_due(&self) -> Option<Instant> {
        self.spans.front().map(|span| span.due)
    }

    /// The number of the oldest message's line of input.
    pub(crate) fn first_line(&self) -> Option<u64> {
        self.spans.front().map(|span| span.line)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::random::Random;

    fn outbox(texts: &[&str]) -> (Outbox, Instant) {
        let mut outbox = Outbox::default();
        let now = Instant::now();
        for (line, text) in (1..).zip(texts) {
            outbox.push(line, text.as_bytes(), now);
        }
        (outbox, now)
    }

    /// Takes all unsent messages. Returns them, and how many were sent before.
    fn take(outbox: &mut Outbox) -> (String, usize) {
        take_most(outbox, u64::MAX)
    }

    fn take_most(outbox: &mut Outbox, most: u64) -> (String, usize) {
        let mut out = Vec::new();
        let sent_again = outbox.take_unsent(most, &mut out);
        (String::from_utf8(out).unwrap(), sent_again)
    }

    fn front(outbox: &Outbox) -> Option<String> {
        let front = outbox.messages_in_flight().next()?;
        Some(String::from_utf8(front.to_vec()).unwrap())
    }

    fn pop(outbox: &mut Outbox) -> Option<Instant> {
        let mut popped = None;
        outbox.pop(1, |due, messages| {
            assert_eq!(messages, 1);
            popped = Some(due);
        });
        popped
    }

    fn sent(text: &str, sent_again: usize) -> (String, usize) {
        (text.to_string(), sent_again)
    }

    #[test]
    fn sends_each_message_once_in_order() {
        let (mut outbox, now) = outbox(&["one", "", "three\r"]);
        assert_eq!(take(&mut outbox), sent("one\n\nthree\r\n", 0));
        assert_eq!(take(&mut outbox), sent("", 0));
        outbox.push(4, b"four", now);
        assert_eq!(take(&mut outbox), sent("four\n", 0));
        assert_eq!(
            (outbox.in_flight(), outbox.len(), outbox.bytes()),
            (4, 4, 17)
        );
    }

    #[test]
    fn appends_to_earlier_bytes_of_a_batch() {
        let (mut outbox, _) = outbox(&["one"]);
        let mut out = b"zero\n".to_vec();
        outbox.take_unsent(u64::MAX, &mut out);
        assert_eq!(out, b"zero\none\n");
    }

    #[test]
    fn takes_no_more_messages_than_asked_for() {
        let (mut outbox, now) = outbox(&["one", "", "three", "four"]);
        assert_eq!(take_most(&mut outbox, 0), sent("", 0));
        assert_eq!(take_most(&mut outbox, 2), sent("one\n\n", 0));
        assert_eq!((outbox.in_flight(), outbox.never_sent()), (2, 2));
        pop(&mut outbox);
        assert_eq!(take_most(&mut outbox, 1), sent("three\n", 0));
        // Another connection takes a part of what the last one had, and more.
        outbox.rewind();
        assert_eq!(take_most(&mut outbox, 1), sent("\n", 1));
        assert_eq!((outbox.in_flight(), outbox.never_sent()), (1, 1));
        assert_eq!(take_most(&mut outbox, 2), sent("three\nfour\n", 1));
        outbox.push(5, b"five", now);
        assert_eq!(take_most(&mut outbox, 1), sent("five\n", 0));
        assert_eq!((outbox.in_flight(), outbox.never_sent()), (4, 0));
        outbox.rewind();
        assert_eq!(take_most(&mut outbox, 9), sent("\nthree\nfour\nfive\n", 4));
    }

    #[test]
    fn drops_only_messages_in_flight() {
        let (mut outbox, now) = outbox(&["one", "two"]);
        assert_eq!(front(&outbox), None);
        assert_eq!(pop(&mut outbox), None);
        assert_eq!(outbox.len(), 2);
        take(&mut outbox);
        outbox.push(3, b"waits", now);
        for text in ["one\n", "two\n"] {
            assert_eq!(front(&outbox).as_deref(), Some(text));
            assert_eq!(pop(&mut outbox), Some(now));
        }
        assert_eq!(front(&outbox), None);
        assert_eq!(pop(&mut outbox), None);
        assert_eq!(outbox.first_line(), Some(3));
    }

    #[test]
    fn resends_everything_unacknowledged_after_a_lost_connection() {
        let (mut outbox, now) = outbox(&["one", "two", "three"]);
        take(&mut outbox);
        pop(&mut outbox);
        outbox.push(4, b"four", now);
        outbox.rewind();
        assert_eq!((front(&outbox), outbox.in_flight()), (None, 0));
        assert_eq!(take(&mut outbox), sent("two\nthree\nfour\n", 2));
        assert_eq!(front(&outbox).as_deref(), Some("two\n"));
        // The connection may be lost again before any reply.
        outbox.rewind();
        assert_eq!(take(&mut outbox), sent("two\nthree\nfour\n", 3));
    }

    #[test]
    fn dropping_many_messages_counts_them_by_due_time() {
        let (mut outbox, now) = outbox(&["one", "two"]);
        let later = now + Duration::from_millis(1);
        outbox.push(3, b"three", later);
        take(&mut outbox);
        outbox.push(4, b"unsent", later);
        let mut popped = Vec::new();
        outbox.pop(9, |due, messages| popped.push((due, messages)));
        assert_eq!(popped, [(now, 2), (later, 1)]);
        assert_eq!((outbox.len(), outbox.first_line()), (1, Some(4)));
    }

    #[test]
    fn keeps_the_line_number_and_the_due_time_of_each_message() {
        let (mut outbox, now) = outbox(&["one", "two"]);
        let later = now + Duration::from_millis(1);
        // Line 3 was not sent, and line 6 was due later than those before it.
        for (line, due) in [(4, now), (5, now), (6, later), (7, later)] {
            outbox.push(line, b"x", due);
        }
        assert_eq!(outbox.spans.len(), 3);
        take(&mut outbox);
        let mut popped = Vec::new();
        while let Some(line) = outbox.first_line() {
            let due = outbox.first_due();
            assert_eq!(pop(&mut outbox), due);
            popped.push((line, due.unwrap()));
        }
        let due = |line| (line, if line < 6 { now } else { later });
        assert_eq!(popped, [1, 2, 4, 5, 6, 7].map(due));
        assert!(outbox.spans.is_empty());
    }

    #[test]
    fn frees_acknowledged_bytes_once_there_are_enough() {
        let (mut outbox, now) = outbox(&["waits"]);
        let mut moved_at = Vec::new();
        let mut before = 0;
        for line in 2..100_000 {
            outbox.push(line, b"waits", now);
            if outbox.start < before {
                moved_at.push(before);
            }
            outbox.take_unsent(u64::MAX, &mut Vec::new());
            outbox.pop(1, |_, _| {});
            before = outbox.start;
        }
        // 64 KiB, rounded up to whole messages of six bytes.
        assert_eq!(moved_at, [65_538; 9]);
        assert!(outbox.bytes.len() < 66_000);
    }

    /// Pushes, batches, acknowledgements and lost connections in an order that
    /// looks random, beside a model that is too simple to be wrong.
    #[test]
    fn behaves_like_a_plain_list_of_texts() {
        let mut texts: VecDeque<(u64, String)> = VecDeque::new();
        let mut sent = 0;
        let mut ever_sent = 0;
        let mut line = 0;
        let mut outbox = Outbox::default();
        let now = Instant::now();
        let mut numbers = Random::default();
        let mut moves = 0;
        let mut held = 0;
        let mut parts = 0;
        for _ in 0..200_000 {
            let random = numbers.next();
            let size = (random >> 32) as usize % 3000;
            let start = outbox.start;
            match random % 64 {
                0 => {
                    outbox.rewind();
                    sent = 0;
                }
                1..9 => {
                    let most = size % 60;
                    let to = texts.len().min(sent + most);
                    let batch = texts.range(sent..to).map(|(_, text)| text.as_str());
                    let expected = (batch.collect(), ever_sent.min(to) - sent);
                    assert_eq!(take_most(&mut outbox, most as u64), expected);
                    parts += usize::from(to < texts.len());
                    sent = to;
                    ever_sent = ever_sent.max(to);
                }
                9..36 if texts.len() < 50 => {
                    line += 1;
                    let text = format!("{line}{}\n", "x".repeat(size));
                    outbox.push(line, text.trim_end().as_bytes(), now);
                    held += text.len();
                    texts.push_back((line, text));
                    moves += usize::from(outbox.start < start);
                }
                _ => {
                    let count = size % 7;
                    let in_flight = outbox.messages_in_flight().take(count);
                    let expected = texts.range(..sent.min(count));
                    assert!(in_flight.eq(expected.map(|(_, text)| text.as_bytes())));
                    let mut popped = 0;
                    outbox.pop(count, |_, messages| popped += messages as usize);
                    assert_eq!(popped, sent.min(count));
                    for (_, text) in texts.drain(..popped) {
                        held -= text.len();
                    }
                    sent -= popped;
                    ever_sent -= popped;
                }
            }
            assert_eq!((outbox.len(), outbox.in_flight()), (texts.len(), sent));
            assert_eq!(outbox.never_sent(), texts.len() - ever_sent);
            assert_eq!(outbox.bytes(), held);
            assert_eq!(outbox.first_line(), texts.front().map(|(line, _)| *line));
            assert!(outbox.bytes.len() <= 2 * 50 * 3010 + LEAST_MOVE);
        }
        assert!(
            line > 10_000 && moves > 100 && parts > 1000,
            "{line}, {moves}, {parts}"
        );
    }
}
