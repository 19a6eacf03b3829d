//! The server: acknowledges every line that its clients send.
//!
//! This file binds and announces. [`accept`] gives each client a thread,
//! [`connection`] is what that thread does, and [`slots`] counts them. [`linger`]
//! closes connections after a notice. [`limits`] asks
//! the system how many there may be.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod accept;
mod connection;
mod limits;
mod linger;
mod slots;

use std::io::{self, Write};
use std::net::TcpListener;
use std::process::{self, ExitCode};
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use log::LevelFilter;
use tcp_chat::{cli, system};

use accept::Server;
use connection::{Framing, Settings};

/// Acknowledges every line that its clients send, one thread per client.
#[derive(Parser)]
#[command(
    version,
    after_help = "Example:\n  server --port 7000 -q &\n  echo hello | client --port 7000 --retry-for 5"
)]
struct Args {
    /// The name or address to listen on; 0.0.0.0 or :: is every one of this machine's
    #[arg(long, default_value = cli::DEFAULT_HOST, value_parser = cli::host)]
    host: String,
    /// The port to listen on; 0 is any free one
    #[arg(short, long, default_value_t = cli::DEFAULT_PORT)]
    port: u16,
    /// Serve the listening socket at standard input instead, as a service manager gives it
    #[arg(long, conflicts_with_all = ["host", "port"])]
    inherit: bool,
    /// Clients served at once; further ones are refused [default: 10000, or what the machine allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_clients: Option<u32>,
    /// How long a client may send nothing; 0 is for ever
    #[arg(long, value_name = "SECS", default_value = "600", value_parser = cli::timeout)]
    idle_timeout: Duration,
    /// How long a client may take to end a line begun, and to take its replies; 0 is for ever
    #[arg(long, value_name = "SECS", default_value = "30", value_parser = cli::timeout)]
    timeout: Duration,
    /// How messages are told apart: by line, or, for peers that know no framing, by read
    #[arg(long, default_value = "lines")]
    framing: Framing,
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
        .init();
    // For process 1, as of a container, the kernel leaves out what any other
    // process does at a signal by default: to end.
    if process::id() == 1 {
        system::watch(|_| ()).context("cannot wait for signals")?;
    }

    let listener = listen(args)?;
    let address = listener
        .local_addr()
        .context("cannot tell the address that was bound")?;
    let limits = limits::limits(args.max_clients.map(|clients| clients as usize))
        .with_context(|| format!("cannot serve on {address}"))?;
    let settings = Settings {
        framing: args.framing,
        idle_timeout: args.idle_timeout,
        timeout: args.timeout,
    };
    let mut server = Server::new(settings, limits).context("cannot start a thread")?;
    // A closed standard output is no reason not to serve.
    if let Err(error) = writeln!(io::stdout(), "Server listening on {address}") {
        log::warn!("Cannot announce {address} on standard output: {error}");
    }
    Err(server.accept(&listener)).with_context(|| format!("cannot accept on {address}"))
}

fn listen(args: &Args) -> anyhow::Result<TcpListener> {
    if args.inherit {
        let why = "cannot serve standard input, which is no listening TCP socket";
        return system::inherited_listener().context(why);
    }
    TcpListener::bind((args.host.as_str(), args.port))
        .and_then(|listener| system::lengthen_queue(&listener).map(|()| listener))
        .with_context(|| format!("cannot listen on {}", cli::address(&args.host, args.port)))
}
