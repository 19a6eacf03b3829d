//! The protocol: what travels between client and server, byte for byte.
//!
//! # Transport
//!
//! TCP. The server listens on `127.0.0.1:12345` unless told otherwise, and the
//! client opens the connection. TCP is a byte stream: how the bytes are cut
//! into segments means nothing, so one segment may hold many messages and one
//! message may arrive in many segments.
//!
//! # Messages: client to server
//!
//! A message is a line: UTF-8 text, then LF (`0A`). One CR (`0D`) right before
//! that LF is not part of the text, so telnet and Windows files work; any other
//! CR is. The text may be empty. It has at most 65,536 bytes ([`MAX_MESSAGE`]),
//! the end of line not counted. The last message before the end of the stream
//! may lack its LF; a CR at its end is then text.
//!
//! # Replies: server to client
//!
//! For each message, in order, exactly one line, ended by LF alone. Nothing is
//! taken off a reply but that LF. The longest has 65,566 bytes ([`MAX_REPLY`]).
//! Whoever sends many messages must read replies meanwhile, or in the end both
//! sides wait for each other, until the server closes.
//!
//! | line | when |
//! |---|---|
//! | `Server received your message: <text>` | the message, echoed unchanged |
//! | `Server rejected your message: <reason>` | not UTF-8 (with the offset of the first such byte), or longer than the limit (with the limit), which is judged first; the connection goes on with the next message |
//!
//! # Notices: server to client
//!
//! A notice is unasked for. It is the server's last line before it closes.
//!
//! | line | when |
//! |---|---|
//! | `Server refused your connection: <reason>` | as many clients as allowed; no thread to be had |
//! | `Server closed your connection: <reason>` | idle too long (600 s unless told otherwise); a line begun and not ended in time (30 s) |
//!
//! A text holds no LF, so no message can forge a reply.
//!
//! # A session
//!
//! `C` is the client, `S` the server. The second message ends in CR LF, the
//! third is empty, the fourth is not UTF-8, and the last lacks its LF before
//! the client ends its side of the stream.
//!
//! ```text
//! C: hello\n
//! S: Server received your message: hello\n
//! C: gr\xc3\xbc\xc3\x9fe\r\n
//! S: Server received your message: gr\xc3\xbc\xc3\x9fe\n
//! C: \n
//! S: Server received your message: \n
//! C: ab\xff\n
//! S: Server rejected your message: not UTF-8 at byte 2\n
//! C: bye<end of stream>
//! S: Server received your message: bye\n<end of stream>
//! ```
//!
//! # Closing
//!
//! A client that has sent all it has waits for its replies and closes. It may
//! half-close first: the server then answers everything that it received, and
//! closes. (Some proxies take a half-close for the end of both directions and
//! drop the replies, so it is safer to count them, as `client` does.) A client
//! may also just go away. The server closes by itself after a notice and,
//! silently, when a client does not take its replies in time (30 s): nothing can be
//! said to who does not read. A reply or notice already sent is not destroyed
//! by the close, unless the client does not take it: after a notice the server
//! half-closes and drains for at most a second first.
//!
//! # Raw framing
//!
//! `server --framing raw` is for peers that know no framing. Whatever one read
//! of up to 65,536 bytes returns is one message: no CR or LF is taken off, and
//! replies, rejections and notices carry no LF. A UTF-8 character cut by the
//! end of a read waits for its other bytes, as long as a line begun may wait
//! for its end; at the end of the stream it is rejected.
//!
//! # Promises
//!
//! An acknowledgement means that the server had the whole message. Replies
//! come in the order of their messages. A message without a reply may or may
//! not have been seen: a client that sends it again loses nothing and may
//! repeat it. A stream cut in mid-line cannot be told from one without its last
//! LF, so the server's log may show a cut message.

use std::fmt;
use std::str;

use crate::lines::{Line, without_cr};

/// The longest text of a message in bytes, its end of line not counted: 64 KiB,
/// as Redis's inline requests.
pub const MAX_MESSAGE: usize = 65_536;

/// The longest reply in bytes, its LF not counted: an echo of the longest
/// message.
pub const MAX_REPLY: usize = RECEIVED.len() + MAX_MESSAGE;

const RECEIVED: &str = "Server received your message: ";
const REJECTED: &str = "Server rejected your message: ";
const REFUSED: &str = "Server refused your connection: ";
const CLOSED: &str = "Server closed your connection: ";

/// The server's answer to one message.
///
/// # Examples
///
/// ```
/// use tcp_chat::wire::Reply;
///
/// let mut out = Vec::new();
/// Reply::Received(b"hello").write(&mut out);
/// assert_eq!(out, b"Server received your message: hello\n");
///
/// let line = b"Server rejected your message: not UTF-8 at byte 2";
/// assert_eq!(Reply::read(line), Some(Reply::Rejected(b"not UTF-8 at byte 2")));
/// assert_eq!(Reply::read(b"220 mail.example ESMTP"), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// The server had the whole message; this is its text.
    Received(&'a [u8]),
    /// The server does not take the message; this is why.
    Rejected(&'a [u8]),
}

impl<'a> Reply<'a> {
    /// Appends the reply's line to `out`, its LF included.
    pub fn write(self, out: &mut Vec<u8>) {
        match self {
            Reply::Received(text) => write_line(out, RECEIVED, text),
            Reply::Rejected(reason) => write_line(out, REJECTED, reason),
        }
    }

    /// The reply that a line is, its LF already taken off; `None` if it is none.
    pub fn read(line: &'a [u8]) -> Option<Self> {
        if let Some(text) = line.strip_prefix(RECEIVED.as_bytes()) {
            return Some(Reply::Received(text));
        }
        line.strip_prefix(REJECTED.as_bytes()).map(Reply::Rejected)
    }
}

/// The server's last line to a client that it turns away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice<'a> {
    /// The server does not serve this client at all; this is why.
    Refused(&'a [u8]),
    /// The server serves this client no longer; this is why.
    Closed(&'a [u8]),
}

impl<'a> Notice<'a> {
    /// Appends the notice's line to `out`, its LF included.
    pub fn write(self, out: &mut Vec<u8>) {
        match self {
            Notice::Refused(reason) => write_line(out, REFUSED, reason),
            Notice::Closed(reason) => write_line(out, CLOSED, reason),
        }
    }

    /// The notice that a line is, its LF already taken off; `None` if it is none.
    pub fn read(line: &'a [u8]) -> Option<Self> {
        if let Some(reason) = line.strip_prefix(REFUSED.as_bytes()) {
            return Some(Notice::Refused(reason));
        }
        line.strip_prefix(CLOSED.as_bytes()).map(Notice::Closed)
    }
}

fn write_line(out: &mut Vec<u8>, prefix: &str, rest: &[u8]) {
    out.extend_from_slice(prefix.as_bytes());
    out.extend_from_slice(rest);
    out.push(b'\n');
}

/// Why a message is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The text has more than [`MAX_MESSAGE`] bytes.
    TooLong,
    /// The text is not UTF-8; this is the offset of the first byte that is not.
    NotUtf8(usize),
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rejection::TooLong => write!(f, "longer than {MAX_MESSAGE} bytes"),
            Rejection::NotUtf8(offset) => write!(f, "not UTF-8 at byte {offset}"),
        }
    }
}

impl std::error::Error for Rejection {}

/// The text of the message that a line is, as the server understands it; it is
/// UTF-8.
///
/// # Errors
///
/// The line is over the limit or not UTF-8.
pub fn message(line: Line<'_>) -> Result<&[u8], Rejection> {
    let text = match line {
        Line::Whole(line) => without_cr(line),
        // Only an LF makes the CR before it part of the end of line.
        Line::Cut(line) => line,
        Line::TooLong => return Err(Rejection::TooLong),
    };
    // Most texts are ASCII, which is quicker to see.
    if !text.is_ascii() {
        str::from_utf8(text).map_err(|error| Rejection::NotUtf8(error.valid_up_to()))?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines::LineReader;

    /// Every line of a stream whose bytes come all at once.
    fn lines(bytes: &[u8], mut each: impl FnMut(Line<'_>)) {
        let mut source = bytes;
        let mut lines = LineReader::new(MAX_REPLY);
        while lines.fill(&mut source).unwrap() > 0 {
            while let Some(line) = lines.next_line() {
                each(line);
            }
        }
        if let Some(line) = lines.next_line() {
            each(line);
        }
    }

    /// What the server answers to these bytes.
    fn replies(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        lines(bytes, |line| match message(line) {
            Ok(text) => Reply::Received(text).write(&mut out),
            Err(rejection) => Reply::Rejected(rejection.to_string().as_bytes()).write(&mut out),
        });
        out
    }

    #[test]
    fn reads_what_it_writes() {
        for text in [
            "",
            "hello",
            "\r",
            "Server received your message: forged",
            "a\0b",
        ] {
            let text = text.as_bytes();
            for reply in [Reply::Received(text), Reply::Rejected(text)] {
                let mut out = Vec::new();
                reply.write(&mut out);
                let line = out.strip_suffix(b"\n").unwrap();
                assert_eq!(Reply::read(line), Some(reply));
                assert_eq!(Notice::read(line), None);
            }
            for notice in [Notice::Refused(text), Notice::Closed(text)] {
                let mut out = Vec::new();
                notice.write(&mut out);
                let line = out.strip_suffix(b"\n").unwrap();
                assert_eq!(Notice::read(line), Some(notice));
                assert_eq!(Reply::read(line), None);
            }
        }
    }

    #[test]
    fn reads_no_other_line_as_a_reply_or_notice() {
        for line in [
            "",
            "hello",
            "Server received your message:",
            "server received your message: a",
        ] {
            assert_eq!(Reply::read(line.as_bytes()), None);
            assert_eq!(Notice::read(line.as_bytes()), None);
        }
    }

    #[test]
    fn answers_the_session_of_the_protocol_page() {
        let sent = b"hello\ngr\xc3\xbc\xc3\x9fe\r\n\nab\xff\nbye";
        let expected = "Server received your message: hello\n\
                        Server received your message: gr\u{fc}\u{df}e\n\
                        Server received your message: \n\
                        Server rejected your message: not UTF-8 at byte 2\n\
                        Server received your message: bye\n";
        assert_eq!(replies(sent), expected.as_bytes());
    }

    #[test]
    fn rejects_a_cut_character_and_a_text_over_the_limit() {
        assert_eq!(
            message(Line::Whole(b"ab\xe4\xb8")),
            Err(Rejection::NotUtf8(2))
        );
        assert_eq!(
            message(Line::Whole(b"ab\xe4\xb8\r")),
            Err(Rejection::NotUtf8(2))
        );
        assert_eq!(message(Line::TooLong), Err(Rejection::TooLong));
        assert_eq!(Rejection::TooLong.to_string(), "longer than 65536 bytes");
    }

    #[test]
    fn takes_off_only_the_cr_right_before_an_lf() {
        assert_eq!(message(Line::Whole(b"a\r\r")), Ok(&b"a\r"[..]));
        assert_eq!(message(Line::Whole(b"\ra\0")), Ok(&b"\ra\0"[..]));
        assert_eq!(message(Line::Cut(b"a\r")), Ok(&b"a\r"[..]));
    }

    /// The client's side: it sends each line of its input as it came, with an
    /// LF, and expects its text back, without the one CR.
    #[test]
    fn acknowledges_every_short_string_of_ends_of_line_without_a_mismatch() {
        let mut inputs = vec![Vec::new()];
        for length in 0..4 {
            let longest = inputs.iter().filter(|input| input.len() == length);
            let longer =
                longest.flat_map(|input| b"a\r\n".map(|byte| [&input[..], &[byte]].concat()));
            inputs.extend(longer.collect::<Vec<_>>());
        }
        assert_eq!(inputs.len(), 1 + 3 + 9 + 27 + 81);
        for input in inputs {
            let mut sent = Vec::new();
            let mut expected = Vec::new();
            lines(&input, |line| {
                let (Line::Whole(line) | Line::Cut(line)) = line else {
                    unreachable!("{line:?}");
                };
                sent.extend_from_slice(line);
                sent.push(b'\n');
                Reply::Received(without_cr(line)).write(&mut expected);
            });
            assert_eq!(replies(&sent), expected, "{}", input.escape_ascii());
        }
    }
}
