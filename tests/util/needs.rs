//! Programs, permissions and limits that not every machine has. A test that lacks one is
//! skipped: the helper prints that and returns `None` or `false`, and the test returns.

use std::env;
use std::ffi::OsStr;
use std::fmt::Display;
use std::io::{self, Write};
use std::net::TcpListener;
use std::panic::Location;
use std::process::{self, Command};
use std::sync::OnceLock;

use super::{command, number_in_proc, run, unique_user};

/// Prints that the calling test, or a part of it, is skipped. `.ci/run` counts these
/// lines.
#[track_caller]
pub fn skip(why: impl Display) {
    skip_at(place_of(Location::caller()), why);
}

fn skip_at(place: impl Display, why: impl Display) {
    print_to_stderr(format_args!("skipped: {place}: {why}"));
}

fn place_of(caller: &Location<'_>) -> String {
    format!("{}:{}", caller.file(), caller.line())
}

/// Writes a line to the standard error itself: what a test prints with `println` is
/// shown only if the test fails.
pub fn print_to_stderr(line: impl Display) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Returns a command for a program that not every machine has; skips the test if the
/// program is not installed. If `CI` is set the test fails instead, because `.ci/run`
/// installs all of them.
#[track_caller]
pub fn installed(name: &str) -> Option<Command> {
    installed_for(place_of(Location::caller()), name)
}

/// Does the same for the place, of a file, that needs the program.
pub fn installed_for(place: impl Display, name: &str) -> Option<Command> {
    let path = env::var_os("PATH").unwrap_or_default();
    if env::split_paths(&path).any(|directory| directory.join(name).is_file()) {
        return Some(command(name));
    }
    let is_ci = env::var_os("CI").is_some_and(|value| !value.is_empty());
    assert!(!is_ci, "no {name}, which .ci/run installs");
    skip_at(place, format_args!("no {name}"));
    None
}

/// Returns the command run as process 1, as a container does; skips the test if this
/// process may not do that. The program is the only child of the started process.
#[track_caller]
pub fn as_process_1(command: &Command) -> Option<Command> {
    let start = |program: &OsStr| {
        let mut unshare = self::installed("unshare")?;
        unshare.args(["--map-root-user", "--pid", "--fork", "--kill-child"]);
        unshare.arg(program);
        Some(unshare)
    };
    let tried = run(&mut start("true".as_ref())?, "");
    if !tried.status.success() {
        skip(tried.stderr.trim_end());
        return None;
    }
    let mut unshare = start(command.get_program())?;
    unshare.args(command.get_args());
    Some(unshare)
}

/// Returns the command run under `strace` with these arguments, which show its system
/// calls or change what they do; skips the test if this process may not trace.
#[track_caller]
pub fn strace(args: &[&str], command: &Command) -> Option<Command> {
    let start = |program: &OsStr| {
        let mut strace = self::installed("strace")?;
        strace
            .args(["-f", "-qqq", "-o", "/dev/null"])
            .args(args)
            .arg(program);
        Some(strace)
    };
    let tried = run(&mut start("true".as_ref())?, "");
    if !tried.status.success() {
        skip(tried.stderr.trim_end());
        return None;
    }
    let mut strace = start(command.get_program())?;
    strace.args(command.get_args());
    Some(strace)
}

/// Returns the command run with a limit on its threads; skips the test if this process
/// may not do that. The command runs as a user without other processes, because the
/// limit counts all threads of a user and does not hold for root.
#[track_caller]
pub fn with_thread_limit(threads: u32, command: &Command) -> Option<Command> {
    let user = unique_user().to_string();
    let threads = format!("--nproc={threads}");
    let mut test = installed("setpriv")?;
    let mut setpriv = installed("setpriv")?;
    for setpriv in [&mut test, &mut setpriv] {
        setpriv.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
        setpriv.args(["prlimit", &threads]);
    }
    // Such a user may not even be allowed to read the program.
    test.args(["test", "-x"]).arg(command.get_program());
    let tried = run(&mut test, "");
    if !tried.status.success() {
        let why = tried.stderr.trim_end();
        skip(format_args!("cannot run it as user {user}: {why}"));
        return None;
    }
    setpriv.arg(command.get_program()).args(command.get_args());
    Some(setpriv)
}

/// Whether this process, and each that it starts, may have so many open files; skips the
/// test if not. The first call raises the soft limit to the hard one.
#[track_caller]
pub fn may_open_files(files: u64) -> bool {
    static LIMIT: OnceLock<u64> = OnceLock::new();
    let limit = *LIMIT.get_or_init(|| {
        let id = process::id().to_string();
        let soft = limit_of_this_process("Max open files", SOFT);
        let hard = limit_of_this_process("Max open files", HARD);
        let mut prlimit = Command::new("prlimit");
        prlimit.args(["--pid", &id, &format!("--nofile={hard}:")]);
        let is_raised = prlimit.status().is_ok_and(|status| status.success());
        if is_raised { hard } else { soft }
    });
    if limit < files {
        skip(format_args!("needs {files} open files, of {limit} allowed"));
    }
    limit >= files
}

/// Returns how many threads a test and the programs that it starts may have together.
/// As many are left for the tests beside it.
pub fn threads_allowed() -> u64 {
    limit_of_this_process("Max processes", SOFT) / 2
}

/// Whether a test and the programs that it starts may have so many threads; skips the
/// test if not.
#[track_caller]
pub fn may_start_threads(threads: u64) -> bool {
    let allowed = threads_allowed();
    if allowed < threads {
        skip(format_args!(
            "needs {threads} threads, of {allowed} allowed"
        ));
    }
    allowed >= threads
}

/// The position of the soft limit in a line of `/proc/PID/limits`, after its name.
const SOFT: usize = 0;

/// The position of the hard limit there.
const HARD: usize = 1;

/// Returns one of this process's limits; the largest number if there is no limit.
fn limit_of_this_process(name: &str, position: usize) -> u64 {
    number_in_proc(process::id(), "limits", name, position).unwrap_or(u64::MAX)
}

/// Whether this machine has IPv6; skips the test if not.
#[track_caller]
pub fn has_ipv6() -> bool {
    let bound = TcpListener::bind("[::1]:0");
    if let Err(error) = &bound {
        skip(format_args!("no IPv6: {error}"));
    }
    bound.is_ok()
}
