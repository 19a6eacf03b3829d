//! One attempt to connect, in a thread of its own.
//!
//! Neither the look-up of a name nor a connect can be interrupted, and a look-up
//! has no time limit of its own. So a thread does both and hands over the stream,
//! and the session waits for it no longer than is right.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// An attempt that is under way, or has come to its end.
pub(crate) struct Attempt {
    state: Mutex<State>,
}

struct State {
    /// Until when to try; `None` is for ever.
    deadline: Option<Instant>,
    is_looking_up: bool,
    outcome: Option<io::Result<TcpStream>>,
}

impl Attempt {
    /// Starts an attempt. `ended` is called once there is an outcome.
    ///
    /// # Errors
    ///
    /// No thread is available.
    pub(crate) fn start(
        host: &str,
        port: u16,
        deadline: Option<Instant>,
        ended: impl FnOnce() + Send + 'static,
    ) -> io::Result<Arc<Self>> {
        let attempt = Arc::new(Attempt {
            state: Mutex::new(State {
                deadline,
                // A literal address needs no look-up.
                is_looking_up: host.parse::<IpAddr>().is_err(),
                outcome: None,
            }),
        });
        let (host, in_thread) = (host.to_string(), Arc::clone(&attempt));
        let thread = thread::Builder::new().name("connect".to_string());
        thread.spawn(move || {
            let outcome = in_thread.connect(&host, port);
            in_thread.with(|state| state.outcome = Some(outcome));
            ended();
        })?;
        Ok(attempt)
    }

    /// Tries for longer.
    pub(crate) fn set_deadline(&self, deadline: Option<Instant>) {
        self.with(|state| state.deadline = deadline);
    }

    /// Whether the addresses of the name are not known yet.
    pub(crate) fn is_looking_up(&self) -> bool {
        self.with(|state| state.is_looking_up)
    }

    /// The connection, or why there is none; `None` while it is under way.
    pub(crate) fn take_outcome(&self) -> Option<io::Result<TcpStream>> {
        self.with(|state| state.outcome.take())
    }

    fn with<T>(&self, access: impl FnOnce(&mut State) -> T) -> T {
        access(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tries all addresses of a name, in their order. The time that is left is
    /// shared among those that are left, so that a dead one does not take it all.
    fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
        self.with(|state| state.is_looking_up = false);
        let mut result = Err(io::Error::other("the name has no address"));
        for (tried, address) in addresses.iter().enumerate() {
            let left = self.with(|state| match state.deadline {
                Some(deadline) => deadline.saturating_duration_since(Instant::now()),
                None => Duration::MAX,
            });
            let untried = (addresses.len() - tried) as u32;
            result = connect_to(*address, (left / untried).max(Duration::from_millis(1)));
            if result.is_ok() {
                break;
            }
        }
        result
    }
}

/// Connects without waiting for small segments to be gathered (`TCP_NODELAY`),
/// or a message could wait for the acknowledgement of the one before.
fn connect_to(address: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, limit).map_err(|error| {
        // std words its own time-out differently from the system's.
        match error.kind() {
            io::ErrorKind::TimedOut => io::Error::other("Connection timed out"),
            _ => error,
        }
    })?;
    // Where nothing listens on a port that the system also gives to outgoing
    // connections, a connection can meet itself.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    stream.set_nodelay(true)?;
    Ok(stream)
}
