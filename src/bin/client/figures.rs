//! What the client counts and measures, as plain data.

// What happened to the lines, counted.
pub(crate) mod counts;

// Durations, exact to 2 %.
pub(crate) mod histogram;

// The longest duration since any moment.
mod longest;

// Outages that are over.
pub(crate) mod outages;

// How late the client itself is.
pub(crate) mod own_delay;

// All figures of a run at one moment.
pub(crate) mod snapshot;
