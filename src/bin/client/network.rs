//! The threads that talk to the server. The session thread connects, as often as needed, and
//! reads the replies. For each connection, a writer thread sends the messages.

pub(crate) mod connect;
pub(crate) mod connection;
pub(crate) mod session;
