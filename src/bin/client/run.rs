//! A run from its beginning to its end: starts the threads, waits for the first end, and
//! concludes.

use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use log::LevelFilter;
use tcp_chat::system::{self, Signal};
use tcp_chat::{cli, running_time};

use crate::args::Args;
use crate::input;
use crate::network::session::Session;
use crate::output::Output;
use crate::reports::named_file::NamedFile;
use crate::reports::series::Series;
use crate::reports::{progress, report, summary};
use crate::rules::conversation::Conversation;
use crate::rules::schedule::Schedule;
use crate::shared::{self, End, Shared, start_thread};

/// How long the conclusion may take after a signal.
const CONCLUSION: Duration = Duration::from_secs(1);

/// How long a first connect may take before it is reported.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs until the first end, whichever thread brings it about, and concludes the run.
/// Returns the exit code, unless a signal has ended the run: then the program ends by it.
///
/// # Errors
///
/// The run cannot begin.
pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    start_logger(args);
    let output = Output::new().context("cannot write to standard output")?;
    let (end, first_end) = mpsc::channel();
    let signalled = end.clone();
    let watched = system::watch(move |signal| {
        let _ = signalled.send(End::Signalled(signal));
        running_time::wait_within(CONCLUSION, |step| {
            thread::sleep(step);
            false
        });
    });
    watched.context("cannot watch for signals")?;
    // A file over the limit of its size (ulimit -f) is an error like any other.
    system::ignore_file_size_signal();
    // Only now: a signal before that would leave an empty report behind.
    let file = match &args.report {
        Some(path) => Some(NamedFile::create("report", path)?),
        None => None,
    };
    let began = SystemTime::now();
    let server = cli::address(args.server.host(), args.server.port());
    let conversation = Conversation::new(server, args.settings.clone(), Instant::now());
    let shared = Arc::new(Shared::new(conversation, output, end));
    let mut series = None;
    let end = match start(args, file.as_ref(), began, &shared) {
        Ok(started) => {
            series = started;
            first_end.recv()?
        }
        Err(error) => End::Failed(error),
    };
    let code = conclude(args, &shared, began, &end, file.as_ref(), series);
    if let End::Signalled(signal) = end {
        system::end_by(signal);
    }
    Ok(code)
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
    let series = match &args.series {
        Some(path) => Some(Series::start(path, report, began, shared)?),
        None => None,
    };
    let stdin = system::stdin().context("cannot read standard input")?;
    let schedule = Schedule::new(args.rate);
    start_thread("input", shared, move |shared| {
        input::read_input(shared, schedule, stdin)
    })?;
    if args.progress {
        start_thread("progress", shared, progress::show_progress)?;
    }
    if shared.output.is_at_terminal() {
        start_thread("patience", shared, report_slow_connect)?;
    }
    let retries = !args.settings.retry_for.is_zero();
    let mut session = Session::new(args.server.host(), args.server.port(), retries, shared);
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
    shared.output.log(first_attempt);
}

/// Writes the report, and shows the summary and why the run failed. Returns the exit
/// code.
fn conclude(
    args: &Args,
    shared: &Shared,
    began: SystemTime,
    end: &End,
    file: Option<&NamedFile>,
    series: Option<Series>,
) -> u8 {
    let run = shared.close();
    // After a signal there is a second for all of this, which the last row may not take
    // before the report.
    let is_signalled = matches!(end, End::Signalled(_));
    let mut row_failed = None;
    if let Some(series) = &series {
        series.end(&run);
        if !is_signalled {
            row_failed = series.await_last_row().err().map(End::Failed);
        }
    }
    let end = match (end, &row_failed) {
        (End::Done, Some(row_failed)) => row_failed,
        (end, _) => end,
    };
    let exit = end.exit_code();
    let report = report::report(&run, began, args.rate, exit, end.why().as_deref());
    let write_report = || file?.write(&report).err();
    let comes_last = file.is_some_and(NamedFile::comes_last);
    let mut unwritten = None;
    if !comes_last {
        unwritten = write_report();
    }
    let mut last_words = String::new();
    if args.summary {
        last_words += &summary::summary(&run);
    }
    if let Some(error) = &unwritten {
        last_words += &format!("client: {error:#}\n");
    }
    // The other ends need no words: the exit code says enough, and a panic was reported
    // where it happened.
    if let End::Failed(error) = end {
        last_words += &format!("client: {error:#}\n");
    }
    let is_interrupted = matches!(end, End::Signalled(Signal::INT));
    shared.output.end(&last_words, is_interrupted);
    if comes_last && let Some(error) = write_report() {
        cli::failure("client", &error);
        unwritten = Some(error);
    }
    if is_signalled && let Some(series) = &series {
        let _ = series.await_last_row();
    }
    // A run without its report has failed, too.
    if exit == 0 && unwritten.is_some() {
        return 1;
    }
    exit
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use std::env;
    use std::process::Command;

    use clap::Parser;

    use super::*;

    mod panics;

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
        player.args(["--exact", "run::tests::player", "--nocapture"]);
        let output = player
            .env(VARIABLE, "1")
            .env_remove("RUST_LOG")
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let place = "client: the thread \"input\" panicked at src/bin/client/run.rs:";
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
