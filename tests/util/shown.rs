//! Figures and texts as a test prints them for a reader: rounded, in quotes, and cut.

use std::time::Duration;

/// Returns a time as a reader wants it: `4.4 ms`, `44 ms`, `1.2 s`.
pub fn rounded(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 0.00995 {
        return format!("{:.1} ms", seconds * 1000.0);
    }
    if seconds < 0.9995 {
        return format!("{:.0} ms", seconds * 1000.0);
    }
    format!("{seconds:.1} s")
}

/// Does the same as `rounded` for a number of seconds.
pub fn rounded_seconds(seconds: f64) -> String {
    rounded(Duration::from_secs_f64(seconds))
}

/// Returns a text in quotes, without the middle of a long one. Bytes that are not UTF-8
/// are shown as `\xc3`.
pub fn quoted(text: impl AsRef<[u8]>) -> String {
    let bytes = text.as_ref();
    let mut shown = String::from('"');
    for chunk in bytes.utf8_chunks() {
        let valid = format!("{:?}", chunk.valid());
        shown += &valid[1..valid.len() - 1];
        shown += &chunk.invalid().escape_ascii().to_string();
    }
    shown.push('"');
    let length = shown.chars().count();
    if length <= 160 {
        return shown;
    }
    let begin: String = shown.chars().take(60).collect();
    let end: String = shown.chars().skip(length - 30).collect();
    format!("{begin}…{end} ({} bytes)", bytes.len())
}

/// Returns how many lines end in these bytes.
pub fn count_lines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte == b'\n').count()
}
