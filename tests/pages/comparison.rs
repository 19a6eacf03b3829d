//! The comparison of a command's output with what the page shows.

use crate::page::ShownCommand;

/// Stands for any text within a line and, alone on a line, for any number of lines.
const GAP: char = '…';

/// A part of a line that is compared as a whole.
#[derive(PartialEq)]
enum Part<'a> {
    Character(char),
    Number(&'a str),
}

impl ShownCommand {
    /// Whether this is output as the page shows it.
    pub fn fits(&self, output: &str) -> bool {
        let shown: Vec<&str> = self.output.iter().map(String::as_str).collect();
        let actual: Vec<&str> = output.lines().collect();
        let is_gap = |line: &&str| line.trim() == GAP.to_string();
        fits(&shown, &actual, is_gap, |shown, actual| {
            self.line_fits(shown, actual)
        })
    }

    fn line_fits(&self, shown: &str, actual: &str) -> bool {
        if let Some(exit_code) = self.exit_code(shown)
            && self.exit_code(actual) != Some(exit_code)
        {
            return false;
        }
        let shown = self.parts(shown);
        let actual = self.parts(actual);
        let is_gap = |part: &Part<'_>| *part == Part::Character(GAP);
        fits(&shown, &actual, is_gap, |shown, actual| {
            match (shown, actual) {
                // Where nothing failed, was lost or was refused, that stays so.
                (Part::Number("0"), Part::Number(number)) => *number == "0",
                (Part::Number(_), Part::Number(_)) => true,
                _ => shown == actual,
            }
        })
    }

    /// Returns the exit code that a line shows, if it shows one. An exit code is a promise, not
    /// a figure.
    fn exit_code<'a>(&self, line: &'a str) -> Option<&'a str> {
        let text = match line.strip_prefix("exit code ") {
            Some(text) => text,
            None if self.command.ends_with("echo $?") => line,
            None => return None,
        };
        Some(&text[..count_digits(text)])
    }

    /// Splits a line into its characters and, if figures differ, its numbers.
    fn parts<'a>(&self, line: &'a str) -> Vec<Part<'a>> {
        let mut parts = Vec::new();
        let mut rest = line;
        while let Some(character) = rest.chars().next() {
            let mut length = 0;
            if self.figures_differ {
                length = length_of_number(rest);
            }
            if length > 0 {
                parts.push(Part::Number(&rest[..length]));
            } else {
                parts.push(Part::Character(character));
                length = character.len_utf8();
            }
            rest = &rest[length..];
        }
        parts
    }
}

/// Whether a sequence fits a shown one, in which a gap stands for any number of items.
fn fits<S, A>(
    shown: &[S],
    actual: &[A],
    is_gap: impl Fn(&S) -> bool,
    item_fits: impl Fn(&S, &A) -> bool,
) -> bool {
    // At N: whether the shown items up to now fit the first N actual ones.
    let mut fits_first = vec![false; actual.len() + 1];
    fits_first[0] = true;
    for shown in shown {
        if is_gap(shown) {
            let shortest = fits_first.iter().position(|fits| *fits);
            if let Some(shortest) = shortest {
                fits_first[shortest..].fill(true);
            }
            continue;
        }
        for n in (1..fits_first.len()).rev() {
            fits_first[n] = fits_first[n - 1] && item_fits(shown, &actual[n - 1]);
        }
        fits_first[0] = false;
    }
    fits_first[actual.len()]
}

/// Returns how many bytes of the text's beginning are a number such as 12, 0.5 or 1.5e-05;
/// 0 if it begins with something else.
fn length_of_number(text: &str) -> usize {
    let mut length = count_digits(text);
    if length == 0 {
        return 0;
    }
    if let Some(fraction) = text[length..].strip_prefix('.') {
        let digits = count_digits(fraction);
        if digits > 0 {
            length += 1 + digits;
        }
    }
    for sign in ["e-", "e+"] {
        if let Some(exponent) = text[length..].strip_prefix(sign) {
            let digits = count_digits(exponent);
            if digits > 0 {
                length += sign.len() + digits;
            }
        }
    }
    length
}

/// Returns how many digits the text begins with.
fn count_digits(text: &str) -> usize {
    text.len()
        - text
            .trim_start_matches(|character: char| character.is_ascii_digit())
            .len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(output: &str) -> ShownCommand {
        ShownCommand {
            line: 1,
            command: String::new(),
            output: output.lines().map(str::to_string).collect(),
            figures_differ: false,
        }
    }

    fn shown_with_figures(output: &str) -> ShownCommand {
        ShownCommand {
            figures_differ: true,
            ..shown(output)
        }
    }

    #[test]
    fn output_must_be_the_same() {
        assert!(shown("").fits(""));
        assert!(shown("a\nb").fits("a\nb\n"));
        assert!(shown("a").fits("a"));
        for other in ["", "\n", "a b", "a\n\n", "a\nb\n", "A\n", " a\n", "b\na\n"] {
            assert!(!shown("a").fits(other), "{other:?}");
        }
        assert!(!shown("").fits("\n"));
    }

    #[test]
    fn a_gap_is_any_text_of_a_line() {
        for actual in ["ab", "a…b", "a b", "aabb", "a 1 a b b"] {
            assert!(shown("a…b").fits(actual), "{actual}");
        }
        for actual in ["a", "b", "abc", "a\nb", "ab\n\n"] {
            assert!(!shown("a…b").fits(actual), "{actual}");
        }
        assert!(shown("…a…b…").fits("xaxbx"));
        assert!(!shown("…a…b…").fits("xbxax"));
    }

    #[test]
    fn a_gap_alone_on_a_line_is_any_number_of_lines() {
        for actual in ["a\nb\n", "a\n1\nb\n", "a\n\na\nb\nb\n"] {
            assert!(shown("a\n…\nb").fits(actual), "{actual:?}");
        }
        for actual in ["a b", "a\n", "b\n", "a\nb\nc\n"] {
            assert!(!shown("a\n…\nb").fits(actual), "{actual:?}");
        }
        assert!(shown("…").fits(""));
        assert!(shown("…").fits("a\nb\n"));
    }

    #[test]
    fn a_number_stays_the_same_unless_figures_differ() {
        assert!(!shown("1 line").fits("2 line"));
        let figures = shown_with_figures("p50 0.786 ms, 1e-05 s, 12 of […,233]");
        assert!(figures.fits("p50 17 ms, 0.25 s, 1.5e-07 of [0.5,0]"));
        assert!(!figures.fits("p50 17 ms, s, 12 of [5,0]"));
        assert!(!figures.fits("p50 17 s, 0.25 s, 12 of [5,0]"));
        assert!(!figures.fits("p50 1 7 ms, 0.25 s, 12 of [5,0]"));
    }

    #[test]
    fn an_exit_code_stays_the_same_although_figures_differ() {
        let exit_code = shown_with_figures("exit code 1, 5 lost");
        assert!(exit_code.fits("exit code 1, 6 lost"));
        for actual in ["exit code 2, 5 lost", "exit code 11, 5 lost", "1, 5 lost"] {
            assert!(!exit_code.fits(actual), "{actual}");
        }
        let echo = ShownCommand {
            command: "echo $?".to_string(),
            ..shown_with_figures("1")
        };
        assert!(echo.fits("1"));
        assert!(!echo.fits("2"));
        assert!(!echo.fits("141"));
    }

    #[test]
    fn a_zero_is_only_zero() {
        let zero = shown_with_figures("0 wrong, 5 lost");
        assert!(zero.fits("0 wrong, 6 lost"));
        assert!(zero.fits("0 wrong, 0 lost"));
        for actual in ["1 wrong, 5 lost", "10 wrong, 5 lost", "0.5 wrong, 5 lost"] {
            assert!(!zero.fits(actual), "{actual}");
        }
        assert!(shown_with_figures("10").fits("1"));
        assert!(shown_with_figures("0.000 s").fits("0.001 s"));
    }
}
