//! What the kernel says of a process.

use std::fs;
use std::process::Command;

/// A number in a file in `/proc` of this process: after this text, which is the
/// last such in the file, and so many words. There is none where the kernel does
/// not say it, as of the memory of a process that has ended.
pub fn number_in_proc(process: u32, file: &str, text: &str, words: usize) -> Option<u64> {
    let content = fs::read_to_string(format!("/proc/{process}/{file}")).ok()?;
    let (_, after) = content.rsplit_once(text)?;
    after.split_whitespace().nth(words)?.parse().ok()
}

/// Lets this test process have as many open files as it may.
pub fn allow_open_files() {
    let script =
        "prlimit --pid $0 --nofile=$(prlimit --pid $0 --nofile --output HARD --noheadings):";
    let id = std::process::id().to_string();
    let status = Command::new("sh").args(["-c", script, &id]).status();
    assert!(status.unwrap().success(), "sh -c '{script}' {id}");
}
