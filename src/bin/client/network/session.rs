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
use tcp_chat::cli::{self, Limit};

use crate::figures::outages::Addresses;
use crate::network::connect::{self, Attempts, Cause, Connector, Failure, NotConnected};
use crate::network::connection::{self, Outcome};
use crate::rules::conversation::{Loss, News, Next};
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

/// What the session thread waits for before the next attempt to connect.
enum Wait {
    Until(Instant),
    /// Until there is a line to send.
    ForLine,
}

impl Session {
    pub(crate) fn new(host: &str, port: u16, attempts: Attempts, shared: &Arc<Shared>) -> Self {
        Session {
            server: cli::address(host, port),
            connector: Connector::new(host, port, attempts),
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
                Err(NotConnected::Unreachable(unreachable)) => {
                    Outcome::Lost(Loss::Unreachable(unreachable))
                }
                Err(NotConnected::LookUpPanicked) => return End::Panicked(connect::LOOK_UP),
            };
            let wait = match outcome {
                Outcome::Done => Wait::ForLine,
                Outcome::Lost(loss) => {
                    let now = Instant::now();
                    match record_and_log_loss(&shared, &loss, now) {
                        // The loop begins with the verdict.
                        Next::Done => continue,
                        Next::RetryIn(pause) => Wait::Until(now + pause),
                        Next::GiveUp(why) => return End::Failed(anyhow!(why)),
                    }
                }
            };
            shared.prompt();
            // The replies of the last connection are printed by now.
            shared.lock().begin_to_listen(Instant::now());
            self.wait(&wait);
        }
    }

    /// Waits before the next attempt, but no longer than until everything is done.
    fn wait(&self, wait: &Wait) {
        let mut deadline = None;
        if let Wait::Until(time) = wait {
            deadline = Some(*time);
        }
        self.shared.wait_until(deadline, |conversation| {
            let has_awaited_line = matches!(wait, Wait::ForLine) && conversation.has_unsent();
            if has_awaited_line || conversation.is_done() {
                Some(())
            } else {
                None
            }
        });
    }

    /// Resolves the server's name with this function from now on.
    #[cfg(test)]
    pub(crate) fn set_resolve(&mut self, resolve: connect::Resolve) {
        self.connector.set_resolve(resolve);
    }

    /// Makes one attempt to connect, and records and logs a success.
    fn connect(&mut self, begun: Instant, limit: Limit) -> Result<TcpStream, NotConnected> {
        let shared = Arc::clone(&self.shared);
        let log_next = |failed: &Failure, next: SocketAddr| {
            // A refusal is no reason to warn: it costs no time, and is usual. The name of this
            // machine has an IPv4 and an IPv6 address, and servers listen at one of them.
            let address = failed.address;
            let line = format!("cannot connect to {address}: {failed}; trying {next}");
            let news = if matches!(failed.cause, Cause::TimedOut) && !self.has_warned {
                self.has_warned = true;
                News::warn(line)
            } else {
                News::info(line)
            };
            shared.log_in_session([news]);
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
        shared.log_in_session([News::info(self.connected_to(remote))]);
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
fn record_and_log_loss(shared: &Shared, loss: &Loss, now: Instant) -> Next {
    // The news is taken under the same lock. Otherwise another thread could take and log it
    // first.
    let (next, news) = shared.change(|conversation| {
        let next = conversation.record_loss(loss, now);
        (next, conversation.take_news())
    });
    shared.log_in_session(news);
    next
}
