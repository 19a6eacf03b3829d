//! The client: sends the lines of its input, verifies and prints every reply.
//!
//! [`conversation`] has the rules. The threads that carry them out share what
//! [`shared`] has: one reads the [`input`], one connects again and again
//! ([`session`]), one writes to each [`connection`]. What the user sees goes
//! through [`output`]. The main thread waits for the first end of the run, and
//! has the last words.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod connect;
mod connection;
mod conversation;
mod counts;
mod histogram;
mod input;
mod longest;
mod named_file;
mod outage;
mod outbox;
mod output;
mod own_delay;
mod progress;
mod report;
mod schedule;
mod series;
mod session;
mod settings;
mod shared;
mod summary;

use std::io::{self, Write};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};
use std::{panic, path::PathBuf, process::ExitCode, sync::Arc, thread};

use anyhow::Context;
use clap::{Parser, value_parser};
use log::LevelFilter;
use tcp_chat::system::{self, Signal};
use tcp_chat::{cli, running_time};

use crate::shared::{Outcome, Panicked, Shared, start_thread};
use crate::{conversation::Conversation, named_file::NamedFile, output::Output};
use crate::{schedule::Schedule, series::Series, session::Session, settings::Settings};

/// The exit code of a program ended by SIGPIPE, as a shell reports it.
const CLOSED_OUTPUT: u8 = 141;

/// How long the last words may take after a signal.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long a first connect may take before it is reported.
const PATIENCE: Duration = Duration::from_secs(1);

/// Sends the lines of standard input, verifies and prints every reply.
///
/// Exit code 0 means that every line was sent, acknowledged, verified and printed.
#[derive(Parser)]
#[command(
    version,
    after_help = "Example:\n  seq 1000 | client localhost 7000 --retry-for 20 --summary"
)]
struct Args {
    #[command(flatten)]
    server: Endpoint,
    /// Show counts, rate, reply times and outages at the end
    #[arg(long)]
    summary: bool,
    #[command(flatten)]
    settings: Settings,
    /// Lines a second, on a schedule that starts with the first line; an overdue line goes out at once
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,
    /// Show each second how far the run is
    #[arg(long)]
    progress: bool,
    /// Write the end of the run to this file, as one JSON object
    #[arg(long, value_name = "FILE", value_parser = report_file)]
    report: Option<PathBuf>,
    /// Write to this file each second how the run stands, as CSV
    #[arg(long, value_name = "FILE", value_parser = series_file)]
    series: Option<PathBuf>,
    /// Show errors only: no outages
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,
    /// Show each connection, too
    #[arg(short, long)]
    verbose: bool,
}

/// Where the server is, said in order or by flags.
#[derive(clap::Args)]
struct Endpoint {
    /// The name or address of the server [default: 127.0.0.1]
    #[arg(value_name = "HOST", value_parser = host, conflicts_with_all = ["host", "port"])]
    first: Option<String>,
    /// The port of the server [default: 12345]
    #[arg(value_name = "PORT", value_parser = value_parser!(u16).range(1..))]
    second: Option<u16>,
    /// The same as HOST
    #[arg(long, display_order = 100, value_parser = host)]
    host: Option<String>,
    /// The same as PORT
    #[arg(short, long, display_order = 100, value_parser = value_parser!(u16).range(1..))]
    port: Option<u16>,
}

impl Endpoint {
    fn host_and_port(&self) -> (&str, u16) {
        let host = self.first.as_deref().or(self.host.as_deref());
        (
            host.unwrap_or(cli::DEFAULT_HOST),
            self.second.or(self.port).unwrap_or(cli::DEFAULT_PORT),
        )
    }
}

/// Reads the name or address of the server.
fn host(text: &str) -> Result<String, String> {
    cli::host(text).map_err(|why| why.replace("write: ", "write: client "))
}

/// Reads the name of the file for the report.
fn report_file(text: &str) -> Result<PathBuf, String> {
    if text == "-" {
        return Err("'-' is no file; use /dev/stdout or /dev/stderr".to_string());
    }
    Ok(PathBuf::from(text))
}

/// Reads the name of the file for the series.
fn series_file(text: &str) -> Result<PathBuf, String> {
    if text == "-" {
        return Err("'-' is no file; use /dev/stderr".to_string());
    }
    Ok(PathBuf::from(text))
}

/// Reads a number of lines a second.
fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok();
    let rate = rate.filter(|rate: &f64| *rate > 0.0 && rate.is_finite());
    rate.ok_or("not a number above 0".to_string())
}

fn main() -> ExitCode {
    // A panic was reported where it happened, also one of this thread.
    match panic::catch_unwind(|| run(&Args::parse())) {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => cli::failure("client", &error),
        Err(_) => ExitCode::FAILURE,
    }
}

/// Runs until the first end, whoever brings it about, and concludes the run.
///
/// # Errors
///
/// The run cannot begin.
fn run(args: &Args) -> anyhow::Result<ExitCode> {
    start_logger(args);
    let output = Output::new().context("cannot write to standard output")?;
    let (end, first_end) = mpsc::channel();
    let signalled = end.clone();
    let watched = system::watch(move |signal| {
        let _ = signalled.send(Err(signal.into()));
        running_time::wait_within(LAST_WORDS, |step| {
            thread::sleep(step);
            false
        });
    });
    watched.context("cannot watch for signals")?;
    // A file over the limit of its size (ulimit -f) is an error like any other.
    system::ignore_file_size_signal();
    // Only now, so that a signal does not leave an empty report behind.
    let file = args
        .report
        .as_deref()
        .map(|path| NamedFile::create("report", path))
        .transpose()?;
    let began = SystemTime::now();
    let (host, port) = args.server.host_and_port();
    let server = cli::address(host, port);
    let conversation = Conversation::new(server, args.settings.clone(), Instant::now());
    let shared = Arc::new(Shared::new(conversation, output, end));
    let (series, end) = match start(args, file.as_ref(), began, &shared) {
        Ok(series) => (series, first_end.recv()?),
        Err(error) => (None, Err(error)),
    };
    let code = conclude(args, &shared, began, &end, file.as_ref(), series);
    if let Some(signal) = end.err().and_then(|error| error.downcast::<Signal>().ok()) {
        system::end_by(signal);
    }
    Ok(ExitCode::from(code))
}

/// Lets errors be shown, and panics as errors are.
fn start_logger(args: &Args) {
    cli::logger(LevelFilter::Warn, args.quiet, args.verbose)
        .format(|line, record| writeln!(line, "client: {}", record.args()))
        .init();
    shared::say_panics_in_one_line();
}

/// Starts the threads of a run.
///
/// # Errors
///
/// There are not enough threads, or no standard input, or the series cannot be
/// written.
fn start(
    args: &Args,
    report: Option<&NamedFile>,
    began: SystemTime,
    shared: &Arc<Shared>,
) -> anyhow::Result<Option<Series>> {
    if args.summary || args.report.is_some() || args.series.is_some() {
        // The shortest run has its first tick, too.
        shared.lock().measure_own_delay(Instant::now());
        start_thread("own delay", shared, measure_own_delay)?;
    }
    let series = args
        .series
        .as_deref()
        .map(|path| Series::start(path, report, began, shared))
        .transpose()?;
    let stdin = system::stdin().context("cannot read standard input")?;
    let schedule = Schedule::new(args.rate);
    start_thread("input", shared, move |shared| {
        input::read_input(shared, schedule, stdin)
    })?;
    if args.progress {
        start_thread("progress", shared, progress::show_progress)?;
    }
    let (host, port) = args.server.host_and_port();
    let retries = !args.settings.retry_for.is_zero();
    if shared.output.is_at_terminal() {
        start_thread("patience", shared, report_slow_connect)?;
    }
    let mut session = Session::new(host, port, retries, shared);
    start_thread("session", shared, move |shared| shared.end(session.run()))?;
    Ok(series)
}

/// Notices each tick of the client's own delay, until the run is over.
fn measure_own_delay(shared: &Shared) {
    loop {
        let now = Instant::now();
        let next = shared.lock().measure_own_delay(now);
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// Reports a first connect that takes long, as nothing else would show.
fn report_slow_connect(shared: &Shared) {
    thread::sleep(PATIENCE);
    let first_attempt = shared.lock().first_attempt();
    shared.output.tell(first_attempt);
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if let Some(signal) = error.downcast_ref::<Signal>() {
        return signal.exit_code();
    }
    let is_closed = error
        .downcast_ref::<io::Error>()
        .is_some_and(system::is_broken_pipe);
    if is_closed { CLOSED_OUTPUT } else { 1 }
}

/// Shows the last words and writes the report. Returns the exit code.
fn conclude(
    args: &Args,
    shared: &Shared,
    began: SystemTime,
    end: &Outcome,
    file: Option<&NamedFile>,
    series: Option<Series>,
) -> u8 {
    let run = shared.close();
    // After a signal there is a second for all of this, which the last row may not take
    // before the report.
    let is_signalled = end.as_ref().is_err_and(|error| error.is::<Signal>());
    let mut last_row = Ok(());
    if let Some(series) = &series {
        series.end(&run);
        if !is_signalled {
            last_row = series.await_last_row();
        }
    }
    let error = end.as_ref().err().or(last_row.as_ref().err());
    let exit = error.map_or(0, exit_code);
    let why = error.map(|error| format!("{error:#}"));
    let rate = args.rate;
    let write_report = || {
        file?
            .write(&report::report(&run, began, rate, exit, why.as_deref()))
            .err()
    };
    let comes_last = file.is_some_and(NamedFile::comes_last);
    let mut unwritten = if comes_last { None } else { write_report() };
    let mut last_words = if args.summary {
        summary::summary(&run)
    } else {
        String::new()
    };
    // The other codes say enough, and a panic was reported where it happened.
    let news = error.filter(|error| exit == 1 && !error.is::<Panicked>());
    for error in unwritten.iter().chain(news) {
        last_words += &format!("client: {error:#}\n");
    }
    shared
        .output
        .end(&last_words, exit == Signal::INT.exit_code());
    if comes_last && let Some(error) = write_report() {
        cli::failure("client", &error);
        unwritten = Some(error);
    }
    if is_signalled && let Some(series) = &series {
        let _ = series.await_last_row();
    }
    // A run without its report has failed, too.
    exit.max(u8::from(unwritten.is_some()))
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use std::env;
    use std::process::Command;

    use super::*;

    const VARIABLE: &str = "PANIC_TEST";

    /// Plays a client with a thread that panics, for the test that starts it.
    #[test]
    fn player() {
        if env::var_os(VARIABLE).is_none() {
            return;
        }
        let args = Args::parse_from(["client"]);
        start_logger(&args);
        let (end, first_end) = mpsc::channel();
        let conversation = Conversation::new(String::new(), args.settings.clone(), Instant::now());
        let shared = Arc::new(Shared::new(conversation, Output::new().unwrap(), end));
        start_thread("input", &shared, |_| panic!("a\nbug")).unwrap();
        let end = first_end.recv().unwrap();
        let code = conclude(&args, &shared, SystemTime::now(), &end, None, None);
        std::process::exit(code.into());
    }

    #[test]
    fn a_panic_is_one_line_that_tells_where_it_happened_and_exit_code_1() {
        let mut player = Command::new(env::current_exe().unwrap());
        player.args(["--exact", "tests::player", "--nocapture"]);
        let output = player
            .env(VARIABLE, "1")
            .env_remove("RUST_LOG")
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let place = "client: the thread \"input\" panicked at src/bin/client/main.rs:";
        assert!(
            said.starts_with(place) && said.ends_with(": a bug\n"),
            "{said}"
        );
        assert_eq!(
            (said.lines().count(), output.status.code()),
            (1, Some(1)),
            "{said}"
        );
    }
}
