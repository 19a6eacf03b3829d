//! A stream of bytes to a server and back, which ends where a test says.

use tcp_chat::wire::MAX_MESSAGE_LINE;

use super::*;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Way {
    There,
    Back,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum How {
    EndOfFile,
    Reset,
    Silence,
}

/// What the first connections suffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Damage {
    pub(super) way: Way,
    pub(super) how: How,
    /// How many bytes get through.
    pub(super) after: usize,
    pub(super) connections: usize,
}

/// The input of a client.
pub(super) struct Input<'a> {
    source: &'a [u8],
    lines: LineReader,
    is_at_end: bool,
}

impl<'a> Input<'a> {
    pub(super) fn new(source: &'a [u8]) -> Self {
        Input {
            source,
            lines: LineReader::new(MAX_MESSAGE_LINE),
            is_at_end: false,
        }
    }

    /// Queues lines until the window is full or the input has ended.
    pub(super) fn enqueue(&mut self, conversation: &mut Conversation, now: Instant) {
        while conversation.is_window_open() && conversation.input == super::Input::Open {
            match self.lines.next_line() {
                Some(line) => conversation.enqueue(line, now),
                None if self.is_at_end => conversation.end_input(Ok(())),
                None => self.is_at_end = self.lines.fill(&mut self.source).unwrap() == 0,
            }
        }
    }
}

/// A connection, and the server at its other side.
pub(super) struct Connection {
    how: How,
    /// How many bytes still get through to the server.
    there: usize,
    /// How many bytes still get through from the server.
    back: usize,
    messages: LineReader,
    /// Whether the server has read its last byte.
    is_closed: bool,
    /// Bytes that the server has sent and the path has not carried yet.
    said: Vec<u8>,
    /// Bytes that the path has carried and the client has not read yet.
    carried: Vec<u8>,
    replies: LineReader,
}

impl Connection {
    pub(super) fn new(damage: Damage, is_damaged: bool) -> Self {
        let left = |way| {
            if is_damaged && damage.way == way {
                damage.after
            } else {
                usize::MAX
            }
        };
        Connection {
            how: damage.how,
            there: left(Way::There),
            back: left(Way::Back),
            messages: LineReader::new(MAX_MESSAGE_LINE),
            is_closed: false,
            said: Vec::new(),
            carried: Vec::new(),
            replies: LineReader::new(MAX_REPLY),
        }
    }

    /// Sends all unsent messages, lets the server reply, and reads once, at most `part` bytes.
    pub(super) fn step(
        &mut self,
        conversation: &mut Conversation,
        part: usize,
        now: &mut Instant,
    ) -> Result<Received, Loss> {
        let mut batch = Vec::new();
        if conversation.take_unsent(&mut batch, *now) == Some(ToSend::Over) {
            // The writer then shuts the connection, which ends the read.
            return conversation.receive_since(&mut self.replies, Ok(0), *now, *now);
        }
        let mut batch = &batch[..batch.len().min(self.there)];
        self.there -= batch.len();
        while !batch.is_empty() {
            self.messages.fill(&mut batch).unwrap();
            self.answer();
        }
        if self.there == 0 && self.how == How::EndOfFile && !self.is_closed {
            self.is_closed = true;
            self.messages.fill(&mut &b""[..]).unwrap();
            self.answer();
        }
        let carried = self.said.len().min(self.back);
        self.back -= carried;
        self.carried.extend(self.said.drain(..carried));

        let listening_since = *now;
        *now += Duration::from_millis(1);
        let next = self.carried.len().min(part);
        let read = if next > 0 {
            let read = self.replies.fill(&mut &self.carried[..next]).unwrap();
            self.carried.drain(..read);
            Ok(read)
        } else {
            assert!(self.there == 0 || self.back == 0, "nothing more is to come");
            match self.how {
                How::EndOfFile => self.replies.fill(&mut &b""[..]),
                How::Reset => Err(io::ErrorKind::ConnectionReset.into()),
                How::Silence => {
                    *now += conversation.settings.timeout.unwrap();
                    Err(READ_TIMEOUT.into())
                }
            }
        };
        conversation.receive_since(&mut self.replies, read, listening_since, *now)
    }

    fn answer(&mut self) {
        while let Some(line) = self.messages.next_line() {
            let _ = wire::append_reply(wire::DEFAULT_PREFIX, line, &mut self.said);
        }
    }
}
