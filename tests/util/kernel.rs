//! Numbers from `/proc`, and error messages by their Linux number on every system.

use std::fs;
use std::io;

/// Reads a number from a file in `/proc/PROCESS`: the one that follows the last
/// occurrence of this text after so many words. Returns nothing if the kernel does not
/// say it, for example the memory of a process that has ended.
pub fn number_in_proc(process: u32, file: &str, text: &str, words: usize) -> Option<u64> {
    let content = fs::read_to_string(format!("/proc/{process}/{file}")).ok()?;
    let (_, after) = content.rsplit_once(text)?;
    after.split_whitespace().nth(words)?.parse().ok()
}

/// Returns this system's message for an error, which is named by its number on Linux.
pub fn os_error(number: i32) -> String {
    // The numbers on macOS and on Windows. Below 35, all Unix systems agree.
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
    let number = if cfg!(target_os = "linux") {
        number
    } else if cfg!(windows) {
        windows
    } else {
        bsd
    };
    io::Error::from_raw_os_error(number).to_string()
}
