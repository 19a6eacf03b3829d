//! [wire]: ../tcp_chat/wire/index.html
//! [client manual]: ../client/index.html
//! [socket]: #recipes-and-unit-files
//! [service]: #recipes-and-unit-files
//! [install]: #recipes-and-unit-files
//! [tls]: #recipes-and-unit-files
#![doc = include_str!("README.md")]
//! # Recipes and unit files
//!
//! The recipes and the unit files are not part of this documentation. In a checkout, the
//! recipes are in `tests/neighbours/README.md`, and the unit files are beside it.
//!
//! # For readers of the source
//!
//! The server: acknowledges every line that its clients send.
//!
//! A client's way through the files:
//!
//! ```text
//!                     a slot is free
//! listener ── accept ────────────────▶ connection   (a thread of the client's own)
//!               │                          │
//!               │ no slot is free          │ the client missed a deadline
//!               ▼                          │
//!             drain ◀──────────────────────┘        (one thread for all such clients)
//! ```
//!
//! The threads. A panic of any of them is logged in one line.
//!
//! | thread | what it does | what follows from its panic |
//! |---|---|---|
//! | main | starts the other threads, and one for each client | The process ends with exit code 101. |
//! | `accept` | accepts clients | The process ends with exit code 1. |
//! | `signals` | waits for a signal, times the shutdown, ends the process | A shutdown may never end the process; a second signal does. |
//! | `shutdown` | carries out the shutdown | The process ends at once: after SIGTERM with exit code 1, otherwise by the signal. |
//! | `drain` | closes connections after a notice | Later notices are lost. Each is logged as an error. |
//! | one per client, named by its address | serves the client | Only this client is disconnected. |
//!
//! - [`listener`] opens the socket, and this file announces it.
//! - [`accept`] accepts each client, and gives it a thread if [`limits`] has a slot.
//! - [`connection`] is what that thread does: it reads lines and sends replies.
//! - [`drain`] closes a connection after a notice, without a reset that could destroy it.
//! - [`shutdown`] ends the server gracefully after a signal. It waits for each open
//!   [`stream`].

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod accept;
mod connection;
mod drain;
mod limits;
mod listener;
mod shutdown;
mod stream;

use std::convert::Infallible;
use std::io::{self, Write};
use std::panic;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use anyhow::Context;
use clap::Parser;
use log::LevelFilter;
use tcp_chat::cli::{self, HelpFlags, Verbosity};
use tcp_chat::printable::Printable;
use tcp_chat::system::{self, Interruptible};

use crate::accept::Server;
use crate::limits::Limits;
use crate::shutdown::Shutdown;

/// What follows the flags in the help.
const AFTER_HELP: &str = "\
A limit of 0 seconds means no limit.
Exit codes: 0 shut down by SIGTERM; 1 failure; 2 usage;
  129/130 shut down by SIGHUP/SIGINT
Examples:
  server -q --port 0 --max-clients 10     # any free port, 10 clients at once
  server --host 0.0.0.0 --idle-timeout 0  # for other machines, idle or not";

// The help shows the flags in the order of these fields. In `-h`, each has one line of at most
// 79 columns.

/// Acknowledge every line that clients send, with a thread for each client
#[derive(Parser)]
#[command(
    name = "server",
    version = concat!(env!("CARGO_PKG_VERSION"), " (tcp-chat)"),
    after_help = AFTER_HELP,
    disable_help_flag = true,
    disable_version_flag = true
)]
struct Args {
    #[command(flatten)]
    endpoint: listener::Endpoint,
    /// Refuse clients beyond N at once [default: 10000]
    ///
    /// The machine may allow fewer. The log then says so, and which limit to
    /// raise.
    #[arg(long, help_heading = "Limits", value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..), verbatim_doc_comment)]
    max_clients: Option<u32>,
    #[command(flatten)]
    connection: connection::Settings,
    /// Log warnings only: no clients, no messages
    ///
    /// The log is on standard error. If RUST_LOG is set and not empty, it
    /// decides instead of -q. RUST_LOG=debug logs each failure to accept a
    /// client, too.
    #[arg(short, long, help_heading = "Logging", verbatim_doc_comment)]
    quiet: bool,
    #[command(flatten)]
    _help: HelpFlags,
}

fn main() -> ExitCode {
    let Err(error) = run(&Args::parse());
    cli::print_failure("server", &error)
}

/// Serves until a signal ends the process.
///
/// # Errors
///
/// The signals, the address, the limits or the threads do not allow it to serve.
fn run(args: &Args) -> anyhow::Result<Infallible> {
    let verbosity = if args.quiet {
        Verbosity::Quiet
    } else {
        Verbosity::Usual
    };
    start_logger(verbosity);
    // Otherwise, a log that reaches the limit of a file's size (ulimit -f) would end the
    // server.
    system::ignore_file_size_signal();
    let shutdown = Arc::new(Shutdown::default());
    // `watch` comes before the listener: its pipe takes descriptor 3 if that is free, which
    // `system::inherited_listener` relies on. On a system that cannot interrupt threads, a
    // signal ends the server at once.
    if Interruptible::IS_SUPPORTED {
        let carry_out = shutdown::prepare(&shutdown).context("cannot start a thread")?;
        system::watch(carry_out).context("cannot wait for signals")?;
    }

    let listener = args.endpoint.open()?;
    let address = listener
        .local_addr()
        .context("cannot read the address of the listening socket")?;
    let asked_clients = args.max_clients.map(|clients| clients as usize);
    let limits = Limits::of_this_machine(asked_clients)
        .with_context(|| format!("cannot serve on {address}"))?;
    shutdown.record_accepting(address);
    let server = Server::start(listener, args.connection.clone(), limits, &shutdown)
        .context("cannot start a thread")?;
    // A closed standard output is no reason not to serve.
    if let Err(error) = writeln!(io::stdout(), "Server listening on {address}") {
        log::warn!("Cannot announce {address} on standard output: {error}");
    }
    server
        .serve()
        .with_context(|| format!("cannot accept on {address}"))?;
    // The thread that waits for signals ends the process.
    loop {
        thread::park();
    }
}

/// Starts the logger, and logs each panic from now on.
fn start_logger(verbosity: Verbosity) {
    cli::logger(LevelFilter::Info, verbosity)
        .format_target(false)
        .format_timestamp_millis()
        .init();
    log_panics_in_one_line();
}

/// Logs each panic from now on as one event, in one line: which thread panicked, where, and
/// why. std would print several lines.
fn log_panics_in_one_line() {
    panic::set_hook(Box::new(|panic| {
        let thread = thread::current();
        let name = thread.name().unwrap_or("?");
        let what = panic.to_string().replace('\n', " ");
        let what = Printable(what.as_bytes());
        log::error!("The thread \"{name}\" {what}");
    }));
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::net::{TcpListener, TcpStream};
    use std::process::Command;

    use super::*;
    use crate::drain::Drain;
    use crate::stream::Stream;

    const VARIABLE: &str = "SERVER_TEST";

    /// Plays a server whose drain thread has panicked, in a separate process.
    #[test]
    fn player() {
        if env::var_os(VARIABLE).is_none() {
            return;
        }
        start_logger(Verbosity::Quiet);
        let thread = thread::Builder::new().name("drain".to_string());
        let drain = thread.spawn(|| unreachable!("a\nbug")).unwrap();
        assert!(drain.join().is_err());

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let stream = Arc::new(Stream::new(tcp, &Arc::default()));
        let peer = "192.0.2.1:7".parse().unwrap();
        Drain::without_thread().close(peer, stream, b"a notice".to_vec());
    }

    #[test]
    fn a_panic_and_each_notice_that_it_prevents_is_one_line_of_the_log() {
        let mut player = Command::new(env::current_exe().unwrap());
        player.args(["--exact", "tests::player", "--nocapture"]);
        player.env(VARIABLE, "1").env_remove("RUST_LOG");
        let output = player.output().unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        let lines: Vec<&str> = log.lines().collect();
        assert_eq!(lines.len(), 2, "{log}");
        let panic = "ERROR] The thread \"drain\" panicked at src/bin/server/main.rs:";
        assert!(lines[0].contains(panic), "{log}");
        assert!(lines[0].ends_with(": a bug"), "{log}");
        let lost = "ERROR] 192.0.2.1:7 gets no notice: the thread \"drain\" has panicked";
        assert!(lines[1].ends_with(lost), "{log}");
    }
}
