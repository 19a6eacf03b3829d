//! The thread that connects, reads the replies, and connects again after an outage or
//! after so many lines.

use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use std::{io, sync::Arc, thread};

use anyhow::anyhow;
use log::Level;
use tcp_chat::cli::{self, Limit};
use tcp_chat::printable::Printable;

use crate::{connection, conversation::Loss, shared::Shared};

/// The server, and how to reach it.
pub(crate) struct Session {
    host: String,
    port: u16,
    shared: Arc<Shared>,
    /// A look-up of the name that has taken too long. Another one would wait no
    /// less, so this one is waited for again.
    overdue: Option<Receiver<io::Result<Vec<SocketAddr>>>>,
}

impl Session {
    pub(crate) fn new(host: &str, port: u16, shared: &Arc<Shared>) -> Self {
        Session { host: host.to_string(), port, shared: Arc::clone(shared), overdue: None }
    }

    /// Talks to the server until every line of the input is acknowledged.
    ///
    /// # Errors
    ///
    /// Anything other than that.
    pub(crate) fn run(&mut self) -> anyhow::Result<()> {
        let shared = Arc::clone(&self.shared);
        loop {
            let now = Instant::now();
            let limit = {
                let mut conversation = shared.lock();
                if conversation.is_done() {
                    return conversation.verdict().map_err(|why| anyhow!(why));
                }
                conversation.connecting(now)
            };
            let (loss, hint) = match self.connect(now, limit) {
                Ok(stream) => (connection::converse(&shared, stream)?, ""),
                Err(error) => {
                    let is_refused = error.kind() == io::ErrorKind::ConnectionRefused;
                    let hint = if is_refused { "; is the server running there?" } else { "" };
                    (Some(Loss::Unreachable(error.to_string())), hint)
                }
            };
            // After a planned end, the next attempt comes when there is a line to send.
            let mut next_attempt = None;
            if let Some(loss) = loss {
                let now = Instant::now();
                let (pause, news) = shared.change(|conversation| {
                    (conversation.lost(&loss, now), conversation.take_news())
                });
                shared.output.tell(news);
                next_attempt = Some(now + pause.map_err(|why| anyhow!("{why}{hint}"))?);
            }
            shared.output.prompt(|| shared.lock());
            shared.wait_until(next_attempt, |conversation| {
                let is_awaited = next_attempt.is_none() && conversation.has_unsent();
                (is_awaited || conversation.is_done()).then_some(())
            });
        }
    }

    /// Makes one attempt to connect: tries all addresses of the name, in their
    /// order. The time that is left is shared among those that are left, so that a
    /// dead one does not take it all. The user is told when one succeeds.
    fn connect(&mut self, begun: Instant, limit: Limit) -> io::Result<TcpStream> {
        let addresses = self.look_up(limit)?;
        let mut result = Err(io::Error::other("the name has no address"));
        for (tried, address) in addresses.iter().enumerate() {
            let untried = (addresses.len() - tried) as u32;
            let share = limit.map(|limit| {
                let left = limit.saturating_sub(begun.elapsed());
                (left / untried).max(Duration::from_millis(1))
            });
            result = connect_to(*address, share);
            if let Ok(stream) = &result {
                let connected = Instant::now();
                (self.shared).change(|conversation| conversation.connected(connected));
                self.shared.output.tell([(Level::Info, self.connected_to(stream))]);
                break;
            }
        }
        result
    }

    /// The addresses of the server. A look-up of a name has no time limit of its
    /// own and cannot be interrupted, so it is left to a thread.
    fn look_up(&mut self, limit: Limit) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, self.port)]);
        }
        let answer = match self.overdue.take() {
            Some(answer) => answer,
            None => {
                let (found, answer) = mpsc::channel();
                let name = (self.host.clone(), self.port);
                let look_up = move || {
                    // Nobody waits for it any more once the run is over.
                    let _ = found.send(name.to_socket_addrs().map(Iterator::collect));
                };
                thread::Builder::new().name("look-up".to_string()).spawn(look_up)?;
                answer
            }
        };
        let answered = match limit {
            Some(limit) => answer.recv_timeout(limit),
            None => answer.recv().map_err(RecvTimeoutError::from),
        };
        match answered {
            Ok(addresses) => addresses,
            Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the look-up failed")),
            Err(RecvTimeoutError::Timeout) => {
                self.overdue = Some(answer);
                let host = Printable(self.host.as_bytes());
                let seconds = limit.unwrap_or_default().as_secs_f64();
                let why = format!("the look-up of {host} timed out after {seconds:.3} s");
                Err(io::Error::other(why))
            }
        }
    }

    /// What to tell of a new connection: the server, and which of its addresses it is.
    fn connected_to(&self, stream: &TcpStream) -> String {
        let server = cli::address(&self.host, self.port);
        match stream.peer_addr() {
            Ok(peer) if peer.to_string() != server => format!("connected to {server} ({peer})"),
            _ => format!("connected to {server}"),
        }
    }
}

/// Whether this machine has an address of its own that reaches this one.
fn has_route(address: SocketAddr) -> bool {
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    // This sends nothing.
    UdpSocket::bind(any).is_ok_and(|socket| socket.connect(address).is_ok())
}

/// Connects, and sets `TCP_NODELAY`, or a message could wait until TCP has acknowledged
/// the one before.
fn connect_to(address: SocketAddr, limit: Limit) -> io::Result<TcpStream> {
    let connected = match limit {
        Some(limit) => TcpStream::connect_timeout(&address, limit),
        None => TcpStream::connect(address),
    };
    let stream = connected.map_err(|error| {
        // std's own text for a timeout differs from the system's.
        match error.kind() {
            io::ErrorKind::TimedOut => io::Error::other("Connection timed out"),
            io::ErrorKind::AddrNotAvailable if has_route(address) => io::Error::other(format!(
                "no local port is free, since each connection keeps one for a while: {error}"
            )),
            _ => error,
        }
    })?;
    // Where nothing listens on a port that the system also gives to outgoing
    // connections, a connection can meet itself.
    if stream.local_addr()? == stream.peer_addr()? {
        let why = "nothing listens there, and the connection met itself";
        return Err(io::Error::new(io::ErrorKind::ConnectionRefused, why));
    }
    stream.set_nodelay(true)?;
    Ok(stream)
}
