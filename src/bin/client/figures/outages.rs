//! Outages that are over.

use std::time::{Duration, Instant};

/// The addresses of a connection, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// The client's own address.
    pub(crate) local: String,
    /// The server's address.
    pub(crate) remote: String,
}

/// An outage that is over.
#[derive(Clone, Debug)]
pub(crate) struct PastOutage {
    /// When the wait for the first missed reply began. If no reply was missed: when the
    /// connection was lost, or when the attempt to connect that failed began.
    pub(crate) began: Instant,
    pub(crate) length: Duration,
    /// The longest own delay during the outage, but at most the length of the outage.
    pub(crate) own_delay: Duration,
    /// The error with which the outage began.
    pub(crate) cause: String,
    /// How many messages were resent because of the outage. A message that was resent twice
    /// counts twice.
    pub(crate) sent_again: u64,
    /// The addresses of the lost connection. `None` if no connection was lost: then the
    /// outage began with a failed attempt.
    pub(crate) lost: Option<Addresses>,
}
