//! [wire]: ../tcp_chat/wire/index.html
//! [server manual]: ../server/index.html
//! [neighbours]: #recipes
//! [nginx log]: #recipes
//! [haproxy log]: #recipes
#![doc = include_str!("README.md")]
//! # Recipes
//!
//! The recipes are not part of this documentation. In a checkout, they are in the file
//! `tests/neighbours/README.md`.
//!
//! # For readers of the source
//!
//! The client: sends the lines of its input, verifies and prints every reply.
//!
//! [`rules`] decides what happens, without any thread or socket. Threads carry that out: one
//! reads the [`input`], one connects and reads replies, and one writes to each connection
//! ([`network`]). [`shared`] says which thread holds what and when. [`output`] is the terminal.
//! [`figures`] are what is counted and measured, and [`reports`] what the user is shown of
//! them. The main thread starts the [`run`], waits for its first end, and concludes it.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod args;
mod figures;
mod input;
mod network;
mod output;
#[cfg(test)]
mod random;
mod reports;
mod rules;
mod run;
mod shared;

use std::panic;
use std::process::ExitCode;

use tcp_chat::cli;

use crate::args::Args;

fn main() -> ExitCode {
    // The panic hook has printed a panic, also one of this thread.
    match panic::catch_unwind(|| run::run(&Args::read())) {
        Ok(Ok(code)) => ExitCode::from(code),
        Ok(Err(error)) => cli::print_failure("client", &error),
        Err(_) => ExitCode::FAILURE,
    }
}
