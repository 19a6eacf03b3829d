//! Checks each line that the server sends, prints the replies and counts them.

use std::time::Instant;

use log::Level;
use tcp_chat::lines::{Line, LineReader};
use tcp_chat::printable::Excerpt;
use tcp_chat::wire::{self, ServerLine};

use super::{Conversation, Loss, MOST_REPORTED};

impl Conversation {
    /// Checks every line that is here, and prints each reply to a message.
    ///
    /// # Errors
    ///
    /// A line that ends the connection: a notice, a cut line, one that is too long, or one
    /// that is no reply to any message.
    pub(super) fn take_replies(
        &mut self,
        replies: &mut LineReader,
        now: Instant,
    ) -> Result<(), Loss> {
        loop {
            // The fast path. Nearly every line is the acknowledgement that is expected next.
            // Compared with it as a whole, the line needs no search for its LF, and all such
            // lines are counted at once.
            let mut acknowledged = 0;
            let prefix = self.settings.reply_prefix[self.last_prefix].as_bytes();
            for sent in self.outbox.messages_in_flight() {
                let Some(line) = replies.next_line_if([prefix, sent]) else {
                    break;
                };
                self.output.extend_from_slice(b"Server: ");
                self.output.extend_from_slice(line);
                acknowledged += 1;
            }
            self.record_acknowledged(acknowledged, now);

            // Then one line of any kind, or none. After it, the fast path goes on.
            let line = match replies.next_line() {
                Some(Line::Whole(line)) => line,
                // It may look like a whole reply, and still lack its last bytes.
                Some(Line::Cut(_)) => {
                    let why = "closed by the server in the middle of a reply";
                    return Err(Loss::Broken(why.to_string()));
                }
                Some(Line::TooLong) => return Err(self.too_long()),
                None => {
                    // The rest of a line that is too long already is not waited for.
                    if replies.is_over_limit() {
                        return Err(self.too_long());
                    }
                    return Ok(());
                }
            };
            if let Some(prefix) = self.acknowledging_prefix(line) {
                self.last_prefix = prefix;
                self.print(line);
                self.record_acknowledged(1, now);
                continue;
            }
            match ServerLine::parse(line) {
                Some(ServerLine::Refused(_)) => {
                    return Err(Loss::Refused(Excerpt::start(line).to_string()));
                }
                Some(ServerLine::Closed(_)) => {
                    return Err(Loss::Broken(Excerpt::start(line).to_string()));
                }
                Some(ServerLine::Rejected(why)) => self.take_rejection(line, why, now)?,
                None => self.take_wrong_reply(line, now)?,
            }
        }
    }

    /// Returns the index of the prefix with which a line acknowledges the oldest message in
    /// flight.
    fn acknowledging_prefix(&self, line: &[u8]) -> Option<usize> {
        let sent = self.outbox.messages_in_flight().next()?;
        let mut prefixes = self.settings.reply_prefix.iter();
        prefixes.position(|prefix| wire::is_acknowledgement(line, prefix, sent))
    }

    /// Takes a rejection of the oldest message in flight.
    fn take_rejection(&mut self, line: &[u8], why: &[u8], now: Instant) -> Result<(), Loss> {
        let Some(message) = self.outbox.oldest_in_flight() else {
            return Err(unexpected(line));
        };
        let report = format!("line {}: rejected: {}", message.line, Excerpt::start(why));
        self.counts.answers.rejected += 1;
        self.report(self.counts.answers.rejected, "rejections", report);
        self.print(line);
        self.record_replies(1, now);
        Ok(())
    }

    /// Takes any other line as a wrong reply to the oldest message in flight.
    fn take_wrong_reply(&mut self, line: &[u8], now: Instant) -> Result<(), Loss> {
        let Some(message) = self.outbox.oldest_in_flight() else {
            return Err(unexpected(line));
        };
        let difference = difference(&self.expected(line, message.sent), line);
        let mut report = format!("line {}: wrong reply: {difference}", message.line);
        if self.is_plain_echo(line, message.sent) && !self.has_hinted_at_echo {
            self.has_hinted_at_echo = true;
            report += " (a plain echo? --reply-prefix '')";
        }
        if !self.is_beginning_of_acknowledgement(line, message.sent) {
            self.wrong_here += 1;
        }
        self.counts.answers.wrong += 1;
        self.report(self.counts.answers.wrong, "wrong replies", report);
        self.print(line);
        self.record_replies(1, now);
        Ok(())
    }

    /// Returns the acknowledgement to compare a wrong reply with. It has the longest prefix
    /// that the reply begins with. If there is none, it has the prefix of the last
    /// acknowledgement, or at first the first prefix.
    fn expected(&self, wrong: &[u8], sent: &[u8]) -> Vec<u8> {
        let prefixes = &self.settings.reply_prefix;
        let begins = |prefix: &&String| wrong.starts_with(prefix.as_bytes());
        let longest = prefixes
            .iter()
            .filter(begins)
            .max_by_key(|prefix| prefix.len());
        let prefix = longest.unwrap_or(&prefixes[self.last_prefix]);
        let sent = Line::Whole(sent.strip_suffix(b"\n").unwrap_or(sent));
        [
            prefix.as_bytes(),
            wire::message_text(sent).unwrap_or_default(),
        ]
        .concat()
    }

    /// Whether a wrong reply is the message itself.
    fn is_plain_echo(&self, line: &[u8], sent: &[u8]) -> bool {
        wire::is_acknowledgement(line, "", sent)
    }

    /// Whether a wrong reply acknowledges the beginning of the message. If the path cuts a
    /// message, an honest server sends that.
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

    /// Counts acknowledgements of the oldest `count` messages in flight, all with the last
    /// prefix.
    fn record_acknowledged(&mut self, count: usize, now: Instant) {
        self.counts.answers.acknowledged += count as u64;
        self.counts.answers.by_prefix[self.last_prefix] += count as u64;
        self.record_replies(count, now);
    }

    /// Removes the oldest `count` messages in flight, which have their replies, good or bad.
    /// A reply ends an outage.
    fn record_replies(&mut self, count: usize, now: Instant) {
        if count == 0 {
            return;
        }
        // Both depend on the messages that are removed below.
        let outage_ended = self.outage_ends_at(now);
        if !self.is_window_open() {
            self.window_open_since = now;
        }
        let times = &mut self.counts.reply_times;
        self.outbox.pop(count, |due, messages| {
            times.record(now.saturating_duration_since(due), messages);
        });
        self.replies_here += count as u64;
        self.reply_awaited_since = Some(now);
        self.end_outage(outage_ended, now);
    }

    /// Reports an error of a single line, unless too many of its kind were reported. This is
    /// the error number `count` of its kind.
    pub(super) fn report(&mut self, count: u64, kind: &str, report: String) {
        if count <= MOST_REPORTED {
            self.news.push((Level::Error, report));
        } else if count == MOST_REPORTED + 1 {
            let news = format!("further {kind} are only counted");
            self.news.push((Level::Error, news));
        }
    }

    fn too_long(&self) -> Loss {
        let limit = self.longest_reply();
        Loss::Violation(format!("a reply of more than {limit} bytes"))
    }
}

/// A line that came while no message was in flight.
fn unexpected(line: &[u8]) -> Loss {
    let shown = Excerpt::start(line);
    Loss::Violation(format!(
        "unexpected line: \"{shown}\"; is this a tcp-chat server?"
    ))
}

/// Shows the expected line and the line that came, from shortly before they differ.
fn difference(wanted: &[u8], got: &[u8]) -> String {
    let pairs = wanted.iter().zip(got);
    let same = pairs.take_while(|(wanted, got)| wanted == got).count();
    let wanted = Excerpt::around(wanted, same);
    let got = Excerpt::around(got, same);
    let column = if wanted.is_cut() || got.is_cut() {
        format!("from column {} on ", same + 1)
    } else {
        String::new()
    };
    format!("{column}expected \"{wanted}\", got \"{got}\"")
}
