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

// What the tests share.
mod util;

// The server's side of the protocol, byte for byte.
mod server;

// What the server does at each of its limits.
mod limits;

// What the server does to who is slow or silent.
mod deadlines;

// What the server survives.
mod faults;

// What a thread per client costs, and what happens without one.
mod threads;

// Where the server runs: a shell, a container, a service manager.
#[cfg(target_os = "linux")]
mod places;

// Peers that know no framing.
mod raw;

// The client in pipes, in files and at a terminal.
mod client;

// The client's streams where they are not what they should be.
mod streams;

// The client against peers that misbehave.
mod misbehaving;

// Acknowledgements that begin with another text, or with none.
mod prefixes;

// The client across outages.
mod outages;

// The client over a path that damages what it carries.
mod relay;

// The real proxies, balancers and other clients, where they are installed.
mod neighbours;

// What the client says of outages, reply times and rates, and what was true.
mod probe;

// What the client says of its own delays.
mod own_delay;

// The schedule of `--rate`, whatever the manners of the input.
mod schedule;

// The client's time limits where names and addresses do not answer.
mod names;

// A signal ends the client wherever it is.
#[cfg(unix)]
mod signals;

// The client over a path that ends after any byte.
mod every_byte;

// The server is stopped: who is told, who is served, what is left.
#[cfg(unix)]
mod stopping;

// A shutdown with many clients.
#[cfg(unix)]
mod crowds;

// The server's word against the client's.
mod server_log;

// The client's last words after a signal.
#[cfg(unix)]
mod last_words;

// What the client tells of outages, and of a run that was cut short.
mod told;

// Both ends of a stream, and who takes one for the other.
mod half_close;

// What `--progress` shows.
mod progress;

// A connection for so many lines.
mod reconnect;

// What the end of a run leaves behind.
mod ends;

// What `--series` writes, and when.
mod series;

// What `--report` writes after each kind of end.
mod report;

// Both command lines: usage, addresses, failures to start.
mod cli;
