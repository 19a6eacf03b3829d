//! The server: acknowledges every line that its clients send.
//!
//! Bind, announce, accept, spawn is this file. [`connection`] is what each
//! client's thread does, [`linger`] how those are sent away who are told why;
//! [`limits`] and [`backlog`] are what the machine has to say.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod backlog;
mod connection;
mod limits;
mod linger;

use std::io::ErrorKind::{ConnectionAborted, Interrupted};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use log::{Level, LevelFilter};
use tcp_chat::cli;
use tcp_chat::wire::ServerLine;

use connection::Framing;
use linger::Farewell;

/// Enough for a handler, and for a panic with a full backtrace, which needs more
/// than 16 KiB. Only what is used of it costs memory.
const STACK: usize = 64 * 1024;

/// Acknowledges every line that its clients send, one thread per client.
#[derive(Parser)]
#[command(
    version,
    after_help = "Example:\n  server --port 7000 -q &\n  echo hello | client --port 7000 --retry-for 5"
)]
struct Args {
    /// The name or address to listen on; 0.0.0.0 or :: is every one of this machine's
    #[arg(long, default_value = cli::DEFAULT_HOST, value_parser = cli::host)]
    host: String,
    /// The port to listen on; 0 is any free one
    #[arg(short, long, default_value_t = cli::DEFAULT_PORT)]
    port: u16,
    /// Clients served at once; further ones are refused [default: 10000, or what the machine allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_clients: Option<u32>,
    /// How long a client may send nothing; 0 is for ever
    #[arg(long, value_name = "SECS", default_value = "600", value_parser = cli::timeout)]
    idle_timeout: Duration,
    /// How long a client may take to end a line begun, and to take its replies; 0 is for ever
    #[arg(long, value_name = "SECS", default_value = "30", value_parser = cli::timeout)]
    timeout: Duration,
    /// How messages are told apart: by line, or, for peers that know no framing, by read
    #[arg(long, default_value = "lines")]
    framing: Framing,
    #[command(flatten)]
    verbosity: cli::Verbosity,
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => cli::failure("server", &error),
    }
}

fn run(args: Args) -> anyhow::Result<()> {
    args.verbosity
        .logger(LevelFilter::Info)
        .format_target(false)
        .init();

    let address = cli::address(&args.host, args.port);
    let listener = TcpListener::bind((args.host.as_str(), args.port))
        .and_then(|listener| backlog::raise(&listener).map(|()| listener))
        .with_context(|| format!("cannot listen on {address}"))?;
    let address = listener
        .local_addr()
        .context("cannot tell the address that was bound")?;

    let limits = limits::limits(args.max_clients.map(|clients| clients as usize));
    let mut server = Server {
        max_clients: limits.clients,
        linger: linger::start(limits.lingering).context("cannot start a thread")?,
        args: Arc::new(args),
        warned: None,
    };
    // A closed standard output is no reason not to serve.
    if let Err(error) = writeln!(io::stdout(), "Server listening on {address}") {
        log::warn!("Cannot announce {address} on standard output: {error}");
    }
    server.accept(&listener)
}

struct Server {
    max_clients: usize,
    linger: SyncSender<Farewell>,
    args: Slot,
    /// When the log last had a warning of trouble that may repeat at any rate.
    warned: Option<Instant>,
}

/// A client's share of the arguments: as many as there are beside the server's
/// own, so many clients are served. A thread gives its own up however it ends.
type Slot = Arc<Args>;

impl Server {
    /// Accepts for ever, and waits for no client.
    fn accept(&mut self, listener: &TcpListener) -> ! {
        const FIRST_PAUSE: Duration = Duration::from_millis(5);
        const LONGEST_PAUSE: Duration = Duration::from_secs(1);
        let mut pause = FIRST_PAUSE;
        loop {
            match listener.accept() {
                Ok((stream, peer)) => {
                    pause = FIRST_PAUSE;
                    self.admit(Arc::new(stream), peer);
                }
                // The client was gone before it was accepted, or a signal came.
                Err(error) if matches!(error.kind(), ConnectionAborted | Interrupted) => {}
                // Most likely no descriptor is free, and it takes a while until
                // one is.
                Err(error) => {
                    log::log!(
                        self.warning_or(Level::Debug),
                        "Cannot accept a connection: {error}"
                    );
                    thread::sleep(pause);
                    pause = LONGEST_PAUSE.min(pause * 2);
                }
            }
        }
    }

    fn admit(&mut self, stream: Arc<TcpStream>, peer: SocketAddr) {
        let clients = Arc::strong_count(&self.args) - 1;
        if clients >= self.max_clients {
            let why = format!(
                "{clients} clients are connected (--max-clients {})",
                self.max_clients
            );
            return self.refuse(stream, peer, Level::Info, &why);
        }
        let linger = self.linger.clone();
        // A thread that cannot be had takes its closure with it, so the stream
        // is shared with it, to tell the client.
        let shared = Arc::clone(&stream);
        let spawned = spawn(peer, Arc::clone(&self.args), move |slot| {
            // As the thread's argument, the slot is given up before the stream.
            if let Ok(Some(why)) = connection::serve(&shared, peer, &slot) {
                let notice = slot.framing.notice(ServerLine::Closed(why.as_bytes()));
                let _ = linger.send(Farewell {
                    stream: shared,
                    notice,
                    slot: Some(slot),
                });
            }
        });
        if let Err(error) = spawned {
            let level = self.warning_or(Level::Info);
            self.refuse(stream, peer, level, &format!("no thread for it: {error}"));
        }
    }

    fn refuse(&self, stream: Arc<TcpStream>, peer: SocketAddr, level: Level, why: &str) {
        log::log!(level, "Refused connection from {peer}: {why}");
        let notice = self
            .args
            .framing
            .notice(ServerLine::Refused(why.as_bytes()));
        let _ = self.linger.send(Farewell {
            stream,
            notice,
            slot: None,
        });
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

/// Runs a client's handler in a thread of its own, named after the peer. A panic
/// ends that thread alone.
fn spawn(
    peer: SocketAddr,
    slot: Slot,
    handler: impl FnOnce(Slot) + Send + 'static,
) -> io::Result<()> {
    let thread = thread::Builder::new()
        .name(peer.to_string())
        .stack_size(STACK);
    thread.spawn(move || {
        if panic::catch_unwind(AssertUnwindSafe(|| handler(slot))).is_err() {
            log::error!("{peer} disconnected: its handler panicked");
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc;

    use super::*;

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
        log::set_max_level(LevelFilter::Info);

        let slots = Slot::new(Args::parse_from(["server"]));
        let (alive, ended) = mpsc::channel::<()>();
        let peer = "192.0.2.1:7".parse().unwrap();
        spawn(peer, Arc::clone(&slots), move |slot| {
            assert_eq!(Arc::strong_count(&slot), 2);
            let _alive = alive;
            unreachable!("as told");
        })
        .unwrap();
        // Not until the thread has unwound does the channel close.
        assert!(ended.recv().is_err());
        while Arc::strong_count(&slots) > 1 || LOGGED.lock().unwrap().is_empty() {
            thread::yield_now();
        }
        assert_eq!(
            *LOGGED.lock().unwrap(),
            ["ERROR 192.0.2.1:7 disconnected: its handler panicked"]
        );
    }
}
