//! What a run looks like to the user: texts of a snapshot, and where they are written.

// A file that the user has named.
pub(crate) mod named_file;

// `--progress`.
pub(crate) mod progress;

// `--report`.
pub(crate) mod report;

// `--series`.
pub(crate) mod series;

// `--summary`.
pub(crate) mod summary;
