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
pub(crate) enum Input {
    Open,
    Ended,
    Failed(io::Error),
}

/// The messages not yet acknowledged, and what else the threads share.
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
    awaited_since: Instant,
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
            bytes: Vec::new(),
            start: 0,
            messages: VecDeque::new(),
            sent: 0,
            sent_bytes: 0,
            window,
            awaited_since: Instant::now(),
            pusher_waits: false,
            taker_waits: false,
            connected: false,
            input: Input::Open,
            sent_again: 0,
            not_sent: 0,
            is_mid_line: false,
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
            self.awaited_since = now;
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
        self.awaited_since = now;
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
        (self.sent > 0).then_some(self.awaited_since)
    }

    /// Whether all input was read and everything is acknowledged.
    pub(crate) fn is_done(&self) -> bool {
        self.messages.is_empty() && !matches!(self.input, Input::Open)
    }
}
