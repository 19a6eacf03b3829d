//! What the kernel says of a process.

use std::fs;

/// A number that the kernel keeps of a process in `/proc/PID/status`.
pub fn status(id: &str, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .unwrap();
    line.trim_start_matches(':')
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap()
}
