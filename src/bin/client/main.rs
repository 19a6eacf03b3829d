//! The client: sends the lines of its input, verifies and prints every reply.
//!
//! [`rules`] decide. The threads that carry them out share what [`shared`] has: one reads
//! the [`input`], one connects again and again and reads replies, one writes to each
//! connection ([`network`]). What the user sees goes through [`output`]. [`figures`] are
//! what is counted, and [`reports`] what is shown of them. The main thread waits for the
//! first end of the [`run`], and concludes it.

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

use clap::Parser;
use tcp_chat::cli;

use crate::args::Args;

fn main() -> ExitCode {
    // A panic was reported where it happened, also one of this thread.
    match panic::catch_unwind(|| run::run(&Args::parse())) {
        Ok(Ok(code)) => ExitCode::from(code),
        Ok(Err(error)) => cli::failure("client", &error),
        Err(_) => ExitCode::FAILURE,
    }
}
