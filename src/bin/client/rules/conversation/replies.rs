//! Checks each line that the server sends, counts the replies and queues them for printing.

use std::time::Instant;

use tcp_chat::lines::{Line, LineReader};
use tcp_chat::printable::Excerpt;
use tcp_chat::wire::{self, ServerLine};

use super::{Conversation, Loss, MOST_REPORTED, News};

impl Conversation {
    /// Checks every line that is here, and queues each reply to a message for printing.
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
                    let why = "closed by the other end in the middle of a reply";
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
                self.queue_for_printing(line);
                self.record_acknowledged(1, now);
                continue;
            }
            match ServerLine::parse(line) {
                Some(ServerLine::Refused(_)) => {
                    return Err(Loss::NotServed(Excerpt::start(line).to_string()));
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
        self.counts.replies.rejected += 1;
        self.report(self.counts.replies.rejected, "rejections", report);
        self.queue_for_printing(line);
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
        if is_plain_echo(line, message.sent) && !self.has_hinted_at_echo {
            self.has_hinted_at_echo = true;
            report += " (a plain echo? --reply-prefix '')";
        }
        if !self.is_beginning_of_acknowledgement(line, message.sent) {
            self.wrong_here += 1;
        }
        self.counts.replies.wrong += 1;
        self.report(self.counts.replies.wrong, "wrong replies", report);
        self.queue_for_printing(line);
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

    /// Whether a wrong reply acknowledges the beginning of the message. If the path cuts a
    /// message, an honest server sends that.
    fn is_beginning_of_acknowledgement(&self, line: &[u8], sent: &[u8]) -> bool {
        // With an empty prefix, an empty line is the beginning of any acknowledgement. It
        // does not show that the server echoes lines.
        if line.is_empty() {
            return false;
        }
        self.settings.reply_prefix.iter().any(|prefix| {
            let text = line.strip_prefix(prefix.as_bytes());
            text.is_some_and(|text| sent.starts_with(text))
        })
    }

    /// Appends a reply to the output that the session thread prints.
    fn queue_for_printing(&mut self, line: &[u8]) {
        self.output.extend_from_slice(b"Server: ");
        self.output.extend_from_slice(line);
        self.output.push(b'\n');
    }

    /// Counts acknowledgements of the oldest `count` messages in flight, all with the last
    /// prefix.
    fn record_acknowledged(&mut self, count: usize, now: Instant) {
        self.counts.replies.acknowledged += count as u64;
        self.counts.replies.by_prefix[self.last_prefix] += count as u64;
        self.record_replies(count, now);
    }

    /// Removes the oldest `count` messages in flight, which have their replies, good or bad.
    /// A reply ends an outage.
    fn record_replies(&mut self, count: usize, now: Instant) {
        if count == 0 {
            return;
        }
        // Both depend on the messages that are removed below.
        let outage_length = self.outage_length(now);
        if !self.is_window_open() {
            self.window_open_since = now;
        }
        let times = &mut self.counts.reply_times;
        self.outbox.pop(count, |due, messages| {
            times.record(now.saturating_duration_since(due), messages);
        });
        self.replies_here += count as u64;
        self.reply_awaited_since = Some(now);
        if let Some(length) = outage_length {
            self.end_outage(length, now);
        }
    }

    /// Reports an error of a single line, unless too many of its kind were reported. This is
    /// the error number `count` of its kind.
    pub(super) fn report(&mut self, count: u64, kind: &str, report: String) {
        if count <= MOST_REPORTED {
            self.news.push(News::error(report));
        } else if count == MOST_REPORTED + 1 {
            let news = format!("further {kind} are only counted");
            self.news.push(News::error(news));
        }
    }

    fn too_long(&self) -> Loss {
        let limit = self.longest_reply();
        Loss::Violation(format!(
            "a reply of more than {limit} bytes; is this a tcp-chat server?"
        ))
    }
}

/// Whether a wrong reply is the message itself.
fn is_plain_echo(line: &[u8], sent: &[u8]) -> bool {
    wire::is_acknowledgement(line, "", sent)
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
    let column = column(wanted, same);
    let wanted = Excerpt::around(wanted, same);
    let got = Excerpt::around(got, same);
    let from = if wanted.is_cut() || got.is_cut() {
        format!("from column {column} on ")
    } else {
        String::new()
    };
    format!("{from}expected \"{wanted}\", got \"{got}\"")
}

/// Returns the column, counted in characters from 1, that holds the byte at this offset.
/// Bytes that are not UTF-8 count as they are shown: each sequence as one character.
fn column(text: &[u8], offset: usize) -> usize {
    let mut column = 1;
    let mut end = 0;
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            end += character.len_utf8();
            if end > offset {
                return column;
            }
            column += 1;
        }
        if !chunk.invalid().is_empty() {
            end += chunk.invalid().len();
            if end > offset {
                return column;
            }
            column += 1;
        }
    }
    column
}

#[cfg(test)]
mod tests {
    use super::column;

    #[test]
    fn a_column_counts_characters_and_not_bytes() {
        for (text, offset, expected) in [
            (&b"abc"[..], 0, 1),
            (b"abc", 2, 3),
            // At the end of the text.
            (b"abc", 3, 4),
            (b"", 0, 1),
            ("aéb".as_bytes(), 1, 2),
            // In the middle of the \u{e9}.
            ("aéb".as_bytes(), 2, 2),
            ("aéb".as_bytes(), 3, 3),
            (b"a\xffb", 2, 3),
        ] {
            assert_eq!(column(text, offset), expected, "{text:?}, {offset}");
        }
    }
}
