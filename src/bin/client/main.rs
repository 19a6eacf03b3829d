//! The client: sends the lines of its input, verifies and prints every reply.
//!
//! [`conversation`] has the rules, [`threads`] the loops that carry them out,
//! [`session`] the connections. What the user sees goes through [`output`], and
//! [`summary`] counts.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod attempt;
mod conversation;
mod histogram;
mod outage;
mod outbox;
mod output;
mod session;
mod summary;
mod threads;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use clap::Parser;
use log::LevelFilter;
use tcp_chat::cli;

use conversation::{Conversation, Settings};
use output::Output;
use session::Session;
use threads::Shared;

/// The exit code of a program ended by SIGPIPE, as a shell reports it.
const CLOSED_OUTPUT: u8 = 141;

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
    #[arg(long, value_name = "N", default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(1..=65_536))]
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
    match run(Args::parse()) {
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

fn run(args: Args) -> anyhow::Result<()> {
    args.verbosity
        .logger(LevelFilter::Warn)
        .format(|line, record| writeln!(line, "client: {}", record.args()))
        .init();

    let began = Instant::now();
    let settings = Settings {
        server: cli::address(&args.host, args.port),
        window: args.window as usize,
        timeout: args.timeout,
        connect_timeout: args.connect_timeout,
        retry_for: args.retry_for,
        half_close: false,
    };
    let shared = Arc::new(Shared::new(Conversation::new(settings, began)));
    let output = Arc::new(Output::new().context("cannot write to standard output")?);
    start_input(&shared, &output)?;
    let mut session = Session {
        host: args.host,
        port: args.port,
        shared: Arc::clone(&shared),
        output: Arc::clone(&output),
        overdue: None,
    };
    let end = session.run();

    drop(output.begin_line());
    let mut conversation = shared.lock();
    conversation.finish(Instant::now());
    if args.summary {
        let _ = io::stderr().write_all(summary::summary(&conversation, began.elapsed()).as_bytes());
    }
    end.and_then(|()| conversation.verdict().map_err(|why| anyhow!(why)))
}

/// Starts the thread that reads standard input. It may still wait for more when
/// all else has ended, and then ends with the process.
fn start_input(shared: &Arc<Shared>, output: &Arc<Output>) -> anyhow::Result<()> {
    let (shared, output) = (Arc::clone(shared), Arc::clone(output));
    let stdin = output::file(&io::stdin()).context("cannot read standard input")?;
    let thread = thread::Builder::new().name("input".to_string());
    thread
        .spawn(move || threads::read_input(&shared, &output, stdin))
        .context("cannot start a thread")?;
    Ok(())
}
