//! The retransmission buffer: every message not yet acknowledged, in order.
//!
//! The messages lie one behind the other as they go out, so that all that is
//! unsent is one slice, however many messages it is. What stands before the
//! index `sent` is in flight; a lost connection is `sent = 0`, and everything
//! goes out again.

use std::collections::VecDeque;
use std::mem;
use std::time::Instant;

/// From this size on, room in front of the messages is used again. Below it,
/// moving them would cost more than the room is worth.
const LEAST_MOVE: usize = 64 * 1024;

/// The messages not yet acknowledged.
#[derive(Default)]
pub(crate) struct Outbox {
    /// The messages as they go out, each with its LF, from `start` on.
    bytes: Vec<u8>,
    /// Where the oldest message begins. What stands before it was acknowledged.
    start: usize,
    /// Of each message how many bytes it has, its LF included.
    lengths: VecDeque<u32>,
    /// What messages that were pushed together have in common; the counts add
    /// up to `lengths.len()`.
    batches: VecDeque<Batch>,
    /// How many messages are in flight: the oldest ones.
    sent: usize,
    /// How many bytes they are.
    sent_bytes: usize,
    /// How many messages have ever been sent: `sent <= ever_sent <= lengths.len()`.
    ever_sent: usize,
}

/// Messages of lines that follow one another and were due at the same time.
struct Batch {
    /// The number of the line of input that the oldest of them is, from 1.
    line: u64,
    messages: u64,
    due: Instant,
}

impl Outbox {
    /// Adds the message of a line of input.
    pub(crate) fn push(&mut self, line: u64, text: &[u8], due: Instant) {
        // A move is due when it frees as much as it copies, so on average no byte
        // is copied more than once.
        if self.start >= LEAST_MOVE.max(self.bytes()) {
            self.bytes.drain(..mem::take(&mut self.start));
        }
        self.bytes.extend_from_slice(text);
        self.bytes.push(b'\n');
        self.lengths.push_back(text.len() as u32 + 1);
        match self.batches.back_mut() {
            Some(batch) if batch.due == due && batch.line + batch.messages == line => {
                batch.messages += 1;
            }
            _ => self.batches.push_back(Batch {
                line,
                messages: 1,
                due,
            }),
        }
    }

    /// Appends the bytes of all unsent messages to `out`; they are in flight from
    /// now on. Returns how many of them had been sent before.
    pub(crate) fn take_unsent(&mut self, out: &mut Vec<u8>) -> usize {
        out.extend_from_slice(&self.bytes[self.start + self.sent_bytes..]);
        let sent_again = self.ever_sent - self.sent;
        self.sent = self.lengths.len();
        self.ever_sent = self.sent;
        self.sent_bytes = self.bytes();
        sent_again
    }

    /// Takes everything as unsent again, for another connection.
    pub(crate) fn rewind(&mut self) {
        self.sent = 0;
        self.sent_bytes = 0;
    }

    /// The oldest message in flight, with its LF.
    pub(crate) fn front(&self) -> Option<&[u8]> {
        let length = *self.lengths.front().filter(|_| self.sent > 0)? as usize;
        Some(&self.bytes[self.start..self.start + length])
    }

    /// Drops the oldest message in flight, and returns when it was due.
    pub(crate) fn pop(&mut self) -> Option<Instant> {
        self.sent = self.sent.checked_sub(1)?;
        let length = self.lengths.pop_front()? as usize;
        self.ever_sent -= 1;
        self.sent_bytes -= length;
        self.start += length;
        if self.lengths.is_empty() {
            self.bytes.clear();
            self.start = 0;
        }
        let batch = self.batches.front_mut()?;
        let due = batch.due;
        batch.line += 1;
        batch.messages -= 1;
        if batch.messages == 0 {
            self.batches.pop_front();
        }
        Some(due)
    }

    /// How many messages there are, in flight or not.
    pub(crate) fn len(&self) -> usize {
        self.lengths.len()
    }

    /// How many bytes they are.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// How many messages are in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.sent
    }

    /// The number of the oldest message's line of input.
    pub(crate) fn first_line(&self) -> Option<u64> {
        self.batches.front().map(|batch| batch.line)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn outbox(texts: &[&str]) -> (Outbox, Instant) {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        for (line, text) in (1..).zip(texts) {
            outbox.push(line, text.as_bytes(), now);
        }
        (outbox, now)
    }

    /// What goes out, and how much of it not for the first time.
    fn take(outbox: &mut Outbox) -> (String, usize) {
        let mut out = Vec::new();
        let sent_again = outbox.take_unsent(&mut out);
        (String::from_utf8(out).unwrap(), sent_again)
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
    fn appends_to_what_is_to_go_out_already() {
        let (mut outbox, _) = outbox(&["one"]);
        let mut out = b"zero\n".to_vec();
        outbox.take_unsent(&mut out);
        assert_eq!(out, b"zero\none\n");
    }

    #[test]
    fn drops_only_what_is_in_flight() {
        let (mut outbox, now) = outbox(&["one", "two"]);
        assert_eq!(outbox.front(), None);
        assert_eq!(outbox.pop(), None);
        assert_eq!(outbox.len(), 2);
        take(&mut outbox);
        outbox.push(3, b"waits", now);
        for text in ["one\n", "two\n"] {
            assert_eq!(outbox.front(), Some(text.as_bytes()));
            assert_eq!(outbox.pop(), Some(now));
        }
        assert_eq!(outbox.front(), None);
        assert_eq!(outbox.pop(), None);
        assert_eq!(outbox.first_line(), Some(3));
    }

    #[test]
    fn sends_everything_unacknowledged_again_after_a_lost_connection() {
        let (mut outbox, now) = outbox(&["one", "two", "three"]);
        take(&mut outbox);
        outbox.pop();
        outbox.push(4, b"four", now);
        outbox.rewind();
        assert_eq!((outbox.front(), outbox.in_flight()), (None, 0));
        assert_eq!(take(&mut outbox), sent("two\nthree\nfour\n", 2));
        assert_eq!(outbox.front(), Some(&b"two\n"[..]));
        // The connection may be lost again before anything is answered.
        outbox.rewind();
        assert_eq!(take(&mut outbox), sent("two\nthree\nfour\n", 3));
    }

    #[test]
    fn knows_of_each_message_its_line_and_when_it_was_due() {
        let (mut outbox, now) = outbox(&["one", "two"]);
        let later = now + Duration::from_millis(1);
        // Line 3 was not sent, and line 6 was due later than those before it.
        for (line, due) in [(4, now), (5, now), (6, later), (7, later)] {
            outbox.push(line, b"x", due);
        }
        assert_eq!(outbox.batches.len(), 3);
        take(&mut outbox);
        let mut popped = Vec::new();
        while let Some(line) = outbox.first_line() {
            popped.push((line, outbox.pop().unwrap()));
        }
        let due = |line| (line, if line < 6 { now } else { later });
        assert_eq!(popped, [1, 2, 4, 5, 6, 7].map(due));
        assert!(outbox.batches.is_empty());
    }

    /// Pushes, batches, acknowledgements and lost connections in an order that
    /// looks random, beside a model that is too simple to be wrong.
    #[test]
    fn behaves_as_a_list_of_texts_and_a_number() {
        let (mut texts, mut sent, mut ever_sent, mut line) = (VecDeque::new(), 0, 0, 0);
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        let mut random = 88_172_645_463_325_252_u64;
        let (mut moves, mut held) = (0, 0);
        for _ in 0..200_000 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let size = (random >> 32) as usize % 3000;
            let start = outbox.start;
            match random % 64 {
                0 => {
                    outbox.rewind();
                    sent = 0;
                }
                1..9 => {
                    let batch: String = texts
                        .range(sent..)
                        .map(|(_, text)| format!("{text}\n"))
                        .collect();
                    assert_eq!(take(&mut outbox), (batch, ever_sent - sent));
                    sent = texts.len();
                    ever_sent = sent;
                }
                9..36 if texts.len() < 50 => {
                    line += 1;
                    let text = format!("{line} {}", "x".repeat(size));
                    outbox.push(line, text.as_bytes(), now);
                    held += text.len() + 1;
                    texts.push_back((line, text));
                    moves += usize::from(outbox.start < start);
                }
                _ => {
                    let front = texts.front().filter(|_| sent > 0);
                    let front = front.map(|(_, text)| format!("{text}\n"));
                    assert_eq!(outbox.front(), front.as_ref().map(|text| text.as_bytes()));
                    assert_eq!(outbox.pop().is_some(), sent > 0);
                    if sent > 0 {
                        held -= texts.pop_front().unwrap().1.len() + 1;
                        sent -= 1;
                        ever_sent -= 1;
                    }
                }
            }
            assert_eq!((outbox.len(), outbox.in_flight()), (texts.len(), sent));
            assert_eq!(outbox.bytes(), held);
            assert_eq!(outbox.first_line(), texts.front().map(|(line, _)| *line));
            assert!(outbox.bytes.len() <= 2 * 50 * 3010 + LEAST_MOVE);
        }
        assert!(line > 10_000 && moves > 100, "{line} lines, {moves} moves");
    }
}
