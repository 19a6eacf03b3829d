//! The run as a row each second, for `--series`.
//!
//! A separate thread writes the rows, because writing to a FIFO may block. The main thread
//! hands it the final snapshot at the end of the run, and waits for the last row.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::anyhow;
use tcp_chat::printable::Printable;
use tcp_chat::{running_time, system};

use crate::figures::histogram::milliseconds;
use crate::figures::snapshot::Snapshot;
use crate::reports::named_file::NamedFile;
use crate::shared::{End, Shared, start_thread};

const HEADER: &str = "time,acknowledged,replies,replies_per_second,p50_ms,p99_ms,max_ms,\
                      in_flight,waiting_ms,outage_seconds,own_delay_ms\n";

/// How long the end of the run waits for the last row.
const LAST_ROW: Duration = Duration::from_secs(1);

/// The thread that writes the rows, as the main thread sees it.
pub(crate) struct Series {
    path: PathBuf,
    /// Takes the final snapshot of the run to the thread.
    final_snapshot: Sender<Snapshot>,
    /// Brings the result of the thread, once: whether all rows were written.
    result: Receiver<anyhow::Result<()>>,
}

/// What the thread does next.
enum Next {
    /// Writes a row, and goes on.
    Row(Snapshot),
    /// Writes the last row.
    LastRow(Snapshot),
    /// Returns. The run could not start, so no row is wanted any more.
    Nothing,
}

impl Series {
    /// Opens the file, and starts the thread that writes a row each second.
    ///
    /// # Errors
    ///
    /// The file cannot be opened, or is also standard input, standard output or the report's
    /// file, or no thread is available.
    pub(crate) fn start(
        path: &Path,
        report: Option<&NamedFile>,
        began_at: SystemTime,
        shared: &Arc<Shared>,
    ) -> anyhow::Result<Self> {
        let (final_snapshot, final_snapshots) = mpsc::channel();
        let (result_sender, result) = mpsc::channel();
        let before = shared.lock().first_snapshot();
        let opened = open_unless_special(path)?;
        if let Some(series) = &opened
            && let Some(report) = report
        {
            reject_shared_file(path, series, report)?;
        }
        let to_open = path.to_owned();
        start_thread("series", shared, move |shared| {
            let file = match opened {
                Some(file) => Ok(file),
                None => NamedFile::create("series", &to_open),
            };
            let result = match file {
                Ok(file) => write_rows(&file, before, began_at, shared, &final_snapshots),
                Err(error) => Err(error),
            };
            if let Err(error) = &result {
                shared.announce_end(End::Failed(anyhow!("{error:#}")));
            }
            let _ = result_sender.send(result);
        })?;
        Ok(Series {
            path: path.to_owned(),
            final_snapshot,
            result,
        })
    }

    /// Hands the thread the final snapshot of the run, for the last row.
    pub(crate) fn end(&self, run: &Snapshot) {
        // Sending fails if the thread has failed or panicked, which ends the run.
        let _ = self.final_snapshot.send(run.clone());
    }

    /// Waits until the last row is written.
    ///
    /// # Errors
    ///
    /// A row could not be written, the last one was not written within 1 s, or the thread has
    /// panicked.
    pub(crate) fn await_last_row(&self) -> anyhow::Result<()> {
        let waited =
            running_time::wait_within(LAST_ROW, |step| match self.result.recv_timeout(step) {
                Ok(result) => Some(result),
                Err(RecvTimeoutError::Timeout) => None,
                // The thread has panicked. That ends the run, unless the run has ended before.
                Err(RecvTimeoutError::Disconnected) => {
                    let why = "the thread for its rows panicked";
                    Some(Err(cannot_write(&self.path, why)))
                }
            });
        if let Some(result) = waited {
            return result;
        }
        let seconds = LAST_ROW.as_secs();
        let why = format!("the last row was not taken within {seconds} s; does anybody read it?");
        Err(cannot_write(&self.path, &why))
    }
}

/// Opens the file for the rows. Returns `None` for a FIFO or a device: opening a FIFO waits
/// for its reader. The run does not wait for that, so the thread opens such a file.
///
/// # Errors
///
/// The file cannot be opened, or is also standard input or output.
fn open_unless_special(path: &Path) -> anyhow::Result<Option<NamedFile>> {
    let is_special = fs::metadata(path).is_ok_and(|file| !file.is_file() && !file.is_dir());
    // Rows on standard output would be taken for replies.
    if system::is_standard_input_or_output(path) {
        let why = "it is standard input or output; name a file, or /dev/stderr";
        return Err(cannot_write(path, why));
    }
    if is_special {
        return Ok(None);
    }
    Ok(Some(NamedFile::create("series", path)?))
}

/// # Errors
///
/// The series and the report have the same file, in which they would overwrite each other.
fn reject_shared_file(path: &Path, series: &NamedFile, report: &NamedFile) -> anyhow::Result<()> {
    if series.is_same(report) {
        let why = "it is also the report's file; name another one";
        return Err(cannot_write(path, why));
    }
    Ok(())
}

fn cannot_write(path: &Path, why: &str) -> anyhow::Error {
    let name = Printable(path.as_os_str().as_encoded_bytes());
    anyhow!("cannot write the series {name}: {why}")
}

/// Writes the header, a row each second, and a last row at the end of the run. Each row is
/// written at once: if something kills the client, the rows so far are in the file.
///
/// # Errors
///
/// A row cannot be written.
fn write_rows(
    file: &NamedFile,
    mut before: Snapshot,
    began_at: SystemTime,
    shared: &Shared,
    final_snapshots: &Receiver<Snapshot>,
) -> anyhow::Result<()> {
    file.write(HEADER)?;
    loop {
        match wait_for_next(next_row_due(&before), shared, final_snapshots) {
            Next::Row(run) => {
                file.write(&row(&run, &before, began_at))?;
                before = run;
            }
            Next::LastRow(run) => return file.write(&row(&run, &before, began_at)),
            Next::Nothing => return Ok(()),
        }
    }
}

/// Waits until the next row is due or the run ends, whichever comes first.
fn wait_for_next(due: Instant, shared: &Shared, final_snapshots: &Receiver<Snapshot>) -> Next {
    let pause = due.saturating_duration_since(Instant::now());
    match final_snapshots.recv_timeout(pause) {
        Ok(run) => return Next::LastRow(run),
        Err(RecvTimeoutError::Disconnected) => return Next::Nothing,
        Err(RecvTimeoutError::Timeout) => {}
    }
    if let Some(mut conversation) = shared.lock_unless_over() {
        return Next::Row(conversation.snapshot(Instant::now()));
    }
    // The run is over, and the main thread is about to send the final snapshot.
    match final_snapshots.recv() {
        Ok(run) => Next::LastRow(run),
        Err(_) => Next::Nothing,
    }
}

/// Returns when the row after this one is due: at the next whole second of the run. So after
/// a pause of the client, one row stands for all that were missed.
fn next_row_due(before: &Snapshot) -> Instant {
    before.began + Duration::from_secs(before.elapsed().as_secs() + 1)
}

/// Returns a row: how the run stands, and what has happened since the row before.
fn row(run: &Snapshot, before: &Snapshot, began_at: SystemTime) -> String {
    let time = began_at.duration_since(UNIX_EPOCH).unwrap_or_default() + run.elapsed();
    let seconds = time.as_secs_f64();
    let acknowledged = run.counts.replies.acknowledged;
    let since = run.since(before);
    let replies = since.replies;
    let rate = since.rate;
    let mut row = format!("{seconds:.6},{acknowledged},{replies},{rate:.1}");
    for share in [0.5, 0.99, 1.0] {
        row += ",";
        // Without a reply since the row before, the field is empty.
        if let Some(time) = since.times.quantile(share) {
            row += &format!("{:.3}", milliseconds(time));
        }
    }
    let in_flight = run.in_flight;
    let waiting = milliseconds(run.waiting.unwrap_or_default());
    // The longest outage that goes on, or has ended since the row before.
    let ended = run.counts.longest_outage.after(before.now);
    let outage = run.outage.unwrap_or_default().max(ended).as_secs_f64();
    let own_delay = milliseconds(run.longest_own_delay(before.now));
    row += &format!(",{in_flight},{waiting:.3},{outage:.3},{own_delay:.3}\n");
    row
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tcp_chat::lines::{Line, LineReader};

    use super::*;
    use crate::args::Args;
    use crate::rules::conversation::{Conversation, Loss, Received};

    #[test]
    fn a_panic_of_the_thread_that_writes_the_rows_is_an_error() {
        let (final_snapshot, _) = mpsc::channel();
        let (result_sender, result) = mpsc::channel();
        // A panic drops what the thread owns.
        drop(result_sender);
        let series = Series {
            path: PathBuf::from("rows"),
            final_snapshot,
            result,
        };
        let error = series.await_last_row().unwrap_err();
        let expected = "cannot write the series rows: the thread for its rows panicked";
        assert_eq!(error.to_string(), expected);
    }

    const TENTH: Duration = Duration::from_millis(100);

    fn conversation(began: Instant) -> Conversation {
        let args = Args::parse_from(["client", "--retry-for", "9"]);
        Conversation::new(String::new(), args.settings, began)
    }

    /// Receives the acknowledgements of so many empty messages.
    fn acknowledge(conversation: &mut Conversation, count: usize, now: Instant) {
        let mut replies = LineReader::new(100);
        let line = "Server received your message: \n".repeat(count);
        let read = replies.fill(&mut line.as_bytes());
        conversation.begin_to_listen(now);
        let taken = conversation.receive(&mut replies, read, now);
        conversation.end_printing();
        conversation.begin_to_listen(now);
        assert_eq!(taken, Ok(Received::More));
    }

    #[test]
    fn each_row_shows_what_happened_since_the_row_before() {
        let began = Instant::now();
        let at = |tenths: u32| began + tenths * TENTH;
        let mut conversation = conversation(began);
        conversation.measure_own_delay(began);
        let mut before = conversation.snapshot(began);
        let mut assert_row = |conversation: &mut Conversation, tenths, expected: &str| {
            let run = conversation.snapshot(at(tenths));
            let shown = row(&run, &before, UNIX_EPOCH + Duration::from_secs(1000));
            assert_eq!(shown, format!("{expected}\n"));
            assert_eq!(shown.matches(',').count(), HEADER.matches(',').count());
            before = run;
        };
        conversation.begin_connect(began);
        conversation.record_connect(began);
        for _ in 0..4 {
            conversation.enqueue(Line::Whole(b""), began);
        }
        conversation.take_unsent(&mut Vec::new(), began);
        acknowledge(&mut conversation, 2, at(5));
        let row = "1001.000000,2,2,2.0,500.000,500.000,500.000,2,1000.000,0.000,990.000";
        assert_row(&mut conversation, 10, row);
        // The first reply missed is the one after the last that came.
        assert!(conversation.record_loss(&Loss::Ended, at(15)).is_retry());
        let row = "1002.000000,2,0,0.0,,,,0,2000.000,1.500,990.000";
        assert_row(&mut conversation, 20, row);
        conversation.record_connect(at(22));
        conversation.take_unsent(&mut Vec::new(), at(22));
        acknowledge(&mut conversation, 1, at(25));
        // The thread that measures wakes a tick later.
        conversation.measure_own_delay(at(25) + TENTH / 10);
        let row = "1003.000000,3,1,1.0,2500.000,2500.000,2500.000,1,3000.000,2.000,500.000";
        assert_row(&mut conversation, 30, row);
        acknowledge(&mut conversation, 1, at(31));
        let row = "1003.200000,4,1,5.0,3100.000,3100.000,3100.000,0,0.000,0.000,190.000";
        assert_row(&mut conversation, 32, row);
        let outage = &conversation.conclude(at(33)).first_outages[0];
        assert_eq!(outage.own_delay, Duration::from_millis(990));
    }

    #[test]
    fn the_first_row_has_the_own_delay_of_the_start() {
        let began = Instant::now();
        let mut conversation = conversation(began);
        // The threads were slow to start.
        let started = began + 2 * TENTH;
        conversation.measure_own_delay(started);
        let before = conversation.first_snapshot();
        let run = conversation.snapshot(began + 10 * TENTH);
        assert_eq!(run.longest_own_delay(before.now), 8 * TENTH - TENTH / 10);
        let row = row(&run, &before, UNIX_EPOCH);
        assert!(row.starts_with("1.000000,0,0,0.0,"), "{row}");
    }

    #[test]
    fn an_outage_with_nothing_to_send_ends_at_the_connect() {
        let began = Instant::now();
        let at = |tenths: u32| began + tenths * TENTH;
        let mut conversation = conversation(began);
        conversation.begin_connect(began);
        conversation.record_connect(began);
        assert!(conversation.record_loss(&Loss::Ended, at(10)).is_retry());
        assert_eq!(conversation.snapshot(at(12)).outage, Some(2 * TENTH));
        conversation.begin_connect(at(12));
        conversation.record_connect(at(13));
        for tenths in [13, 17, 22] {
            assert_eq!(conversation.snapshot(at(tenths)).outage, Some(3 * TENTH));
        }
        // Once something is asked, it goes on until that is answered, without the time
        // in which nothing was.
        conversation.enqueue(Line::Whole(b""), at(22));
        conversation.take_unsent(&mut Vec::new(), at(22));
        assert_eq!(conversation.snapshot(at(24)).outage, Some(5 * TENTH));
        acknowledge(&mut conversation, 1, at(25));
        let end = conversation.snapshot(at(25));
        assert_eq!((end.outage, end.longest_outage()), (None, 6 * TENTH));
        assert_eq!(end.counts.outage_time, 6 * TENTH);
    }

    #[test]
    fn a_row_is_due_at_each_whole_second_and_missed_rows_are_left_out() {
        let began = Instant::now();
        let mut conversation = conversation(began);
        for (millis, next) in [(0, 1), (1, 1), (999, 1), (1000, 2), (1001, 2), (7500, 8)] {
            let before = conversation.snapshot(began + Duration::from_millis(millis));
            assert_eq!(next_row_due(&before), began + Duration::from_secs(next));
        }
    }
}
