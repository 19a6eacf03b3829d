//! Tests of the rules that play the network and the clock. They need no thread and no socket.

#![allow(clippy::panic, clippy::print_stdout)]

// Streams that are cut after any byte.
mod every_byte;

// All that can happen to a conversation, and when.
mod events;

// Every order in which things can happen to a short conversation.
mod every_order;

// Each limit, and the message when it is met.
mod limits;

// The expected state of such a conversation, by rules too simple to be wrong.
mod model;

// A server that is away at times.
mod network;

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

/// The settings of a user who goes on trying for an hour.
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
    /// Sets every count. There is one prefix.
    pub(crate) fn set_counts(&mut self, counts: Counts) {
        self.counts = counts;
        self.counts.replies.by_prefix = vec![0];
    }

    /// Takes the result of a read that began at `since`, and prints the replies.
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
    /// Whether another attempt follows.
    pub(crate) fn is_retry(&self) -> bool {
        matches!(self, Next::RetryIn(_))
    }

    /// Returns why no other attempt follows.
    fn reason(self) -> String {
        match self {
            Next::GiveUp(why) => why,
            Next::Done => panic!("nothing is lost"),
            Next::RetryIn(pause) => panic!("another attempt in {pause:?}"),
        }
    }
}

/// Returns what remains after a read from a connection that has done its part, or has not.
fn received(is_done: bool) -> Received {
    if is_done { Done } else { More }
}

/// A server that could not be reached.
fn unreachable(why: &str) -> Loss {
    Loss::Unreachable(Unreachable {
        why: why.to_string(),
        is_refused: false,
    })
}
