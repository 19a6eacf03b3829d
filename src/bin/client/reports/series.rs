//! The run as a row each second, for `--series`.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{fs, sync::Arc};

use anyhow::anyhow;
use tcp_chat::printable::Printable;
use tcp_chat::{running_time, system};

use crate::figures::counts::{Since, Snapshot};
use crate::figures::histogram::milliseconds;
use crate::reports::named_file::NamedFile;
use crate::shared::{End, Shared, start_thread};

const HEADER: &str = "time,acknowledged,replies,replies_per_second,p50_ms,p99_ms,max_ms,\
                      in_flight,waiting_ms,outage_seconds,own_delay_ms\n";

/// How long the last row may take.
const LAST_ROW: Duration = Duration::from_secs(1);

/// The thread that writes the rows.
pub(crate) struct Series {
    path: PathBuf,
    end: Sender<Snapshot>,
    written: Receiver<anyhow::Result<()>>,
}

impl Series {
    /// Starts the series of a run that is about to begin.
    ///
    /// # Errors
    ///
    /// The file cannot be written, is also that of something else, or there is no thread.
    pub(crate) fn start(
        path: &Path,
        report: Option<&NamedFile>,
        began: SystemTime,
        shared: &Arc<Shared>,
    ) -> anyhow::Result<Self> {
        let (end, is_over) = mpsc::channel();
        let (done, written) = mpsc::channel();
        let before = shared.lock().first_snapshot();
        // A FIFO waits for its reader, and the run does not.
        let is_special = fs::metadata(path).is_ok_and(|file| !file.is_file() && !file.is_dir());
        // Among the replies, rows would be taken for some of them.
        if system::is_standard_input_or_output(path) {
            let why = "it is standard input or output; name a file, or /dev/stderr";
            return Err(cannot_write(path, why));
        }
        let opened = if is_special {
            None
        } else {
            Some(NamedFile::create("series", path)?)
        };
        // Two things in one file would overwrite each other.
        if let (Some(series), Some(report)) = (&opened, report)
            && series.is_same(report)
        {
            let why = "it is also the report's file; name another one";
            return Err(cannot_write(path, why));
        }
        let to_open = path.to_owned();
        start_thread("series", shared, move |shared| {
            let file = opened.map_or_else(|| NamedFile::create("series", &to_open), Ok);
            let all = file.and_then(|file| write_rows(&file, before, began, shared, &is_over));
            if let Err(error) = &all {
                shared.end(End::Failed(anyhow!("{error:#}")));
            }
            let _ = done.send(all);
        })?;
        Ok(Series {
            path: path.to_owned(),
            end,
            written,
        })
    }

    /// Hands out the end of the run, for the last row.
    pub(crate) fn end(&self, run: &Snapshot) {
        let _ = self.end.send(run.clone());
    }

    /// Waits until the last row is written.
    ///
    /// # Errors
    ///
    /// A row could not be written, or the last one was not taken within 1 s.
    pub(crate) fn await_last_row(&self) -> anyhow::Result<()> {
        let mut result = None;
        running_time::wait_within(LAST_ROW, |step| match self.written.recv_timeout(step) {
            Ok(written) => {
                result = Some(written);
                true
            }
            Err(RecvTimeoutError::Timeout) => false,
            // The thread has panicked, which ends the run by itself.
            Err(RecvTimeoutError::Disconnected) => {
                result = Some(Ok(()));
                true
            }
        });
        result.unwrap_or_else(|| {
            let seconds = LAST_ROW.as_secs();
            let why =
                format!("the last row was not taken within {seconds} s; does anybody read it?");
            Err(cannot_write(&self.path, &why))
        })
    }
}

fn cannot_write(path: &Path, why: &str) -> anyhow::Error {
    let name = Printable(path.as_os_str().as_encoded_bytes());
    anyhow!("cannot write the series {name}: {why}")
}

/// Writes a row each second and a last one, each at once: if anything kills the client,
/// the rows so far are in the file.
fn write_rows(
    file: &NamedFile,
    mut before: Snapshot,
    began: SystemTime,
    shared: &Shared,
    end: &Receiver<Snapshot>,
) -> anyhow::Result<()> {
    file.write(HEADER)?;
    loop {
        let pause = next_row(&before).saturating_duration_since(Instant::now());
        let run = match end.recv_timeout(pause) {
            Ok(run) => return file.write(&row(&run, &before, began)),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => match snapshot_unless_over(shared) {
                Some(run) => run,
                None => match end.recv() {
                    Ok(run) => return file.write(&row(&run, &before, began)),
                    Err(_) => return Ok(()),
                },
            },
        };
        file.write(&row(&run, &before, began))?;
        before = run;
    }
}

fn snapshot_unless_over(shared: &Shared) -> Option<Snapshot> {
    let mut conversation = shared.lock_if_not_over()?;
    Some(conversation.snapshot(Instant::now()))
}

/// When the row after this one is due: at the next whole second of the run, so a
/// client that was stopped has one for all that it missed.
fn next_row(before: &Snapshot) -> Instant {
    before.began + Duration::from_secs(before.elapsed().as_secs() + 1)
}

/// How the run stands, and what has happened since the row before.
fn row(run: &Snapshot, before: &Snapshot, began: SystemTime) -> String {
    let time = began.duration_since(UNIX_EPOCH).unwrap_or_default() + run.elapsed();
    let (seconds, acknowledged) = (time.as_secs_f64(), run.counts.answers.acknowledged);
    let Since {
        replies,
        rate,
        times,
    } = run.since(before);
    let mut row = format!("{seconds:.6},{acknowledged},{replies},{rate:.1}");
    for share in [0.5, 0.99, 1.0] {
        let time = times.quantile(share).map(milliseconds);
        row += &time.map_or(",".to_string(), |time| format!(",{time:.3}"));
    }
    let ended = run.counts.longest_outage.after(before.now);
    let outage = run.outage.unwrap_or_default().max(ended);
    let (outage, waiting) = (
        outage.as_secs_f64(),
        milliseconds(run.waiting.unwrap_or_default()),
    );
    let own_delay = milliseconds(run.longest_own_delay(before.now));
    row + &format!(
        ",{},{waiting:.3},{outage:.3},{own_delay:.3}\n",
        run.in_flight
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tcp_chat::lines::{Line, LineReader};

    use super::*;
    use crate::args::Args;
    use crate::rules::conversation::{Conversation, Loss, Received};

    const TENTH: Duration = Duration::from_millis(100);

    fn conversation(began: Instant) -> Conversation {
        let args = Args::parse_from(["client", "--retry-for", "9"]);
        Conversation::new(String::new(), args.settings, began)
    }

    /// Lets so many empty messages be acknowledged.
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
    fn each_row_has_what_has_come_about_since_the_one_before() {
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
    fn an_outage_in_which_nothing_is_asked_ends_at_the_connect() {
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
    fn a_row_is_due_at_each_whole_second_and_none_for_those_that_were_missed() {
        let began = Instant::now();
        let mut conversation = conversation(began);
        for (millis, next) in [(0, 1), (1, 1), (999, 1), (1000, 2), (1001, 2), (7500, 8)] {
            let before = conversation.snapshot(began + Duration::from_millis(millis));
            assert_eq!(next_row(&before), began + Duration::from_secs(next));
        }
    }
}
