//! Every rule, without I/O, clock or thread: each call is given the time. So tests can try
//! every order of events, and let an hour pass at once.

pub(crate) mod conversation;
pub(crate) mod outage;
pub(crate) mod schedule;

mod outbox;
