//! What the server's lines mean to a conversation: verified, printed, counted.

use std::time::Instant;

use log::Level;
use tcp_chat::lines::{Line, LineReader};
use tcp_chat::printable::Excerpt;
use tcp_chat::wire::{self, ServerLine};

use super::{Conversation, Loss, MOST_TOLD};

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
            let prefix = self.settings.reply_prefix[self.prefix].as_bytes();
            for sent in self.outbox.messages_in_flight() {
                let Some(line) = replies.next_line_if([prefix, sent]) else {
                    break;
                };
                self.output.extend_from_slice(b"Server: ");
                self.output.extend_from_slice(line);
                acknowledged += 1;
            }
            self.acknowledged(acknowledged, now);
            let line = match replies.next_line() {
                Some(Line::Whole(line)) => line,
                // It may look like a whole reply, and still lack its last bytes.
                Some(Line::Cut(_)) => {
                    let why = "closed by the server in the middle of a reply";
                    return Err(Loss::Broken(why.to_string()));
                }
                Some(Line::TooLong) => return Err(self.too_long()),
                None => {
                    return if replies.is_over_limit() {
                        Err(self.too_long())
                    } else {
                        Ok(())
                    };
                }
            };
            if let Some(prefix) = self.acknowledging_prefix(line) {
                self.prefix = prefix;
                self.print(line);
                self.acknowledged(1, now);
                continue;
            }
            let shown = || Excerpt::start(line).to_string();
            match ServerLine::read(line) {
                Some(ServerLine::Refused(_)) => return Err(Loss::Refused(shown())),
                Some(ServerLine::Closed(_)) => return Err(Loss::Broken(shown())),
                reply => self.take_reply(line, reply, now)?,
            }
        }
    }

    /// Which prefix makes a line the acknowledgement of the oldest message in flight.
    fn acknowledging_prefix(&self, line: &[u8]) -> Option<usize> {
        let sent = self.outbox.messages_in_flight().next()?;
        let mut prefixes = self.settings.reply_prefix.iter();
        prefixes.position(|prefix| wire::is_acknowledgement(line, prefix, sent))
    }

    /// Takes a line that acknowledges nothing as the reply to the oldest message in
    /// flight.
    fn take_reply(
        &mut self,
        line: &[u8],
        reply: Option<ServerLine<'_>>,
        now: Instant,
    ) -> Result<(), Loss> {
        let in_flight = self.outbox.messages_in_flight().next();
        let Some((sent, number)) = in_flight.zip(self.outbox.first_line()) else {
            let shown = Excerpt::start(line);
            let why = format!("unexpected line: \"{shown}\"; is this a tcp-chat server?");
            return Err(Loss::Violation(why));
        };
        if let Some(ServerLine::Rejected(why)) = reply {
            let report = format!("line {number}: rejected: {}", Excerpt::start(why));
            self.counts.answers.rejected += 1;
            self.report(self.counts.answers.rejected, "rejections", report);
        } else {
            let difference = difference(&self.expected(line, sent), line);
            let mut report = format!("line {number}: wrong reply: {difference}");
            if self.is_plain_echo(line, sent) && !self.has_hinted_at_echo {
                self.has_hinted_at_echo = true;
                report += " (a plain echo? --reply-prefix '')";
            }
            if !self.is_beginning_of_acknowledgement(line, sent) {
                self.wrong_here += 1;
            }
            self.counts.answers.wrong += 1;
            self.report(self.counts.answers.wrong, "wrong replies", report);
        }
        self.print(line);
        self.answered(1, now);
        Ok(())
    }

    /// The acknowledgement that a wrong reply is compared with. It has the longest prefix
    /// that the reply begins with, or else that of the last acknowledgement (at first, the
    /// first).
    fn expected(&self, wrong: &[u8], sent: &[u8]) -> Vec<u8> {
        let prefixes = &self.settings.reply_prefix;
        let begins = |prefix: &&String| wrong.starts_with(prefix.as_bytes());
        let had = prefixes.iter().filter(begins).max_by_key(|had| had.len());
        let prefix = had.unwrap_or(&prefixes[self.prefix]);
        let sent = Line::Whole(sent.strip_suffix(b"\n").unwrap_or(sent));
        [prefix.as_bytes(), wire::text(sent).unwrap_or_default()].concat()
    }

    /// Whether a wrong reply is the message itself.
    fn is_plain_echo(&self, line: &[u8], sent: &[u8]) -> bool {
        wire::is_acknowledgement(line, "", sent)
    }

    /// Whether a wrong reply acknowledges the beginning of the message. A path that cuts
    /// makes an honest server send that.
    fn is_beginning_of_acknowledgement(&self, line: &[u8], sent: &[u8]) -> bool {
        self.settings.reply_prefix.iter().any(|prefix| {
            let text = line.strip_prefix(prefix.as_bytes());
            !line.is_empty() && text.is_some_and(|text| sent.starts_with(text))
        })
    }

    fn print(&mut self, line: &[u8]) {
        self.output.extend_from_slice(b"Server: ");
        self.output.extend_from_slice(line);
        self.output.push(b'\n');
    }

    /// The oldest `count` messages in flight are acknowledged, by the same prefix.
    fn acknowledged(&mut self, count: usize, now: Instant) {
        self.counts.answers.acknowledged += count as u64;
        self.counts.answers.by_prefix[self.prefix] += count as u64;
        self.answered(count, now);
    }

    /// The oldest `count` messages in flight have their answers, good or bad.
    fn answered(&mut self, count: usize, now: Instant) {
        if count == 0 {
            return;
        }
        let back_at = self.outage_ends_at(now);
        if !self.has_room() {
            self.room_since = now;
        }
        let times = &mut self.counts.reply_times;
        self.outbox.pop(count, |due, messages| {
            times.record(now.saturating_duration_since(due), messages);
        });
        self.replies_here += count as u64;
        self.awaited_since = Some(now);
        self.end_outage(back_at, now);
    }

    /// Reports trouble with a single line, the first few times that it is of its
    /// kind.
    pub(super) fn report(&mut self, count: u64, kind: &str, report: String) {
        let report = match count {
            ..=MOST_TOLD => report,
            _ if count == MOST_TOLD + 1 => format!("further {kind} are only counted"),
            _ => return,
        };
        self.news.push((Level::Error, report));
    }

    fn too_long(&self) -> Loss {
        let limit = self.longest_reply();
        Loss::Violation(format!("a reply of more than {limit} bytes"))
    }
}

/// The expected line and the one that came, from shortly before they differ.
fn difference(wanted: &[u8], got: &[u8]) -> String {
    let pairs = wanted.iter().zip(got);
    let same = pairs.take_while(|(wanted, got)| wanted == got).count();
    let lines = [wanted, got].map(|line| Excerpt::around(line, same));
    let is_cut = lines.iter().any(Excerpt::is_cut);
    let column = if is_cut {
        format!("from column {} on ", same + 1)
    } else {
        String::new()
    };
    let [wanted, got] = lines;
    format!("{column}expected \"{wanted}\", got \"{got}\"")
}
