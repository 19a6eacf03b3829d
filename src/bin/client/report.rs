//! The run as one JSON object, for `--report`.

use std::fmt::{self, Display, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use tcp_chat::system;

use crate::counts::{Answers, Counts, Snapshot};
use crate::histogram::Histogram;
use crate::named_file::NamedFile;
use crate::summary::{QUANTILES, milliseconds};

/// Where to write the report, open from the start: a run whose report cannot be
/// written does not begin, and one that is killed leaves none of the run before.
pub(crate) struct ReportFile {
    pub(crate) file: NamedFile,
    /// Whether standard error goes to the same file, and would overwrite the report
    /// by what comes after it. Elsewhere the report does not wait for last words
    /// that nobody reads.
    pub(crate) comes_last: bool,
}

impl ReportFile {
    /// # Errors
    ///
    /// The file cannot be written.
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        let file = NamedFile::create("report", path)?;
        let comes_last = system::is_standard_error(&file.file).unwrap_or_default();
        Ok(ReportFile { file, comes_last })
    }
}

/// How a run went and ended.
pub(crate) struct Report<'a> {
    pub(crate) server: &'a str,
    /// What the client was started with.
    pub(crate) arguments: &'a [String],
    pub(crate) began: SystemTime,
    pub(crate) exit: u8,
    /// Why it failed, or the signal that ended it.
    pub(crate) error: Option<&'a str>,
    pub(crate) run: &'a Snapshot,
}

impl Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report {
            server,
            arguments,
            exit,
            run,
            ..
        } = self;
        let Counts {
            not_sent,
            sent_again,
            outages,
            ..
        } = run.counts;
        let Answers {
            acknowledged,
            rejected,
            wrong,
            ..
        } = run.counts.answers;
        let began = self.began.duration_since(UNIX_EPOCH).unwrap_or_default();
        writeln!(f, "{{")?;
        writeln!(f, "  \"server\": {},", Text(server))?;
        let version = Text(env!("CARGO_PKG_VERSION"));
        writeln!(f, "  \"version\": {version},")?;
        let arguments = arguments.iter().map(|argument| Text(argument).to_string());
        let arguments = arguments.collect::<Vec<_>>().join(", ");
        writeln!(f, "  \"arguments\": [{arguments}],")?;
        writeln!(f, "  \"began\": {:.6},", began.as_secs_f64())?;
        writeln!(f, "  \"seconds\": {:.6},", run.elapsed().as_secs_f64())?;
        writeln!(f, "  \"exit\": {exit},")?;
        match self.error {
            Some(error) => writeln!(f, "  \"error\": {},", Text(error))?,
            None => writeln!(f, "  \"error\": null,")?,
        }
        writeln!(f, "  \"input_ended\": {},", run.input_was_read)?;
        let (unacknowledged, unsent) = (run.unacknowledged, run.unsent);
        writeln!(
            f,
            "  \"lines\": {{\"acknowledged\": {acknowledged}, \"rejected\": {rejected}, \
             \"wrong\": {wrong}, \"unacknowledged\": {unacknowledged}, \"unsent\": {unsent}, \
             \"not_sent\": {not_sent}, \"sent_again\": {sent_again}}},"
        )?;
        let by_prefix = run.prefixes.iter().zip(&run.counts.answers.by_prefix);
        let answered_by = by_prefix.map(|(prefix, count)| format!("{}: {count}", Text(prefix)));
        let answered_by = answered_by.collect::<Vec<_>>().join(", ");
        writeln!(f, "  \"answered_by\": {{{answered_by}}},")?;
        writeln!(f, "  \"replies_per_second\": {:.1},", run.rate())?;
        let reply_times = Times(&run.counts.reply_times);
        writeln!(f, "  \"reply_time_ms\": {reply_times},")?;
        let own_delays = Times(&run.counts.own_delays.all);
        writeln!(f, "  \"own_delay_ms\": {own_delays},")?;
        let mut separator = "";
        write!(f, "  \"outages\": [")?;
        for outage in &run.counts.first_outages {
            let after = outage.began.saturating_duration_since(run.began);
            write!(
                f,
                "{separator}\n    {{\"began\": {:.6}, \"seconds\": {:.6}, \
                 \"cause\": {}, \"sent_again\": {}, \"own_delay_ms\": {:.6}, \
                 \"local\": {}, \"remote\": {}}}",
                (began + after).as_secs_f64(),
                outage.length.as_secs_f64(),
                Text(&outage.cause),
                outage.sent_again,
                milliseconds(outage.own_delay),
                Address(outage.lost.map(|(local, _)| local)),
                Address(outage.lost.map(|(_, remote)| remote)),
            )?;
            separator = ",";
        }
        writeln!(f, "],")?;
        writeln!(f, "  \"outage_count\": {outages},")?;
        let longest = run.counts.longest_outage.as_secs_f64();
        writeln!(f, "  \"longest_outage_seconds\": {longest:.6}\n}}")
    }
}

/// Durations as their quantiles in milliseconds; `null` without any.
struct Times<'a>(&'a Histogram);

impl Display for Times<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Times(times) = self;
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

/// An address, or `null`.
struct Address(Option<SocketAddr>);

impl Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => write!(f, "\"{address}\""),
            None => f.write_str("null"),
        }
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
