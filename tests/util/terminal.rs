//! The client at a terminal (a pseudo-terminal of `script`), to type to and read from.

use std::net::SocketAddr;

use super::{Running, installed};

pub const PROMPT: &str = "Enter message: ";

/// Runs a shell's command line at a terminal that does not echo what is typed; skips the
/// test if `script` is not installed. The client is `"$CLIENT"` in the command line.
#[track_caller]
pub fn at_terminal(line: &str) -> Option<Running> {
    let mut script = installed("script")?;
    script.args(["-E", "never", "-qec", line, "/dev/null"]);
    // By a variable, because its path may hold characters that the shell interprets.
    script.env("CLIENT", env!("CARGO_BIN_EXE_client"));
    Some(Running::start(script.env("SHELL", "/bin/sh")))
}

/// Runs the client at a terminal, as `at_terminal` does.
#[track_caller]
pub fn client_at_terminal(address: SocketAddr, args: &str) -> Option<Running> {
    let (host, port) = (address.ip(), address.port());
    at_terminal(&format!("\"$CLIENT\" --host {host} --port {port} {args}"))
}
