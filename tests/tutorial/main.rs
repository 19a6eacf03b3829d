//! The book's entries before your eyes. Each test does to the naive program what
//! breaks it, shows what went in and what came out, and does the same to the real
//! one, which must not mind:
//!
//! ```text
//! cargo test --test tutorial -- --nocapture messages_merge
//! ```
//!
//! `naive.rs` is the tutorial's chat, `repaired.rs` its server after the repairs
//! that come to mind first. Both stand alone, to be compiled and tried by hand:
//!
//! ```text
//! rustc --edition 2024 -o /tmp/naive tests/tutorial/naive.rs
//! /tmp/naive server 127.0.0.1:12345
//! /tmp/naive client 127.0.0.1:12345
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub
)]

#[path = "../util/mod.rs"]
#[allow(dead_code, unused_imports)]
mod util;

// The naive programs, and how to start them.
mod programs;

// A server that a case is tried on.
mod subject;

// The judge of the reader's own server, and its cases.
mod cases;
mod judge;

// What the book names is there.
mod book;

// The client against servers that misbehave.
mod bad_servers;

// One module for each chapter of the book.
mod closing;
mod deployment;
mod framing;
mod limits;
mod measuring;
mod peers;
mod restarts;
