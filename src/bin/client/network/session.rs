//! The thread that connects, reads the replies, and connects again after an outage or
//! after so many lines.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use anyhow::anyhow;
use log::Level;
use tcp_chat::cli::{self, Limit};

use crate::figures::outages::Addresses;
use crate::network::connect::{Cause, Connector, Failure, Unreachable};
use crate::network::connection;
use crate::rules::conversation::{Loss, Next};
use crate::shared::{End, Shared};

/// The server, and how to reach it.
pub(crate) struct Session {
    /// What the user knows it by.
    server: String,
    connector: Connector,
    /// Whether the user knows that an address of the server does not answer.
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

    /// Talks to the server until every line of the input is acknowledged, or the client
    /// gives up. Returns how the run ends.
    pub(crate) fn run(&mut self) -> End {
        let shared = Arc::clone(&self.shared);
        loop {
            let now = Instant::now();
            let limit = {
                let mut conversation = shared.lock();
                if conversation.is_done() {
                    return End::by_verdict(conversation.verdict());
                }
                conversation.begin_connect(now)
            };
            let loss = match self.connect(now, limit) {
                Ok(stream) => match connection::converse(&shared, stream) {
                    Ok(loss) => loss,
                    Err(end) => return end,
                },
                Err(Unreachable { why, is_refused }) => Some(Loss::Unreachable { why, is_refused }),
            };
            // After a planned end, the next attempt comes when there is a line to send.
            let mut next_attempt = None;
            if let Some(loss) = loss {
                let now = Instant::now();
                let (next, news) = shared.change(|conversation| {
                    (
                        conversation.record_loss(&loss, now),
                        conversation.take_news(),
                    )
                });
                shared.log(news);
                match next {
                    Next::RetryIn(pause) => next_attempt = Some(now + pause),
                    Next::GiveUp(why) => return End::Failed(anyhow!(why)),
                }
            }
            shared.prompt();
            // The replies of the last connection are printed by now.
            shared.lock().begin_to_listen(Instant::now());
            shared.wait_until(next_attempt, |conversation| {
                let is_awaited = next_attempt.is_none() && conversation.has_unsent();
                (is_awaited || conversation.is_done()).then_some(())
            });
        }
    }

    /// Makes one attempt to connect, and logs a success.
    fn connect(&mut self, begun: Instant, limit: Limit) -> Result<TcpStream, Unreachable> {
        let shared = Arc::clone(&self.shared);
        let goes_on = |failed: &Failure, next: SocketAddr| {
            // A refusal costs no time, and is usual: the name of this machine has an address
            // of each kind, and servers listen at one of them.
            let is_first = matches!(failed.cause, Cause::TimedOut) && !self.has_warned;
            self.has_warned |= is_first;
            let level = if is_first { Level::Warn } else { Level::Info };
            let address = failed.address;
            let news = format!("cannot connect to {address}: {failed}; trying {next}");
            shared.log([(level, news)]);
        };
        let connected = self.connector.connect(begun, limit, goes_on)?;
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
        shared.log([(Level::Info, self.connected_to(remote))]);
        Ok(connected.stream)
    }

    /// What to tell of a new connection: the server, and which of its addresses it is.
    fn connected_to(&self, address: SocketAddr) -> String {
        let server = &self.server;
        if address.to_string() == *server {
            format!("connected to {server}")
        } else {
            format!("connected to {server} ({address})")
        }
    }
}
