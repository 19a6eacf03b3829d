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

/// Queues every line of the input, each once it is due and the window allows it.
pub(crate) fn read_input(shared: &Shared, mut schedule: Schedule, mut input: impl Read) {
    let mut lines = LineReader::new(MAX_MESSAGE_LINE);
    loop {
        let waited_since = Instant::now();
        let read = fill_uninterrupted(&mut lines, &mut input);
        // The clock is read once for all lines of a read, and again after a wait.
        let mut now = Instant::now();
        let mut conversation = shared.lock();
        schedule.waited_for_input(waited_since, now, conversation.window_open_since());
        while let Some(line) = lines.next_line() {
            let turn = wait_for_turn(shared, conversation, &mut schedule, &mut now);
            conversation = turn.conversation;
            conversation.enqueue(line, turn.due);
            schedule.advance();
        }
        if let Ok(0) | Err(_) = read {
            // This logs the news. It must come first, because the end of the input may be
            // the end of the run.
            shared.unlock_after_input(conversation);
            end_input(shared, read);
            return;
        }
        // Still under the lock. Whether to prompt is decided under it, too, and depends on
        // both the queued lines and the cursor.
        shared.output.record_typed(lines.is_inside_line());
        shared.unlock_after_input(conversation);
    }
}

/// The turn of a line to be queued.
struct Turn<'a> {
    /// Locked, and with room for the line.
    conversation: MutexGuard<'a, Conversation>,
    /// The due time of the line.
    due: Instant,
}

/// Waits until the next line is due and the window allows it. Sets `now` to the time after
/// each wait.
fn wait_for_turn<'a>(
    shared: &'a Shared,
    mut conversation: MutexGuard<'a, Conversation>,
    schedule: &mut Schedule,
    now: &mut Instant,
) -> Turn<'a> {
    loop {
        let due = schedule.start_or_next_due(*now);
        if let Some(due) = due
            && due <= *now
            && conversation.is_window_open()
        {
            return Turn { conversation, due };
        }
        shared.unlock_after_input(conversation);
        match due {
            // `unlock_after_input` logs, which can take any time. So the clock is read again.
            Some(due) => thread::sleep(due.saturating_duration_since(Instant::now())),
            // The rate is too low for the clock.
            None => thread::sleep(Duration::MAX),
        }
        conversation = shared.lock_to_queue();
        *now = Instant::now();
    }
}

/// Records that the input has ended. Usually the session thread then ends the run, once
/// everything is done. But it cannot be interrupted while it connects, so if everything is
/// done by then, this thread ends the run.
fn end_input(shared: &Shared, read: io::Result<usize>) {
    let end = shared.change(|conversation| {
        conversation.end_input(read.map(|_| ()));
        if conversation.is_done_while_connecting() {
            Some(End::from_verdict(conversation.verdict()))
        } else {
            None
        }
    });
    if let Some(end) = end {
        shared.announce_end(end);
    }
}

/// Reads once, again after an interruption by a signal: there are no deadlines to judge.
fn fill_uninterrupted(lines: &mut LineReader, input: &mut impl Read) -> io::Result<usize> {
    loop {
        match lines.fill(input) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}
