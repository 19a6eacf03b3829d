//! The lock, and the loops round it.
//!
//! A client that writes without reading blocks for ever against a server that
//! does the same, and one that waits for its input does not notice that the
//! server is gone. So one thread reads the input, one writes messages and one
//! reads replies. Each waits for its file descriptor without the lock, and then
//! changes the [`Conversation`] under it.

use std::io::{self, Read, Write};
use std::mem;
use std::net::{Shutdown, TcpStream};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tcp_chat::lines::LineReader;
use tcp_chat::wire::{MAX_MESSAGE_LINE, MAX_REPLY};

use crate::conversation::{Conversation, End, News, ToSend};
use crate::output::Output;
use crate::schedule::Schedule;
use crate::summary::progress;

/// The conversation, as the threads share it. No file or socket is read or
/// written under its lock.
pub(crate) struct Shared {
    conversation: Mutex<Conversation>,
    /// Signalled when messages were answered, for the thread that waits for room.
    answered: Condvar,
    /// Signalled at any other change, for all other threads. With one for both,
    /// each reply would also wake the thread that has nothing to write yet.
    changed: Condvar,
}

impl Shared {
    pub(crate) fn new(conversation: Conversation) -> Self {
        Shared {
            conversation: Mutex::new(conversation),
            answered: Condvar::new(),
            changed: Condvar::new(),
        }
    }

    /// The conversation, for as long as the guard is held.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Conversation> {
        let locked = self.conversation.lock();
        locked.unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the conversation back and wakes those who wait for what has happened.
    /// Returns the news, which may be told now that nothing is locked.
    fn release(mut conversation: MutexGuard<'_, Conversation>, happened: &Condvar) -> Vec<News> {
        let news = conversation.take_news();
        drop(conversation);
        happened.notify_all();
        news
    }

    /// Changes the conversation, and wakes every thread that waits for that.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Conversation) -> T) -> T {
        let value = change(&mut self.lock());
        self.changed.notify_all();
        value
    }

    /// The conversation, once another line may be queued.
    fn lock_with_room(&self) -> MutexGuard<'_, Conversation> {
        let conversation = self
            .answered
            .wait_while(self.lock(), |conversation| !conversation.has_room());
        conversation.unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is what is awaited, or the deadline has passed.
    pub(crate) fn wait_until<T>(
        &self,
        deadline: Option<Instant>,
        mut awaited: impl FnMut(&mut Conversation) -> Option<T>,
    ) -> Option<T> {
        let mut conversation = self.lock();
        loop {
            let value = awaited(&mut conversation);
            let left = match deadline {
                Some(deadline) => deadline.saturating_duration_since(Instant::now()),
                None => Duration::MAX,
            };
            if value.is_some() || left.is_zero() {
                return value;
            }
            let woken = self.changed.wait_timeout(conversation, left);
            conversation = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Queues every line of the input, each once it is due and there is room for it.
pub(crate) fn read_input(
    shared: &Shared,
    output: &Output,
    mut schedule: Option<Schedule>,
    mut input: impl Read,
) {
    let mut lines = LineReader::new(MAX_MESSAGE_LINE);
    let mut now = Instant::now();
    loop {
        let read = lines.fill(&mut input);
        let waited_since = mem::replace(&mut now, Instant::now());
        let mut conversation = shared.lock();
        if let Some(schedule) = &mut schedule
            && let Some(room_since) = conversation.room_since()
        {
            schedule.waited_for_input(waited_since.max(room_since), now);
        }
        while let Some(line) = lines.next_line() {
            // Without a schedule, a line is due when it enters the window. The
            // clock is read once for all lines of a read, and again after a wait.
            let due = loop {
                let due = match &mut schedule {
                    Some(schedule) => schedule.due(now),
                    None => Some(now),
                };
                match due {
                    Some(due) if due <= now && conversation.has_room() => break due,
                    _ => output.tell(Shared::release(conversation, &shared.changed)),
                }
                let pause = due.map(|due| due.saturating_duration_since(now));
                thread::sleep(pause.unwrap_or(Duration::MAX));
                conversation = shared.lock_with_room();
                now = Instant::now();
            };
            conversation.enqueue(line, due);
            if let Some(schedule) = &mut schedule {
                schedule.advance();
            }
        }
        let is_over = matches!(read, Ok(0) | Err(_));
        if is_over {
            conversation.end_input(read.map(|_| ()));
        } else {
            // Under the lock, or a prompt could come before the line counts.
            output.typed(lines.is_inside_line());
        }
        output.tell(Shared::release(conversation, &shared.changed));
        if is_over {
            return;
        }
        if schedule.is_some() {
            now = Instant::now();
        }
    }
}

/// Sends all that is said, until there will be nothing more.
///
/// # Errors
///
/// What the connection says. It may have said more to the thread that reads.
pub(crate) fn write_messages(shared: &Shared, mut stream: &TcpStream) -> io::Result<()> {
    let mut batch = Vec::new();
    let mut sent = Ok(());
    while sent.is_ok() {
        batch.clear();
        let to_send = shared.wait_until(None, |conversation| {
            conversation.take_unsent(&mut batch, Instant::now())
        });
        sent = match to_send {
            Some(ToSend::Batch) => stream.write_all(&batch),
            Some(ToSend::HalfClose) => stream.shutdown(Shutdown::Write),
            Some(ToSend::Over) | None => break,
        };
    }
    // Wakes the thread that reads replies: it knows whether this is the end.
    let _ = stream.shutdown(Shutdown::Both);
    sent
}

/// Reads, verifies and prints replies until everything is answered, or the
/// connection is of no more use.
///
/// # Errors
///
/// The output cannot be written.
pub(crate) fn read_replies(
    shared: &Shared,
    output: &Output,
    mut stream: &TcpStream,
) -> anyhow::Result<Result<(), End>> {
    let mut replies = LineReader::new(MAX_REPLY);
    let mut printed = Vec::new();
    let mut listening_since = Instant::now();
    loop {
        output.prompt(shared);
        let read = replies.fill(&mut stream);
        let now = Instant::now();
        let mut conversation = shared.lock();
        let received = conversation.receive(&mut replies, read, listening_since, now);
        conversation.take_output(&mut printed);
        let news = Shared::release(conversation, &shared.answered);
        if !printed.is_empty() {
            output.print(&printed)?;
            listening_since = Instant::now();
        }
        output.tell(news);
        match received {
            Ok(false) => {}
            Ok(true) => return Ok(Ok(())),
            Err(end) => return Ok(Err(end)),
        }
    }
}

/// Shows each second how far the run is, until it is over.
pub(crate) fn show_progress(shared: &Shared, output: &Output) {
    const EACH: Duration = Duration::from_secs(1);
    let mut counts = shared.lock().counts().clone();
    let mut shown = Instant::now();
    loop {
        thread::sleep((shown + EACH).saturating_duration_since(Instant::now()));
        let conversation = shared.lock();
        let (now, before) = (Instant::now(), counts);
        counts = conversation.counts().clone();
        let line = progress(&conversation, &before, now, now - shown);
        drop(conversation);
        output.progress(&line);
        shown = now;
    }
}
