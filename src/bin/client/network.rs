//! The threads that talk to the server. The session thread connects, as often as needed, and
//! reads the replies. For each connection, a writer thread sends the messages.

// One connection, with its writer thread.
pub(crate) mod connection;

// One attempt to connect.
mod connect;

// The session thread.
pub(crate) mod session;
