//! The code that the [`server`](../server/index.html) and the
//! [`client`](../client/index.html) of tcp-chat share, and a book about both programs.
//!
//! tcp-chat is the chat of every beginner's socket tutorial, for the days on which the
//! tutorial's program breaks. tcp-chat has two programs:
//!
//! - The [`server`](../server/index.html) sends one reply to each line, and has a thread for
//!   each client.
//! - The [`client`](../client/index.html) sends the lines of its standard input. Its exit
//!   code 0 says that every line came back, in order.
//!
//! [`book`] explains how and why the tutorial's program breaks, and what tcp-chat does
//! instead. Each claim in the book has a command that shows it. Begin with the book.
//!
//! The modules:
//!
//! - [`wire`]: the protocol, a page for people who write another client or server
//! - [`lines`]: lines of a limited length, from any byte stream
//! - [`printable`]: text made safe for terminals and logs
//! - [`running_time`]: limits that a pause of the process does not use up
//! - [`system`]: features that Rust's standard library lacks, or that differ by system
//! - [`cli`]: the parts that both command lines share
//!
//! The library is for these two programs. It is not published, and its interface may change.
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
