//! Short pauses (SIGSTOP, SIGCONT) of a process, again and again.

use std::process::Command;

use super::{Process, spawn};

/// Pauses a process for 2 ms each 0.1 s until this value is dropped, as cpulimit, a
/// debugger or a freezer does.
pub struct Pauses {
    process: u32,
    shell: Option<Process>,
}

impl Pauses {
    pub fn start(process: u32) -> Self {
        let script =
            "while kill -s STOP $0 2>/dev/null; do sleep 0.002; kill -s CONT $0; sleep 0.1; done";
        let mut shell = Command::new("sh");
        let shell = spawn(shell.args(["-c", script, &process.to_string()]));
        Pauses {
            process,
            shell: Some(shell),
        }
    }
}

impl Drop for Pauses {
    fn drop(&mut self) {
        // The shell may be killed between the two signals, so the process may still be
        // paused. The process may also have ended.
        self.shell.take();
        let mut shell = Command::new("sh");
        shell.args([
            "-c",
            "kill -s CONT $0 2>/dev/null",
            &self.process.to_string(),
        ]);
        let _ = shell.status();
    }
}
