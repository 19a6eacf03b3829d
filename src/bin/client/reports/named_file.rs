//! A file that the user has named, for the report or the series.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, anyhow};
use tcp_chat::printable::Printable;
use tcp_chat::system;

/// A file to write to.
pub(crate) struct NamedFile {
    file: File,
    /// The beginning of each error: which file cannot be written.
    error: String,
}

impl NamedFile {
    /// Creates the file or empties it; `kind` names it in errors. Opening a FIFO waits for its
    /// reader.
    ///
    /// # Errors
    ///
    /// The file cannot be opened for writing.
    pub(crate) fn create(kind: &str, path: &Path) -> anyhow::Result<Self> {
        let name = Printable(path.as_os_str().as_encoded_bytes());
        let error = format!("cannot write the {kind} {name}");
        let file = create(path).with_context(|| error.clone())?;
        Ok(NamedFile { file, error })
    }

    /// Whether this file must be written after the conclusion on standard error, for one of
    /// these reasons:
    ///
    /// - This file is standard error. The conclusion would overwrite what is written here.
    /// - This file is the pipe or terminal of a standard stream. Writing to it may block, and
    ///   the conclusion would not come.
    pub(crate) fn comes_last(&self) -> bool {
        let is_regular = self.file.metadata().is_ok_and(|data| data.is_file());
        let is_stderr = system::is_standard_error(&self.file).unwrap_or_default();
        let is_stream = system::is_standard_stream(&self.file).unwrap_or_default();
        let may_block = is_stream && !is_regular;
        is_stderr || may_block
    }

    /// Whether this file and the other one are the same, perhaps by two names.
    pub(crate) fn is_same(&self, other: &NamedFile) -> bool {
        system::is_same_file(&self.file, &other.file).unwrap_or_default()
    }

    /// Appends this text to the file.
    ///
    /// # Errors
    ///
    /// The text cannot be written, or only a part of it.
    pub(crate) fn write(&self, text: &str) -> anyhow::Result<()> {
        // The cause becomes text. As a cause, a broken pipe here would count as a closed
        // standard output, with exit code 141.
        (&self.file)
            .write_all(text.as_bytes())
            .map_err(|error| anyhow!("{}: {error}", self.error))
    }
}

/// Opens the file for appending, and empties it, unless it is a standard stream.
fn create(path: &Path) -> io::Result<File> {
    let file = File::options().create(true).append(true).open(path)?;
    // What was written to a standard stream, or is read from one, must stay.
    if file.metadata()?.is_file() && !system::is_standard_stream(&file)? {
        // Windows cannot empty a file that is open only for appending.
        File::options().write(true).open(path)?.set_len(0)?;
    }
    Ok(file)
}
