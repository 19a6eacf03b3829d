//! What the [`server`](../server/index.html) and the [`client`](../client/index.html) of
//! tcp-chat share, and a book about both.
//!
//! tcp-chat is the chat of every beginner's socket tutorial, for all days on which that one
//! breaks. It has two programs:
//!
//! - The [`server`](../server/index.html) sends one reply to each line, and has a thread for
//!   each client.
//! - The [`client`](../client/index.html) sends the lines of its standard input. Its exit
//!   code 0 says that every line came back, in order.
//!
//! [`book`] explains how the tutorial's program breaks, and why, and what stands here instead.
//! Each of its claims has a command that shows it. Begin there.
//!
//! The modules:
//!
//! - [`wire`]: the protocol, a page for people who write another client or server
//! - [`lines`]: bounded lines out of any byte stream
//! - [`printable`]: text made safe for terminals and logs
//! - [`running_time`]: limits that a pause of the process does not use up
//! - [`system`]: what Rust's standard library lacks, or does differently by system
//! - [`cli`]: what both command lines share
//!
//! To read the source, follow [`book::guarantees`]. To see an entry of the book happen, run
//! its command in a checkout:
//!
//! ```text
//! cargo test --test tutorial -- --nocapture messages_merge
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::print_stdout))]

pub mod book;
pub mod cli;
pub mod lines;
pub mod printable;
pub mod running_time;
pub mod system;
pub mod wire;
