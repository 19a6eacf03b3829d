//! The graceful stop by a signal: clients lose nothing, and nothing comes twice.
//!
//! A task that awaits can await the news of a shutdown as well. A thread that is
//! blocked in `accept` or `read` cannot, so something has to happen to what it
//! waits for. A connection to the server's own address wakes `accept`, and a signal
//! to the thread interrupts `read`. (`shutdown` of the reading side wakes `read`
//! too, but it looks like the client's end, after which a line that was cut counts
//! as whole. And Linux then answers bytes that come after the server's own end with
//! a reset, which destroys replies in transit.)
//!
//! 1. The server accepts all who are in the listener's queue, up to its own
//!    connection, and no more: dropping the listener resets all who are left in it. (An
//!    inherited socket stays open, and its queue is the next owner's.)
//! 2. Each client's thread answers what has come, sends the notice, half-closes, and
//!    drains until its client closes, so no reset destroys a reply. The threads exist
//!    already, so nothing is handed over and nothing polls.
//! 3. After 2 s no further message is taken up, so each that was taken up has its
//!    reply before the end. After 5 s, clients that are still connected are cut off.
//!
//! A message is then either logged and acknowledged, or neither, and its client can
//! send it elsewhere.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tcp_chat::system::{Interruptible, Signal};
use tcp_chat::{cli, running_time};

use crate::limits::clients_are;

/// How long `accept` is waited for. The server's own connection may not come: the
/// queue is full, a firewall is in the way, no descriptor is free, or other
/// processes that share the socket take it each time. A slow machine needs a while for a
/// long queue.
const ACCEPTING: Duration = Duration::from_millis(500);

/// How long messages are taken up. The rest of the shutdown is left to the replies.
const TAKING_UP: Duration = Duration::from_secs(2);

/// How long the clients are waited for at most. Those who run containers and services kill what
/// has not ended 10 s after they asked it to.
const LONGEST: Duration = Duration::from_secs(5);

/// How long the last line of the log may take after that.
const LAST_LINE: Duration = Duration::from_millis(500);

/// How long each attempt to connect may take. Before the next one, `accept` has time to
/// make room in its queue.
const ATTEMPT: Duration = Duration::from_millis(10);

/// The pause after such an attempt, and after the first interruption.
const SHORTEST_PAUSE: Duration = Duration::from_millis(2);

/// The longest pause between two interruptions of the same thread.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// How far a shutdown is.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Phase {
    /// There is a shutdown.
    Begun = 1,
    /// `accept` was waited for long enough.
    AcceptIsOverdue,
    /// No further message is taken up.
    RepliesOnly,
    /// Clients that are still connected are cut off.
    CutOff,
}

/// Whether the server is shutting down, and what has to end before it does.
#[derive(Default)]
pub(crate) struct Shutdown {
    /// The [`Phase`]; 0 while there is no shutdown.
    phase: AtomicU8,
    begun: OnceLock<Instant>,
    listener: Mutex<Listener>,
    accept_ended: Condvar,
    /// The clients' threads, each until it has noticed the shutdown.
    pub(crate) threads: Interruptible,
    /// How many streams are open, each from `accept` until it is dropped.
    open_streams: Mutex<usize>,
    all_closed: Condvar,
}

/// What is known of the socket that listens. An attempt to connect to it holds the lock,
/// because `accept` may return the connection before this thread knows its address.
#[derive(Default)]
struct Listener {
    /// Its address, while the server accepts.
    accepts_on: Option<SocketAddr>,
    /// Where the server's own connections to it come from.
    own: Vec<SocketAddr>,
}

/// A stream's share of the count of those that are open.
pub(crate) struct OpenStream {
    pub(crate) shutdown: Arc<Shutdown>,
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut open = self.shutdown.open_streams();
        *open -= 1;
        if *open == 0 {
            self.shutdown.all_closed.notify_all();
        }
    }
}

/// Prepares for a shutdown. Returns what carries it out after a signal: SIGTERM is the
/// order to stop, so it ends in exit code 0; after the others, the program ends by the
/// signal.
///
/// The thread for it starts now, because at the time of the signal there may be none
/// to be had.
///
/// # Errors
///
/// No thread is available.
pub(crate) fn prepare(
    shutdown: &Arc<Shutdown>,
) -> io::Result<impl FnOnce(Signal) + Send + 'static> {
    let (begin, begun) = mpsc::channel();
    let (end, ended) = mpsc::channel();
    let in_thread = Arc::clone(shutdown);
    let thread = thread::Builder::new().name("shutdown".to_string());
    thread.spawn(move || {
        if begun.recv().is_ok() {
            in_thread.run();
            let _ = end.send(());
        }
    })?;
    let shutdown = Arc::clone(shutdown);
    Ok(move |signal| {
        shutdown.begin();
        let _ = begin.send(());
        shutdown.advance_until(&ended);
        if signal == Signal::TERM {
            process::exit(0);
        }
    })
}

impl Shutdown {
    /// The server accepts on this address from now on.
    pub(crate) fn accepting_begins(&self, on: SocketAddr) {
        self.listener().accepts_on = Some(on);
    }

    /// The server accepts no more.
    pub(crate) fn accepting_ended(&self) {
        self.listener().accepts_on = None;
        self.accept_ended.notify_all();
    }

    /// Counts a stream that was accepted.
    pub(crate) fn count_stream(self: &Arc<Self>) -> OpenStream {
        *self.open_streams() += 1;
        let shutdown = Arc::clone(self);
        OpenStream { shutdown }
    }

    /// Whether the server is shutting down.
    pub(crate) fn is_begun(&self) -> bool {
        self.has_reached(Phase::Begun)
    }

    /// Whether the server has waited long enough for its own connection.
    pub(crate) fn accept_is_overdue(&self) -> bool {
        self.has_reached(Phase::AcceptIsOverdue)
    }

    /// Whether no further message may be taken up.
    pub(crate) fn takes_up_no_more(&self) -> bool {
        self.has_reached(Phase::RepliesOnly)
    }

    /// Whether this is where the server's own connection comes from.
    pub(crate) fn is_own(&self, peer: SocketAddr) -> bool {
        self.is_begun() && self.listener().own.contains(&peer)
    }

    /// Lets all see that there is a shutdown.
    pub(crate) fn begin(&self) {
        self.begun.get_or_init(Instant::now);
        self.enter(Phase::Begun);
    }

    /// Lets no further message be taken up, as 2 s after the beginning.
    #[cfg(all(test, unix))]
    pub(crate) fn stop_taking_up(&self) {
        self.enter(Phase::RepliesOnly);
    }

    /// Lets the phases follow each other until the shutdown has ended. This thread
    /// writes no log, which may take any time.
    fn advance_until(&self, ended: &Receiver<()>) {
        let has_ended = |step| ended.recv_timeout(step) != Err(RecvTimeoutError::Timeout);
        for (lasts, next) in [
            (ACCEPTING, Phase::AcceptIsOverdue),
            (TAKING_UP - ACCEPTING, Phase::RepliesOnly),
            (LONGEST - TAKING_UP, Phase::CutOff),
        ] {
            if running_time::wait_within(lasts, has_ended) {
                return;
            }
            self.enter(next);
        }
        running_time::wait_within(LAST_LINE, has_ended);
    }

    /// Ends accepting, interrupts the clients' threads, and returns when all clients are
    /// gone or are to be cut off.
    fn run(&self) {
        log::info!("Stopping: {} connected", clients_are(*self.open_streams()));
        self.end_accepting();
        let left = self.await_clients();
        let begun = self.begun.get_or_init(Instant::now);
        let stopped = format!("Stopped after {:.3} s", begun.elapsed().as_secs_f64());
        match left as u64 {
            0 => log::info!("{stopped}"),
            left => log::warn!("{stopped}, with {} cut off", cli::counted(left, "client")),
        }
    }

    /// Returns when the server accepts no more, or should have noticed.
    ///
    /// Servers that share the socket may accept each other's connections. One that shuts
    /// down, too, takes this connection for a client, and waits until it closes: so each
    /// new attempt closes the one before. One that goes on logs a client that sends
    /// nothing, or one byte.
    fn end_accepting(&self) {
        let mut own = self.connect_to_itself(b"");
        while self.await_end_of_accepting(LONGEST_PAUSE) && !self.accept_is_overdue() {
            drop(own);
            // With TCP_DEFER_ACCEPT, only who has sent something is accepted. If it is by
            // another process, the byte is no text.
            own = self.connect_to_itself(b"\xff");
        }
    }

    /// Waits for this long. Returns whether the server still accepts.
    fn await_end_of_accepting(&self, limit: Duration) -> bool {
        let accepts = |listener: &mut Listener| listener.accepts_on.is_some();
        let waited = self
            .accept_ended
            .wait_timeout_while(self.listener(), limit, accepts);
        let listener = waited.unwrap_or_else(PoisonError::into_inner).0;
        listener.accepts_on.is_some()
    }

    /// Connects to the server's own address while the server accepts there. The
    /// connection must stay until it is accepted.
    fn connect_to_itself(&self, sends: &[u8]) -> Option<TcpStream> {
        loop {
            let mut listener = self.listener();
            let address = reachable(listener.accepts_on?);
            if let Ok(mut own) = TcpStream::connect_timeout(&address, ATTEMPT) {
                listener.own.extend(own.local_addr());
                let _ = own.write_all(sends);
                return Some(own);
            }
            drop(listener);
            if self.accept_is_overdue() {
                return None;
            }
            thread::sleep(SHORTEST_PAUSE);
        }
    }

    /// Interrupts the clients' threads until each has noticed, and waits until their
    /// streams are closed. Returns how many are left to be cut off.
    fn await_clients(&self) -> usize {
        let mut pause = SHORTEST_PAUSE;
        let mut own = None;
        loop {
            // A thread that was only about to wait has not noticed the last time. One
            // that starts later sees the shutdown before it waits.
            self.threads.interrupt();
            let open = self.open_streams();
            let is_open = |open: &mut usize| *open > 0;
            let waited = self.all_closed.wait_timeout_while(open, pause, is_open);
            let left = *waited.unwrap_or_else(PoisonError::into_inner).0;
            if left == 0 || self.has_reached(Phase::CutOff) {
                // If `accept` was never woken, it may still bring a client. Its messages
                // are not taken up: nobody would wait for their replies.
                self.enter(Phase::CutOff);
                return left;
            }
            if self.await_end_of_accepting(Duration::ZERO) {
                drop(own);
                own = self.connect_to_itself(b"\xff");
            }
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    /// Begins a phase, unless a later one has begun.
    fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::Relaxed);
        self.accept_ended.notify_all();
    }

    fn has_reached(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Relaxed) >= phase as u8
    }

    fn listener(&self) -> MutexGuard<'_, Listener> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_streams(&self) -> MutexGuard<'_, usize> {
        self.open_streams
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The address at which this machine reaches a socket that listens there.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}
