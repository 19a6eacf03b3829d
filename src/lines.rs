//! Splits any byte stream into lines of a limited length.
//!
//! A [`LineReader`] keeps an unfinished line when a read times out. std's `read_line`
//! loses such a line if the timeout comes in the middle of a character. So a reader holds
//! bytes, not `String`s.
//!
//! A reader reports a whole line, a cut line, or a line over the limit. The caller
//! decides what to do. The server rejects a message that is too long. The client skips an
//! input line that is too long. It does not wait for the end of a reply that is too long.
//!
//! # The buffer
//!
//! The current line is the first line that the reader has not returned yet:
//!
//! ```text
//! | returned before | no LF in here | not searched yet | room |
//! 0               start          scanned              end   buffer.len()
//!                   |--- current line, then others ---|
//! ```
//!
//! `fill` moves the current line to the front, then reads into the room. `next_line`
//! searches for an LF from `scanned` on, and moves `start` to the end of the line that it
//! returns.
//!
//! A line that fills the largest buffer without an LF is over the limit. The reader drops
//! the line's bytes, to make room for the next read. `is_over_limit` stays set until the
//! line's LF or the end of the stream.

use std::io::{self, BufRead, Read};

/// The size of a new reader's buffer, and of its buffer after [`LineReader::shrink`].
/// It is small because most lines are short and a server holds one reader for each
/// client.
const FIRST_SIZE: usize = 1024;

/// A line, as a [`LineReader`] found it. No line contains its LF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line that ended in an LF. If a CR came before the LF, the line still contains
    /// the CR.
    Whole(&'a [u8]),
    /// The bytes after the last LF, at the end of the stream; never empty.
    Cut(&'a [u8]),
    /// The end of a line over the limit. The reader has dropped the line's bytes.
    TooLong,
}

/// Splits a byte stream into lines of a limited length. The buffer is limited too: it
/// holds at most one byte more than the longest line.
///
/// Call two methods in turn. [`fill`](Self::fill) reads once. Then call
/// [`next_line`](Self::next_line) until it returns `None`: each call returns one line.
///
/// # Examples
///
/// ```
/// use tcp_chat::lines::{Line, LineReader};
///
/// let mut stream = &b"one\nfour\nlonger\ncut"[..];
/// let mut lines = LineReader::new(4);
/// let mut found = Vec::new();
/// loop {
///     let read = lines.fill(&mut stream)?;
///     while let Some(line) = lines.next_line() {
///         found.push(match line {
///             Line::Whole(text) => format!("whole {}", text.escape_ascii()),
///             Line::Cut(text) => format!("cut {}", text.escape_ascii()),
///             Line::TooLong => "too long".to_string(),
///         });
///     }
///     if read == 0 {
///         break;
///     }
/// }
/// assert_eq!(found, ["whole one", "whole four", "too long", "cut cut"]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LineReader {
    /// Everything that was read and not dropped, then room. Its size is from `first_size`
    /// to `max_size` bytes.
    buffer: Vec<u8>,
    /// Where the current line begins.
    start: usize,
    /// Where the search for the current line's LF goes on: `start..scanned` has none.
    scanned: usize,
    /// Where the bytes that were read end: `start <= scanned <= end <= buffer.len()`.
    end: usize,
    /// The size of the buffer for short lines, in bytes.
    first_size: usize,
    /// The largest size of the buffer, in bytes: the longest line within the limit and
    /// its LF.
    max_size: usize,
    /// Whether the current line is over the limit. The reader has dropped its bytes so
    /// far.
    is_over_limit: bool,
    /// Whether the last read filled all its room, so a larger buffer may help.
    has_filled_room: bool,
    /// Whether the last read met the end of the stream.
    is_at_end: bool,
}

impl LineReader {
    /// Returns a reader of lines of at most `limit` bytes, not counting the LF.
    pub fn new(limit: usize) -> Self {
        Self::with_sizes(FIRST_SIZE.min(limit + 1), limit + 1)
    }

    /// Returns a reader for a peer that sends no lines: call
    /// [`next_read`](Self::next_read) instead of [`next_line`](Self::next_line). The
    /// reader holds at most `limit` bytes.
    pub fn raw(limit: usize) -> Self {
        Self::with_sizes(FIRST_SIZE.min(limit), limit)
    }

    fn with_sizes(first_size: usize, max_size: usize) -> Self {
        LineReader {
            buffer: vec![0; first_size],
            start: 0,
            scanned: 0,
            end: 0,
            first_size,
            max_size,
            is_over_limit: false,
            has_filled_room: false,
            is_at_end: false,
        }
    }

    /// Reads once from `source` and returns the number of bytes; 0 is the end of the
    /// stream. Call it when [`next_line`](Self::next_line) has returned `None`.
    ///
    /// # Errors
    ///
    /// Returns the error of `source`. After a timeout or an interrupted read, nothing is
    /// lost: call `fill` again. `fill` does not repeat an interrupted read, because a new
    /// read restarts the source's time limit. In a process that is paused often enough,
    /// the limit would never pass.
    ///
    /// Returns [`io::ErrorKind::InvalidInput`] if there is no room to read into, because
    /// the caller has not taken the lines in the buffer.
    pub fn fill(&mut self, source: &mut impl Read) -> io::Result<usize> {
        self.compact();
        // The buffer grows only after a read that filled all its room. Little room alone
        // is no reason: lines in the buffer may have taken it.
        if self.has_filled_room {
            self.has_filled_room = false;
            let size = (self.buffer.len() * 4).min(self.max_size);
            self.buffer.resize(size, 0);
        }
        let room = &mut self.buffer[self.end..];
        if room.is_empty() {
            // A read into no room would return 0, as if the stream had ended.
            let why = "the lines that are here were not taken";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let read = source.read(room)?;
        self.has_filled_room = read == room.len();
        self.is_at_end = read == 0;
        self.end += read;
        Ok(read)
    }

    /// Returns the next line in the buffer, or `None` if the caller has to read more.
    ///
    /// With an LF, the current line is [`Line::Whole`], or [`Line::TooLong`] if it is over
    /// the limit. Without one:
    ///
    /// | the line is | more may be read | the stream has ended |
    /// |---|---|---|
    /// | empty | `None` | `None` |
    /// | within the limit | `None`; its bytes stay | [`Line::Cut`] |
    /// | over the limit | `None`; its bytes are dropped | [`Line::TooLong`] |
    pub fn next_line(&mut self) -> Option<Line<'_>> {
        let begin = self.start;
        if let Some(offset) = find_lf(&self.buffer[self.scanned..self.end]) {
            let lf = self.scanned + offset;
            self.start = lf + 1;
            self.scanned = lf + 1;
            if self.is_over_limit {
                self.is_over_limit = false;
                return Some(Line::TooLong);
            }
            return Some(Line::Whole(&self.buffer[begin..lf]));
        }

        self.scanned = self.end;
        if self.end - begin == self.max_size {
            self.is_over_limit = true;
        }
        if !self.is_at_end {
            if self.is_over_limit {
                self.start = self.end;
            }
            return None;
        }

        // The end of the stream ends the line, too.
        self.start = self.end;
        if self.is_over_limit {
            self.is_over_limit = false;
            return Some(Line::TooLong);
        }
        if begin == self.end {
            return None;
        }
        Some(Line::Cut(&self.buffer[begin..self.end]))
    }

    /// Fast path: if the next line is exactly these two parts, takes the line, and
    /// returns it with its LF. The second part must end in an LF. A caller that expects a
    /// certain line avoids the search for its LF. [`next_line`](Self::next_line) returns
    /// any other line.
    pub fn next_line_if(&mut self, parts: [&[u8]; 2]) -> Option<&[u8]> {
        let here = &self.buffer[self.start..self.end];
        let rest = here.strip_prefix(parts[0])?.strip_prefix(parts[1])?;
        // Of a line over the limit, only the end is here. It may look like a whole line.
        if self.is_over_limit {
            return None;
        }
        let line = self.start..self.end - rest.len();
        self.start = line.end;
        self.scanned = line.end;
        Some(&self.buffer[line])
    }

    /// Whether the last read filled all its room and the buffer can still grow: the next
    /// [`fill`](Self::fill) may find more bytes that have already arrived.
    pub fn may_read_more(&self) -> bool {
        self.has_filled_room && self.buffer.len() < self.max_size
    }

    /// Whether the last read left nothing behind in its source: it did not fill all its
    /// room.
    pub fn has_read_all(&self) -> bool {
        !self.has_filled_room
    }

    /// Returns the bytes of a line that has begun but not ended, or no bytes if the line
    /// is over the limit. Call it when [`next_line`](Self::next_line) has returned
    /// `None`.
    pub fn begun_line(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Returns the bytes that were read since the last call, if there are any. If the
    /// last read cut a UTF-8 character, the reader keeps its bytes until the rest
    /// arrives or the stream ends.
    pub fn next_read(&mut self) -> Option<&[u8]> {
        let here = &self.buffer[self.start..self.end];
        let waiting = if self.is_at_end {
            0
        } else {
            cut_character(here)
        };
        let read = self.start..self.end - waiting;
        self.start = read.end;
        self.scanned = read.end;
        if read.is_empty() {
            return None;
        }
        Some(&self.buffer[read])
    }

    /// Whether a line has begun but not ended.
    pub fn is_inside_line(&self) -> bool {
        self.start < self.end || self.is_over_limit
    }

    /// Whether the current line is already over the limit, for a caller that does not wait
    /// for its end.
    pub fn is_over_limit(&self) -> bool {
        self.is_over_limit
    }

    /// Shrinks the buffer to its first size, unless the current line needs more.
    pub fn shrink(&mut self) {
        let is_large = self.buffer.len() > self.first_size;
        let leaves_room = self.end - self.start < self.first_size;
        if !is_large || !leaves_room {
            return;
        }
        self.compact();
        // To shrink the large buffer in place would not help. The buffer may lie at the end
        // of the heap, and the allocator returns memory to the system only from there. So a
        // small buffer must not lie there either: `vec![0; …]` would take it from that end. A
        // buffer that is filled by hand can lie in a gap further inside.
        let mut buffer = Vec::with_capacity(self.first_size);
        buffer.extend_from_slice(&self.buffer[..self.end]);
        buffer.resize(self.first_size, 0);
        self.buffer = buffer;
    }

    /// Moves the current line to the front, to have all room behind it.
    fn compact(&mut self) {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.scanned -= self.start;
        self.start = 0;
    }
}

/// Returns the offset of the first LF.
fn find_lf(bytes: &[u8]) -> Option<usize> {
    // `skip_until` is the way to std's own fast search for a byte. On a slice it cannot
    // fail.
    let mut rest = bytes;
    let skipped = rest.skip_until(b'\n').ok()?;
    let last = skipped.checked_sub(1)?;
    if bytes[last] != b'\n' {
        return None;
    }
    Some(last)
}

/// Returns how many bytes at the end are the beginning of a UTF-8 character.
fn cut_character(bytes: &[u8]) -> usize {
    let Some(last_chunk) = bytes.utf8_chunks().last() else {
        return 0;
    };
    let invalid = last_chunk.invalid();
    match str::from_utf8(invalid) {
        // No error length: more bytes could make these a character.
        Err(error) if error.error_len().is_none() => invalid.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one part a read, as a socket gives segments, even if there is room for more.
    struct Parts<'a>(Vec<&'a [u8]>);

    impl Read for Parts<'_> {
        fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
            let Some(part) = self.0.first_mut() else {
                return Ok(0);
            };
            let read = part.read(room)?;
            if part.is_empty() {
                self.0.remove(0);
            }
            Ok(read)
        }
    }

    /// A [`Line`] that owns its bytes, to outlive its reader.
    #[derive(Debug, PartialEq)]
    enum Found {
        Whole(Vec<u8>),
        Cut(Vec<u8>),
        TooLong,
    }
    use Found::{Cut, TooLong, Whole};

    fn found(limit: usize, mut source: impl Read) -> Vec<Found> {
        let mut lines = LineReader::new(limit);
        let mut found = Vec::new();
        loop {
            let read = lines.fill(&mut source).unwrap();
            while let Some(line) = lines.next_line() {
                found.push(match line {
                    Line::Whole(line) => Whole(line.to_vec()),
                    Line::Cut(line) => Cut(line.to_vec()),
                    Line::TooLong => TooLong,
                });
            }
            assert!(lines.buffer.len() <= limit + 1);
            if read == 0 {
                assert!(!lines.is_inside_line());
                return found;
            }
        }
    }

    fn whole(line: &str) -> Found {
        Whole(line.as_bytes().to_vec())
    }

    #[test]
    fn finds_whole_empty_and_cut_lines() {
        assert_eq!(found(9, &b""[..]), []);
        assert_eq!(found(9, &b"a"[..]), [Cut(b"a".to_vec())]);
        assert_eq!(found(9, &b"a\n"[..]), [whole("a")]);
        assert_eq!(
            found(9, &b"\n\na\r\n\r"[..]),
            [whole(""), whole(""), whole("a\r"), Cut(b"\r".to_vec())]
        );
        assert_eq!(found(9, &b"nul\0\n"[..]), [whole("nul\0")]);
    }

    #[test]
    fn takes_a_line_at_the_limit_and_not_one_above() {
        for limit in [0, 1, 2, 7, FIRST_SIZE - 2, FIRST_SIZE, 65_536] {
            let line = |length| vec![b'x'; length];
            let input = |length| [&line(length), &b"\nnext\n"[..]].concat();
            let next = || if limit < 4 { TooLong } else { whole("next") };
            for length in [limit.saturating_sub(1), limit] {
                assert_eq!(
                    found(limit, &input(length)[..]),
                    [Whole(line(length)), next()]
                );
            }
            for length in [limit + 1, limit + 2, limit * 5 + 9] {
                assert_eq!(found(limit, &input(length)[..]), [TooLong, next()]);
                assert_eq!(found(limit, &line(length)[..]), [TooLong]);
            }
            if limit > 0 {
                assert_eq!(found(limit, &line(limit)[..]), [Cut(line(limit))]);
                // A CR is a byte like any other.
                let with_cr = [&line(limit)[..], b"\r\n"].concat();
                assert_eq!(found(limit, &with_cr[..]), [TooLong]);
            }
        }
    }

    #[test]
    fn gives_the_same_lines_however_the_bytes_are_split() {
        let corpus =
            "one\n\ntwo\r\n\r\n\r\rthree\0\nGr\u{fc}\u{df}e \u{1f389}\nfar over the limit \
                      of this reader\nat the limit..\nat the limit..\r\nover the limit..\n\r\ncut"
                .as_bytes();
        let expected = found(15, corpus);
        assert_eq!(expected.len(), 12, "{expected:?}");
        assert_eq!(expected.iter().filter(|line| **line == TooLong).count(), 2);
        for at in 0..=corpus.len() {
            let (first, second) = corpus.split_at(at);
            let parts = [first, second].into_iter().filter(|part| !part.is_empty());
            assert_eq!(found(15, Parts(parts.collect())), expected, "split at {at}");
        }
        assert_eq!(found(15, Parts(corpus.chunks(1).collect())), expected);
    }

    #[test]
    fn a_cut_character_survives_an_interrupted_read_and_a_timeout() {
        struct TimesOut(usize);
        impl Read for TimesOut {
            fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
                self.0 += 1;
                let mut part: &[u8] = match self.0 {
                    1 => b"gr\xc3",
                    2 => return Err(io::ErrorKind::Interrupted.into()),
                    3 => return Err(io::ErrorKind::WouldBlock.into()),
                    _ => b"\xbcn\n",
                };
                part.read(room)
            }
        }
        let mut source = TimesOut(0);
        let mut lines = LineReader::new(9);
        assert_eq!(lines.fill(&mut source).unwrap(), 3);
        assert_eq!(lines.next_line(), None);
        assert!(lines.is_inside_line());
        for kind in [io::ErrorKind::Interrupted, io::ErrorKind::WouldBlock] {
            assert_eq!(lines.fill(&mut source).unwrap_err().kind(), kind);
            assert_eq!(lines.next_line(), None);
            lines.shrink();
        }
        lines.fill(&mut source).unwrap();
        let line = lines.next_line();
        if let Some(Line::Whole(text)) = line {
            let text = String::from_utf8_lossy(text);
            println!("read \"gr\\xc3\", two errors and \"\\xbcn\\n\": the line is {text:?}");
        }
        assert_eq!(line, Some(Line::Whole("gr\u{fc}n".as_bytes())));
        assert!(!lines.is_inside_line());
    }

    #[test]
    fn reports_a_line_over_the_limit_before_it_ends() {
        let mut lines = LineReader::new(4);
        let mut source = Parts(vec![b"12345", b"6", b"7\nok\n"]);
        for _ in 0..2 {
            lines.fill(&mut source).unwrap();
            assert_eq!(lines.next_line(), None);
            assert!(lines.is_over_limit() && lines.is_inside_line());
        }
        lines.fill(&mut source).unwrap();
        assert_eq!(lines.next_line(), Some(Line::TooLong));
        assert_eq!(lines.next_line(), Some(Line::Whole(b"ok")));
        assert!(!lines.is_over_limit());
    }

    #[test]
    fn takes_few_reads_for_a_long_line_and_little_memory_for_short_ones() {
        let line = vec![b'x'; 65_536];
        let mut source = &line[..];
        let mut lines = LineReader::new(65_536);
        let mut reads = 0;
        while !source.is_empty() {
            lines.fill(&mut source).unwrap();
            assert_eq!(lines.next_line(), None);
            reads += 1;
        }
        assert_eq!(reads, 4);

        let mut lines = LineReader::new(65_536);
        for _ in 0..FIRST_SIZE {
            lines.fill(&mut &b"short\n"[..]).unwrap();
            assert_eq!(lines.next_line(), Some(Line::Whole(b"short")));
            assert_eq!(lines.next_line(), None);
        }
        assert_eq!(lines.buffer.len(), FIRST_SIZE);
    }

    #[test]
    fn grows_for_long_lines_and_shrinks_again() {
        let input = [vec![b'x'; 60_000], b"\nbegun".to_vec()].concat();
        let mut source = &input[..];
        let mut lines = LineReader::new(65_536);
        while !source.is_empty() {
            lines.fill(&mut source).unwrap();
            while lines.next_line().is_some() {}
        }
        assert!(lines.buffer.len() > 60_000);
        lines.shrink();
        assert_eq!(lines.buffer.capacity(), FIRST_SIZE);
        let mut rest = &b" and ended\n"[..];
        lines.fill(&mut rest).unwrap();
        assert_eq!(lines.next_line(), Some(Line::Whole(b"begun and ended")));
    }

    #[test]
    fn shrinks_only_if_the_current_line_leaves_room_to_read_into() {
        for begun in [0, 1, FIRST_SIZE - 1, FIRST_SIZE] {
            let input = [vec![b'x'; 60_000], b"\n".to_vec()].concat();
            let mut source = &input[..];
            let mut lines = LineReader::new(65_536);
            while !source.is_empty() {
                lines.fill(&mut source).unwrap();
                while lines.next_line().is_some() {}
            }
            let begun = vec![b'y'; begun];
            if !begun.is_empty() {
                lines.fill(&mut &begun[..]).unwrap();
                assert_eq!(lines.next_line(), None);
            }
            lines.shrink();
            assert_eq!(lines.buffer.len() == FIRST_SIZE, begun.len() < FIRST_SIZE);
            lines.fill(&mut &b"\n"[..]).unwrap();
            assert_eq!(lines.next_line(), Some(Line::Whole(&begun)));
        }
    }

    #[test]
    fn takes_each_read_as_one_message_but_lets_a_cut_character_wait() {
        let reads: [&[u8]; 5] = [b"a\r\nb\n", b"gr\xc3", b"\xbcn", b"\xff\xe4\xb8", b"\xe4"];
        let mut source = Parts(reads.to_vec());
        let mut lines = LineReader::raw(8);
        let mut read = |inside| {
            lines.fill(&mut source).unwrap();
            let read = lines.next_read().unwrap().to_vec();
            assert_eq!(lines.next_read(), None);
            assert_eq!(lines.is_inside_line(), inside);
            read
        };
        assert_eq!(read(false), b"a\r\nb\n");
        assert_eq!(read(true), b"gr");
        assert_eq!(read(false), "\u{fc}n".as_bytes());
        assert_eq!(read(true), b"\xff");
        // Those two bytes and another beginning are no character.
        assert_eq!(read(true), b"\xe4\xb8");
        assert_eq!(read(false), b"\xe4");
    }

    #[test]
    fn returns_invalid_bytes_at_once() {
        let mut lines = LineReader::raw(8);
        for read in [&b"a\xff"[..], b"\xe4\x28", b"\x80", b"\xc0"] {
            lines.fill(&mut &read[..]).unwrap();
            assert_eq!(lines.next_read(), Some(read));
        }
    }

    #[test]
    fn reads_no_more_at_once_than_the_limit_without_framing() {
        let input = [b'x'; 20];
        let mut source = &input[..];
        let mut lines = LineReader::raw(8);
        for expected in [8, 8, 4] {
            assert_eq!(lines.fill(&mut source).unwrap(), expected);
            assert_eq!(lines.next_read(), Some(&input[..expected]));
        }
    }

    #[test]
    fn refuses_to_read_into_no_room_instead_of_reporting_an_end_of_the_stream() {
        let mut source = &b"one\ntwo\nthree\n"[..];
        let mut lines = LineReader::new(7);
        assert_eq!(lines.fill(&mut source).unwrap(), 8);
        let error = lines.fill(&mut source).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        // The refusal loses nothing.
        assert_eq!(lines.next_line(), Some(Line::Whole(b"one")));
        assert_eq!(lines.fill(&mut source).unwrap(), 4);
        assert_eq!(lines.next_line(), Some(Line::Whole(b"two")));
        assert_eq!(lines.fill(&mut source).unwrap(), 2);
        assert_eq!(lines.next_line(), Some(Line::Whole(b"three")));
    }

    #[test]
    fn takes_an_expected_line_only_if_it_is_here_and_whole() {
        let mut lines = LineReader::new(5);
        let mut source = Parts(vec![b"abc", b"d\nabx\n", b"123456", b"b\nab\n"]);
        lines.fill(&mut source).unwrap();
        assert_eq!(lines.next_line_if([b"ab", b"cd\n"]), None);
        assert_eq!(lines.next_line(), None);
        lines.fill(&mut source).unwrap();
        assert_eq!(lines.next_line_if([b"ab", b"c\n"]), None);
        assert_eq!(lines.next_line_if([b"ab", b"cd\n"]), Some(&b"abcd\n"[..]));
        assert_eq!(lines.next_line(), None);
        lines.fill(&mut source).unwrap();
        assert_eq!(lines.next_line_if([b"ab", b"c\n"]), None);
        assert_eq!(lines.next_line(), Some(Line::Whole(b"abx")));
        assert_eq!(lines.next_line(), None);
        // The end of a line over the limit may look like a whole line.
        lines.fill(&mut source).unwrap();
        assert_eq!(lines.next_line(), None);
        lines.fill(&mut source).unwrap();
        assert_eq!(lines.next_line_if([b"", b"b\n"]), None);
        assert_eq!(lines.next_line(), Some(Line::TooLong));
        assert_eq!(lines.next_line_if([b"ab", b"\n"]), Some(&b"ab\n"[..]));
        assert!(!lines.is_inside_line());
    }
}
