//! The run as one JSON object, for `--report`.

use std::env;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::figures::histogram::{Figure, Histogram, milliseconds};
use crate::figures::outages::PastOutage;
use crate::figures::snapshot::Snapshot;

/// Returns the report on a run. `rate` is that of the command line. `exit` is the exit code.
/// `error` is why the run failed, or the signal that ended it.
pub(crate) fn to_json(
    run: &Snapshot,
    began_at: SystemTime,
    rate: Option<f64>,
    exit: u8,
    error: Option<&str>,
) -> String {
    let counts = &run.counts;
    let replies = &counts.replies;
    let began = began_at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let arguments = env::args_os()
        .skip(1)
        .map(|argument| text(&argument.to_string_lossy()));
    let lines = [
        ("acknowledged", replies.acknowledged),
        ("rejected", replies.rejected),
        ("wrong", replies.wrong),
        ("unacknowledged", run.unacknowledged),
        ("never_sent", run.never_sent),
        ("too_long", counts.too_long),
        ("sent_again", counts.sent_again),
    ];
    let lines = lines.map(|(name, count)| (name, count.to_string()));
    let answered_by = run
        .prefixes
        .iter()
        .zip(&replies.by_prefix)
        .map(|(prefix, count)| (prefix, count.to_string()));
    let outages = run
        .first_outages
        .iter()
        .map(|past| outage(past, began + (past.began - run.began)));
    let fields = [
        ("server", text(&run.server)),
        ("version", text(env!("CARGO_PKG_VERSION"))),
        ("arguments", list(arguments, ", ")),
        ("began", seconds(began)),
        ("seconds", seconds(run.elapsed())),
        ("exit", exit.to_string()),
        ("error", or_null(error.map(text))),
        ("input_ended", run.input_was_read.to_string()),
        ("lines", object(lines)),
        ("answered_by", object(answered_by)),
        ("rate", or_null(rate.map(|rate| rate.to_string()))),
        ("replies_per_second", format!("{:.1}", run.rate())),
        ("reply_time_ms", times(&counts.reply_times)),
        ("connections", counts.connections.to_string()),
        ("connect_time_ms", times(&counts.connect_times)),
        ("own_delay_ms", times(&counts.own_delays.all)),
        ("outages", list(outages, ",\n    ")),
        ("outage_count", counts.outages.to_string()),
        ("outage_seconds", seconds(counts.outage_time)),
        ("longest_outage_seconds", seconds(run.longest_outage())),
    ];
    let fields = fields.map(|(name, value)| format!("  \"{name}\": {value}"));
    format!("{{\n{}\n}}\n", fields.join(",\n"))
}

/// Returns an outage as a JSON object; `began` is the time since the Unix epoch.
fn outage(past: &PastOutage, began: Duration) -> String {
    let mut local = None;
    let mut remote = None;
    if let Some(lost) = &past.lost {
        local = Some(text(&lost.local));
        remote = Some(text(&lost.remote));
    }
    object([
        ("began", seconds(began)),
        ("seconds", seconds(past.length)),
        ("cause", text(&past.cause)),
        ("sent_again", past.sent_again.to_string()),
        (
            "own_delay_ms",
            format!("{:.6}", milliseconds(past.own_delay)),
        ),
        ("local", or_null(local)),
        ("remote", or_null(remote)),
    ])
}

/// Returns the figures of some durations as a JSON object; `null` if there are none.
fn times(times: &Histogram) -> String {
    let field = |figure: Figure| {
        let name = figure.name.replace('.', "");
        (name, format!("{:.6}", figure.milliseconds))
    };
    or_null(times.figures().map(|figures| object(figures.map(field))))
}

fn seconds(duration: Duration) -> String {
    format!("{:.6}", duration.as_secs_f64())
}

fn or_null(value: Option<String>) -> String {
    value.unwrap_or("null".to_string())
}

fn list(values: impl Iterator<Item = String>, separator: &str) -> String {
    format!("[{}]", values.collect::<Vec<_>>().join(separator))
}

fn object<N: AsRef<str>>(fields: impl IntoIterator<Item = (N, String)>) -> String {
    let fields: Vec<String> = fields
        .into_iter()
        .map(|(name, value)| format!("{}: {value}", text(name.as_ref())))
        .collect();
    format!("{{{}}}", fields.join(", "))
}

/// Returns a text as a JSON string.
fn text(plain: &str) -> String {
    let escaped = plain.chars().map(|c| match c {
        '"' | '\\' => format!("\\{c}"),
        '\0'..='\x1f' => format!("\\u{:04x}", u32::from(c)),
        _ => c.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn escapes_what_json_does_not_allow_in_a_string() {
        for (plain, json) in [
            ("", "\"\""),
            ("Grüße, 世界", "\"Grüße, 世界\""),
            ("a \"b\" \\c", "\"a \\\"b\\\" \\\\c\""),
            ("\0\n\x1f \x7f", "\"\\u0000\\u000a\\u001f \x7f\""),
        ] {
            assert_eq!(text(plain), json);
        }
    }
}
