//! What a run looks like to the user: the texts made from a snapshot, and the files that they
//! are written to.

// A file that the user has named, for the report or the series.
pub(crate) mod named_file;

// `--progress`.
pub(crate) mod progress;

// `--report`.
pub(crate) mod report;

// `--series`.
pub(crate) mod series;

// `--summary`.
pub(crate) mod summary;
