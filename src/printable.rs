//! Text made safe for terminals and logs.
//!
//! A peer can send escape sequences that clear a screen, line feeds that forge a log
//! line, or marks that reverse the text around them. A peer can also send invisible
//! characters, which make two texts look the same.
//!
//! This module makes each such character visible, and changes nothing else. Quotes and
//! backslashes stay as they are; [`str::escape_debug`] would put a backslash before each.

use std::fmt;

/// Shows some characters as their code, such as `\u{1b}`, and bytes that are not UTF-8 as
/// `\xff`. All other text stays as it is.
///
/// It shows these characters as their code:
///
/// - C0, DEL and C1
/// - the line and paragraph separators
/// - the marks that change the direction of text
/// - other characters without a visible shape: those that Unicode calls default
///   ignorable, the Braille blank, and the annotation marks
///
/// Accents stay, and so do the two joiners, which many languages and emoji need.
///
/// # Examples
///
/// ```
/// use tcp_chat::printable::Printable;
///
/// let shown = Printable(b"C:\\temp \"\xc3\xa9\" \x1b[2J\xff").to_string();
/// assert_eq!(shown, r#"C:\temp "é" \u{1b}[2J\xff"#);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Printable<'a>(pub &'a [u8]);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for run in chunk.valid().split_inclusive(is_escaped) {
                match run.chars().next_back() {
                    Some(last) if is_escaped(last) => {
                        f.write_str(&run[..run.len() - last.len_utf8()])?;
                        write!(f, "{}", last.escape_unicode())?;
                    }
                    _ => f.write_str(run)?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// A part of a text, short enough for one line of a log or of an error. It shows `…` for
/// text that it leaves out, and the size of the whole text.
///
/// An excerpt limits memory, too. A logger formats each line in a buffer that its thread
/// keeps. Without excerpts, that buffer would grow to the longest text that a peer ever
/// sent.
#[derive(Clone, Copy, Debug)]
pub struct Excerpt<'a> {
    /// The whole text.
    text: &'a [u8],
    /// The offset where the excerpt begins.
    from: usize,
    /// The offset where the excerpt ends.
    to: usize,
}

impl<'a> Excerpt<'a> {
    /// The longest beginning of a text, in bytes.
    const START: usize = 1024;

    /// The longest part around an offset, in bytes.
    const AROUND: usize = 80;

    /// How many bytes of that part come before the offset.
    const BEFORE: usize = Self::AROUND / 4;

    /// Returns the beginning of a text, at most 1,024 bytes.
    pub fn start(text: &'a [u8]) -> Self {
        Self::new(text, 0, Self::START)
    }

    /// Returns the part of a text around an offset: at most 80 bytes, a quarter of them
    /// before the offset.
    pub fn around(text: &'a [u8], offset: usize) -> Self {
        if text.len() <= Self::AROUND {
            return Self::new(text, 0, Self::AROUND);
        }
        let from = offset.min(text.len()).saturating_sub(Self::BEFORE);
        Self::new(text, from, Self::AROUND)
    }

    /// Whether the excerpt leaves out a part of the text.
    pub fn is_cut(&self) -> bool {
        self.to - self.from < self.text.len()
    }

    /// Returns at most `length` bytes from the character at `from` on, and cuts no character.
    fn new(text: &'a [u8], from: usize, length: usize) -> Self {
        let from = character_start(text, from);
        let to = text.len().min(from + length);
        let to = character_start(text, to);
        Excerpt { text, from, to }
    }
}

/// Returns the last offset, up to `at`, where a character begins or the text ends. A
/// character has at most 4 bytes, so the offset is at most 3 bytes before `at`. If there
/// is no such offset, the text is not UTF-8 here, and any offset will do: returns `at`.
fn character_start(text: &[u8], at: usize) -> usize {
    for offset in (at.saturating_sub(3)..=at).rev() {
        let Some(byte) = text.get(offset) else {
            return offset;
        };
        let continues_character = byte & 0xc0 == 0x80;
        if !continues_character {
            return offset;
        }
    }
    at
}

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.from > 0 {
            f.write_str("…")?;
        }
        Printable(&self.text[self.from..self.to]).fmt(f)?;
        if self.is_cut() {
            write!(f, "… ({} bytes)", self.text.len())?;
        }
        Ok(())
    }
}

/// Whether a character is shown as its code.
///
/// The list is Unicode's: the property Default_Ignorable_Code_Point in the file
/// DerivedCoreProperties.txt, without the joiners U+200C and U+200D. U+2028, U+2029, U+2800
/// and U+FFF9 to U+FFFB do not have that property, but are in the list too.
fn is_escaped(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}'
            | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::{Excerpt, Printable};

    fn shown(bytes: &[u8]) -> String {
        Printable(bytes).to_string()
    }

    #[test]
    fn leaves_ordinary_text_as_it_is() {
        for text in [
            "",
            "hello",
            "C:\\temp \"quoted\" 'too'",
            "Grüße, 世界 🎉",
            "\u{a0}",
            "\u{646}\u{200c}\u{647}",
            "e\u{301}",
            "👩\u{200d}🔬",
        ] {
            assert_eq!(shown(text.as_bytes()), text);
        }
    }

    #[test]
    fn shows_every_c0_del_and_c1_character_escaped() {
        for code in (0..0x20).chain(0x7f..0xa0) {
            let c = char::from_u32(code).unwrap();
            let text = format!("a{c}b");
            assert_eq!(shown(text.as_bytes()), format!("a\\u{{{code:x}}}b"));
        }
    }

    #[test]
    fn shows_marks_that_change_the_direction_or_end_a_line_escaped() {
        assert_eq!(
            shown("\u{202e}abc\u{2066}".as_bytes()),
            "\\u{202e}abc\\u{2066}"
        );
        assert_eq!(shown("a\u{2028}\u{200f}".as_bytes()), "a\\u{2028}\\u{200f}");
    }

    #[test]
    fn shows_characters_without_a_shape_escaped() {
        for codes in [
            // Default ignorable, in Unicode 16.0, without the joiners.
            0xad..=0xad,
            0x34f..=0x34f,
            0x61c..=0x61c,
            0x115f..=0x1160,
            0x17b4..=0x17b5,
            0x180b..=0x180f,
            0x200b..=0x200b,
            0x200e..=0x200f,
            0x202a..=0x202e,
            0x2060..=0x206f,
            0x3164..=0x3164,
            0xfe00..=0xfe0f,
            0xfeff..=0xfeff,
            0xffa0..=0xffa0,
            0xfff0..=0xfff8,
            0x1bca0..=0x1bca3,
            0x1d173..=0x1d17a,
            0xe0000..=0xe0fff,
            // Not default ignorable, but without a shape.
            0x2800..=0x2800,
            0xfff9..=0xfffb,
        ] {
            for code in codes {
                let c = char::from_u32(code).unwrap();
                let text = format!("a{c}b");
                assert_eq!(shown(text.as_bytes()), format!("a\\u{{{code:x}}}b"));
            }
        }
    }

    #[test]
    fn shows_bytes_that_are_not_utf8_in_hexadecimal() {
        assert_eq!(shown(b"a\xffb\xe4\xb8"), "a\\xffb\\xe4\\xb8");
        // A C1 character as a lone byte is not UTF-8.
        assert_eq!(shown(b"\x9b31m"), "\\x9b31m");
    }

    #[test]
    fn cuts_a_long_text_between_characters() {
        let start = |text: &str| Excerpt::start(text.as_bytes()).to_string();
        assert_eq!(start("\n"), "\\u{a}");
        assert_eq!(start(&"x".repeat(1024)), "x".repeat(1024));
        assert_eq!(
            start(&"x".repeat(1025)),
            "x".repeat(1024) + "… (1025 bytes)"
        );
        let text = "€".repeat(1000);
        assert_eq!(start(&text), "€".repeat(341) + "… (3000 bytes)");
    }

    #[test]
    fn shows_the_text_around_an_offset() {
        let around = |text: &str, offset| Excerpt::around(text.as_bytes(), offset).to_string();
        assert_eq!(around(&"x".repeat(80), 79), "x".repeat(80));
        let text = "x".repeat(100) + "!" + &"y".repeat(100);
        assert_eq!(
            around(&text, 100),
            format!("…{}!{}… (201 bytes)", "x".repeat(20), "y".repeat(59))
        );
        assert_eq!(around(&text, 5), format!("{}… (201 bytes)", "x".repeat(80)));
        // The text may end before the offset does.
        for offset in [201, 300] {
            assert_eq!(
                around(&text, offset),
                format!("…{}… (201 bytes)", "y".repeat(20))
            );
        }
        let text = "€".repeat(1000);
        assert_eq!(
            around(&text, 2999),
            format!("…{}… (3000 bytes)", "€".repeat(7))
        );
        assert_eq!(
            around(&text, 300),
            format!("…{}… (3000 bytes)", "€".repeat(26))
        );
    }
}
