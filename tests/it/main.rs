//! Tests of the real programs: started on a free port, spoken to over sockets
//! and pipes.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

// Starting the programs, and what a failing test shows.
mod util;

// The server's side of the protocol, byte for byte.
mod server;

// The client in pipes, in files and at a terminal.
mod client;

// Both command lines: usage, addresses, failures to start.
mod cli;
