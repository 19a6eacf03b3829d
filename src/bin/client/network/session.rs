//! The session thread: it connects, reads the replies, and connects again after a lost
//! connection or, with `--reconnect-every`, after so many lines.
//!
//! ```text
//!    +--> attempt to connect --+-- success --> converse --+-- done ---> wait for a line
//!    |                         |                          |             to send --+
//!    |                         +-- failure --+            +-- lost --+            |
//!    |                                       v                       v            |
//!    |                                 record the loss: give up, or pause         |
//!    |                                                                |           |
//!    +----------------------------------------------------------------+-----------+
//! ```
//!
//! Before each attempt, the run ends if everything is done.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use anyhow::anyhow;
use log::Level;
use tcp_chat::cli::{self, Limit};

use crate::figures::outages::Addresses;
use crate::network::connect::{Cause, Connector, Failure, Unreachable};
use crate::network::connection::{self, Outcome};
use crate::rules::conversation::{Loss, Next};
use crate::shared::{End, Shared};

/// The server, and how to reach it.
pub(crate) struct Session {
    /// The server's name or address with its port, as the user gave them.
    server: String,
    connector: Connector,
    /// Whether the user was warned that an address of the server does not answer.
    has_warned: bool,
    shared: Arc<Shared>,
}

impl Session {
    pub(crate) fn new(host: &str, port: u16, retries: bool, shared: &Arc<Shared>) -> Self {
        Session {
            server: cli::address(host, port),
            connector: Connector::new(host, port, retries),
            has_warned: false,
            shared: Arc::clone(shared),
        }
    }

    /// Connects and converses until every line of the input has a reply, or the client gives
    /// up. Returns how the run ends.
    pub(crate) fn run(&mut self) -> End {
        let shared = Arc::clone(&self.shared);
        loop {
            let now = Instant::now();
            let limit = {
                let mut conversation = shared.lock();
                if conversation.is_done() {
                    return End::from_verdict(conversation.verdict());
                }
                conversation.begin_connect(now)
            };
            let outcome = match self.connect(now, limit) {
                Ok(stream) => match connection::converse(&shared, stream) {
                    Ok(outcome) => outcome,
                    Err(end) => return end,
                },
                Err(Unreachable { why, is_refused }) => {
                    Outcome::Lost(Loss::Unreachable { why, is_refused })
                }
            };
            // Without a time, the next attempt begins when there is a line to send.
            let next_attempt = match outcome {
                Outcome::Done => None,
                Outcome::Lost(loss) => {
                    let now = Instant::now();
                    match record_loss(&shared, &loss, now) {
                        Next::RetryIn(pause) => Some(now + pause),
                        Next::GiveUp(why) => return End::Failed(anyhow!(why)),
                    }
                }
            };
            shared.prompt();
            // The replies of the last connection are printed by now.
            shared.lock().begin_to_listen(Instant::now());
            shared.wait_until(next_attempt, |conversation| {
                let has_line = next_attempt.is_none() && conversation.has_unsent();
                if has_line || conversation.is_done() {
                    Some(())
                } else {
                    None
                }
            });
        }
    }

    /// Makes one attempt to connect, and records and logs a success.
    fn connect(&mut self, begun: Instant, limit: Limit) -> Result<TcpStream, Unreachable> {
        let shared = Arc::clone(&self.shared);
        let log_next = |failed: &Failure, next: SocketAddr| {
            // A refusal is no reason to warn: it costs no time, and is usual. The name of this
            // machine has an IPv4 and an IPv6 address, and servers listen at one of them.
            let mut level = Level::Info;
            if matches!(failed.cause, Cause::TimedOut) && !self.has_warned {
                self.has_warned = true;
                level = Level::Warn;
            }
            let address = failed.address;
            let news = format!("cannot connect to {address}: {failed}; trying {next}");
            shared.log_in_session([(level, news)]);
        };
        let connected = self.connector.connect(begun, limit, log_next)?;
        let now = Instant::now();
        let remote = connected.remote;
        let addresses = Addresses {
            local: connected.local.to_string(),
            remote: remote.to_string(),
        };
        shared.change(|conversation| {
            conversation.record_connect(now);
            conversation.record_addresses(addresses);
        });
        shared.log_in_session([(Level::Info, self.connected_to(remote))]);
        Ok(connected.stream)
    }

    /// Returns the log line of a new connection: it names the server, and which of the
    /// server's addresses this is.
    fn connected_to(&self, address: SocketAddr) -> String {
        let server = &self.server;
        if address.to_string() == *server {
            format!("connected to {server}")
        } else {
            format!("connected to {server} ({address})")
        }
    }
}

/// Records a loss, and logs what there is to say of it. Returns what follows.
fn record_loss(shared: &Shared, loss: &Loss, now: Instant) -> Next {
    let (next, news) = shared.change(|conversation| {
        let next = conversation.record_loss(loss, now);
        (next, conversation.take_news())
    });
    shared.log_in_session(news);
    next
}
