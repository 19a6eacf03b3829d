//! Outages that are over.

use std::time::{Duration, Instant};

/// The addresses of a connection, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// This side's own.
    pub(crate) local: String,
    /// The server's.
    pub(crate) remote: String,
}

/// A time without a working connection that is over.
#[derive(Clone, Debug)]
pub(crate) struct PastOutage {
    /// The first reply missed, or the first attempt to connect.
    pub(crate) began: Instant,
    pub(crate) length: Duration,
    /// How late the client itself was during it, at most; no more than its length.
    pub(crate) own_delay: Duration,
    /// The error that began it.
    pub(crate) cause: String,
    /// How many messages were sent again because of it, each time counted.
    pub(crate) sent_again: u64,
    /// Of the connection that was lost, if it began with a loss.
    pub(crate) lost: Option<Addresses>,
}
