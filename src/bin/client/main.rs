//! The client: sends the lines of its input, verifies and prints every reply.
//!
//! Three threads stand round one [`outbox`]. One reads the input, one writes to
//! the socket, and the main one reads replies, since a client that writes
//! without reading blocks for ever against a server that does the same. A lost
//! connection is not the end: [`session`] connects again and what is not yet
//! acknowledged goes out again. [`output`] is what the user sees of it all, and
//! [`summary`] counts.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod outbox;
mod output;
mod session;
mod summary;

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use log::LevelFilter;
use tcp_chat::cli;
use tcp_chat::lines::{Line, LineReader};
use tcp_chat::wire::{self, MAX_MESSAGE_LINE, Rejection};

use outbox::{Input, Outbox};
use session::Session;

/// The exit code of a program ended by SIGPIPE, as a shell reports it.
const CLOSED_OUTPUT: u8 = 141;

/// Of each kind of trouble with single lines, only so many are reported.
const MOST_REPORTS: u64 = 10;

/// Sends the lines of standard input, verifies and prints every reply.
///
/// Exit code 0 means that every line was sent, acknowledged, verified and printed.
#[derive(Parser)]
#[command(
    version,
    after_help = "Example:\n  seq 1000 | client --port 7000 --retry-for 20 --summary"
)]
struct Args {
    /// The name or address of the server
    #[arg(long, default_value = cli::DEFAULT_HOST, value_parser = cli::host)]
    host: String,
    /// The port of the server
    #[arg(short, long, default_value_t = cli::DEFAULT_PORT)]
    port: u16,
    /// Most messages in flight, up to 65536; 1 is lockstep
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    window: u32,
    /// How long to go on trying in each outage; 0 makes the first the end
    #[arg(long, value_name = "SECS", default_value = "0", value_parser = cli::seconds)]
    retry_for: Duration,
    /// Longest time without any reply while one is awaited; 0 is for ever
    #[arg(long, value_name = "SECS", default_value = "30", value_parser = cli::timeout)]
    timeout: Duration,
    /// Longest time for each attempt to connect; 0 is as long as the system tries
    #[arg(long, value_name = "SECS", default_value = "10", value_parser = cli::timeout)]
    connect_timeout: Duration,
    /// Show counts, rate, reply times and outages at the end
    #[arg(long)]
    summary: bool,
    #[command(flatten)]
    verbosity: cli::Verbosity,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_closed_output(&error) => ExitCode::from(CLOSED_OUTPUT),
        Err(error) => cli::failure("client", &error),
    }
}

/// Whether nobody reads the output any more, as after `| head -1`.
fn is_closed_output(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn run(args: &Args) -> anyhow::Result<()> {
    args.verbosity
        .logger(LevelFilter::Warn)
        .format(|line, record| {
            io::Write::write_fmt(line, format_args!("client: {}\n", record.args()))
        })
        .init();

    let outbox = Arc::new(Outbox::new(args.window as usize));
    let input = Arc::clone(&outbox);
    thread::Builder::new()
        .name("input".to_string())
        .spawn(move || read_input(&input))
        .context("cannot start a thread")?;
    // The thread above may wait for input when all else has ended; it then ends
    // with the process.
    Session::new(args, &outbox).run()
}

/// Pushes every line of standard input into the outbox.
fn read_input(outbox: &Outbox) {
    let mut stdin = io::stdin().lock();
    let mut lines = LineReader::new(MAX_MESSAGE_LINE);
    let mut number = 0;
    loop {
        let read = lines.fill(&mut stdin);
        let mut queue = outbox.lock();
        queue.is_mid_line &= matches!(read, Ok(0) | Err(_));
        while let Some(line) = lines.next_line() {
            number += 1;
            queue.is_mid_line |= matches!(line, Line::Cut(_));
            // It is sent with an LF, so a CR at the end belongs to its end.
            let line = match line {
                Line::Cut(text) => Line::Whole(text),
                line => line,
            };
            match (line, wire::text(line)) {
                (Line::Whole(text), Ok(_)) => queue = outbox.push(queue, number, text),
                _ => {
                    queue.not_sent += 1;
                    if queue.not_sent <= MOST_REPORTS {
                        log::error!("line {number}: {}: not sent", Rejection::TooLong);
                    }
                }
            }
        }
        match read {
            Ok(0) => queue.input = Input::Ended,
            Ok(_) => {}
            Err(error) => queue.input = Input::Failed(error),
        }
        let is_open = matches!(queue.input, Input::Open);
        outbox.release(queue);
        if !is_open {
            return;
        }
    }
}
