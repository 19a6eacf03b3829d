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
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use anyhow::Context;
use clap::Parser;
use log::LevelFilter;
use tcp_chat::cli;
use tcp_chat::system::{self, Interruptible};

use crate::accept::Server;
use crate::limits::Limits;
use crate::shutdown::Shutdown;

/// Acknowledges every line that its clients send, one thread per client.
#[derive(Parser)]
#[command(
    version,
    after_help = "Example:\n  server --port 7000 -q &\n  echo hello | client --port 7000 --retry-for 5"
)]
struct Args {
    #[command(flatten)]
    endpoint: listener::Endpoint,
    /// Clients served at once; further ones are refused [default: 10000, or what the machine allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_clients: Option<u32>,
    #[command(flatten)]
    connection: connection::Settings,
    /// Show warnings only: no clients, no messages
    #[arg(short, long)]
    quiet: bool,
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
    cli::logger(LevelFilter::Info, args.quiet, false)
        .format_target(false)
        .format_timestamp_millis()
        .init();
    // Otherwise, a log that reaches the limit of a file's size (ulimit -f) would end the
    // server.
    system::ignore_file_size_signal();
    let shutdown = Arc::new(Shutdown::default());
    // On a system that cannot interrupt threads, a signal ends the server at once.
    if Interruptible::IS_SUPPORTED {
        let carry_out = shutdown::prepare(&shutdown).context("cannot start a thread")?;
        system::watch(carry_out).context("cannot wait for signals")?;
    }

    let listener = args.endpoint.open()?;
    let address = listener
        .local_addr()
        .context("cannot tell the address that was bound")?;
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
