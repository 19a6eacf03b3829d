//! The threads that talk to the server: one connects again and again and reads replies,
//! one writes to each connection.

// One connection: a thread that writes, beside the one that reads.
pub(crate) mod connection;

// One attempt to connect.
mod connect;

// Connects again and again.
pub(crate) mod session;
