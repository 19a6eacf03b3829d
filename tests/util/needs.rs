//! What a test needs that not every machine has.

use std::env;
use std::ffi::OsStr;
use std::fmt::Display;
use std::io::{self, Write};
use std::net::TcpListener;
use std::panic::Location;
use std::process::{self, Command};
use std::sync::OnceLock;

use super::{command, number_in_proc, own_user, run};

/// Says that the calling test, or a part of it, is skipped. What a test prints is
/// shown only where it fails; this goes to the standard error itself, and `.ci/run`
/// counts these lines.
#[track_caller]
pub fn skip(why: impl Display) {
    let caller = Location::caller();
    let (file, line) = (caller.file(), caller.line());
    say(format_args!("skipped: {file}:{line}: {why}"));
}

/// Writes a line to the standard error itself, at once.
pub fn say(what: impl Display) {
    let _ = io::stderr().write_all(format!("{what}\n").as_bytes());
}

/// A program that not every machine has, or `None` where the test is skipped
/// without it. Where `CI` is set that is a failure, since `.ci/run` installs all of
/// them there.
#[track_caller]
pub fn program(name: &str) -> Option<Command> {
    let path = env::var_os("PATH").unwrap_or_default();
    if env::split_paths(&path).any(|directory| directory.join(name).is_file()) {
        return Some(command(name));
    }
    let is_ci = env::var_os("CI").is_some_and(|value| !value.is_empty());
    assert!(!is_ci, "no {name}, which .ci/run installs");
    skip(format_args!("no {name}"));
    None
}

/// A command that runs another one as process 1, as a container does, where this
/// process may arrange that. The number of the process is that of its only child.
#[track_caller]
pub fn process_1(command: &Command) -> Option<Command> {
    let start = |program: &OsStr| {
        let mut unshare = self::program("unshare")?;
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

/// A command that runs another one under `strace` with these arguments, which show
/// its system calls or change what they do, where this process may do that.
#[track_caller]
pub fn strace(args: &[&str], command: &Command) -> Option<Command> {
    let start = |program: &OsStr| {
        let mut strace = self::program("strace")?;
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

/// A command that runs another one as a user for whom nothing else runs, and who may
/// have so many threads, where this process may arrange that: the limit counts all of
/// a user's, and does not hold for root.
#[track_caller]
pub fn with_threads(threads: u32, command: &Command) -> Option<Command> {
    let (user, threads) = (own_user().to_string(), format!("--nproc={threads}"));
    let mut test = program("setpriv")?;
    let mut setpriv = program("setpriv")?;
    for setpriv in [&mut test, &mut setpriv] {
        setpriv.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
        setpriv.args(["prlimit", &threads]);
    }
    // Such a user may not even get at the program.
    let is_there = ["test", "-x"].map(OsStr::new);
    let tried = run(test.args(is_there).arg(command.get_program()), "");
    if !tried.status.success() {
        let why = tried.stderr.trim_end();
        skip(format_args!("cannot run it as user {user}: {why}"));
        return None;
    }
    setpriv.arg(command.get_program()).args(command.get_args());
    Some(setpriv)
}

/// Whether this process, and so what it starts, may have so many open files. The
/// first call raises the limit as far as it goes.
#[track_caller]
pub fn may_open(files: u64) -> bool {
    static LIMIT: OnceLock<u64> = OnceLock::new();
    let limit = *LIMIT.get_or_init(|| {
        let id = process::id().to_string();
        let [soft, hard] = [0, 1].map(|words| own_limit("Max open files", words));
        let mut prlimit = Command::new("prlimit");
        prlimit.args(["--pid", &id, &format!("--nofile={hard}:")]);
        match prlimit.status().is_ok_and(|status| status.success()) {
            true => hard,
            false => soft,
        }
    });
    if limit < files {
        skip(format_args!("needs {files} open files, of {limit} allowed"));
    }
    limit >= files
}

/// How many threads a test may have, those of the programs that it starts included,
/// with as many left for the tests beside it.
pub fn threads_allowed() -> u64 {
    own_limit("Max processes", 0) / 2
}

/// Whether a test may have so many threads.
#[track_caller]
pub fn may_start(threads: u64) -> bool {
    let allowed = threads_allowed();
    if allowed < threads {
        skip(format_args!(
            "needs {threads} threads, of {allowed} allowed"
        ));
    }
    allowed >= threads
}

/// One of this process's limits, the soft one before the hard one.
fn own_limit(name: &str, words: usize) -> u64 {
    number_in_proc(process::id(), "limits", name, words).unwrap_or(u64::MAX)
}

/// Whether this machine has IPv6.
#[track_caller]
pub fn has_ipv6() -> bool {
    let bound = TcpListener::bind("[::1]:0");
    if let Err(error) = &bound {
        skip(format_args!("no IPv6: {error}"));
    }
    bound.is_ok()
}
