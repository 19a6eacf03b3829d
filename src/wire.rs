//! The protocol: what travels between client and server, byte for byte.
//!
//! # Transport
//!
//! TCP. The server listens on `127.0.0.1:12345` unless told otherwise, and the
//! client opens the connection. TCP is a byte stream: how the bytes are cut
//! into segments means nothing, so one segment may hold many messages and one
//! message may arrive in many segments. Urgent data (`MSG_OOB`) is not part of the
//! stream: nobody reads it.
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
//! taken off a reply but that LF; without it, the longest has 65,566 bytes. A client
//! that sends many messages must read replies meanwhile, or in the end both sides wait
//! for each other, until the server closes.
//!
//! | line | when |
//! |---|---|
//! | `Server received your message: <text>` | the message, echoed unchanged |
//! | `Server rejected your message: <reason>` | not UTF-8 (with the offset of the first byte that is not), or longer than the limit (with the limit), which is judged first; the connection goes on with the next message |
//!
//! # Notices: server to client
//!
//! A notice is unasked for. It is the server's last line before it closes.
//!
//! | line | when |
//! |---|---|
//! | `Server refused your connection: <reason>` | as many clients as allowed; no thread available |
//! | `Server closed your connection: <reason>` | idle too long (600 s unless told otherwise); a line begun and not ended in time (30 s); the server is stopping |
//!
//! A text holds no LF, so no message can forge a reply.
//!
//! # Other prefixes
//!
//! `server --reply-prefix TEXT` acknowledges with another text in place of `Server
//! received your message: `, of up to 1,024 bytes ([`MAX_PREFIX`]) and without CR
//! and LF; an empty one makes it a plain echo, as RFC 862 has it. A client that is
//! told what prefixes there are knows which one a reply has, since it knows the
//! message's text. As a plain echo would, a server may keep the one CR that came
//! before the LF. With such a prefix, a message may look like a rejection or a
//! notice; a line that acknowledges the oldest message is its acknowledgement,
//! whatever else it looks like.
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
//! silently, when a client does not take its replies in time (30 s): a client that
//! does not read cannot be told. A reply or notice already sent is not destroyed
//! by the close, unless the client does not take it: after a notice the server
//! half-closes and drains for at most a second first.
//!
//! In a shutdown the server answers each message that it has taken up: what had come from
//! each client, as far as it gets in 2 s, except a line, or with raw framing a character,
//! that has only begun. Then comes the notice. The server drains until the client
//! closes, for 5 s at most.
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
//! not have been taken up: a client that sends it again loses nothing and may
//! repeat it. After a `Server closed your connection` notice it was certainly not taken
//! up, so nothing is repeated. A stream cut in mid-line looks like one without its
//! last LF, so the server's log may show a cut message.

use std::fmt;

use crate::lines::Line;

/// The longest text of a message in bytes, its end of line not counted: 64 KiB,
/// as Redis's inline requests.
pub const MAX_MESSAGE: usize = 65_536;

/// The longest line of a message in bytes, its LF not counted: the longest text
/// and a CR. This is the limit for a
/// [`LineReader`](crate::lines::LineReader) of messages.
pub const MAX_MESSAGE_LINE: usize = MAX_MESSAGE + 1;

/// What an acknowledgement begins with, before the text of the message, unless the
/// server is told otherwise.
pub const DEFAULT_PREFIX: &str = "Server received your message: ";

/// The longest such prefix in bytes.
pub const MAX_PREFIX: usize = 1024;

/// Reads the prefix of acknowledgements. No CR may be in it: since a reply may keep the
/// CR of its message, two prefixes that differ by a CR at the end could not be told apart.
///
/// # Errors
///
/// One line that says what is wrong with the text.
pub fn prefix(text: &str) -> Result<String, String> {
    if text.contains(['\r', '\n']) {
        return Err("a CR or LF is in it".to_string());
    }
    if text.len() > MAX_PREFIX {
        return Err(format!("longer than {MAX_PREFIX} bytes"));
    }
    Ok(text.to_string())
}

/// A line that the server may say and that acknowledges nothing: another reply to
/// a message, or a notice.
///
/// # Examples
///
/// ```
/// use tcp_chat::wire::ServerLine;
///
/// let mut out = Vec::new();
/// ServerLine::Refused(b"10 clients are connected").write(&mut out);
/// assert_eq!(out, b"Server refused your connection: 10 clients are connected\n");
///
/// let line = b"Server rejected your message: not UTF-8 at byte 2";
/// let reply = ServerLine::Rejected(b"not UTF-8 at byte 2");
/// assert_eq!(ServerLine::read(line), Some(reply));
/// assert_eq!(ServerLine::read(b"220 mail.example ESMTP"), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerLine<'a> {
    /// A reply: the server does not take the message; this is why.
    Rejected(&'a [u8]),
    /// A notice: the server does not serve this client at all; this is why.
    Refused(&'a [u8]),
    /// A notice: the server serves this client no longer; this is why.
    Closed(&'a [u8]),
}

impl<'a> ServerLine<'a> {
    fn parts(self) -> (&'static str, &'a [u8]) {
        match self {
            ServerLine::Rejected(why) => ("Server rejected your message: ", why),
            ServerLine::Refused(why) => ("Server refused your connection: ", why),
            ServerLine::Closed(why) => ("Server closed your connection: ", why),
        }
    }

    /// Appends the line to `out`, its LF included.
    pub fn write(self, out: &mut Vec<u8>) {
        let (prefix, rest) = self.parts();
        write_line(prefix, rest, out);
    }

    /// What a line says, its LF already taken off; `None` if no server says it.
    pub fn read(line: &'a [u8]) -> Option<Self> {
        let kinds: [fn(&'a [u8]) -> Self; 3] = [Self::Rejected, Self::Refused, Self::Closed];
        kinds.into_iter().find_map(|kind| {
            let (prefix, _) = kind(b"").parts();
            line.strip_prefix(prefix.as_bytes()).map(kind)
        })
    }
}

fn write_line(prefix: &str, rest: &[u8], out: &mut Vec<u8>) {
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

/// The text of a message, or why there is none.
pub type TextResult<'a> = Result<&'a [u8], Rejection>;

/// The text of the message that a line is. It may still not be UTF-8.
///
/// # Errors
///
/// [`Rejection::TooLong`].
pub fn text(line: Line<'_>) -> TextResult<'_> {
    let text = match line {
        Line::Whole(line) => line.strip_suffix(b"\r").unwrap_or(line),
        // Only an LF makes the CR before it part of the end of line.
        Line::Cut(line) => line,
        Line::TooLong => return Err(Rejection::TooLong),
    };
    if text.len() > MAX_MESSAGE {
        Err(Rejection::TooLong)
    } else {
        Ok(text)
    }
}

/// Appends the server's reply to a message to `out`, LF included. An acknowledgement is
/// this prefix and the text, which is then returned.
///
/// # Errors
///
/// The reply is a rejection: the text was one already, or is not UTF-8.
pub fn reply<'a>(prefix: &str, text: TextResult<'a>, out: &mut Vec<u8>) -> TextResult<'a> {
    let checked = text.and_then(|text| {
        // Most texts are ASCII, which is quicker to see.
        if !text.is_ascii() {
            str::from_utf8(text).map_err(|error| Rejection::NotUtf8(error.valid_up_to()))?;
        }
        Ok(text)
    });
    match checked {
        Ok(text) => write_line(prefix, text, out),
        Err(rejection) => ServerLine::Rejected(rejection.to_string().as_bytes()).write(out),
    }
    checked
}

/// Whether the server's line, its LF already taken off, acknowledges a message as it
/// was sent, with its LF: it is the prefix and the text, with or without the one CR
/// that was sent after it.
pub fn is_acknowledgement(line: &[u8], prefix: &str, sent: &[u8]) -> bool {
    let sent = sent.strip_suffix(b"\n").unwrap_or(sent);
    let rest = line.strip_prefix(prefix.as_bytes());
    rest.is_some_and(|text| text == sent || sent.strip_suffix(b"\r") == Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines::LineReader;

    /// Every line of a stream whose bytes come all at once.
    fn lines(bytes: &[u8], mut each: impl FnMut(Line<'_>)) {
        let mut source = bytes;
        let mut lines = LineReader::new(MAX_MESSAGE_LINE);
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
        lines(bytes, |line| {
            _ = reply(DEFAULT_PREFIX, text(line), &mut out)
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
            for said in [
                ServerLine::Rejected(text),
                ServerLine::Refused(text),
                ServerLine::Closed(text),
            ] {
                let mut out = Vec::new();
                said.write(&mut out);
                let line = out.strip_suffix(b"\n").unwrap();
                assert_eq!(ServerLine::read(line), Some(said));
            }
        }
    }

    #[test]
    fn reads_no_other_line() {
        for line in [
            "",
            "hello",
            "Server rejected your message:",
            "server rejected your message: a",
            "Server received your message: a",
        ] {
            assert_eq!(ServerLine::read(line.as_bytes()), None);
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
        let answer = |line| reply("", text(line), &mut Vec::new());
        for line in [&b"ab\xe4\xb8"[..], b"ab\xe4\xb8\r"] {
            assert_eq!(answer(Line::Whole(line)), Err(Rejection::NotUtf8(2)));
        }
        assert_eq!(answer(Line::TooLong), Err(Rejection::TooLong));
        let mut out = Vec::new();
        assert_eq!(
            reply("", Err(Rejection::TooLong), &mut out),
            Err(Rejection::TooLong)
        );
        assert_eq!(
            out,
            b"Server rejected your message: longer than 65536 bytes\n"
        );
    }

    #[test]
    fn the_limit_of_a_message_does_not_count_its_end_of_line() {
        let longest = vec![b'x'; MAX_MESSAGE];
        let with_cr = [&longest[..], b"\r"].concat();
        let over = [&longest[..], b"x"].concat();
        assert_eq!(text(Line::Whole(&longest)), Ok(&longest[..]));
        assert_eq!(text(Line::Whole(&with_cr)), Ok(&longest[..]));
        assert_eq!(text(Line::Cut(&longest)), Ok(&longest[..]));
        assert_eq!(text(Line::Cut(&with_cr)), Err(Rejection::TooLong));
        assert_eq!(text(Line::Whole(&over)), Err(Rejection::TooLong));
        // A reader with this limit gives all that may be a message.
        for (line, found) in [
            (&with_cr, Line::Whole(&with_cr)),
            (&over, Line::Whole(&over)),
        ] {
            let bytes = [&line[..], b"\n"].concat();
            let (mut source, mut lines) = (&bytes[..], LineReader::new(MAX_MESSAGE_LINE));
            while !source.is_empty() {
                assert_eq!(lines.next_line(), None);
                lines.fill(&mut source).unwrap();
            }
            assert_eq!(lines.next_line(), Some(found));
        }
    }

    #[test]
    fn takes_off_only_the_cr_right_before_an_lf() {
        assert_eq!(text(Line::Whole(b"a\r\r")), Ok(&b"a\r"[..]));
        assert_eq!(text(Line::Whole(b"\ra\0")), Ok(&b"\ra\0"[..]));
        assert_eq!(text(Line::Cut(b"a\r")), Ok(&b"a\r"[..]));
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
                write_line(
                    DEFAULT_PREFIX,
                    text(Line::Whole(line)).unwrap(),
                    &mut expected,
                );
            });
            assert_eq!(replies(&sent), expected, "{}", input.escape_ascii());
        }
    }

    #[test]
    fn takes_no_prefix_that_is_long_or_holds_an_end_of_line() {
        for text in [
            "",
            " ",
            "one ",
            "Server rejected your message: ",
            "\0\u{fc}",
        ] {
            assert_eq!(prefix(text), Ok(text.to_string()));
        }
        let longest = "x".repeat(MAX_PREFIX);
        assert_eq!(prefix(&longest).as_ref(), Ok(&longest));
        let why = "longer than 1024 bytes";
        assert_eq!(prefix(&(longest + "x")), Err(why.to_string()));
        for text in ["\r", "a\r", "\na"] {
            let why = "a CR or LF is in it";
            assert_eq!(prefix(text), Err(why.to_string()), "{text:?}");
        }
    }

    /// Every text of at most so many of these characters.
    fn texts(characters: &[&str], length: usize) -> Vec<String> {
        let mut texts = vec![String::new()];
        let mut longest = texts.clone();
        for _ in 0..length {
            let longer = characters.iter().flat_map(|last| {
                let before = longest.iter();
                before.map(move |text| text.clone() + last)
            });
            longest = longer.collect();
            texts.extend_from_slice(&longest);
        }
        texts
    }

    #[test]
    fn a_line_acknowledges_what_was_sent_by_one_prefix_at_most() {
        let prefixes = texts(&["a", "b"], 3);
        let sent = texts(&["a", "b", "\r"], 4);
        let (mut yes, mut no) = (0, 0);
        for line in texts(&["a", "b", "\r"], 6) {
            for sent in &sent {
                let text = sent.strip_suffix('\r').unwrap_or(sent);
                let mut by = prefixes.iter().filter(|prefix| {
                    let is =
                        is_acknowledgement(line.as_bytes(), prefix, format!("{sent}\n").as_bytes());
                    let whole = |text: &str| line == format!("{prefix}{text}");
                    assert_eq!(is, whole(text) || whole(sent), "{line:?} of {sent:?}");
                    is
                });
                match by.next() {
                    Some(_) => yes += 1,
                    None => no += 1,
                }
                assert_eq!(by.next(), None, "{line:?} of {sent:?}");
            }
        }
        assert!(yes > 1000 && no > 1000, "{yes} are, {no} are not");
    }
}
