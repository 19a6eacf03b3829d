//! Accepting clients: each has a thread of its own, or is refused.

use std::io::ErrorKind::{ConnectionAborted, Interrupted, InvalidInput, Unsupported};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, mpsc::SyncSender};
use std::time::{Duration, Instant};
use std::{io, thread};

use log::Level;
use tcp_chat::wire::ServerLine;

use crate::connection::{self, Settings};
use crate::limits::{Limits, Slot};
use crate::linger::{self, Farewell};
use crate::stop::{Stop, Stream};

/// Enough for a handler, and for a panic with a full backtrace, which needs more
/// than 16 KiB. Only what is used of it costs memory.
const STACK: usize = 64 * 1024;

pub(crate) struct Server {
    settings: Settings,
    limits: Limits,
    stop: Arc<Stop>,
    linger: SyncSender<Farewell>,
    /// When the log last had a warning of trouble that may come at any rate.
    warned: Option<Instant>,
}

/// What a client's thread holds. It is dropped in this order, so that a client
/// that sees the end of the stream finds a place free.
struct Client {
    slot: Slot,
    stream: Arc<Stream>,
    peer: SocketAddr,
}

impl Server {
    /// # Errors
    ///
    /// No thread is available.
    pub(crate) fn new(settings: Settings, limits: Limits, stop: Arc<Stop>) -> io::Result<Self> {
        let linger = linger::start(limits.lingering)?;
        Ok(Server { settings, limits, stop, linger, warned: None })
    }

    /// Accepts until the server is stopped, and waits for no client.
    ///
    /// # Errors
    ///
    /// Nothing can ever be accepted from this socket.
    pub(crate) fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        let mut failures = 0;
        while !self.stop.is_overdue() {
            match listener.accept() {
                Ok((_, peer)) if self.stop.is_own(peer) => break,
                Ok((stream, peer)) => {
                    failures = 0;
                    self.admit(stream, peer);
                }
                // The client was gone before it was accepted, or a signal came.
                Err(error) if matches!(error.kind(), ConnectionAborted | Interrupted) => {}
                // A socket that was inherited is not listening, or not TCP.
                Err(error) if matches!(error.kind(), InvalidInput | Unsupported) => {
                    return Err(error);
                }
                // Most likely no descriptor is free, and it takes a while until
                // one is.
                Err(error) => {
                    let level = self.warning_or(Level::Debug);
                    log::log!(level, "Cannot accept a connection: {error}");
                    thread::sleep(pause_after(failures));
                    failures += 1;
                }
            }
        }
        Ok(())
    }

    fn admit(&mut self, stream: TcpStream, peer: SocketAddr) {
        let stream = Arc::new(Stream::new(stream, &self.stop));
        let slot = match self.limits.take_slot() {
            Ok(slot) => slot,
            Err(why) => return self.refuse(stream, peer, Level::Info, &why),
        };
        // If the thread cannot be started, its closure is dropped; with a second
        // handle the client can still be told.
        let client = Client { slot, stream: Arc::clone(&stream), peer };
        let (settings, linger) = (self.settings.clone(), self.linger.clone());
        let stop = Arc::clone(&self.stop);
        let spawned = spawn(client, move |client| {
            let serve = || connection::serve(&client.stream, peer, settings);
            if let Some(notice) = stop.threads.run(serve) {
                let Client { slot, stream, .. } = client;
                let _ = linger.send(Farewell::new(Some(slot), stream, notice));
            }
        });
        if let Err(error) = spawned {
            let level = self.warning_or(Level::Info);
            self.refuse(stream, peer, level, &format!("no thread for it: {error}"));
        }
    }

    fn refuse(&self, stream: Arc<Stream>, peer: SocketAddr, level: Level, why: &str) {
        log::log!(level, "Refused connection from {peer}: {why}");
        let notice = self.settings.framing.notice(ServerLine::Refused(why.as_bytes()));
        let _ = self.linger.send(Farewell::new(None, stream, notice));
    }

    /// The level for a line of the log about trouble that may repeat at any
    /// rate: a warning once a second, else the level given.
    fn warning_or(&mut self, level: Level) -> Level {
        let warned_lately = |at: Instant| at.elapsed() < Duration::from_secs(1);
        if self.warned.is_some_and(warned_lately) {
            return level;
        }
        self.warned = Some(Instant::now());
        Level::Warn
    }
}

/// How long to wait after a failure to accept that came right after so many others:
/// each pause is twice the one before.
fn pause_after(failures: u32) -> Duration {
    const FIRST: Duration = Duration::from_millis(5);
    // Then it also sees in time that the server is to stop.
    const LONGEST: Duration = Duration::from_millis(100);
    LONGEST.min(FIRST * 2_u32.saturating_pow(failures))
}

/// Runs a client's handler in a thread of its own, named after the peer. A panic
/// ends that thread alone.
fn spawn(client: Client, handler: impl FnOnce(Client) + Send + 'static) -> io::Result<()> {
    let peer = client.peer;
    let thread = thread::Builder::new().name(peer.to_string()).stack_size(STACK);
    thread.spawn(move || {
        if panic::catch_unwind(AssertUnwindSafe(|| handler(client))).is_err() {
            log::error!("{peer} disconnected: its handler panicked");
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
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
    fn a_panic_of_a_handler_is_logged_and_gives_its_slot_back() {
        static LOGGED: Mutex<Vec<String>> = Mutex::new(Vec::new());
        struct Logger;
        impl log::Log for Logger {
            fn enabled(&self, _: &log::Metadata<'_>) -> bool {
                true
            }
            fn log(&self, record: &log::Record<'_>) {
                LOGGED.lock().unwrap().push(format!("{} {}", record.level(), record.args()));
            }
            fn flush(&self) {}
        }
        log::set_logger(&Logger).unwrap();
        log::set_max_level(LevelFilter::Error);

        let limits = limits::limits(Some(1)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stop = Arc::new(Stop::default());
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let client = Client {
            slot: limits.take_slot().unwrap(),
            stream: Arc::new(Stream::new(stream, &stop)),
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
