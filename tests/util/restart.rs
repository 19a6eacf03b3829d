//! More threads for the tests than Rust would take.

use std::env;
#[cfg(unix)]
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Once;

use super::{say, threads_allowed};

/// Starts this program anew, in place of itself, with more threads for its tests,
/// unless their number was chosen. Rust takes one for each processor, and most of
/// these tests wait rather than compute. Each test comes here before it starts
/// another program, so nothing is left behind.
#[cfg(unix)]
pub fn take_more_threads() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let is_number = |arg: String| arg.starts_with("--test-threads");
        let is_chosen = env::var_os("RUST_TEST_THREADS").is_some() || env::args().any(is_number);
        // A benchmark has no such threads.
        if is_chosen || !cfg!(test) {
            return;
        }
        let threads = (threads_allowed() / 40).clamp(2, 12);
        let mut again = Command::new(env::current_exe().unwrap());
        again.args(env::args_os().skip(1));
        let error = again.env("RUST_TEST_THREADS", threads.to_string()).exec();
        say(format_args!("cannot start the tests anew: {error}"));
    });
}

#[cfg(not(unix))]
pub fn take_more_threads() {}
