//! One run: connects, converses, and connects again after each outage.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use tcp_chat::cli;
use tcp_chat::printable::Printable;

use crate::attempt::Attempt;
use crate::conversation::{End, News};
use crate::output::Output;
use crate::threads::{Shared, read_replies, write_messages};

/// How often at least deadlines are looked at while nothing is received.
const TICK: Duration = Duration::from_secs(1);

/// The server, and what the threads share.
pub(crate) struct Session {
    host: String,
    port: u16,
    shared: Arc<Shared>,
    output: Arc<Output>,
    /// An attempt whose look-up of the name has taken too long.
    overdue: Option<Arc<Attempt>>,
}

impl Session {
    pub(crate) fn new(host: &str, port: u16, shared: &Arc<Shared>, output: &Arc<Output>) -> Self {
        Session {
            host: host.to_string(),
            port,
            shared: Arc::clone(shared),
            output: Arc::clone(output),
            overdue: None,
        }
    }

    /// Talks to the server until every line of the input is answered.
    ///
    /// # Errors
    ///
    /// Anything other than that.
    pub(crate) fn run(&mut self) -> anyhow::Result<()> {
        loop {
            let end = match self.connect()? {
                None => return Ok(()),
                Some(Err(error)) => End::Unreachable(error.to_string()),
                Some(Ok(stream)) => match self.converse(&stream)? {
                    Ok(()) => return Ok(()),
                    Err(end) => end,
                },
            };
            let now = Instant::now();
            let (pause, news) = self
                .shared
                .change(|conversation| (conversation.lost(&end, now), conversation.take_news()));
            self.output.tell(news);
            let pause = pause.map_err(|why| anyhow!(why))?;
            let done = self.shared.wait_until(Some(now + pause), |conversation| {
                conversation.is_done().then_some(())
            });
            if done.is_some() {
                return Ok(());
            }
        }
    }

    /// Makes one attempt to connect. `None` if everything is answered, which the
    /// end of the input can bring about meanwhile.
    fn connect(&mut self) -> anyhow::Result<Option<io::Result<TcpStream>>> {
        let now = Instant::now();
        let limit = self
            .shared
            .change(|conversation| conversation.connecting(now));
        let deadline = now.checked_add(limit);
        // One look-up at a time: the one that is overdue is waited for again.
        let attempt = match self.overdue.take() {
            Some(attempt) => {
                attempt.set_deadline(deadline);
                attempt
            }
            None => {
                let shared = Arc::clone(&self.shared);
                let ended = move || shared.change(|_| ());
                Attempt::start(&self.host, self.port, deadline, ended)
                    .context("cannot start a thread")?
            }
        };
        let outcome = |deadline| {
            self.shared.wait_until(deadline, |conversation| {
                if conversation.is_done() {
                    return Some(None);
                }
                attempt.take_outcome().map(Some)
            })
        };
        let mut ended = outcome(deadline);
        if ended.is_none() && !attempt.is_looking_up() {
            // The connects keep to the deadline themselves.
            ended = outcome(None);
        }
        Ok(ended.unwrap_or_else(|| {
            let (host, seconds) = (Printable(self.host.as_bytes()), limit.as_secs_f64());
            let why = format!("the look-up of {host} timed out after {seconds:.3} s");
            self.overdue = Some(attempt);
            Some(Err(io::Error::other(why)))
        }))
    }

    /// Sends and receives over one connection, until everything is answered or
    /// it is of no more use.
    fn converse(&self, stream: &TcpStream) -> anyhow::Result<Result<(), End>> {
        let (shared, output) = (&*self.shared, &*self.output);
        let limit = shared.change(|conversation| {
            conversation.connected(Instant::now());
            conversation.shortest_limit()
        });
        // Deadlines are judged when a read times out.
        let tick = TICK.min(limit / 8);
        if let Err(error) = stream.set_read_timeout(Some(tick)) {
            return Ok(Err(End::Broken(error.to_string())));
        }
        output.tell(vec![News::Info(self.connected_to(stream))]);
        thread::scope(|scope| {
            let writer = thread::Builder::new().name("writer".to_string());
            let writer = writer
                .spawn_scoped(scope, || write_messages(shared, stream))
                .context("cannot start a thread")?;
            let end = read_replies(shared, output, stream);
            shared.change(|conversation| conversation.disconnected());
            // A server that does not read may have the writer blocked.
            let _ = stream.shutdown(Shutdown::Both);
            match (end, writer.join()) {
                // What broke a connection is told to one of the two threads only.
                (Ok(Err(End::Closed)), Ok(Err(error)))
                    if error.kind() != io::ErrorKind::BrokenPipe =>
                {
                    Ok(Err(End::Broken(error.to_string())))
                }
                (end, _) => end,
            }
        })
    }

    /// Which of the server's addresses it is.
    fn connected_to(&self, stream: &TcpStream) -> String {
        let server = cli::address(&self.host, self.port);
        match stream.peer_addr() {
            Ok(peer) if peer.to_string() != server => format!("connected to {server} ({peer})"),
            _ => format!("connected to {server}"),
        }
    }
}
