//! What the server's lines mean to a conversation: verified, printed, counted.

use std::time::Instant;

use tcp_chat::lines::{Line, LineReader};
use tcp_chat::printable::Excerpt;
use tcp_chat::wire::{self, MAX_REPLY, ServerLine};

use super::{Conversation, Loss, MOST_TOLD, News};

impl Conversation {
    /// Verifies every line that is here, and prints what answers a message.
    pub(super) fn take_replies(
        &mut self,
        replies: &mut LineReader,
        now: Instant,
    ) -> Result<(), Loss> {
        loop {
            // Nearly every line is the one that is expected.
            let mut acknowledged = 0;
            for sent in self.outbox.messages_in_flight() {
                let Some(line) = wire::next_acknowledgement(replies, sent) else {
                    break;
                };
                self.output.extend_from_slice(b"Server: ");
                self.output.extend_from_slice(line);
                acknowledged += 1;
            }
            self.counts.answers.acknowledged += acknowledged as u64;
            self.answered(acknowledged, now);
            let line = match replies.next_line() {
                Some(Line::Whole(line)) => line,
                // It may look like a whole reply, and still lack its last bytes.
                Some(Line::Cut(_)) => {
                    let why = "closed by the server in the middle of a reply";
                    return Err(Loss::Broken(why.to_string()));
                }
                Some(Line::TooLong) => return Err(too_long()),
                None => break,
            };
            let shown = || Excerpt::start(line).to_string();
            match ServerLine::read(line) {
                Some(ServerLine::Refused(_)) => return Err(Loss::Refused(shown())),
                Some(ServerLine::Closed(_)) => return Err(Loss::Broken(shown())),
                reply => self.take_reply(line, reply, now)?,
            }
        }
        if replies.is_over_limit() {
            return Err(too_long());
        }
        Ok(())
    }

    /// Takes a line as the reply to the oldest message in flight.
    fn take_reply(
        &mut self,
        line: &[u8],
        reply: Option<ServerLine<'_>>,
        now: Instant,
    ) -> Result<(), Loss> {
        let in_flight = self.outbox.messages_in_flight().next();
        let Some((sent, number)) = in_flight.zip(self.outbox.first_line()) else {
            let line = Excerpt::start(line);
            return Err(Loss::Violation(format!(
                "a reply without a message: \"{line}\""
            )));
        };
        let sent = Line::Whole(sent.strip_suffix(b"\n").unwrap_or(sent));
        let expected = ServerLine::Received(wire::text(sent).unwrap_or_default());
        match reply {
            Some(reply) if reply == expected => self.counts.answers.acknowledged += 1,
            Some(ServerLine::Rejected(why)) => {
                let report = format!("line {number}: rejected: {}", Excerpt::start(why));
                self.counts.answers.rejected += 1;
                self.report(self.counts.answers.rejected, "rejections", report);
            }
            _ => {
                let report = format!("line {number}: wrong reply: {}", difference(expected, line));
                self.counts.answers.wrong += 1;
                self.report(self.counts.answers.wrong, "wrong replies", report);
            }
        }
        self.output.extend_from_slice(b"Server: ");
        self.output.extend_from_slice(line);
        self.output.push(b'\n');
        self.answered(1, now);
        Ok(())
    }

    /// The oldest `count` messages in flight have their answers, good or bad.
    fn answered(&mut self, count: usize, now: Instant) {
        if count == 0 {
            return;
        }
        if !self.has_room() {
            self.room_since = now;
        }
        let times = &mut self.counts.reply_times;
        self.outbox.pop(count, |due, messages| {
            times.record(now.saturating_duration_since(due), messages);
        });
        // The server was back at the connect; the time in which there was nothing to
        // ask of it is no part of the outage.
        let asked = self.awaited_since.zip(self.connected_since());
        let unasked = asked.map(|(asked, connected)| asked.saturating_duration_since(connected));
        self.awaited_since = Some(now);
        self.end_outage(now - unasked.unwrap_or_default());
    }

    /// Tells of trouble with a single line, the first few times that there is
    /// some of its kind.
    pub(super) fn report(&mut self, count: u64, kind: &str, report: String) {
        let report = match count {
            ..=MOST_TOLD => report,
            _ if count == MOST_TOLD + 1 => format!("further {kind} are only counted"),
            _ => return,
        };
        self.news.push(News::Error(report));
    }
}

fn too_long() -> Loss {
    Loss::Violation(format!("a reply of more than {MAX_REPLY} bytes"))
}

/// An expected and another line, from shortly before where they part.
fn difference(expected: ServerLine<'_>, got: &[u8]) -> String {
    let mut wanted = Vec::new();
    expected.write(&mut wanted);
    wanted.pop();
    let pairs = wanted.iter().zip(got);
    let same = pairs.take_while(|(wanted, got)| wanted == got).count();
    let lines = [&wanted[..], got].map(|line| Excerpt::around(line, same));
    let column = if lines.iter().any(Excerpt::is_cut) {
        format!("from column {} on ", same + 1)
    } else {
        String::new()
    };
    let [wanted, got] = lines;
    format!("{column}expected \"{wanted}\", got \"{got}\"")
}
