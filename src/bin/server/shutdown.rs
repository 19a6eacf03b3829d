//! The graceful shutdown by a signal: clients lose no message and repeat none.
//!
//! Two threads carry it out. The thread "signals" enters each phase at its time, and ends the
//! process. It never logs, because that may block. The thread "shutdown" does the work:
//!
//! ```text
//!         thread "signals"        thread "shutdown", and what the clients' threads do
//!         enters a phase
//!
//!  0 s    Begun                   Logs "Stopping". Connects to the server itself, which
//!    │                            wakes `accept`. All clients before that connection in
//!    │                            the listener's queue are accepted.
//!    │                            Interrupts the reads. Each client's thread replies to the
//!    │                            messages that have arrived (for at most 0.1 s and 1 MiB),
//!    │                            sends the notice, half-closes, and drains until its
//!    │                            client closes.
//!  0.5 s  AcceptIsOverdue         Waits for `accept` no longer. If it wakes later, it brings
//!    │                            at most one more client.
//!  2 s    RepliesOnly             No further message is processed. The rest of the time is
//!    │                            for the replies to messages that were.
//!  5 s    Over                    Waits for clients no longer: those still connected are
//!    │                            cut off. Logs "Stopped".
//!  5.5 s  ends the process,       (The log may block.)
//!         even without that line
//! ```
//!
//! As soon as all clients have closed, the thread "shutdown" itself enters `Over` and logs
//! "Stopped"; then the process ends. Usually that takes milliseconds. The times above count
//! only while the process runs: a pause of any length counts as 0.2 s at most.
//!
//! To process a message is to log it and to reply to it. In a shutdown, both happen or
//! neither does. So a client can send each message without a reply to another server.
//!
//! # Why it takes all this
//!
//! A task that awaits can await the beginning of a shutdown as well. A thread that is blocked in
//! `accept` or `read` cannot, so each needs something that wakes it:
//!
//! - `accept`: a connection to the server's own address. Closing the listener instead would
//!   reset all clients in its queue. (An inherited socket stays open. Its next owner serves
//!   the clients that are left in its queue.)
//! - `read`: a signal to the thread. `shutdown` of the reading side wakes `read` too, but it
//!   looks as if the client had half-closed, and then a cut line counts as whole. Besides,
//!   Linux answers bytes that come after the server's half-close with a reset, which
//!   destroys replies in transit.
//!
//! Each client's own thread closes its connection, so no connection is handed over to
//! another thread, and nothing polls. It drains, because closing a socket with unread
//! bytes would reset the connection and destroy replies.

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

/// How long `accept` is waited for. The server's own connection may never be accepted: the
/// queue is full, a firewall blocks it, no descriptor is free, or other processes that
/// share the socket accept it each time. A slow machine needs a while for a long queue.
const ACCEPTING: Duration = Duration::from_millis(500);

/// When the last message is processed. The rest of the shutdown is left to the replies.
const PROCESSING: Duration = Duration::from_secs(2);

/// When the clients that are still connected are cut off. Container and service managers
/// kill a process that has not ended 10 s after the signal.
const LONGEST: Duration = Duration::from_secs(5);

/// How long the last line of the log may take after that.
const LAST_LINE: Duration = Duration::from_millis(500);

/// How long each attempt to connect may take. An attempt holds the lock that the accepting
/// thread needs to go on, so the listener's queue gets no shorter as long as it lasts.
const ATTEMPT: Duration = Duration::from_millis(10);

/// The pause after a failed attempt, which lets `accept` make room in its queue; and the
/// pause after the first interruption.
const SHORTEST_PAUSE: Duration = Duration::from_millis(2);

/// The longest pause between two interruptions of the same thread, and between two of the
/// server's own connections.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// What the server sends on its own connections after the first one: a byte, because with
/// TCP_DEFER_ACCEPT the kernel lets only a connection be accepted that has sent something.
/// This byte occurs in no UTF-8 text. So if another process accepts the connection, that
/// process rejects the byte as a message.
const NOT_TEXT: &[u8] = b"\xff";

/// How far a shutdown is. The numbers ascend, because phases are compared.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Phase {
    /// The signal has come.
    Begun = 1,
    /// The server has waited long enough for `accept` to wake.
    AcceptIsOverdue,
    /// No further message is processed.
    RepliesOnly,
    /// All clients have closed, or their time is over and the rest are cut off.
    Over,
}

/// Whether the server is shutting down, and what has to end before the process does.
#[derive(Default)]
pub(crate) struct Shutdown {
    /// The [`Phase`]; 0 while there is no shutdown.
    phase: AtomicU8,
    /// When the shutdown began.
    begun: OnceLock<Instant>,
    listener: Mutex<Listener>,
    /// Notified when the server has stopped accepting, and when a phase begins. Both can end
    /// the wait for `accept`.
    accept_ended: Condvar,
    /// The clients' threads, each until it has noticed the shutdown.
    pub(crate) threads: Interruptible,
    /// How many streams are open, each from `accept` until it is dropped.
    open_streams: Mutex<usize>,
    /// Notified when no stream is open any more.
    all_closed: Condvar,
}

/// How the work of the thread "shutdown" ended.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Work {
    Done,
    /// The thread has panicked, so clients may be cut off.
    Panicked,
    /// The thread has not ended in time: it waits for the log, which nobody reads.
    Unfinished,
}

impl Work {
    /// Returns the exit code of a server that SIGTERM ends.
    fn exit_code(self) -> i32 {
        match self {
            Work::Done | Work::Unfinished => 0,
            Work::Panicked => 1,
        }
    }
}

/// What is known of the socket that listens.
#[derive(Default)]
struct Listener {
    /// Its address, while the server accepts.
    accepts_on: Option<SocketAddr>,
    /// The local addresses of the server's own connections to it. `accept` sees them as
    /// addresses of peers.
    own: Vec<SocketAddr>,
}

/// One stream's share of the count of open streams. Dropping it ends that share.
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

/// Prepares for a shutdown. Returns the function that the thread "signals" calls after a
/// signal. SIGTERM is the order to stop, so after it this function ends the process: with exit
/// code 0, or 1 if the thread "shutdown" panicked. After other signals it returns, and its
/// caller ends the process by the signal.
///
/// Starts the thread "shutdown" now, because at the time of the signal the system may have no
/// thread left.
///
/// # Errors
///
/// The system starts no further thread.
pub(crate) fn prepare(
    shutdown: &Arc<Shutdown>,
) -> io::Result<impl FnOnce(Signal) + Send + 'static> {
    let (start_sender, start_receiver) = mpsc::channel();
    let (done_sender, done_receiver) = mpsc::channel();
    let worker = Arc::clone(shutdown);
    let thread = thread::Builder::new().name("shutdown".to_string());
    thread.spawn(move || {
        if start_receiver.recv().is_ok() {
            worker.run();
            let _ = done_sender.send(());
        }
    })?;
    let shutdown = Arc::clone(shutdown);
    Ok(move |signal| {
        shutdown.begin();
        // Fails only if the thread has panicked, which `advance_until` notices.
        let _ = start_sender.send(());
        let work = shutdown.advance_until(&done_receiver);
        if signal == Signal::TERM {
            process::exit(work.exit_code());
        }
    })
}

impl Shutdown {
    /// Records that the server accepts on this address from now on.
    pub(crate) fn record_accepting(&self, on: SocketAddr) {
        self.listener().accepts_on = Some(on);
    }

    /// Records that the server accepts no more.
    pub(crate) fn record_end_of_accepting(&self) {
        self.listener().accepts_on = None;
        self.accept_ended.notify_all();
    }

    /// Counts a stream that was accepted, until the returned value is dropped.
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
    pub(crate) fn is_accept_overdue(&self) -> bool {
        self.has_reached(Phase::AcceptIsOverdue)
    }

    /// Whether no further message may be processed.
    pub(crate) fn has_stopped_processing(&self) -> bool {
        self.has_reached(Phase::RepliesOnly)
    }

    /// Whether a connection from this address is one of the server's own. Waits until the
    /// current attempt to connect has recorded its address.
    pub(crate) fn is_own(&self, peer: SocketAddr) -> bool {
        self.is_begun() && self.listener().own.contains(&peer)
    }

    /// Begins the shutdown, which all threads can see from now on.
    pub(crate) fn begin(&self) {
        self.begun.get_or_init(Instant::now);
        self.enter(Phase::Begun);
    }

    /// Ends the processing of messages, as 2 s after the beginning.
    #[cfg(all(test, unix))]
    pub(crate) fn stop_processing(&self) {
        self.enter(Phase::RepliesOnly);
    }

    /// Enters each phase at its time, until the thread "shutdown" sends that its work is done.
    /// Returns how the work ended. Logs nothing, because to write the log may take any time.
    fn advance_until(&self, done: &Receiver<()>) -> Work {
        let wait_for_end = |step| match done.recv_timeout(step) {
            Ok(()) => Some(Work::Done),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Work::Panicked),
        };
        for (wait, next) in [
            (ACCEPTING, Phase::AcceptIsOverdue),
            (PROCESSING - ACCEPTING, Phase::RepliesOnly),
            (LONGEST - PROCESSING, Phase::Over),
        ] {
            if let Some(work) = running_time::wait_within(wait, wait_for_end) {
                return work;
            }
            self.enter(next);
        }
        running_time::wait_within(LAST_LINE, wait_for_end).unwrap_or(Work::Unfinished)
    }

    /// Ends accepting, interrupts the clients' threads, and waits until all clients have
    /// closed or are to be cut off.
    fn run(&self) {
        // Copied, because a log line may block. Under the lock, it would also block `accept`
        // and each stream that closes.
        let open = *self.open_streams();
        log::info!("Stopping: {} connected", clients_are(open));
        self.end_accepting();
        let left = self.await_clients();
        let begun = self.begun.get_or_init(Instant::now);
        let stopped = format!("Stopped after {:.3} s", begun.elapsed().as_secs_f64());
        if left == 0 {
            log::info!("{stopped}");
        } else {
            let clients = cli::counted(left as u64, "client");
            log::warn!("{stopped}, with {clients} cut off");
        }
    }

    /// Waits until the server accepts no more, or until that is overdue. Connects to the
    /// server again and again, because other servers may share the socket and accept its
    /// connections:
    ///
    /// - One that shuts down, too, takes the connection for a client and waits until it
    ///   closes. So each new attempt closes the one before.
    /// - One that goes on logs a client that sends nothing, or one byte.
    fn end_accepting(&self) {
        let mut own = self.connect_to_itself(b"");
        while self.still_accepts_after(LONGEST_PAUSE) && !self.is_accept_overdue() {
            drop(own);
            own = self.connect_to_itself(NOT_TEXT);
        }
    }

    /// Waits until the server accepts no more, but no longer than `limit`, and not after that
    /// is overdue. Reports whether the server still accepts.
    fn still_accepts_after(&self, limit: Duration) -> bool {
        let must_wait =
            |listener: &mut Listener| listener.accepts_on.is_some() && !self.is_accept_overdue();
        let waited = self
            .accept_ended
            .wait_timeout_while(self.listener(), limit, must_wait);
        let (listener, _) = waited.unwrap_or_else(PoisonError::into_inner);
        listener.accepts_on.is_some()
    }

    /// Whether the server still accepts.
    fn still_accepts(&self) -> bool {
        self.listener().accepts_on.is_some()
    }

    /// Connects to the server's own address, unless the server accepts no more. The caller
    /// keeps the connection open until it is accepted.
    ///
    /// Each attempt holds the lock from before `connect` until the connection's address is
    /// recorded. Without the lock, `accept` could return the connection before that. Then
    /// [`is_own`](Self::is_own) would not know the address, and take the connection for
    /// a client. With the lock, `is_own` waits for the address.
    fn connect_to_itself(&self, bytes: &[u8]) -> Option<TcpStream> {
        loop {
            let mut listener = self.listener();
            let accepts_on = listener.accepts_on?;
            let address = reachable(accepts_on);
            if let Ok(mut own) = TcpStream::connect_timeout(&address, ATTEMPT) {
                if let Ok(local) = own.local_addr() {
                    listener.own.push(local);
                }
                let _ = own.write_all(bytes);
                return Some(own);
            }
            drop(listener);
            if self.is_accept_overdue() {
                return None;
            }
            thread::sleep(SHORTEST_PAUSE);
        }
    }

    /// Interrupts the clients' threads until each has noticed the shutdown, and waits until
    /// their streams are closed. Returns how many are left to be cut off.
    fn await_clients(&self) -> usize {
        let mut pause = SHORTEST_PAUSE;
        let mut own = None;
        loop {
            // Again and again: a signal has no effect on a thread that is not blocked yet,
            // but about to be. A thread that starts later sees the shutdown before it reads.
            self.threads.interrupt();
            let open = self.open_streams();
            let is_open = |open: &mut usize| *open > 0;
            let waited = self.all_closed.wait_timeout_while(open, pause, is_open);
            let left = *waited.unwrap_or_else(PoisonError::into_inner).0;
            if left == 0 || self.has_reached(Phase::Over) {
                // If `accept` was never woken, it may still bring a client. In this phase its
                // messages are not processed: nothing would wait until they have replies.
                self.enter(Phase::Over);
                return left;
            }
            if self.still_accepts() {
                drop(own);
                own = self.connect_to_itself(NOT_TEXT);
            }
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    /// Begins a phase, unless a later one has begun.
    fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::Relaxed);
        // Without the lock, a thread that has just looked at the phase and is about to wait
        // would miss the notification.
        drop(self.listener());
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

/// Returns the address at which this machine reaches a socket that listens on `address`:
/// the unspecified address becomes the loopback one.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_1_only_if_the_thread_panicked() {
        let shutdown = Shutdown::default();
        let (done_sender, done_receiver) = mpsc::channel();
        done_sender.send(()).unwrap();
        let work = shutdown.advance_until(&done_receiver);
        assert_eq!((work, work.exit_code()), (Work::Done, 0));
        // A thread that panics drops its sender.
        drop(done_sender);
        let work = shutdown.advance_until(&done_receiver);
        assert_eq!((work, work.exit_code()), (Work::Panicked, 1));
        assert_eq!(Work::Unfinished.exit_code(), 0);
    }

    #[test]
    fn the_wait_for_accept_ends_as_soon_as_it_is_overdue() {
        const LIMIT: Duration = Duration::from_secs(60);
        let shutdown = Shutdown::default();
        shutdown.record_accepting(SocketAddr::from(([127, 0, 0, 1], 1)));
        let begun = Instant::now();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| shutdown.still_accepts_after(LIMIT));
            thread::sleep(Duration::from_millis(20));
            shutdown.enter(Phase::AcceptIsOverdue);
            assert!(waiting.join().unwrap());
        });
        assert!(begun.elapsed() < LIMIT);
    }
}
