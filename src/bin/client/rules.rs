//! Every rule, without I/O, clock or thread: each call is given the time. So tests can try
//! every order of events, and let an hour pass at once.

// Messages, replies, deadlines and outages.
pub(crate) mod conversation;

// How long to go on trying.
pub(crate) mod outage;

// Every message that is not acknowledged.
mod outbox;

// When each line is due.
pub(crate) mod schedule;
