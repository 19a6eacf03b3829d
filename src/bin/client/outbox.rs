//! Every message not yet acknowledged, in order.
//!
//! One queue, and an index into it, `sent`: what stands before it is in flight,
//! what stands after it waits to be sent. The thread that reads the input
//! pushes at the back and waits while the queue is full; the thread that writes
//! to the socket takes what is unsent and moves `sent`; the thread that reads
//! replies drops the front. A lost connection is `sent = 0`, and everything
//! unacknowledged goes out again.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// How many bytes of messages are held at most, unless one alone is longer.
/// Enough to keep a fast path busy, and little enough to forget about.
const BYTE_BUDGET: usize = 256 * 1024;

/// The queue, as three threads share it.
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    /// Signalled when a thread that waits to push may look again.
    room: Condvar,
    /// Signalled when a thread that waits to take may look again.
    work: Condvar,
}

impl Outbox {
    /// An empty outbox for at most `window` messages.
    pub(crate) fn new(window: usize) -> Self {
        Outbox {
            queue: Mutex::new(Queue::new(window)),
            room: Condvar::new(),
            work: Condvar::new(),
        }
    }

    /// The queue, for as long as the guard is held; to be given back by
    /// [`release`](Self::release) when it was changed.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the queue back and wakes the threads that waited for the change.
    /// Waking costs a system call, so it is done once for many changes, and
    /// only when a thread waits.
    pub(crate) fn release(&self, mut queue: MutexGuard<'_, Queue>) {
        let room = mem::take(&mut queue.pusher_waits);
        let work = queue.taker_may_go_on() && mem::take(&mut queue.taker_waits);
        drop(queue);
        if room {
            self.room.notify_one();
        }
        if work {
            self.work.notify_one();
        }
    }

    /// Pushes the message of a line of input, once there is room for it.
    pub(crate) fn push<'a>(
        &'a self,
        mut queue: MutexGuard<'a, Queue>,
        line: u64,
        text: &[u8],
    ) -> MutexGuard<'a, Queue> {
        while !queue.has_room(text.len()) {
            queue.pusher_waits = true;
            if queue.taker_may_go_on() && mem::take(&mut queue.taker_waits) {
                self.work.notify_one();
            }
            queue = self
                .room
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
        queue.push(line, text);
        queue
    }

    /// Replaces `batch` by the bytes of all unsent messages, which are in flight
    /// from now on. Waits until there are some; false when there will be none,
    /// because the connection is lost or everything is acknowledged.
    pub(crate) fn take(&self, batch: &mut Vec<u8>) -> bool {
        let mut queue = self.lock();
        while !queue.taker_may_go_on() {
            queue.taker_waits = true;
            queue = self
                .work
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
        queue.connected && queue.take(batch, Instant::now())
    }
}

/// Where the input stands.
#[derive(Default)]
pub(crate) enum Input {
    #[default]
    Open,
    Ended,
    Failed(io::Error),
}

/// The messages not yet acknowledged, and what else the threads share.
#[derive(Default)]
pub(crate) struct Queue {
    /// The messages as they go out, each with its LF, from `start` on.
    bytes: Vec<u8>,
    start: usize,
    messages: VecDeque<Message>,
    /// How many of the messages are in flight.
    sent: usize,
    /// How many bytes they are.
    sent_bytes: usize,
    window: usize,
    /// Since when a reply has been awaited: the last reply, or the sending that
    /// ended a time without messages in flight.
    awaited_since: Option<Instant>,
    pusher_waits: bool,
    taker_waits: bool,
    /// Whether there is a connection to take messages for.
    pub(crate) connected: bool,
    pub(crate) input: Input,
    /// How many messages were sent more than once, each time counted.
    pub(crate) sent_again: u64,
    /// How many lines of input were over the limit.
    pub(crate) not_sent: u64,
    /// Whether the cursor of the terminal stands behind a prompt or a line that
    /// was not ended.
    pub(crate) is_mid_line: bool,
}

struct Message {
    /// The number of the line of input, from 1.
    line: u64,
    /// Bytes as it goes out, its LF included.
    length: usize,
    first_sent: Option<Instant>,
}

impl Queue {
    fn new(window: usize) -> Self {
        Queue {
            window,
            ..Queue::default()
        }
    }

    fn has_room(&self, length: usize) -> bool {
        let bytes = self.bytes.len() - self.start + length;
        self.messages.is_empty() || self.messages.len() < self.window && bytes < BYTE_BUDGET
    }

    fn push(&mut self, line: u64, text: &[u8]) {
        // Moving the rest to the front once as much is free there as the queue
        // may hold costs each byte one move at most.
        if self.start >= BYTE_BUDGET {
            self.bytes.drain(..mem::take(&mut self.start));
        }
        self.bytes.extend_from_slice(text);
        self.bytes.push(b'\n');
        self.messages.push_back(Message {
            line,
            length: text.len() + 1,
            first_sent: None,
        });
    }

    fn taker_may_go_on(&self) -> bool {
        self.sent < self.messages.len() || !self.connected || self.is_done()
    }

    fn take(&mut self, batch: &mut Vec<u8>, now: Instant) -> bool {
        if self.sent == 0 {
            self.awaited_since = Some(now);
        }
        for message in self.messages.iter_mut().skip(self.sent) {
            if message.first_sent.is_some() {
                self.sent_again += 1;
            }
            message.first_sent.get_or_insert(now);
        }
        batch.clear();
        batch.extend_from_slice(&self.bytes[self.start + self.sent_bytes..]);
        self.sent = self.messages.len();
        self.sent_bytes = self.bytes.len() - self.start;
        !batch.is_empty()
    }

    /// The oldest message in flight: the number of its line of input, and the
    /// line.
    pub(crate) fn front(&self) -> Option<(u64, &[u8])> {
        let message = self.messages.front().filter(|_| self.sent > 0)?;
        Some((
            message.line,
            &self.bytes[self.start..self.start + message.length - 1],
        ))
    }

    /// Drops the oldest message in flight, which was answered, and returns when
    /// it was sent first.
    pub(crate) fn acknowledge(&mut self, now: Instant) -> Option<Instant> {
        self.sent = self.sent.checked_sub(1)?;
        let message = self.messages.pop_front()?;
        self.start += message.length;
        self.sent_bytes -= message.length;
        self.awaited_since = Some(now);
        if self.messages.is_empty() {
            self.bytes.clear();
            self.start = 0;
        }
        message.first_sent
    }

    /// Takes everything as unsent again.
    pub(crate) fn rewind(&mut self) {
        self.sent = 0;
        self.sent_bytes = 0;
    }

    /// How many messages are unacknowledged, sent or not.
    pub(crate) fn unacknowledged(&self) -> usize {
        self.messages.len()
    }

    /// How many messages are in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.sent
    }

    /// The number of the line of the first unacknowledged message.
    pub(crate) fn first_line(&self) -> Option<u64> {
        self.messages.front().map(|message| message.line)
    }

    /// Since when a reply has been awaited, if one is.
    pub(crate) fn awaited_since(&self) -> Option<Instant> {
        self.awaited_since.filter(|_| self.sent > 0)
    }

    /// Whether all input was read and everything is acknowledged.
    pub(crate) fn is_done(&self) -> bool {
        self.messages.is_empty() && !matches!(self.input, Input::Open)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    fn push_all(queue: &mut Queue, texts: &[&str]) {
        let first = queue.first_line().unwrap_or(1) + queue.unacknowledged() as u64;
        for (line, text) in (first..).zip(texts) {
            queue.push(line, text.as_bytes());
        }
    }

    fn take(queue: &mut Queue) -> String {
        let mut batch = b"what an earlier batch left".to_vec();
        queue.take(&mut batch, Instant::now());
        String::from_utf8(batch).unwrap()
    }

    #[test]
    fn sends_each_message_once_in_order() {
        let mut queue = Queue::new(9);
        push_all(&mut queue, &["one", "", "three\r"]);
        assert_eq!(take(&mut queue), "one\n\nthree\r\n");
        assert_eq!(take(&mut queue), "");
        push_all(&mut queue, &["four"]);
        assert_eq!(take(&mut queue), "four\n");
        assert_eq!((queue.in_flight(), queue.sent_again), (4, 0));
    }

    #[test]
    fn acknowledges_only_what_is_in_flight() {
        let mut queue = Queue::new(9);
        push_all(&mut queue, &["one", "two"]);
        assert_eq!(queue.front(), None);
        assert_eq!(queue.acknowledge(Instant::now()), None);
        take(&mut queue);
        push_all(&mut queue, &["waits"]);
        for (line, text) in [(1, "one"), (2, "two")] {
            assert_eq!(queue.front(), Some((line, text.as_bytes())));
            assert!(queue.acknowledge(Instant::now()).is_some());
        }
        assert_eq!((queue.front(), queue.first_line()), (None, Some(3)));
        assert_eq!(queue.awaited_since(), None);
    }

    #[test]
    fn sends_everything_unacknowledged_again_after_a_lost_connection() {
        let mut queue = Queue::new(9);
        push_all(&mut queue, &["one", "two", "three"]);
        take(&mut queue);
        queue.acknowledge(Instant::now());
        push_all(&mut queue, &["four"]);
        queue.rewind();
        assert_eq!(queue.front(), None);
        assert_eq!(take(&mut queue), "two\nthree\nfour\n");
        assert_eq!(queue.sent_again, 2);
        assert_eq!(queue.front(), Some((2, &b"two"[..])));
        // The connection may be lost again before anything is answered.
        queue.rewind();
        assert_eq!(take(&mut queue), "two\nthree\nfour\n");
        assert_eq!(queue.sent_again, 5);
    }

    #[test]
    fn has_room_for_a_window_and_a_budget_of_bytes_but_always_for_one_message() {
        let mut queue = Queue::new(2);
        assert!(queue.has_room(BYTE_BUDGET * 2));
        push_all(&mut queue, &["one"]);
        assert!(queue.has_room(3) && !queue.has_room(BYTE_BUDGET));
        push_all(&mut queue, &["two"]);
        assert!(!queue.has_room(0));
        take(&mut queue);
        assert!(!queue.has_room(0), "sent, but not acknowledged");
        queue.acknowledge(Instant::now());
        assert!(queue.has_room(0));
    }

    /// Pushes, batches, acknowledgements and lost connections in an order that
    /// looks random, beside a model that is too simple to be wrong.
    #[test]
    fn behaves_as_a_list_of_texts_and_a_number() {
        let (mut texts, mut sent, mut line) = (VecDeque::new(), 0, 0);
        let mut queue = Queue::new(50);
        let mut random = 88_172_645_463_325_252_u64;
        for _ in 0..200_000 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let size = (random >> 32) as usize % 3000;
            match random % 64 {
                0 => {
                    queue.rewind();
                    sent = 0;
                }
                1..9 => {
                    let batch: String = texts
                        .range(sent..)
                        .map(|(_, text)| format!("{text}\n"))
                        .collect();
                    assert_eq!(take(&mut queue), batch);
                    sent = texts.len();
                }
                9..36 if queue.has_room(size) => {
                    line += 1;
                    let text = format!("{line} {}", "x".repeat(size));
                    queue.push(line, text.as_bytes());
                    texts.push_back((line, text));
                }
                _ => {
                    let front = texts.front().filter(|_| sent > 0);
                    assert_eq!(
                        queue.front(),
                        front.map(|(line, text)| (*line, text.as_bytes()))
                    );
                    queue.acknowledge(Instant::now());
                    if sent > 0 {
                        texts.pop_front();
                        sent -= 1;
                    }
                }
            }
            assert_eq!(
                (queue.unacknowledged(), queue.in_flight()),
                (texts.len(), sent)
            );
            assert!(queue.bytes.len() <= BYTE_BUDGET * 2 + 3000);
        }
        assert!(line > 10_000);
    }

    #[test]
    fn wakes_who_waits_to_push_and_who_waits_to_take() {
        let outbox = Arc::new(Outbox::new(1));
        outbox.lock().connected = true;
        let input = Arc::clone(&outbox);
        let pusher = thread::spawn(move || {
            let mut queue = input.lock();
            for line in 1..=1000 {
                queue = input.push(queue, line, b"text");
            }
            queue.input = Input::Ended;
            input.release(queue);
        });
        let mut batch = Vec::new();
        for line in 1..=1000 {
            assert!(outbox.take(&mut batch));
            assert_eq!(batch, b"text\n");
            let mut queue = outbox.lock();
            assert_eq!(queue.front(), Some((line, &b"text"[..])));
            queue.acknowledge(Instant::now());
            outbox.release(queue);
        }
        // Everything is done, and there will be nothing to take.
        assert!(!outbox.take(&mut batch));
        pusher.join().unwrap();
    }

    #[test]
    fn a_lost_connection_ends_the_wait_to_take() {
        let outbox = Arc::new(Outbox::new(1));
        outbox.lock().connected = true;
        let writer = Arc::clone(&outbox);
        let taker = thread::spawn(move || writer.take(&mut Vec::new()));
        while !outbox.lock().taker_waits {
            thread::yield_now();
        }
        let mut queue = outbox.lock();
        queue.connected = false;
        outbox.release(queue);
        assert!(!taker.join().unwrap());
    }
}
