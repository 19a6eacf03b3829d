//! Tests of the real programs: each test starts them on free ports, and talks to them
//! over sockets, pipes and terminals. The first line of each module says what it tests.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub
)]
// Many helpers serve only the tests that need Linux.
#![cfg_attr(not(target_os = "linux"), allow(dead_code, unused_imports))]

#[path = "../util/mod.rs"]
mod util;

// The server against clients that the tests play.
mod server;

// The client against the server, and against servers that the tests play.
mod client;

// Both programs, and paths between them.
mod both;
