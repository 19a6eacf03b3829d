//! What a run looks like to the user: the texts made from a snapshot, and the files that they
//! are written to.

pub(crate) mod named_file;
pub(crate) mod progress;
pub(crate) mod report;
pub(crate) mod series;
pub(crate) mod summary;
