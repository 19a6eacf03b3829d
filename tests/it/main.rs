//! Tests of the real programs: started on a free port, spoken to over sockets
//! and pipes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub
)]
// Much of what the tests share is for those that need Linux.
#![cfg_attr(not(target_os = "linux"), allow(dead_code, unused_imports))]

// What all targets share.
#[path = "../util/mod.rs"]
mod util;

// The server.
mod server;

// The client.
mod client;

// Both, and what is between them.
mod both;
