//! A conversation as three lists: the queued messages, the replies, and the printed bytes. It
//! never forgets anything, so nothing can go wrong in it.

/// The lines that can be queued, each as it comes, without its LF.
pub(super) const TEXTS: [&[u8]; 4] = [b"one", b"two\r", b"", b"four"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Answer {
    Acknowledged,
    /// Acknowledged, by an empty prefix.
    Echoed,
    Rejected,
    Wrong,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum InputEnd {
    Good,
    Bad,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    /// How many lines of input there were, those too long to be sent included.
    pub(super) lines: usize,
    pub(super) too_long: u64,
    /// The texts of all messages, with and without a reply.
    pub(super) messages: Vec<&'static [u8]>,
    pub(super) answers: Vec<Answer>,
    pub(super) printed: Vec<u8>,
    pub(super) input: Option<InputEnd>,
    pub(super) is_connected: bool,
    /// How many connections there were.
    pub(super) connections: u64,
    /// How many lines each connection is for.
    pub(super) reconnect_every: Option<usize>,
    /// How many lines were sent over the current connection.
    pub(super) asked: usize,
    /// Whether the last connection has done its part, and no other one has come since.
    pub(super) is_resting: bool,
    /// How many messages were sent over the current connection, or had a reply before it.
    pub(super) sent: usize,
    /// How many messages were sent over any connection.
    pub(super) ever_sent: usize,
    pub(super) sent_again: u64,
    /// How many replies came over the current connection.
    pub(super) replies_here: usize,
    /// How many of these replies were wrong.
    pub(super) wrong_here: usize,
    pub(super) is_half_closed: bool,
    pub(super) is_outage: bool,
    pub(super) outages: u64,
}

impl Model {
    pub(super) fn in_flight(&self) -> usize {
        if self.is_connected {
            self.sent - self.answers.len()
        } else {
            0
        }
    }

    pub(super) fn unacknowledged(&self) -> usize {
        self.messages.len() - self.answers.len()
    }

    /// How many messages were acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        self.count(Answer::Acknowledged) + self.count(Answer::Echoed)
    }

    /// How many messages had such a reply.
    pub(super) fn count(&self, answer: Answer) -> u64 {
        self.answers.iter().filter(|had| **had == answer).count() as u64
    }

    pub(super) fn is_done(&self) -> bool {
        self.input.is_some() && self.unacknowledged() == 0 && self.connections > 0
    }

    pub(super) fn is_success(&self) -> bool {
        let acknowledged = self.acknowledged() as usize;
        self.is_done() && self.input == Some(InputEnd::Good) && acknowledged == self.lines
    }

    /// Whether the peer has shown that it echoes no lines.
    pub(super) fn is_no_line_echo(&self) -> bool {
        self.acknowledged() == 0 && self.wrong_here > 0 && self.wrong_here == self.replies_here
    }

    /// Begins an attempt to connect.
    pub(super) fn begin_attempt(&mut self) {
        self.replies_here = 0;
        self.wrong_here = 0;
    }

    pub(super) fn enqueue(&mut self, text: Option<&'static [u8]>) {
        self.lines += 1;
        match text {
            Some(text) => self.messages.push(text),
            None => self.too_long += 1,
        }
    }

    pub(super) fn connect(&mut self) {
        self.is_connected = true;
        self.connections += 1;
        self.asked = 0;
        self.is_resting = false;
        self.is_half_closed = false;
        self.sent = self.answers.len();
    }

    /// How many lines may still be sent over this connection.
    pub(super) fn left(&self) -> usize {
        self.reconnect_every
            .map_or(usize::MAX, |all| all - self.asked)
    }

    /// Whether nothing more is expected over this connection.
    pub(super) fn has_done_its_part(&self) -> bool {
        self.is_done() || self.is_connected && self.left() == 0 && self.in_flight() == 0
    }

    /// Sends all unsent messages that may be sent. Returns their bytes.
    pub(super) fn send(&mut self) -> Vec<u8> {
        let count = self.left().min(self.messages.len() - self.sent);
        let to = self.sent + count;
        let unsent = &self.messages[self.sent..to];
        let bytes = unsent.iter().flat_map(|text| [text, &b"\n"[..]]);
        let bytes = bytes.collect::<Vec<_>>().concat();
        self.sent_again += (self.ever_sent.min(to) - self.sent) as u64;
        self.asked += count;
        self.sent = to;
        self.ever_sent = self.ever_sent.max(to);
        bytes
    }

    /// The line that acknowledges the oldest message in flight.
    pub(super) fn acknowledgement(&self) -> Vec<u8> {
        let text = self.messages[self.answers.len()];
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        [b"Server received your message: ", text, b"\n"].concat()
    }

    /// The oldest message in flight as a plain echo sends it back.
    pub(super) fn echo(&self) -> Vec<u8> {
        [self.messages[self.answers.len()], b"\n"].concat()
    }

    /// Records that this line is the reply to the oldest message in flight.
    pub(super) fn answer(&mut self, answer: Answer, line: &[u8]) {
        self.answers.push(answer);
        self.replies_here += 1;
        self.wrong_here += usize::from(answer == Answer::Wrong);
        self.printed.extend_from_slice(b"Server: ");
        self.printed.extend_from_slice(line);
        self.end_outage();
    }

    pub(super) fn end_outage(&mut self) {
        self.outages += u64::from(self.is_outage);
        self.is_outage = false;
    }
}
