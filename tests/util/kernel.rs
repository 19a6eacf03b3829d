//! What the kernel says of a process.

use std::fs;
use std::io;

/// A number in a file in `/proc` of this process: after this text, which is the
/// last such in the file, and so many words. There is none where the kernel does
/// not say it, as of the memory of a process that has ended.
pub fn number_in_proc(process: u32, file: &str, text: &str, words: usize) -> Option<u64> {
    let content = fs::read_to_string(format!("/proc/{process}/{file}")).ok()?;
    let (_, after) = content.rsplit_once(text)?;
    after.split_whitespace().nth(words)?.parse().ok()
}

/// What this system says of an error, by the number that Linux has for it.
pub fn os_error(number: i32) -> String {
    // As macOS and Windows number them. Below 35, Unix has one number for each.
    let (bsd, windows) = match number {
        9 => (9, 6),
        21 => (21, 5),
        28 => (28, 112),
        88 => (38, 10038),
        98 => (48, 10048),
        99 => (49, 10049),
        104 => (54, 10054),
        111 => (61, 10061),
        other => (other, other),
    };
    let number = match () {
        () if cfg!(target_os = "linux") => number,
        () if cfg!(windows) => windows,
        () => bsd,
    };
    io::Error::from_raw_os_error(number).to_string()
}
