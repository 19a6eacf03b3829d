//! Accepting clients: each gets its own thread, or is refused.
//!
//! ```text
//! thread "accept"        ── Accepted ──▶  main thread  ── Client ──▶  the client's thread
//! accepts, nothing else     (a queue)     takes a slot                connection::serve
//!                                             │
//!                                             └── no slot, or no thread ──▶  drain
//! ```
//!
//! To accept is much faster than to start a thread. So the thread "accept" keeps the kernel's
//! queue empty when many clients connect at once. A client that met a full queue would
//! repeat its SYN only after a second.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use log::Level;
use tcp_chat::cli;
use tcp_chat::wire::ServerLine;

use crate::connection::{self, Client, Settings};
use crate::drain::Drain;
use crate::limits::Limits;
use crate::shutdown::Shutdown;
use crate::stream::Stream;

/// The stack of a client's thread, in bytes: enough for its handler and for a panic. 16 KiB
/// are too little for std's own report of a panic with a full backtrace. Only the pages that
/// a thread touches cost memory.
const STACK: usize = 64 * 1024;

/// How often there is a warning about the same kind of trouble, at most.
const WARNING_INTERVAL: Duration = Duration::from_secs(1);

/// A connection that was accepted, but neither served nor refused yet.
struct Accepted {
    stream: Arc<Stream>,
    peer: SocketAddr,
}

/// The server, whose threads "accept" and "drain" run.
pub(crate) struct Server {
    /// The thread "accept". It ends with an error if the socket can never accept.
    accepting: JoinHandle<io::Result<()>>,
    /// The queue of connections from the thread "accept".
    waiting: Receiver<Accepted>,
    settings: Settings,
    limits: Limits,
    drain: Drain,
    refusals: Warnings,
}

impl Server {
    /// Starts the thread "accept", which accepts from this socket, and the thread "drain".
    ///
    /// # Errors
    ///
    /// The system starts no further thread.
    pub(crate) fn start(
        listener: TcpListener,
        settings: Settings,
        limits: Limits,
        shutdown: &Arc<Shutdown>,
    ) -> io::Result<Self> {
        let drain = Drain::start(limits.drained)?;
        let (to_main, waiting) = mpsc::sync_channel(limits.waiting);
        let shutdown = Arc::clone(shutdown);
        let thread = thread::Builder::new().name("accept".to_string());
        let accepting = thread.spawn(move || {
            let result = accept(&listener, &shutdown, &to_main);
            drop(listener);
            shutdown.record_end_of_accepting();
            result
        })?;
        let refusals = Warnings::default();
        Ok(Server {
            accepting,
            waiting,
            settings,
            limits,
            drain,
            refusals,
        })
    }

    /// Starts to serve each client that is accepted, until a shutdown has ended accepting.
    /// Does not wait for the clients to end.
    ///
    /// # Errors
    ///
    /// The socket can never accept, or the thread that accepts panicked.
    pub(crate) fn serve(mut self) -> io::Result<()> {
        while let Ok(accepted) = self.waiting.recv() {
            self.admit(accepted);
        }
        match self.accepting.join() {
            Ok(result) => result,
            Err(_) => Err(io::Error::other("the thread that accepts panicked")),
        }
    }

    /// Starts a client's thread, or refuses the client.
    fn admit(&mut self, accepted: Accepted) {
        let slot = match self.limits.take_slot() {
            Ok(slot) => slot,
            Err(why) => {
                self.refuse(accepted, &why);
                return;
            }
        };
        // If the thread cannot be started, the closure is dropped, and the client with it.
        // The stream in `accepted` is then still there for a notice.
        let client = Client {
            slot: Some(slot),
            stream: Arc::clone(&accepted.stream),
            peer: accepted.peer,
        };
        let settings = self.settings.clone();
        let drain = self.drain.clone();
        let spawned = spawn(client, move |client| {
            connection::serve(client, settings, &drain);
        });
        if let Err(error) = spawned {
            self.refuse(accepted, &format!("no thread for it: {error}"));
        }
    }

    /// Logs why a client is not served, and sends it a notice.
    fn refuse(&mut self, Accepted { stream, peer }: Accepted, why: &str) {
        match self.refusals.record_trouble(Instant::now()) {
            LogAs::Detail => log::info!("Refused connection from {peer}: {why}"),
            LogAs::Warning => log::warn!("Refused connection from {peer}: {why}"),
            LogAs::WarningWithOthers(others) => {
                let others = cli::counted(others, "other");
                log::warn!(
                    "Refused connection from {peer}: {why} ({others} since the last warning)"
                );
            }
        }
        let notice = self
            .settings
            .framing
            .notice(ServerLine::Refused(why.as_bytes()));
        self.drain.close(peer, stream, notice);
    }
}

/// Accepts until a shutdown ends it. Each stream counts as open from here on. Otherwise a
/// shutdown could end while a stream waits for its thread.
///
/// # Errors
///
/// The socket can never accept, because it does not listen.
fn accept(
    listener: &TcpListener,
    shutdown: &Arc<Shutdown>,
    to_main: &SyncSender<Accepted>,
) -> io::Result<()> {
    let mut failures = 0;
    let mut warnings = Warnings::default();
    while !shutdown.is_accept_overdue() {
        match listener.accept() {
            Ok((tcp, peer)) => {
                // The server connects to itself to end this loop.
                if shutdown.is_own(peer) {
                    break;
                }
                failures = 0;
                let stream = Arc::new(Stream::new(tcp, shutdown));
                if to_main.send(Accepted { stream, peer }).is_err() {
                    break;
                }
            }
            Err(error) => match error.kind() {
                // The client was gone before it was accepted, or a signal came.
                ErrorKind::ConnectionAborted | ErrorKind::Interrupted => {}
                // The socket does not listen, and never will.
                ErrorKind::InvalidInput => return Err(error),
                // Most likely no descriptor is free, and it takes a while until one is.
                _ => {
                    let level = match warnings.record_trouble(Instant::now()) {
                        LogAs::Detail => Level::Debug,
                        LogAs::Warning | LogAs::WarningWithOthers(_) => Level::Warn,
                    };
                    log::log!(level, "Cannot accept a connection: {error}");
                    thread::sleep(pause_after(failures));
                    failures += 1;
                }
            },
        }
    }
    Ok(())
}

/// Returns how long to wait after `accept` has failed. `failures` is how often it had
/// failed right before: each pause is twice as long as the one before it.
fn pause_after(failures: u32) -> Duration {
    const FIRST: Duration = Duration::from_millis(5);
    // A longer pause would delay a shutdown.
    const LONGEST: Duration = Duration::from_millis(100);
    LONGEST.min(FIRST * 2_u32.saturating_pow(failures))
}

/// Limits the warnings about one kind of trouble, however often it occurs, to one in each
/// [`WARNING_INTERVAL`].
#[derive(Default)]
struct Warnings {
    /// When there was a warning last.
    last: Option<Instant>,
    /// How often there has been trouble since then.
    others: u64,
}

/// How to log one case of trouble.
#[derive(Debug, PartialEq)]
enum LogAs {
    /// Below a warning: the last warning was too short a time ago.
    Detail,
    /// As a warning. There was no other case since the last warning.
    Warning,
    /// As a warning, after so many other cases since the last warning.
    WarningWithOthers(u64),
}

impl Warnings {
    /// Records one case of trouble, and returns how to log it.
    fn record_trouble(&mut self, now: Instant) -> LogAs {
        if let Some(last) = self.last
            && now.saturating_duration_since(last) < WARNING_INTERVAL
        {
            self.others += 1;
            return LogAs::Detail;
        }
        let others = self.others;
        self.last = Some(now);
        self.others = 0;
        if others == 0 {
            LogAs::Warning
        } else {
            LogAs::WarningWithOthers(others)
        }
    }
}

/// Runs a client's handler in its own thread, named after the peer. A panic in the
/// handler ends that thread alone: unwinding drops the client, which frees its slot and
/// closes its stream.
///
/// # Errors
///
/// The system starts no further thread.
fn spawn(client: Client, handler: impl FnOnce(Client) + Send + 'static) -> io::Result<()> {
    let peer = client.peer;
    let thread = thread::Builder::new()
        .name(peer.to_string())
        .stack_size(STACK);
    thread.spawn(move || {
        if panic::catch_unwind(AssertUnwindSafe(|| handler(client))).is_err() {
            log::error!("{peer} disconnected: its handler panicked");
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::sync::Mutex;
    use std::sync::mpsc;

    use log::LevelFilter;

    use super::*;

    #[test]
    fn pauses_double_until_they_are_a_tenth_of_a_second() {
        let pauses = (0..10).map(|failures| pause_after(failures).as_millis());
        let expected = [5, 10, 20, 40, 80, 100, 100, 100, 100, 100];
        assert_eq!(pauses.collect::<Vec<_>>(), expected);
        assert_eq!(pause_after(u32::MAX), Duration::from_millis(100));
    }

    #[test]
    fn warns_at_most_once_a_second_and_counts_the_other_cases() {
        let begin = Instant::now();
        let mut warnings = Warnings::default();
        for (millis, expected) in [
            (0, LogAs::Warning),
            (1, LogAs::Detail),
            (999, LogAs::Detail),
            (1000, LogAs::WarningWithOthers(2)),
            (1001, LogAs::Detail),
            (5000, LogAs::WarningWithOthers(1)),
            (6000, LogAs::Warning),
        ] {
            let now = begin + Duration::from_millis(millis);
            let log_as = warnings.record_trouble(now);
            assert_eq!(log_as, expected, "after {millis} ms");
        }
    }

    #[test]
    fn a_panic_of_a_handler_is_logged_and_gives_its_slot_back() {
        static LOGGED: Mutex<Vec<String>> = Mutex::new(Vec::new());
        struct Logger;
        impl log::Log for Logger {
            fn enabled(&self, _: &log::Metadata<'_>) -> bool {
                true
            }
            fn log(&self, record: &log::Record<'_>) {
                LOGGED
                    .lock()
                    .unwrap()
                    .push(format!("{} {}", record.level(), record.args()));
            }
            fn flush(&self) {}
        }
        log::set_logger(&Logger).unwrap();
        log::set_max_level(LevelFilter::Error);

        let limits = Limits::of_this_machine(Some(1)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let shutdown = Arc::new(Shutdown::default());
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let client = Client {
            slot: Some(limits.take_slot().unwrap()),
            stream: Arc::new(Stream::new(stream, &shutdown)),
            peer: "192.0.2.1:7".parse().unwrap(),
        };
        assert!(limits.take_slot().is_err());
        let (alive, ended) = mpsc::channel::<()>();
        spawn(client, move |_client| {
            let _alive = alive;
            unreachable!("the panic under test");
        })
        .unwrap();
        // The channel closes once the thread has unwound.
        assert!(ended.recv().is_err());
        while limits.take_slot().is_err() || LOGGED.lock().unwrap().is_empty() {
            thread::yield_now();
        }
        assert_eq!(
            *LOGGED.lock().unwrap(),
            ["ERROR 192.0.2.1:7 disconnected: its handler panicked"]
        );
    }
}
