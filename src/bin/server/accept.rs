//! Accepting clients: each has a thread of its own, or is refused.

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

use crate::connection::{self, Settings};
use crate::drain::{self, Closing};
use crate::limits::{Limits, Slot};
use crate::shutdown::Shutdown;
use crate::stream::Stream;

/// Enough for a handler, and for a panic with a full backtrace, which needs more
/// than 16 KiB. Only what is used of it costs memory.
const STACK: usize = 64 * 1024;

/// A connection that was accepted.
type Accepted = (Arc<Stream>, SocketAddr);

/// The server, which accepts already.
pub(crate) struct Server {
    accepting: JoinHandle<io::Result<()>>,
    /// Those that were accepted and are not served or refused yet.
    waiting: Receiver<Accepted>,
    settings: Settings,
    limits: Limits,
    drain: SyncSender<Closing>,
    refusals: Warnings,
}

/// What a client's thread holds. It is dropped in this order, so that a client
/// that sees the end of the stream finds a slot free.
pub(crate) struct Client {
    pub(crate) slot: Option<Slot>,
    pub(crate) stream: Arc<Stream>,
    pub(crate) peer: SocketAddr,
}

impl Server {
    /// Starts to accept from this socket.
    ///
    /// One thread accepts, and another one starts a thread for each client. The first is
    /// the faster one by far, so of many clients that connect at once, none meets a full
    /// queue of the kernel's and has to repeat its SYN.
    ///
    /// # Errors
    ///
    /// No thread is available.
    pub(crate) fn start(
        listener: TcpListener,
        settings: Settings,
        limits: Limits,
        shutdown: &Arc<Shutdown>,
    ) -> io::Result<Self> {
        let drain = drain::start(limits.drained)?;
        let (accepted, waiting) = mpsc::sync_channel(limits.waiting);
        let shutdown = Arc::clone(shutdown);
        let thread = thread::Builder::new().name("accept".to_string());
        let accepting = thread.spawn(move || {
            let result = accept(&listener, &shutdown, &accepted);
            drop(listener);
            shutdown.accepting_ended();
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

    /// Serves until a shutdown has ended accepting, and waits for no client.
    ///
    /// # Errors
    ///
    /// Nothing can ever be accepted from the socket.
    pub(crate) fn serve(mut self) -> io::Result<()> {
        while let Ok((stream, peer)) = self.waiting.recv() {
            self.admit(stream, peer);
        }
        match self.accepting.join() {
            Ok(result) => result,
            Err(_) => Err(io::Error::other("the thread that accepts panicked")),
        }
    }

    fn admit(&mut self, stream: Arc<Stream>, peer: SocketAddr) {
        let slot = match self.limits.take_slot() {
            Ok(slot) => slot,
            Err(why) => return self.refuse(stream, peer, &why),
        };
        // If the thread cannot be started, its closure is dropped; a second handle lets
        // the client have a notice all the same.
        let client = Client {
            slot: Some(slot),
            stream: Arc::clone(&stream),
            peer,
        };
        let settings = self.settings.clone();
        let drain = self.drain.clone();
        let spawned = spawn(client, move |client| {
            connection::serve(client, settings, &drain)
        });
        if let Err(error) = spawned {
            self.refuse(stream, peer, &format!("no thread for it: {error}"));
        }
    }

    fn refuse(&mut self, stream: Arc<Stream>, peer: SocketAddr, why: &str) {
        match self.refusals.due(Instant::now()) {
            None => log::info!("Refused connection from {peer}: {why}"),
            Some(0) => log::warn!("Refused connection from {peer}: {why}"),
            Some(others) => {
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
        let _ = self.drain.send(Closing::new(stream, notice));
    }
}

/// Accepts until a shutdown ends it. Each stream counts as open from here on, or a
/// shutdown could end while one waits for its thread.
///
/// # Errors
///
/// Nothing can ever be accepted from this socket.
fn accept(
    listener: &TcpListener,
    shutdown: &Arc<Shutdown>,
    accepted: &SyncSender<Accepted>,
) -> io::Result<()> {
    let mut failures = 0;
    let mut warnings = Warnings::default();
    while !shutdown.accept_is_overdue() {
        match listener.accept() {
            Ok((_, peer)) if shutdown.is_own(peer) => break,
            Ok((tcp, peer)) => {
                failures = 0;
                let stream = Arc::new(Stream::new(tcp, shutdown));
                if accepted.send((stream, peer)).is_err() {
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
                    let level = match warnings.due(Instant::now()) {
                        Some(_) => Level::Warn,
                        None => Level::Debug,
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

/// How long to wait after a failure to accept that came right after so many others:
/// each pause is twice the one before.
fn pause_after(failures: u32) -> Duration {
    const FIRST: Duration = Duration::from_millis(5);
    // Then it also sees in time that there is a shutdown.
    const LONGEST: Duration = Duration::from_millis(100);
    LONGEST.min(FIRST * 2_u32.saturating_pow(failures))
}

/// Limits the warnings about trouble that may come at any rate to one a second.
#[derive(Default)]
struct Warnings {
    last: Option<Instant>,
    /// How often there was trouble since the last warning.
    others: u64,
}

impl Warnings {
    /// There is trouble now. If a warning is due, returns how much other trouble there
    /// was since the last one.
    fn due(&mut self, now: Instant) -> Option<u64> {
        let is_early = |last: Instant| now.saturating_duration_since(last) < Duration::from_secs(1);
        if self.last.is_some_and(is_early) {
            self.others += 1;
            return None;
        }
        self.last = Some(now);
        let others = self.others;
        self.others = 0;
        Some(others)
    }
}

/// Runs a client's handler in a thread of its own, named after the peer. A panic
/// ends that thread alone.
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
    use crate::limits;

    #[test]
    fn pauses_double_until_they_are_a_tenth_of_a_second() {
        let pauses = (0..10).map(|failures| pause_after(failures).as_millis());
        let expected = [5, 10, 20, 40, 80, 100, 100, 100, 100, 100];
        assert_eq!(pauses.collect::<Vec<_>>(), expected);
        assert_eq!(pause_after(u32::MAX), Duration::from_millis(100));
    }

    #[test]
    fn trouble_is_warned_of_once_a_second_and_counted_in_between() {
        let begin = Instant::now();
        let mut warnings = Warnings::default();
        for (millis, due) in [
            (0, Some(0)),
            (1, None),
            (999, None),
            (1000, Some(2)),
            (1001, None),
            (5000, Some(1)),
            (6000, Some(0)),
        ] {
            let now = begin + Duration::from_millis(millis);
            assert_eq!(warnings.due(now), due, "after {millis} ms");
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

        let limits = limits::limits(Some(1)).unwrap();
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
            unreachable!("as told");
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
