//! A terminal of a test's own.

use std::net::SocketAddr;

use super::{Running, program};

pub const PROMPT: &str = "Enter message: ";

/// Runs a shell's command line at a terminal, which does not echo what is typed.
/// The client is `"$CLIENT"` there.
#[track_caller]
pub fn at_terminal(line: &str) -> Option<Running> {
    let mut script = program("script")?;
    script.args(["-E", "never", "-qec", line, "/dev/null"]);
    // Whose path may hold anything.
    script.env("CLIENT", env!("CARGO_BIN_EXE_client"));
    Some(Running::start(script.env("SHELL", "/bin/sh")))
}

/// Runs the client at a terminal.
#[track_caller]
pub fn client_at_terminal(address: SocketAddr, args: &str) -> Option<Running> {
    let (host, port) = (address.ip(), address.port());
    at_terminal(&format!("\"$CLIENT\" --host {host} --port {port} {args}"))
}
