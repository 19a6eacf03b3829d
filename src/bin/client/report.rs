//! The run as one JSON object, for `--report`.

use std::fmt::{self, Display, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::conversation::Conversation;
use crate::summary::{Counts, PastOutage, QUANTILES, milliseconds};

/// How a run went and ended.
pub(crate) struct Report<'a> {
    pub(crate) server: &'a str,
    pub(crate) began: SystemTime,
    pub(crate) elapsed: Duration,
    pub(crate) exit: u8,
    /// Why it failed, or the signal that ended it.
    pub(crate) error: Option<&'a str>,
    pub(crate) conversation: &'a Conversation,
}

impl Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.conversation.counts();
        let Counts {
            acknowledged,
            rejected,
            wrong,
            not_sent,
            sent_again,
            outages,
            ..
        } = counts;
        let began = self.began.duration_since(UNIX_EPOCH).unwrap_or_default();
        writeln!(f, "{{")?;
        writeln!(f, "  \"server\": {},", Text(self.server))?;
        writeln!(f, "  \"began\": {:.6},", began.as_secs_f64())?;
        writeln!(f, "  \"seconds\": {:.6},", self.elapsed.as_secs_f64())?;
        writeln!(f, "  \"exit\": {},", self.exit)?;
        match self.error {
            Some(error) => writeln!(f, "  \"error\": {},", Text(error))?,
            None => writeln!(f, "  \"error\": null,")?,
        }
        writeln!(
            f,
            "  \"input_ended\": {},",
            self.conversation.input_was_read()
        )?;
        let unacknowledged = self.conversation.unacknowledged();
        writeln!(
            f,
            "  \"lines\": {{\"acknowledged\": {acknowledged}, \"rejected\": {rejected}, \
             \"wrong\": {wrong}, \"unacknowledged\": {unacknowledged}, \
             \"not_sent\": {not_sent}, \"sent_again\": {sent_again}}},"
        )?;
        let rate = counts.rate(self.elapsed);
        writeln!(f, "  \"replies_per_second\": {rate:.1},")?;
        writeln!(f, "  \"reply_time_ms\": {},", ReplyTimes(counts))?;
        let mut separator = "";
        write!(f, "  \"outages\": [")?;
        for outage in &counts.first_outages {
            let PastOutage {
                length, sent_again, ..
            } = outage;
            let (began, seconds) = (began + outage.began, length.as_secs_f64());
            write!(
                f,
                "{separator}\n    {{\"began\": {:.6}, \"seconds\": {seconds:.6}, \
                 \"cause\": {}, \"sent_again\": {sent_again}}}",
                began.as_secs_f64(),
                Text(&outage.cause)
            )?;
            separator = ",";
        }
        writeln!(f, "],")?;
        writeln!(f, "  \"outage_count\": {outages},")?;
        let longest = counts.longest_outage.as_secs_f64();
        writeln!(f, "  \"longest_outage_seconds\": {longest:.6}\n}}")
    }
}

struct ReplyTimes<'a>(&'a Counts);

impl Display for ReplyTimes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times = &self.0.reply_times;
        let Some(max) = times.max() else {
            return f.write_str("null");
        };
        f.write_char('{')?;
        for (name, share) in QUANTILES {
            let name = name.replace('.', "");
            let time = milliseconds(times.quantile(share).unwrap_or(max));
            write!(f, "\"{name}\": {time:.6}, ")?;
        }
        write!(f, "\"max\": {:.6}}}", milliseconds(max))
    }
}

/// A text as a JSON string.
struct Text<'a>(&'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                '\0'..=' ' if c != ' ' => write!(f, "\\u{:04x}", u32::from(c))?,
                _ => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::Text;

    #[test]
    fn escapes_what_json_does_not_allow_in_a_string() {
        for (text, json) in [
            ("", "\"\""),
            ("Grüße, 世界", "\"Grüße, 世界\""),
            ("a \"b\" \\c", "\"a \\\"b\\\" \\\\c\""),
            ("\0\n\x1f \x7f", "\"\\u0000\\u000a\\u001f \x7f\""),
        ] {
            assert_eq!(Text(text).to_string(), json);
        }
    }
}
