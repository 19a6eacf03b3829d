//! The client: sends the lines of its input, verifies and prints every reply.
//!
//! [`conversation`] has the rules, [`threads`] the loops that carry them out,
//! [`session`] the connections. What the user sees goes through [`output`], and
//! [`summary`] counts.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod attempt;
mod conversation;
mod ending;
mod histogram;
mod outage;
mod outbox;
mod output;
mod report;
mod schedule;
mod session;
mod summary;
mod threads;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Parser;
use log::LevelFilter;
use tcp_chat::cli;
use tcp_chat::system::{self, Signal};

use conversation::Settings;
use ending::Ending;
use output::Output;
use schedule::Schedule;
use session::Session;
use threads::Shared;

/// The exit code of a program ended by SIGPIPE, as a shell reports it.
const CLOSED_OUTPUT: u8 = 141;

/// How long a signal waits for the last words to be read before it ends the run.
const LAST_WORDS: Duration = Duration::from_secs(1);

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
    #[arg(long, value_name = "N", default_value_t = 8192, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    window: u32,
    /// How long to go on trying in each outage; 0 ends the run at the first one
    #[arg(long, value_name = "SECS", default_value = "0", value_parser = cli::seconds)]
    retry_for: Duration,
    /// Longest time without any reply while one is awaited; 0 is for ever
    #[arg(long, value_name = "SECS", default_value = "30", value_parser = cli::timeout)]
    timeout: Duration,
    /// Longest time for each attempt to connect; 0 is as long as the system tries
    #[arg(long, value_name = "SECS", default_value = "10", value_parser = cli::timeout)]
    connect_timeout: Duration,
    /// Lines a second, on a schedule that starts with the first line; an overdue line goes out at once
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,
    /// End this side of the stream after the last line, and still require every reply. A server that
    /// answers only then needs --window to be as large as the input
    #[arg(long)]
    half_close: bool,
    /// Show each second how far the run is
    #[arg(long)]
    progress: bool,
    /// Show counts, rate, reply times and outages at the end
    #[arg(long)]
    summary: bool,
    /// Write the end of the run to this file, as one JSON object
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Show errors only: no outages
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,
    /// Show each connection, too
    #[arg(short, long)]
    verbose: bool,
}

/// Reads a number of lines a second.
fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number")?;
    match rate > 0.0 && rate.is_finite() {
        true => Ok(rate),
        false => Err("not a number above 0".to_string()),
    }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(code) => code,
        Err(error) => cli::failure("client", &error),
    }
}

/// # Errors
///
/// What the one line on standard error says. A closed output has none.
fn run(args: &Args) -> anyhow::Result<ExitCode> {
    cli::logger(LevelFilter::Warn, args.quiet, args.verbose)
        .format(|line, record| writeln!(line, "client: {}", record.args()))
        .init();

    let settings = Settings {
        server: cli::address(&args.host, args.port),
        window: args.window as usize,
        timeout: args.timeout,
        connect_timeout: args.connect_timeout,
        retry_for: args.retry_for,
        half_close: args.half_close,
    };
    let ending = Ending::new(settings, args.summary, args.report.as_deref())?;
    let ending = Arc::new(ending);
    let in_signal = Arc::clone(&ending);
    let end = system::watch(move |signal| conclude_in_time(&in_signal, signal))
        .context("cannot watch for signals")
        .and_then(|()| converse(args, &ending.shared, &ending.output));
    let code = match &end {
        Ok(()) => 0,
        Err(error) if is_closed_output(error) => CLOSED_OUTPUT,
        Err(_) => 1,
    };
    let error = end.err().map(|error| format!("{error:#}"));
    let concluded = ending.conclude(code, error.as_deref());
    match (error, concluded) {
        (None, concluded) => concluded?,
        (Some(error), concluded) => {
            // Neither error may hide the other.
            if let Err(unwritten) = concluded {
                log::error!("{unwritten:#}");
            }
            if code != CLOSED_OUTPUT {
                bail!(error);
            }
        }
    }
    Ok(ExitCode::from(code))
}

/// Writes the report and the summary after a signal, but gives up after a second:
/// a pager may have stopped reading.
fn conclude_in_time(ending: &Arc<Ending>, signal: Signal) {
    let conclude = {
        let ending = Arc::clone(ending);
        // That the report cannot be written is no news beside the signal.
        move || _ = ending.conclude(signal.exit_code(), Some(&signal.to_string()))
    };
    let (concluded, end) = mpsc::channel();
    let thread = thread::Builder::new().name("last words".to_string());
    let in_thread = conclude.clone();
    let started = thread.spawn(move || {
        in_thread();
        let _ = concluded.send(());
    });
    match started {
        Ok(_) => _ = end.recv_timeout(LAST_WORDS),
        // Better late than not at all.
        Err(_) => conclude(),
    }
}

/// Sends every line of the input, and sees each acknowledged.
///
/// # Errors
///
/// Anything other than that.
fn converse(args: &Args, shared: &Arc<Shared>, output: &Arc<Output>) -> anyhow::Result<()> {
    let stdin = system::stdin().context("cannot read standard input")?;
    let schedule = args.rate.map(Schedule::new);
    start("input", shared, output, move |shared, output| {
        threads::read_input(shared, output, schedule, stdin);
    })?;
    if args.progress {
        start("progress", shared, output, threads::show_progress)?;
    }
    Session::new(&args.host, args.port, shared, output).run()?;
    shared.lock().verdict().map_err(|why| anyhow!(why))
}

/// Whether nobody reads the output any more, as after `| head -1`.
fn is_closed_output(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Starts a thread that ends with the process: it may still wait when all else
/// is over.
fn start(
    name: &str,
    shared: &Arc<Shared>,
    output: &Arc<Output>,
    run: impl FnOnce(&Shared, &Output) + Send + 'static,
) -> anyhow::Result<()> {
    let (shared, output) = (Arc::clone(shared), Arc::clone(output));
    let thread = thread::Builder::new().name(name.to_string());
    thread
        .spawn(move || run(&shared, &output))
        .context("cannot start a thread")?;
    Ok(())
}
