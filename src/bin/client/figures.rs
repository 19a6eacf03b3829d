//! What the client counts and measures, as plain data.

pub(crate) mod counts;
pub(crate) mod histogram;
pub(crate) mod outages;
pub(crate) mod own_delay;
pub(crate) mod snapshot;

mod longest;
