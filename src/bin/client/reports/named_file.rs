//! A file that the user has named, for the report or the series.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, anyhow};
use tcp_chat::{printable::Printable, system};

/// A file to write to.
pub(crate) struct NamedFile {
    file: File,
    /// What there is to say when it cannot be written.
    error: String,
}

impl NamedFile {
    /// Opens the file of this kind, and empties it.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub(crate) fn create(kind: &str, path: &Path) -> anyhow::Result<Self> {
        let name = Printable(path.as_os_str().as_encoded_bytes());
        let error = format!("cannot write the {kind} {name}");
        let file = create(path).with_context(|| error.clone())?;
        Ok(NamedFile { file, error })
    }

    /// Whether it must be written after the last words on standard error. In the same
    /// file, these would overwrite it; and if it waits for a reader, they never come.
    pub(crate) fn comes_last(&self) -> bool {
        let is_file = self.file.metadata().is_ok_and(|data| data.is_file());
        let is_error = system::is_standard_error(&self.file).unwrap_or_default();
        is_error || !is_file && system::is_standard_stream(&self.file).unwrap_or_default()
    }

    /// Whether this is the same file, perhaps by another name.
    pub(crate) fn is_same(&self, other: &NamedFile) -> bool {
        system::is_same_file(&self.file, &other.file).unwrap_or_default()
    }

    /// Writes this text at the end of the file, wherever that is by now.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(crate) fn write(&self, text: &str) -> anyhow::Result<()> {
        // As text, or a broken pipe here would mean exit code 141.
        (&self.file)
            .write_all(text.as_bytes())
            .map_err(|error| anyhow!("{}: {error}", self.error))
    }
}

fn create(path: &Path) -> io::Result<File> {
    let file = File::options().create(true).append(true).open(path)?;
    // What a standard stream has written, or reads, stays.
    if file.metadata()?.is_file() && !system::is_standard_stream(&file)? {
        // Windows empties no file that is open for appending alone.
        File::options().write(true).open(path)?.set_len(0)?;
    }
    Ok(file)
}
