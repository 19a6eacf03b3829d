//! What can be proven of the rules when a test plays the network and the clock.

#![allow(clippy::panic, clippy::print_stdout)]

// Streams that are cut after any byte.
mod every_byte;

// All that can happen to a conversation, and when.
mod events;

// Every order in which things can happen to a short conversation.
mod every_order;

// Each limit, and what is said when it is met.
mod limits;

// What such a conversation should look like, by rules too simple to be wrong.
mod model;

// A server that is away at times.
mod network;

// A thread that panics ends the run.
mod panics;

// A stream of bytes to a server and back.
mod stream;

// Hours of outages.
mod virtual_time;

// A conversation beside such a model.
mod world;

use std::fmt;
use std::time::Duration;

use tcp_chat::system::READ_TIMEOUT;

use super::*;
use crate::outage::SHORTEST_PAUSE;

const SECOND: Duration = Duration::from_secs(1);

/// The longest reply with the usual prefix.
const MAX_REPLY: usize = wire::DEFAULT_PREFIX.len() + MAX_MESSAGE_LINE;

/// A user who goes on trying for an hour, unless told otherwise.
fn settings() -> Settings {
    Settings {
        window: 16_384,
        timeout: Some(10 * SECOND),
        connect_timeout: Some(5 * SECOND),
        retry_for: 3600 * SECOND,
        reconnect_every: None,
        reply_prefix: vec![wire::DEFAULT_PREFIX.to_string()],
        half_close: false,
    }
}

impl Conversation {
    /// Takes what a read has brought that began at `since`.
    fn receive_since(
        &mut self,
        replies: &mut LineReader,
        read: io::Result<usize>,
        since: Instant,
        now: Instant,
    ) -> Result<bool, Loss> {
        self.begin_to_listen(since);
        let received = self.receive(replies, read, now);
        self.end_printing();
        received
    }
}
