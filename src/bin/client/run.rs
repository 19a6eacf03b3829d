//! A run from its beginning to its end: starts the threads, waits for the first end, and
//! concludes.
//!
//! ```text
//!   start the logger, open standard output, watch signals, create the report
//!        |
//!   start the threads ---- cannot start --+
//!        |                                v
//!   wait for the first end ----------> conclude: series, report, summary, error
//!   (done, failed, output closed,         |
//!    signal, panic)                       +-- after a signal: end by that signal
//!                                         +-- otherwise: return the exit code
//! ```

use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use log::LevelFilter;
use tcp_chat::cli::{self, Verbosity};
use tcp_chat::running_time;
use tcp_chat::system::{self, Signal};

use crate::args::Args;
use crate::figures::snapshot::Snapshot;
use crate::input;
use crate::network::connect::Attempts;
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

/// How long the first connect may take before it is logged.
const SLOW_CONNECT: Duration = Duration::from_secs(1);

/// Runs until the first end, which any thread may bring about, and concludes the run. Returns
/// the exit code. If a signal has ended the run, the program ends by that signal instead.
///
/// # Errors
///
/// The run cannot begin: standard output is not open, signals cannot be watched, or the file
/// for the report cannot be written.
pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    start_logger(args);
    shared::print_panics_in_one_line();
    let output = Output::new().context("cannot write to standard output")?;
    let (ends, first_end) = mpsc::channel();
    end_at_signal(ends.clone())?;
    // With `ulimit -f`, a write over the limit must be an error, not the end of the process.
    system::ignore_file_size_signal();
    // Only now: if a signal came before it is watched, an empty report would be left behind.
    let file = match &args.report {
        Some(path) => Some(NamedFile::create("report", path)?),
        None => None,
    };
    let began_at = SystemTime::now();
    let server = cli::address(args.server.host(), args.server.port());
    let conversation = Conversation::new(server, args.settings.clone(), Instant::now());
    let shared = Arc::new(Shared::new(conversation, output, ends));
    let mut series = None;
    let end = match start(args, file.as_ref(), began_at, &shared) {
        Ok(started) => {
            series = started;
            first_end.recv()?
        }
        Err(error) => End::Failed(error),
    };
    let signal = end.signal();
    let code = conclude(args, &shared, began_at, end, file.as_ref(), series);
    if let Some(signal) = signal {
        system::end_by(signal);
    }
    Ok(code)
}

/// Starts the logger.
fn start_logger(args: &Args) {
    let verbosity = if args.quiet {
        Verbosity::Quiet
    } else if args.verbose {
        Verbosity::Verbose
    } else {
        Verbosity::Usual
    };
    cli::logger(LevelFilter::Warn, verbosity)
        .format(|line, record| writeln!(line, "client: {}", record.args()))
        .init();
}

/// Lets a signal end the run. If the conclusion then takes longer than a second, the signal
/// ends the program without it.
///
/// # Errors
///
/// Signals cannot be watched.
fn end_at_signal(ends: Sender<End>) -> anyhow::Result<()> {
    let watched = system::watch(move |signal| {
        let _ = ends.send(End::Signalled(signal));
        running_time::sleep(CONCLUSION);
    });
    watched.context("cannot watch for signals")
}

/// Starts the threads of a run. Returns the series, if the user has asked for one.
///
/// # Errors
///
/// A thread is not available, standard input cannot be read, or the series cannot be
/// written.
fn start(
    args: &Args,
    report: Option<&NamedFile>,
    began_at: SystemTime,
    shared: &Arc<Shared>,
) -> anyhow::Result<Option<Series>> {
    if args.summary || args.report.is_some() || args.series.is_some() {
        // Even the shortest run has the first tick. The thread may start too late for it.
        shared.lock().measure_own_delay(Instant::now());
        start_thread("own delay", shared, measure_own_delay)?;
    }
    let series = match &args.series {
        Some(path) => Some(Series::start(path, report, began_at, shared)?),
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
    if shared.output.stderr_is_terminal() {
        start_thread("slow connect", shared, log_slow_connect)?;
    }
    let attempts = if args.settings.retry_for.is_zero() {
        Attempts::Single
    } else {
        Attempts::Repeated
    };
    let mut session = Session::new(args.server.host(), args.server.port(), attempts, shared);
    start_thread("session", shared, move |shared| {
        shared.announce_end(session.run())
    })?;
    Ok(series)
}

/// Measures the client's own delay at each tick, until the run is over.
fn measure_own_delay(shared: &Shared) {
    // There is no way out of the loop: once the run is over, `lock` blocks forever.
    loop {
        let now = Instant::now();
        let next = shared.lock().measure_own_delay(now);
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// Logs the first connect if it takes long. At a terminal, nothing else would show why
/// nothing happens.
fn log_slow_connect(shared: &Shared) {
    thread::sleep(SLOW_CONNECT);
    let news = shared.lock().slow_connect_news();
    if let Some(news) = news {
        shared.output.log([news]);
    }
}

/// Closes the conversation, and writes the results of the run. Returns the exit code.
///
/// The order is: last row of the series, report, conclusion on standard error. The report
/// has the exit code, which depends on the series. The conclusion says if the report could
/// not be written. There are two exceptions:
///
/// - After a signal, all of this has one second. The last row could use it up, so it is
///   waited for at the very end.
/// - A report that must come last ([`NamedFile::comes_last`]) follows the conclusion.
fn conclude(
    args: &Args,
    shared: &Shared,
    began_at: SystemTime,
    mut end: End,
    file: Option<&NamedFile>,
    series: Option<Series>,
) -> u8 {
    let run = shared.close(&end);
    let is_signalled = matches!(end, End::Signalled(_));
    if let Some(series) = &series {
        series.end(&run);
        if !is_signalled {
            let last_row = series.await_last_row();
            if let Err(error) = last_row
                && matches!(end, End::Done)
            {
                end = End::Failed(error);
            }
        }
    }

    let exit = end.exit_code();
    let report = report::to_json(&run, began_at, args.rate, exit, end.why().as_deref());
    let report_comes_last = file.is_some_and(NamedFile::comes_last);
    let mut report_written = Ok(());
    if !report_comes_last {
        report_written = write_report(file, &report);
    }

    let conclusion = conclusion(args, &run, &report_written, &end);
    if matches!(end, End::Signalled(Signal::INT)) {
        shared.output.record_ctrl_c();
    }
    shared.output.end(&conclusion);

    if report_comes_last {
        report_written = write_report(file, &report);
        if let Err(error) = &report_written {
            cli::print_failure("client", error);
        }
    }
    if is_signalled && let Some(series) = &series {
        // The exit code is that of the signal, whether or not the row was written.
        let _ = series.await_last_row();
    }
    // A run that was a success has failed without its report.
    if exit == 0 && report_written.is_err() {
        return 1;
    }
    exit
}

/// Writes the report, if the user has asked for one.
fn write_report(file: Option<&NamedFile>, report: &str) -> anyhow::Result<()> {
    match file {
        Some(file) => file.write(report),
        None => Ok(()),
    }
}

/// Returns what standard error shows at the end of the run: the summary, if the user has asked
/// for one, and what has failed.
fn conclusion(
    args: &Args,
    run: &Snapshot,
    report_written: &anyhow::Result<()>,
    end: &End,
) -> String {
    let mut text = String::new();
    if args.summary {
        text += &summary::to_text(run);
    }
    if let Err(error) = report_written {
        text += &format!("client: {error:#}\n");
    }
    // The other ends need no line: the exit code says enough, and the panic hook has printed
    // a panic.
    if let End::Failed(error) = end {
        text += &format!("client: {error:#}\n");
    }
    text
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

    /// Is a client with a thread that panics, in the process that the next test starts.
    #[test]
    fn child_process_role() {
        if env::var_os(VARIABLE).is_none() {
            return;
        }
        let args = Args::parse_from(["client"]);
        start_logger(&args);
        shared::print_panics_in_one_line();
        let (end, first_end) = mpsc::channel();
        let conversation = Conversation::new(String::new(), args.settings.clone(), Instant::now());
        let shared = Arc::new(Shared::new(conversation, Output::new().unwrap(), end));
        start_thread("input", &shared, |_| panic!("a\nbug")).unwrap();
        let end = first_end.recv().unwrap();
        let code = conclude(&args, &shared, SystemTime::now(), end, None, None);
        std::process::exit(code.into());
    }

    #[test]
    fn a_panic_prints_one_line_with_its_place_and_gives_exit_code_1() {
        let mut child = Command::new(env::current_exe().unwrap());
        child.args(["--exact", "run::tests::child_process_role", "--nocapture"]);
        let output = child
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
