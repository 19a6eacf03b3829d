//! The book's entries before your eyes. Each test breaks the tutorial's program and shows what
//! went in and what came out. Then it does the same to the real program, which does not break:
//!
//! ```text
//! cargo test --test tutorial -- --nocapture messages_merge
//! ```
//!
//! The book is in `src/book`. Each chapter has its tests in the module of the same name.
//!
//! `naive.rs` is the tutorial's program, and `repaired.rs` its server after the repairs that
//! come to mind first. Both need no other file, so you can compile and try them by hand:
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

#[path = "../util/headings.rs"]
mod headings;
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

// The book keeps its promises.
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
