//! A line echo-acknowledge service over plain TCP, one thread per client.
//!
//! Two programs make it up. `server` acknowledges every line that it is sent;
//! `client` sends the lines of its standard input, compares every reply with
//! the line that it answers, and prints it. This library is what they share:
//!
//! - [`wire`]: the protocol, as a page to read and as the lines that the
//!   server may say
//! - [`lines`]: bounded lines out of any byte stream
//! - [`printable`]: text made safe for terminals and logs
//! - [`cli`]: arguments, logger and failures, alike in both programs
//! - [`signals`]: how a program ends by a signal

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod cli;
pub mod lines;
pub mod printable;
pub mod signals;
pub mod wire;
