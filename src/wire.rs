//! The protocol: the bytes that client and server send each other.
//!
//! # Transport
//!
//! The transport is TCP. By default, the server listens on `127.0.0.1:12345`. The
//! client opens the connection.
//!
//! TCP is a byte stream, and its segments have no meaning: one segment may hold many
//! messages, and one message may arrive in many segments. The programs do not read urgent
//! data (`MSG_OOB`), which is not part of the stream.
//!
//! # Messages: client to server
//!
//! A message is a line: UTF-8 text, then LF (`0A`).
//!
//! - The text may be empty. It has at most 65,536 bytes ([`MAX_MESSAGE`]), not counting
//!   the end of the line.
//! - One CR (`0D`) directly before the LF belongs to the end of the line, not to the text,
//!   so telnet and Windows files work. Any other CR is text.
//! - The last message before the end of the stream may lack its LF. A CR at the end of
//!   such a message is text.
//!
//! # Replies: server to client
//!
//! The server sends exactly one reply for each message, in the order of the messages. A
//! reply is a line that ends in LF. A client removes that LF and nothing else: a CR
//! before it is part of the reply.
//!
//! | line | meaning |
//! |---|---|
//! | `Server received your message: <text>` | acknowledgement: the message's text, unchanged |
//! | `Server rejected your message: <reason>` | rejection: the text is longer than the limit, or not UTF-8 |
//!
//! With the prefix `Server received your message: `, the longest reply has 65,566 bytes,
//! not counting its LF.
//!
//! The reason of a rejection names the limit (`longer than 65536 bytes`), or the offset
//! (from 0) of the first byte that is not UTF-8. Do not match the words of other reasons.
//! If a text is both too long and not UTF-8, the reason names the limit. The rejection of
//! a long line comes only after the line's end. After a rejection, the connection goes on
//! with the next message.
//!
//! A client that sends many messages must read replies while it sends. Otherwise both
//! sides end up waiting for each other, until the server closes the connection.
//!
//! # Notices: server to client
//!
//! A notice answers no message. It is the last line that the server sends before it closes
//! the connection.
//!
//! | line | meaning |
//! |---|---|
//! | `Server refused your connection: <reason>` | the server takes no message from this client: as many clients as allowed are connected, or no thread is available |
//! | `Server closed your connection: <reason>` | the client was idle for too long (default 600 s); it did not end a line in time (default 30 s); the server is shutting down |
//!
//! An acknowledgement repeats the text of a message. This text contains no LF, so with
//! the default prefix, no message can forge a reply or a notice.
//!
//! # Other prefixes
//!
//! With `server --reply-prefix TEXT`, an acknowledgement begins with `TEXT` instead of
//! `Server received your message: `. The prefix has at most 1,024 bytes ([`MAX_PREFIX`])
//! and contains no CR or LF. An empty prefix makes the server an echo of lines, nearly as
//! in RFC 862. But this server drops a CR directly before the LF, and echoes only UTF-8.
//!
//! - A client that knows the possible prefixes can tell which prefix a reply has, because
//!   the client knows the message's text.
//! - A server that echoes bytes, not lines, keeps the CR directly before the message's
//!   LF. So a client should accept an acknowledgement with this CR, and one without.
//! - With an empty prefix, for example, an acknowledgement may look like a rejection or a
//!   notice. So a client first checks whether a line acknowledges the oldest message that
//!   has no reply yet. Such a line is an acknowledgement, even if it looks like a notice.
//!
//! # A session
//!
//! `C` is the client, `S` the server. The second message ends in CR LF, the third is empty,
//! and the fourth is not UTF-8. The last lacks its LF: the client half-closes after it.
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
//! Usually, a client that has sent everything waits for its replies, and then closes.
//!
//! - A client may half-close first. The server then replies to everything that it
//!   received, and closes. Some proxies treat a half-close as the end of both directions
//!   and drop the replies. So it is safer to count the replies and then close, as
//!   `client` does, than to half-close first.
//! - A client may also close without waiting.
//!
//! The server closes by itself in two cases:
//!
//! - After a notice. To lose no reply or notice, the server first half-closes. It then
//!   reads and discards what the client still sends, for at most 1 s (in a shutdown,
//!   longer: see below). A client that reads to the end of the stream in that time gets
//!   everything.
//!
//!   If the client has sent bytes, but no LF, its notice after a deadline ends in a hint:
//!   `(end each message with LF, or start the server with --framing raw)`.
//! - Silently, if the client does not read its replies in time (by default 30 s). A
//!   client that does not read would not read a notice either.
//!
//! In a shutdown, the server replies to each message that it has processed, then sends a
//! notice:
//!
//! - For at most 2 s, the server processes the messages that have arrived. If a client
//!   never stops sending, the server processes only the client's first messages.
//! - The server does not process a line without an end. With raw framing, it does not
//!   process a UTF-8 character whose last bytes have not arrived.
//! - After the notice, the server half-closes, then reads and discards until the client
//!   closes. The server cuts off clients that are still connected 5 s after the
//!   shutdown began.
//!
//! # Raw framing
//!
//! `server --framing raw` is for peers that send no lines. Each read is one message of
//! up to 65,536 bytes. The server removes no CR or LF from it, and adds no LF to the end
//! of a reply or notice.
//!
//! If a read ends inside a UTF-8 character, the text before that character is the
//! message. The first bytes of the character wait for the rest, and begin the next
//! message. This wait has the same limit as the wait for the end of a line (by default
//! 30 s). If the stream ends first, the server rejects these bytes, as a message of their
//! own.
//!
//! # Promises
//!
//! - An acknowledgement means that the server received the whole message, unless the
//!   stream was cut inside that message (see below).
//! - Replies come in the order of their messages.
//! - The server may or may not have processed a message that has no reply. A client that
//!   resends such a message loses nothing, but may repeat it.
//! - If a `Server closed your connection` notice comes, the server has processed only
//!   messages that have a reply. Resending the others repeats nothing.
//! - A stream that is cut inside a line looks like a stream that lacks its last LF. So
//!   the server's log may show a cut message.

use std::fmt;

use crate::lines::Line;

/// The longest text of a message in bytes, not counting the end of the line: 64 KiB, as
/// in Redis's inline requests.
pub const MAX_MESSAGE: usize = 65_536;

/// The longest line of a message in bytes, not counting its LF: the longest text and a CR.
/// It is the limit for a [`LineReader`](crate::lines::LineReader) of messages.
pub const MAX_MESSAGE_LINE: usize = MAX_MESSAGE + 1;

/// The default beginning of an acknowledgement, before the text of the message.
pub const DEFAULT_PREFIX: &str = "Server received your message: ";

/// The longest prefix of acknowledgements in bytes.
pub const MAX_PREFIX: usize = 1024;

/// Parses the prefix of acknowledgements on the command line. The prefix must not contain
/// a CR. A reply may keep the CR of its message, so a client could not distinguish two
/// prefixes that differ by a CR at the end.
///
/// # Errors
///
/// Says in one line that the text contains a CR or LF, or is longer than [`MAX_PREFIX`].
pub fn parse_prefix(text: &str) -> Result<String, String> {
    if text.contains(['\r', '\n']) {
        return Err("must not contain CR or LF".to_string());
    }
    if text.len() > MAX_PREFIX {
        return Err(format!("must have at most {MAX_PREFIX} bytes"));
    }
    Ok(text.to_string())
}

/// A line from the server that acknowledges nothing: a rejection or a notice.
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
/// assert_eq!(ServerLine::parse(line), Some(reply));
/// assert_eq!(ServerLine::parse(b"220 mail.example ESMTP"), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerLine<'a> {
    /// A reply: the server rejects the message, for this reason.
    Rejected(&'a [u8]),
    /// A notice: the server does not serve this client at all, for this reason.
    Refused(&'a [u8]),
    /// A notice: the server stops serving this client, for this reason.
    Closed(&'a [u8]),
}

const REJECTED: &str = "Server rejected your message: ";
const REFUSED: &str = "Server refused your connection: ";
const CLOSED: &str = "Server closed your connection: ";

impl<'a> ServerLine<'a> {
    /// Appends the line to `out`, with its LF.
    pub fn write(self, out: &mut Vec<u8>) {
        match self {
            ServerLine::Rejected(why) => write_line(REJECTED, why, out),
            ServerLine::Refused(why) => write_line(REFUSED, why, out),
            ServerLine::Closed(why) => write_line(CLOSED, why, out),
        }
    }

    /// Parses a line without its LF. Returns `None` if it is no rejection or notice.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        if let Some(why) = line.strip_prefix(REJECTED.as_bytes()) {
            return Some(ServerLine::Rejected(why));
        }
        if let Some(why) = line.strip_prefix(REFUSED.as_bytes()) {
            return Some(ServerLine::Refused(why));
        }
        let why = line.strip_prefix(CLOSED.as_bytes())?;
        Some(ServerLine::Closed(why))
    }
}

fn write_line(prefix: &str, rest: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(prefix.as_bytes());
    out.extend_from_slice(rest);
    out.push(b'\n');
}

/// Why the server rejects a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The text has more than [`MAX_MESSAGE`] bytes.
    TooLong,
    /// The text is not UTF-8. The number is the offset of the first byte that is not.
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

/// The text of a message, or why the server rejects the message.
pub type TextResult<'a> = Result<&'a [u8], Rejection>;

/// Returns the text of the message in a line: removes the CR that belongs to the end of the
/// line. It does not check that the text is UTF-8; [`append_reply`] does.
///
/// # Errors
///
/// [`Rejection::TooLong`] if the text has more than [`MAX_MESSAGE`] bytes.
pub fn message_text(line: Line<'_>) -> TextResult<'_> {
    let text = match line {
        Line::Whole(line) => line.strip_suffix(b"\r").unwrap_or(line),
        // A CR belongs to the end of the line only if an LF follows it.
        Line::Cut(line) => line,
        Line::TooLong => return Err(Rejection::TooLong),
    };
    if text.len() > MAX_MESSAGE {
        Err(Rejection::TooLong)
    } else {
        Ok(text)
    }
}

/// Appends the server's reply to the message in a line to `out`, with its LF. Returns the
/// message's text. An acknowledgement is `prefix` and the text.
///
/// # Errors
///
/// If the text is longer than [`MAX_MESSAGE`] or is not UTF-8, appends a rejection and returns
/// its reason.
pub fn append_reply<'a>(prefix: &str, line: Line<'a>, out: &mut Vec<u8>) -> TextResult<'a> {
    match message_text(line) {
        Ok(text) => append_reply_to_text(prefix, text, out),
        Err(rejection) => Err(append_rejection(rejection, out)),
    }
}

/// Appends the server's reply to a message with raw framing, like [`append_reply`]. The
/// message has no more than [`MAX_MESSAGE`] bytes, because a read takes no more.
///
/// # Errors
///
/// If the text is not UTF-8, appends a rejection and returns its reason.
pub fn append_reply_to_text<'a>(prefix: &str, text: &'a [u8], out: &mut Vec<u8>) -> TextResult<'a> {
    match check_utf8(text) {
        Ok(text) => {
            write_line(prefix, text, out);
            Ok(text)
        }
        Err(rejection) => Err(append_rejection(rejection, out)),
    }
}

/// Appends a rejection to `out`, and returns its reason.
fn append_rejection(rejection: Rejection, out: &mut Vec<u8>) -> Rejection {
    let why = rejection.to_string();
    ServerLine::Rejected(why.as_bytes()).write(out);
    rejection
}

fn check_utf8(text: &[u8]) -> TextResult<'_> {
    // Most texts are ASCII, and that check is faster.
    if text.is_ascii() {
        return Ok(text);
    }
    match str::from_utf8(text) {
        Ok(_) => Ok(text),
        Err(error) => Err(Rejection::NotUtf8(error.valid_up_to())),
    }
}

/// Whether the server's `line` acknowledges the client's `sent`: whether the line is
/// `prefix` and the text of `sent`. The one CR that the client sent before the LF may
/// follow. `line` has no LF. `sent` may have one.
pub fn is_acknowledgement(line: &[u8], prefix: &str, sent: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(prefix.as_bytes()) else {
        return false;
    };
    let sent = sent.strip_suffix(b"\n").unwrap_or(sent);
    rest == sent || sent.strip_suffix(b"\r") == Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines::LineReader;

    /// Calls `each` with every line of a stream whose bytes come all at once.
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

    /// Returns the server's replies to these bytes.
    fn replies(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        lines(bytes, |line| {
            _ = append_reply(DEFAULT_PREFIX, line, &mut out)
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
            for written in [
                ServerLine::Rejected(text),
                ServerLine::Refused(text),
                ServerLine::Closed(text),
            ] {
                let mut out = Vec::new();
                written.write(&mut out);
                let line = out.strip_suffix(b"\n").unwrap();
                assert_eq!(ServerLine::parse(line), Some(written));
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
            assert_eq!(ServerLine::parse(line.as_bytes()), None);
        }
    }

    #[test]
    fn replies_as_in_the_session_of_the_protocol_page() {
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
        let reply_to = |line| append_reply("", line, &mut Vec::new());
        for line in [&b"ab\xe4\xb8"[..], b"ab\xe4\xb8\r"] {
            assert_eq!(reply_to(Line::Whole(line)), Err(Rejection::NotUtf8(2)));
        }
        assert_eq!(reply_to(Line::TooLong), Err(Rejection::TooLong));
        let mut out = Vec::new();
        assert_eq!(
            append_reply("", Line::TooLong, &mut out),
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
        assert_eq!(message_text(Line::Whole(&longest)), Ok(&longest[..]));
        assert_eq!(message_text(Line::Whole(&with_cr)), Ok(&longest[..]));
        assert_eq!(message_text(Line::Cut(&longest)), Ok(&longest[..]));
        assert_eq!(message_text(Line::Cut(&with_cr)), Err(Rejection::TooLong));
        assert_eq!(message_text(Line::Whole(&over)), Err(Rejection::TooLong));
        // A reader with this limit returns every line that may be a message.
        for (line, found) in [
            (&with_cr, Line::Whole(&with_cr)),
            (&over, Line::Whole(&over)),
        ] {
            let bytes = [&line[..], b"\n"].concat();
            let mut source = &bytes[..];
            let mut lines = LineReader::new(MAX_MESSAGE_LINE);
            while !source.is_empty() {
                assert_eq!(lines.next_line(), None);
                lines.fill(&mut source).unwrap();
            }
            assert_eq!(lines.next_line(), Some(found));
        }
    }

    #[test]
    fn removes_only_the_cr_directly_before_an_lf() {
        assert_eq!(message_text(Line::Whole(b"a\r\r")), Ok(&b"a\r"[..]));
        assert_eq!(message_text(Line::Whole(b"\ra\0")), Ok(&b"\ra\0"[..]));
        assert_eq!(message_text(Line::Cut(b"a\r")), Ok(&b"a\r"[..]));
    }

    /// Plays the client: sends each line of its input unchanged, with an LF. Expects the
    /// line's text back, without the one CR.
    #[test]
    fn acknowledges_every_short_string_of_ends_of_line_without_a_mismatch() {
        let mut inputs = vec![Vec::new()];
        for length in 0..4 {
            let mut longer = Vec::new();
            for input in &inputs {
                if input.len() == length {
                    for byte in *b"a\r\n" {
                        longer.push([&input[..], &[byte]].concat());
                    }
                }
            }
            inputs.extend(longer);
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
                    message_text(Line::Whole(line)).unwrap(),
                    &mut expected,
                );
            });
            assert_eq!(replies(&sent), expected, "{}", input.escape_ascii());
        }
    }

    #[test]
    fn takes_no_prefix_that_is_too_long_or_holds_an_end_of_line() {
        for text in [
            "",
            " ",
            "one ",
            "Server rejected your message: ",
            "\0\u{fc}",
        ] {
            assert_eq!(parse_prefix(text), Ok(text.to_string()));
        }
        let longest = "x".repeat(MAX_PREFIX);
        assert_eq!(parse_prefix(&longest).as_ref(), Ok(&longest));
        let why = "must have at most 1024 bytes";
        assert_eq!(parse_prefix(&(longest + "x")), Err(why.to_string()));
        for text in ["\r", "a\r", "\na"] {
            let why = "must not contain CR or LF";
            assert_eq!(parse_prefix(text), Err(why.to_string()), "{text:?}");
        }
    }

    /// Returns every text of at most `length` of these characters.
    fn texts(characters: &[&str], length: usize) -> Vec<String> {
        let mut texts = vec![String::new()];
        let mut longest = texts.clone();
        for _ in 0..length {
            let mut longer = Vec::new();
            for last in characters {
                for text in &longest {
                    longer.push(text.clone() + last);
                }
            }
            texts.extend_from_slice(&longer);
            longest = longer;
        }
        texts
    }

    #[test]
    fn a_line_acknowledges_what_was_sent_by_one_prefix_at_most() {
        let prefixes = texts(&["a", "b"], 3);
        let sent = texts(&["a", "b", "\r"], 4);
        let mut yes = 0;
        let mut no = 0;
        for line in texts(&["a", "b", "\r"], 6) {
            for sent in &sent {
                let text = sent.strip_suffix('\r').unwrap_or(sent);
                let sent_line = format!("{sent}\n");
                let mut matching = 0;
                for prefix in &prefixes {
                    let is = is_acknowledgement(line.as_bytes(), prefix, sent_line.as_bytes());
                    let whole = |text: &str| line == format!("{prefix}{text}");
                    assert_eq!(is, whole(text) || whole(sent), "{line:?} of {sent:?}");
                    if is {
                        matching += 1;
                    }
                }
                assert!(matching <= 1, "{line:?} of {sent:?}");
                if matching == 1 {
                    yes += 1;
                } else {
                    no += 1;
                }
            }
        }
        assert!(yes > 1000 && no > 1000, "{yes} are, {no} are not");
    }
}
