//! How a run ends: the report, then the summary, once.
//!
//! The end of the work and a signal may come together, as when Ctrl-C also ends
//! the program that the input comes from. The first of them takes a lock that is
//! never given back, and the other waits for it until the process is gone.

use std::fs::File;
use std::io::{self, Write};
use std::mem;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use anyhow::Context;
use tcp_chat::printable::Printable;
use tcp_chat::system;

use crate::conversation::{Conversation, Settings};
use crate::output::Output;
use crate::report::Report;
use crate::summary::summary;
use crate::threads::Shared;

/// What the end of a run needs.
pub(crate) struct Ending {
    pub(crate) shared: Arc<Shared>,
    pub(crate) output: Arc<Output>,
    server: String,
    began: (Instant, SystemTime),
    shows_summary: bool,
    /// Open from the start, so that a run whose report cannot be written does not
    /// begin.
    report: Option<(File, String)>,
    lock: Mutex<()>,
}

impl Ending {
    /// The end of a run that begins now.
    ///
    /// # Errors
    ///
    /// The report cannot be written.
    pub(crate) fn new(
        settings: Settings,
        shows_summary: bool,
        report: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let output = Output::new().context("cannot write to standard output")?;
        let report = report.map(|path| {
            let name = Printable(path.as_os_str().as_encoded_bytes());
            let what = format!("cannot write the report {name}");
            create(path)
                .with_context(|| what.clone())
                .map(|file| (file, what))
        });
        let began = (Instant::now(), SystemTime::now());
        Ok(Ending {
            server: settings.server.clone(),
            shared: Arc::new(Shared::new(Conversation::new(settings, began.0))),
            output: Arc::new(output),
            began,
            shows_summary,
            report: report.transpose()?,
            lock: Mutex::new(()),
        })
    }

    /// Writes the report and shows the summary.
    ///
    /// # Errors
    ///
    /// The report cannot be written.
    pub(crate) fn conclude(&self, exit: u8, error: Option<&str>) -> anyhow::Result<()> {
        // Never given back.
        mem::forget(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(self.began.0);
        let mut conversation = self.shared.lock();
        conversation.close_outage(now);
        let report = Report {
            server: &self.server,
            began: self.began.1,
            elapsed,
            exit,
            error,
            conversation: &conversation,
        };
        let json = report.to_string();
        let summary = self
            .shows_summary
            .then(|| summary(&conversation, now, elapsed));
        drop(conversation);
        let written = match &self.report {
            Some((file, what)) => (&*file).write_all(json.as_bytes()).context(what.clone()),
            None => Ok(()),
        };
        self.output.end(summary.as_deref().unwrap_or_default());
        written
    }
}

/// A file to write the report to, emptied unless it is also a standard stream:
/// then the report comes after what is there.
fn create(path: &Path) -> io::Result<File> {
    let file = File::options().create(true).append(true).open(path)?;
    if file.metadata()?.is_file() && !system::is_standard_stream(&file)? {
        file.set_len(0)?;
    }
    Ok(file)
}
