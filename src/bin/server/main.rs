//! The server: acknowledges every line that its clients send.
//!
//! [`listener`] opens the socket, and this file announces it. [`accept`] gives
//! each client a thread, if [`limits`] has a slot for it; [`connection`] is what
//! that thread does. [`linger`] closes connections after a notice, and [`stop`] stops
//! the server.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod accept;
mod connection;
mod limits;
mod linger;
mod listener;
mod stop;

use std::io::{self, Write};
use std::process::{self, ExitCode};
use std::sync::{Arc, mpsc};
use std::{convert::Infallible, thread, time::Duration};

use anyhow::Context;
use clap::Parser;
use log::LevelFilter;
use tcp_chat::cli;
use tcp_chat::system::{self, Interruptible, Signal};

use crate::{accept::Server, stop::Stop};

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
    let Err(error) = run(&Args::parse());
    cli::failure("server", &error)
}

/// Serves until a signal ends the process.
///
/// # Errors
///
/// It cannot serve.
fn run(args: &Args) -> anyhow::Result<Infallible> {
    cli::logger(LevelFilter::Info, args.quiet, args.verbose)
        .format_target(false)
        .format_timestamp_millis()
        .init();
    let stop = Arc::new(Stop::default());
    // Where threads cannot be woken, a signal ends the server at once.
    if Interruptible::IS_SUPPORTED {
        let stop = Arc::clone(&stop);
        system::watch(move |signal| end(&stop, signal)).context("cannot wait for signals")?;
    }

    let listener = args.endpoint.open()?;
    let address = listener.local_addr().context("cannot tell the address that was bound")?;
    let limits = limits::limits(args.max_clients.map(|clients| clients as usize))
        .with_context(|| format!("cannot serve on {address}"))?;
    let mut server = Server::new(args.connection.clone(), limits, Arc::clone(&stop))
        .context("cannot start a thread")?;
    stop.set_accepting(Some(address));
    // A closed standard output is no reason not to serve.
    if let Err(error) = writeln!(io::stdout(), "Server listening on {address}") {
        log::warn!("Cannot announce {address} on standard output: {error}");
    }
    server.accept(&listener).with_context(|| format!("cannot accept on {address}"))?;
    drop(listener);
    stop.set_accepting(None);
    // The thread that waits for signals ends the process.
    loop {
        thread::park();
    }
}

/// Stops the server after a signal. SIGTERM is the order to stop, so it ends in
/// exit code 0; after the others, the program ends by the signal.
fn end(stop: &Arc<Stop>, signal: Signal) {
    let (stopped, end) = mpsc::channel();
    let in_thread = Arc::clone(stop);
    let thread = thread::Builder::new().name("stop".to_string());
    let started = thread.spawn(move || {
        in_thread.run();
        let _ = stopped.send(());
    });
    match started {
        // A log that nobody reads can hold up the thread, but not the end.
        Ok(_) => _ = end.recv_timeout(stop::LONGEST + Duration::from_millis(500)),
        Err(_) => stop.run(),
    }
    if signal == Signal::TERM {
        process::exit(0);
    }
}
