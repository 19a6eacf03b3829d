//! How the server is stopped, so that its clients lose nothing and nothing comes
//! twice.
//!
//! A task that awaits can await the news of a stop as well. A thread that is
//! blocked in `accept` or `read` cannot, so something has to happen to what it
//! waits for. A connection to the server's own address wakes `accept`, and a signal
//! to the thread interrupts `read`. (`shutdown` of the reading side wakes `read`
//! too, but it looks like the client's end, after which a line that was cut counts
//! as whole. And Linux then answers whatever comes after the server's own end with
//! a reset, which destroys replies that are still on their way.)
//!
//! 1. The server accepts whoever is in the listener's queue, up to its own connection,
//!    and no more: dropping the listener resets whoever is left in its queue.
//! 2. Each client's thread answers what has come, and its client is told.
//! 3. All connections linger until their clients have closed them, so that no
//!    reset destroys a reply. What takes too long is cut off.
//!
//! A message is then either acknowledged or was never read, and its client can
//! send it elsewhere.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tcp_chat::{cli, system::Interruptible};

use crate::limits::clients_are;

/// How long a stop takes at most. Those who run containers and services kill what
/// has not ended 10 s after they asked it to.
pub(crate) const LONGEST: Duration = Duration::from_secs(5);

/// How long `accept` is waited for. The server's own connection may not come: the
/// queue is full, a firewall is in the way, no descriptor is free, or another
/// process that shares the socket has taken it. A slow machine needs a while for a
/// long queue.
const ACCEPT: Duration = Duration::from_millis(500);

/// How long each attempt to connect may take, so that `accept` makes room in its
/// queue before the next one.
const ATTEMPT: Duration = Duration::from_millis(10);

/// How often to look whether what is awaited has come.
const LOOK: Duration = Duration::from_millis(2);

/// Whether the server is to stop, and what has to end before it does.
#[derive(Default)]
pub(crate) struct Stop {
    begun: OnceLock<Instant>,
    listener: Mutex<Listener>,
    /// The threads of the clients that are served.
    pub(crate) threads: Interruptible,
    /// One reference for each stream that is open, besides this one.
    open: Arc<()>,
}

/// What is known of the socket that listens. It is locked as long as an attempt to
/// connect to it lasts, so that `accept` is not ahead of the attempt.
#[derive(Default)]
struct Listener {
    /// Its address, while the server accepts.
    accepts_on: Option<SocketAddr>,
    /// Where the server's own connection to it comes from.
    own: Option<SocketAddr>,
}

/// A client's stream. A stop can interrupt its reads, and waits for its end.
pub(crate) struct Stream {
    pub(crate) tcp: TcpStream,
    stop: Arc<Stop>,
    _counted: Arc<()>,
}

impl Stream {
    pub(crate) fn new(tcp: TcpStream, stop: &Arc<Stop>) -> Self {
        Stream { tcp, stop: Arc::clone(stop), _counted: Arc::clone(&stop.open) }
    }

    /// Whether the server is being stopped.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.begun.get().is_some()
    }
}

impl Read for &Stream {
    /// A read that a stop interrupts is over, as at a timeout.
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let read = (&self.tcp).read(room);
        read.map_err(|error| match (error.kind(), self.is_stopping()) {
            (ErrorKind::Interrupted, true) => ErrorKind::WouldBlock.into(),
            _ => error,
        })
    }
}

impl Stop {
    /// The server accepts on this address from now on, or no more.
    pub(crate) fn set_accepting(&self, on: Option<SocketAddr>) {
        self.listener().accepts_on = on;
    }

    /// Whether the server has waited long enough for its own connection.
    pub(crate) fn is_overdue(&self) -> bool {
        self.begun.get().is_some_and(|begun| begun.elapsed() >= ACCEPT)
    }

    /// Whether this is where the server's own connection comes from.
    pub(crate) fn is_own(&self, peer: SocketAddr) -> bool {
        self.begun.get().is_some() && self.listener().own == Some(peer)
    }

    /// Stops the server, and returns when all clients are gone or are to be cut off.
    pub(crate) fn run(&self) {
        let begun = self.begin();
        log::info!("Stopping: {} connected", clients_are(self.clients()));
        let _own = self.wake_accept();
        while self.listener().accepts_on.is_some() && !self.is_overdue() {
            thread::sleep(LOOK);
        }
        while self.clients() > 0 && begun.elapsed() < LONGEST {
            self.threads.interrupt();
            thread::sleep(LOOK);
        }
        let stopped = format!("Stopped after {:.3} s", begun.elapsed().as_secs_f64());
        match self.clients() as u64 {
            0 => log::info!("{stopped}"),
            left => log::warn!("{stopped}, with {} cut off", cli::counted(left, "client")),
        }
    }

    /// Sets the flag that all look at, unless it is set already. Returns when it was set.
    pub(crate) fn begin(&self) -> Instant {
        *self.begun.get_or_init(Instant::now)
    }

    /// Makes the server's own connection. It must stay until it is accepted.
    fn wake_accept(&self) -> Option<TcpStream> {
        let mut address = self.listener().accepts_on?;
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        while !self.is_overdue() {
            let mut listener = self.listener();
            if let Ok(mut own) = TcpStream::connect_timeout(&address, ATTEMPT) {
                listener.own = own.local_addr().ok();
                // With TCP_DEFER_ACCEPT, only who has sent something is accepted. If it is
                // by another process, the byte is no text.
                let _ = own.write_all(b"\xff");
                return Some(own);
            }
            drop(listener);
            thread::sleep(LOOK);
        }
        None
    }

    /// How many clients are connected.
    fn clients(&self) -> usize {
        Arc::strong_count(&self.open) - 1
    }

    fn listener(&self) -> MutexGuard<'_, Listener> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
