//! The thread that reads the input.

use std::io::{self, ErrorKind, Read};
use std::sync::MutexGuard;
use std::thread;
use std::time::{Duration, Instant};

use tcp_chat::lines::LineReader;
use tcp_chat::wire::MAX_MESSAGE_LINE;

use crate::rules::conversation::Conversation;
use crate::rules::schedule::Schedule;
use crate::shared::{End, Shared};

/// Queues every line of the input, each once it is due and there is room for it.
pub(crate) fn read_input(shared: &Shared, mut schedule: Schedule, mut input: impl Read) {
    let mut lines = LineReader::new(MAX_MESSAGE_LINE);
    loop {
        let waited_since = Instant::now();
        let read = fill_uninterrupted(&mut lines, &mut input);
        // The clock is read once for all lines of a read, and again after a wait.
        let mut now = Instant::now();
        let mut conversation = shared.lock();
        schedule.waited_for_input(waited_since, now, conversation.room_since());
        while let Some(line) = lines.next_line() {
            let due;
            (conversation, due) = wait_for_turn(shared, conversation, &mut schedule, &mut now);
            conversation.enqueue(line, due);
            schedule.advance();
        }
        if let Ok(0) | Err(_) = read {
            // The news first: when the input has ended, so may the run.
            shared.release_changed(conversation);
            end_input(shared, read);
            return;
        }
        // Under the lock, or a prompt could come before the line counts.
        shared.output.record_typed(lines.is_inside_line());
        shared.release_changed(conversation);
    }
}

/// Waits until the next line is due and there is room for it. Returns the conversation,
/// and when the line was due.
fn wait_for_turn<'a>(
    shared: &'a Shared,
    mut conversation: MutexGuard<'a, Conversation>,
    schedule: &mut Schedule,
    now: &mut Instant,
) -> (MutexGuard<'a, Conversation>, Instant) {
    loop {
        let due = schedule.due(*now);
        if let Some(due) = due
            && due <= *now
            && conversation.has_room()
        {
            return (conversation, due);
        }
        shared.release_changed(conversation);
        match due {
            Some(due) => thread::sleep(due.saturating_duration_since(*now)),
            // The rate is too low for the clock.
            None => thread::sleep(Duration::MAX),
        }
        conversation = shared.lock_with_room();
        *now = Instant::now();
    }
}

/// The input has ended, and the run with it, if there is nothing left to do.
fn end_input(shared: &Shared, read: io::Result<usize>) {
    let verdict = shared.change(|conversation| {
        conversation.end_input(read.map(|_| ()));
        // The thread that connects sees the end by itself, but cannot be interrupted in
        // an attempt.
        conversation
            .is_done_while_connecting()
            .then(|| conversation.verdict())
    });
    if let Some(verdict) = verdict {
        shared.end(End::by_verdict(verdict));
    }
}

/// Reads once. There is no time limit, so after an interruption nothing is to be judged.
fn fill_uninterrupted(lines: &mut LineReader, input: &mut impl Read) -> io::Result<usize> {
    loop {
        match lines.fill(input) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}
