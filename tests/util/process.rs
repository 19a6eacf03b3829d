//! A started program that is killed with its test or if it hangs, and signals to it.

use std::fs;
use std::io::{self, Read};
use std::ops::{Deref, DerefMut};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::{HANG_LIMIT, Outcome, eventually, print_to_stderr, restart_with_more_test_threads};

/// A program that a test has started. It is killed when this value is dropped, or when it
/// has run for longer than any test takes. So nothing hangs that waits for its end or
/// reads its output.
pub struct Process {
    command: String,
    child: Child,
}

/// The programs that are running (process numbers), and since when.
static RUNNING: Mutex<Vec<(u32, Instant)>> = Mutex::new(Vec::new());

fn with_running<T>(access: impl FnOnce(&mut Vec<(u32, Instant)>) -> T) -> T {
    access(&mut RUNNING.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Starts a program.
pub fn spawn(command: &mut Command) -> Process {
    restart_with_more_test_threads();
    static WATCHDOG: Once = Once::new();
    WATCHDOG.call_once(|| _ = thread::spawn(kill_what_hangs));
    // Of programs that are started at the same time, Wine fails some for no reason.
    let is_of_wine = |error: &io::Error| cfg!(windows) && error.raw_os_error() == Some(1359);
    let child = eventually(|| match command.spawn() {
        Err(error) if is_of_wine(&error) => Err(error.to_string()),
        started => Ok(started),
    });
    let child = match child {
        Ok(child) => child,
        Err(error) => panic!("cannot start {command:?}: {error}"),
    };
    with_running(|running| running.push((child.id(), Instant::now())));
    Process {
        command: format!("{command:?}"),
        child,
    }
}

/// Kills each program that has run for too long. Kills its children too, because they may
/// hold its pipes open.
fn kill_what_hangs() {
    let hangs = |(_, since): &(u32, Instant)| since.elapsed() > HANG_LIMIT * 10;
    loop {
        thread::sleep(Duration::from_secs(1));
        let hung = with_running(|running| {
            let at = running.iter().position(hangs)?;
            Some(running.swap_remove(at).0)
        });
        let Some(id) = hung else { continue };
        print_to_stderr(format_args!("killed process {id}, which hangs"));
        let mut processes = children(id);
        processes.push(id);
        kill(&processes);
    }
}

/// Kills these processes. Some may have ended already.
fn kill(processes: &[u32]) {
    let mut shell = Command::new("sh");
    shell.args(["-c", "kill -s KILL $@", "sh"]);
    shell
        .args(processes.iter().map(u32::to_string))
        .stderr(Stdio::null());
    let _ = shell.status();
}

impl Process {
    /// Waits for the end of the program, which must come soon. Reads no output until then.
    #[track_caller]
    pub fn await_end(&mut self) {
        eventually(|| match self.child.try_wait().unwrap() {
            Some(_) => Ok(()),
            None => Err(format!("{} goes on", self.command)),
        });
    }

    /// Waits for the end of the program, and reads its piped output until then.
    pub fn finish(mut self) -> Outcome {
        let stdout = self.stdout.take();
        self.finish_reading(stdout)
    }

    /// Does the same as `finish`, but reads the standard output from here.
    pub fn finish_reading(mut self, stdout: Option<impl Read>) -> Outcome {
        // The program would block on a pipe that nobody reads.
        let stderr = self.stderr.take();
        let stderr = thread::spawn(move || read_all(stderr));
        let stdout = read_all(stdout);
        Outcome {
            status: self.wait().unwrap(),
            stdout,
            stderr: String::from_utf8_lossy(&stderr.join().unwrap()).into_owned(),
            command: self.command.clone(),
        }
    }
}

fn read_all(pipe: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        pipe.read_to_end(&mut bytes).unwrap();
    }
    bytes
}

impl Deref for Process {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.child
    }
}

impl DerefMut for Process {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let id = self.id();
        // Without their parent they would go on, for example those of `strace`.
        let children = children(id);
        let _ = self.kill();
        let _ = self.wait();
        if !children.is_empty() {
            kill(&children);
        }
        with_running(|running| running.retain(|(running, _)| *running != id));
    }
}

/// Returns the signal that ended a program; only Unix has one.
pub fn ended_by(status: ExitStatus) -> Option<i32> {
    #[cfg(unix)]
    return std::os::unix::process::ExitStatusExt::signal(&status);
    #[cfg(not(unix))]
    return status.code().and(None);
}

/// Sends a signal to a process: INT, TERM and so on.
pub fn signal(process: u32, name: &str) {
    // Not every machine has `kill` as a program, but every shell has its own.
    let mut shell = Command::new("sh");
    shell.args(["-c", "kill -s $1 $0", &process.to_string(), name]);
    let status = shell.status().unwrap();
    assert!(status.success(), "kill -s {name} {process}: {status}");
}

/// Pauses a process (SIGSTOP), and waits until all its threads stand still.
pub fn pause(process: u32) {
    signal(process, "STOP");
    let threads = format!("/proc/{process}/task");
    eventually(|| {
        let threads = fs::read_dir(&threads).unwrap();
        let states = threads.map(|thread| fs::read(thread.unwrap().path().join("status")));
        let mut states = states.map_while(Result::ok);
        let stands_still = |status: Vec<u8>| String::from_utf8_lossy(&status).contains("\tT (");
        match states.all(stands_still) {
            true => Ok(()),
            false => Err("not all threads stand still".to_string()),
        }
    });
}

/// Returns the programs that a process has started, by any of its threads. None if it has
/// ended.
pub fn children(process: u32) -> Vec<u32> {
    let mut children = Vec::new();
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else {
        return children;
    };
    // A thread may end at any moment.
    for thread in threads.map_while(Result::ok) {
        let started = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        let started = started.split_whitespace().map(str::parse);
        children.extend(started.collect::<Result<Vec<u32>, _>>().unwrap());
    }
    children
}
