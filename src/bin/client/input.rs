//! The thread that reads the input.

use std::io::{self, ErrorKind, Read};
use std::thread;
use std::time::{Duration, Instant};

use tcp_chat::{lines::LineReader, wire::MAX_MESSAGE_LINE};

use crate::rules::schedule::Schedule;
use crate::shared::{End, Shared};

/// Queues every line of the input, each once it is due and there is room for it.
pub(crate) fn read_input(shared: &Shared, mut schedule: Schedule, mut input: impl Read) {
    let output = &shared.output;
    let mut lines = LineReader::new(MAX_MESSAGE_LINE);
    loop {
        let waited_since = Instant::now();
        let read = fill_uninterrupted(&mut lines, &mut input);
        // The clock is read once for all lines of a read, and again after a wait.
        let mut now = Instant::now();
        let mut conversation = shared.lock();
        schedule.waited_for_input(waited_since, now, conversation.room_since());
        while let Some(line) = lines.next_line() {
            let due = loop {
                let due = schedule.due(now);
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
            schedule.advance();
        }
        if let Ok(0) | Err(_) = read {
            // Told first: when the input has ended, so may the run.
            output.tell(Shared::release(conversation, &shared.changed));
            let verdict = shared.change(|conversation| {
                conversation.end_input(read.map(|_| ()));
                // A connect cannot be interrupted.
                conversation
                    .is_done_while_connecting()
                    .then(|| conversation.verdict())
            });
            if let Some(verdict) = verdict {
                shared.end(End::by_verdict(verdict));
            }
            return;
        }
        // Under the lock, or a prompt could come before the line counts.
        output.typed(lines.is_inside_line());
        output.tell(Shared::release(conversation, &shared.changed));
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
