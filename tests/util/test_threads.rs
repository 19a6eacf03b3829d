//! A restart of the test program with more test threads than Rust would start.

use std::env;
#[cfg(unix)]
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Once;

use super::{print_to_stderr, threads_allowed};

/// Replaces this program by itself with more test threads, unless the user has chosen
/// their number. Rust starts one for each processor, but most of these tests wait rather
/// than compute. Each test calls this before it starts another program, so the restart
/// leaves no program behind.
#[cfg(unix)]
pub fn restart_with_more_test_threads() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let is_number = |arg: String| arg.starts_with("--test-threads");
        let is_chosen = env::var_os("RUST_TEST_THREADS").is_some() || env::args().any(is_number);
        // A benchmark has no test threads.
        if is_chosen || !cfg!(test) {
            return;
        }
        let threads = (threads_allowed() / 40).clamp(2, 12);
        let mut again = Command::new(env::current_exe().unwrap());
        again.args(env::args_os().skip(1));
        let error = again.env("RUST_TEST_THREADS", threads.to_string()).exec();
        print_to_stderr(format_args!("cannot restart the tests: {error}"));
    });
}

#[cfg(not(unix))]
pub fn restart_with_more_test_threads() {}
