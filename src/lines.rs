//! Bounded lines out of any byte stream.
//!
//! A [`LineReader`] frames bytes, not `String`s, and keeps what has come of an
//! unfinished line across timeouts: std's `read_line` drops a partial line
//! whose last character is cut when a read times out. It reports facts (a whole
//! line, a cut one, one over the limit) and leaves to its user what to make of
//! them, because its three users differ: the server rejects a message that is
//! too long, the client skips such a line of its input, and does not wait for
//! the end of such a reply.

use std::io::{self, BufRead, Read};
use std::mem;

/// The room that a reader of lines starts with, and returns to by
/// [`LineReader::shrink`]. Most lines are short, and a server holds one reader
/// for each client.
const FIRST_ROOM: usize = 1024;

/// What a [`LineReader`] found. No line contains its LF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line that was ended by an LF; a CR before it is still there.
    Whole(&'a [u8]),
    /// The bytes after the last LF, at the end of the stream; never empty.
    Cut(&'a [u8]),
    /// A line over the limit has ended. Its bytes are gone.
    TooLong,
}

/// Splits a byte stream into lines of a limited length, in memory of a limited
/// size: at most the limit and one byte.
///
/// Alternate the two methods: [`fill`](Self::fill) reads once,
/// [`next_line`](Self::next_line) gives the lines that are here, until `None`.
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
    /// Room to read into, used or not: `first_room` to `most_room` bytes.
    buffer: Vec<u8>,
    /// Where the line at hand begins. What stands before it was given out.
    start: usize,
    /// Where to look on for the LF of the line at hand: there is none in
    /// `start..scanned`.
    scanned: usize,
    /// Where what was read ends: `start <= scanned <= end <= buffer.len()`.
    end: usize,
    /// The room to return to when lines are short again.
    first_room: usize,
    /// The longest line within the limit and its LF, so a line that fills this
    /// without an LF is over the limit.
    most_room: usize,
    /// The line at hand is over the limit; what came of it was dropped.
    over_limit: bool,
    /// The last read has filled its room, so a larger one may pay.
    filled: bool,
    /// The last read has met the end of the stream.
    at_end: bool,
}

impl LineReader {
    /// A reader of lines of at most `limit` bytes, not counting the LF.
    pub fn new(limit: usize) -> Self {
        Self::with_room(FIRST_ROOM.min(limit + 1), limit + 1)
    }

    /// A reader for a peer that knows no lines: call
    /// [`next_read`](Self::next_read) in place of [`next_line`](Self::next_line).
    /// It holds at most `limit` bytes.
    pub fn raw(limit: usize) -> Self {
        Self::with_room(FIRST_ROOM.min(limit), limit)
    }

    fn with_room(first_room: usize, most_room: usize) -> Self {
        LineReader {
            buffer: vec![0; first_room],
            start: 0,
            scanned: 0,
            end: 0,
            first_room,
            most_room,
            over_limit: false,
            filled: false,
            at_end: false,
        }
    }

    /// Reads once from `source` and returns the number of bytes; 0 is the end of
    /// the stream. Call it when [`next_line`](Self::next_line) has given `None`.
    ///
    /// # Errors
    ///
    /// Those of `source`. After a timeout or an interrupted read the reader can be used
    /// on as if nothing had happened. An interrupted read is not tried again here: its
    /// time limit would begin again, and a process that is paused often enough would
    /// never see it pass. Without room, because lines that are here were not taken,
    /// [`io::ErrorKind::InvalidInput`].
    pub fn fill(&mut self, source: &mut impl Read) -> io::Result<usize> {
        self.compact();
        // Only a read that filled its room says that more room would have paid;
        // what is left in the buffer after whole lines are taken does not.
        if mem::take(&mut self.filled) {
            let room = (self.buffer.len() * 4).min(self.most_room);
            self.buffer.resize(room, 0);
        }
        let room = &mut self.buffer[self.end..];
        if room.is_empty() {
            // A read into no room would return 0, as if the stream had ended.
            let why = "the lines that are here were not taken";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let read = source.read(room)?;
        self.filled = read == room.len();
        self.at_end = read == 0;
        self.end += read;
        Ok(read)
    }

    /// The next line that is here; `None` until more has been read.
    pub fn next_line(&mut self) -> Option<Line<'_>> {
        let line = self.start;
        if let Some(lf) = find_lf(&self.buffer[self.scanned..self.end]) {
            let lf = self.scanned + lf;
            self.start = lf + 1;
            self.scanned = self.start;
            let line = &self.buffer[line..lf];
            let is_too_long = mem::take(&mut self.over_limit);
            return Some(if is_too_long {
                Line::TooLong
            } else {
                Line::Whole(line)
            });
        }

        self.scanned = self.end;
        self.over_limit |= self.end - line == self.most_room;
        if self.over_limit || self.at_end {
            self.start = self.end;
        }
        match self.at_end {
            true if mem::take(&mut self.over_limit) => Some(Line::TooLong),
            true if line < self.end => Some(Line::Cut(&self.buffer[line..self.end])),
            _ => None,
        }
    }

    /// The next line with its LF, if it is here and is these two parts, of which
    /// the second ends in an LF. A caller that knows the next line avoids the search
    /// for its LF; any other line is left to [`next_line`](Self::next_line).
    pub fn next_line_if(&mut self, parts: [&[u8]; 2]) -> Option<&[u8]> {
        let here = &self.buffer[self.start..self.end];
        let rest = here.strip_prefix(parts[0])?.strip_prefix(parts[1])?;
        // Of a line over the limit only the end is here, which proves nothing.
        if self.over_limit {
            return None;
        }
        let line = self.start..self.end - rest.len();
        self.start = line.end;
        self.scanned = line.end;
        Some(&self.buffer[line])
    }

    /// Whether the last read filled its room and the next one may have more: what
    /// was here may not be all yet.
    pub fn is_full(&self) -> bool {
        self.filled && self.buffer.len() < self.most_room
    }

    /// Whether the last read left nothing behind in its source: it had more room than
    /// bytes.
    pub fn has_read_all(&self) -> bool {
        !self.filled
    }

    /// The bytes of a line that has begun and not ended; none if the line is over the
    /// limit.
    pub fn begun_line(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// What was read since the last time, whatever it holds; but a UTF-8 character
    /// that the last read cut waits for its other bytes, unless the stream has ended.
    pub fn next_read(&mut self) -> Option<&[u8]> {
        let here = &self.buffer[self.start..self.end];
        let waits = if self.at_end { 0 } else { cut_character(here) };
        let read = self.start..self.end - waits;
        self.start = read.end;
        self.scanned = read.end;
        (!read.is_empty()).then(|| &self.buffer[read])
    }

    /// Whether a line has begun that has not ended.
    pub fn is_inside_line(&self) -> bool {
        self.start < self.end || self.over_limit
    }

    /// Whether the line that has begun is over the limit already, for a caller that
    /// will not wait for its end.
    pub fn is_over_limit(&self) -> bool {
        self.over_limit
    }

    /// Gives back the memory that past lines needed and the line at hand does
    /// not.
    pub fn shrink(&mut self) {
        if self.buffer.len() > self.first_room && self.end - self.start < self.first_room {
            self.compact();
            // The allocator gives memory back to the system from the end of its
            // heap only, so cutting the large buffer down where it stands would
            // keep the heap as long as it is. `vec![0; …]` would also take the
            // small buffer from that end; a buffer that is filled by hand can
            // lie in a gap that a smaller one has left.
            let mut buffer = Vec::with_capacity(self.first_room);
            buffer.extend_from_slice(&self.buffer[..self.end]);
            buffer.resize(self.first_room, 0);
            self.buffer = buffer;
        }
    }

    /// Moves the line at hand to the front, so that all other room is behind it.
    fn compact(&mut self) {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.scanned -= self.start;
        self.start = 0;
    }
}

fn find_lf(bytes: &[u8]) -> Option<usize> {
    // `skip_until` is the way to std's own fast search for a byte, and cannot
    // fail on a slice.
    let read = (&mut &*bytes).skip_until(b'\n').ok()?;
    let last = read.checked_sub(1)?;
    (bytes[last] == b'\n').then_some(last)
}

/// How many bytes at the end are the beginning of a UTF-8 character.
fn cut_character(bytes: &[u8]) -> usize {
    let last = bytes
        .utf8_chunks()
        .last()
        .map_or(&[][..], |chunk| chunk.invalid());
    match str::from_utf8(last) {
        Err(error) if error.error_len().is_none() => last.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one part a read, whatever the room, as a socket gives segments.
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

    /// What was found, with the line's bytes, in a form that can be compared.
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
        for limit in [0, 1, 2, 7, FIRST_ROOM - 2, FIRST_ROOM, 65_536] {
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
    fn goes_on_after_an_interrupted_read_and_a_timeout_in_the_middle_of_a_character() {
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
        assert_eq!(lines.next_line(), Some(Line::Whole("gr\u{fc}n".as_bytes())));
        assert!(!lines.is_inside_line());
    }

    #[test]
    fn tells_of_a_line_over_the_limit_before_it_ends() {
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
    fn takes_few_reads_for_a_long_line_and_little_room_for_short_ones() {
        let line = vec![b'x'; 65_536];
        let (mut source, mut lines) = (&line[..], LineReader::new(65_536));
        let mut reads = 0;
        while !source.is_empty() {
            lines.fill(&mut source).unwrap();
            assert_eq!(lines.next_line(), None);
            reads += 1;
        }
        assert_eq!(reads, 4);

        let mut lines = LineReader::new(65_536);
        for _ in 0..FIRST_ROOM {
            lines.fill(&mut &b"short\n"[..]).unwrap();
            assert_eq!(lines.next_line(), Some(Line::Whole(b"short")));
            assert_eq!(lines.next_line(), None);
        }
        assert_eq!(lines.buffer.len(), FIRST_ROOM);
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
        assert_eq!(lines.buffer.capacity(), FIRST_ROOM);
        let mut rest = &b" and ended\n"[..];
        lines.fill(&mut rest).unwrap();
        assert_eq!(lines.next_line(), Some(Line::Whole(b"begun and ended")));
    }

    #[test]
    fn shrinks_only_where_the_line_at_hand_leaves_room_to_read_into() {
        for begun in [0, 1, FIRST_ROOM - 1, FIRST_ROOM] {
            let input = [vec![b'x'; 60_000], b"\n".to_vec()].concat();
            let (mut source, mut lines) = (&input[..], LineReader::new(65_536));
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
            assert_eq!(lines.buffer.len() == FIRST_ROOM, begun.len() < FIRST_ROOM);
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
    fn lets_no_byte_wait_that_begins_no_character() {
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
    fn refuses_to_read_into_no_room_instead_of_telling_an_end_of_the_stream() {
        let mut source = &b"one\ntwo\nthree\n"[..];
        let mut lines = LineReader::new(7);
        assert_eq!(lines.fill(&mut source).unwrap(), 8);
        let error = lines.fill(&mut source).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        // Nothing is lost by it.
        assert_eq!(lines.next_line(), Some(Line::Whole(b"one")));
        assert_eq!(lines.fill(&mut source).unwrap(), 4);
        assert_eq!(lines.next_line(), Some(Line::Whole(b"two")));
        assert_eq!(lines.fill(&mut source).unwrap(), 2);
        assert_eq!(lines.next_line(), Some(Line::Whole(b"three")));
    }

    #[test]
    fn takes_an_expected_line_only_where_it_is_here_and_whole() {
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
