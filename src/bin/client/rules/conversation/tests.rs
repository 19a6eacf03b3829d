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
use crate::rules::outage::SHORTEST_PAUSE;

use Received::{Done, More};

const SECOND: Duration = Duration::from_secs(1);

/// The longest reply with the usual prefix.
const MAX_REPLY: usize = wire::DEFAULT_PREFIX.len() + MAX_MESSAGE_LINE;

/// A user who goes on trying for an hour.
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
    ) -> Result<Received, Loss> {
        self.begin_to_listen(since);
        let received = self.receive(replies, read, now);
        self.end_printing();
        received
    }
}

impl Next {
    /// Whether there is another attempt.
    pub(crate) fn is_retry(&self) -> bool {
        matches!(self, Next::RetryIn(_))
    }

    /// Why there is none.
    fn reason(self) -> String {
        match self {
            Next::GiveUp(why) => why,
            Next::RetryIn(pause) => panic!("another attempt in {pause:?}"),
        }
    }
}

/// What a read leaves of a connection that has done its part, or has not.
fn received(is_done: bool) -> Received {
    if is_done { Done } else { More }
}

/// A server that could not be reached.
fn unreachable(why: &str) -> Loss {
    Loss::Unreachable {
        why: why.to_string(),
        is_refused: false,
    }
}
