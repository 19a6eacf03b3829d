//! The server: acknowledges every line that its clients send.
//!
//! [`listener`] opens the socket, and this file announces it. [`accept`] gives
//! each client a thread, if [`limits`] has a slot for it; [`connection`] is what
//! that thread does. [`linger`] closes connections after a notice.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod accept;
mod connection;
mod limits;
mod linger;
mod listener;

use std::io::{self, Write};
use std::process::{self, ExitCode};

use anyhow::Context;
use clap::Parser;
use log::LevelFilter;
use tcp_chat::{cli, system};

use accept::Server;

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
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,
    /// Show each failure to accept, too, and not one a second
    #[arg(short, long)]
    verbose: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => cli::failure("server", &error),
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    cli::logger(LevelFilter::Info, args.quiet, args.verbose)
        .format_target(false)
        .format_timestamp_millis()
        .init();
    // For process 1, as of a container, the kernel leaves out what any other
    // process does at a signal by default: to end.
    if process::id() == 1 {
        system::watch(|_| ()).context("cannot wait for signals")?;
    }

    let listener = args.endpoint.open()?;
    let address = listener
        .local_addr()
        .context("cannot tell the address that was bound")?;
    let limits = limits::limits(args.max_clients.map(|clients| clients as usize))
        .with_context(|| format!("cannot serve on {address}"))?;
    let mut server =
        Server::new(args.connection.clone(), limits).context("cannot start a thread")?;
    // A closed standard output is no reason not to serve.
    if let Err(error) = writeln!(io::stdout(), "Server listening on {address}") {
        log::warn!("Cannot announce {address} on standard output: {error}");
    }
    Err(server.accept(&listener)).with_context(|| format!("cannot accept on {address}"))
}
