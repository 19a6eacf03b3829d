//! The main thread: connects, reads and verifies replies, survives outages.

use std::fmt;
use std::io::{self, Write};
use std::mem;
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use tcp_chat::cli;
use tcp_chat::lines::{Line, LineReader};
use tcp_chat::printable::Excerpt;
use tcp_chat::wire::{self, MAX_REPLY, ServerLine, is_timeout};

use crate::outbox::{Input, Outbox, Queue};
use crate::output::Output;
use crate::summary::Counts;
use crate::{Args, MOST_REPORTS};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How often at least the deadline for replies is looked at.
const TICK: Duration = Duration::from_secs(1);

/// One run of the client: all its connections to one server.
pub(crate) struct Session<'a> {
    args: &'a Args,
    /// What the user knows the server by.
    address: String,
    outbox: &'a Outbox,
    output: Output,
    counts: Counts,
    outage: Option<Outage>,
}

/// A time without a connection that works.
struct Outage {
    /// Since when it is known, and attempts are made to end it.
    since: Instant,
    /// Since when a user has waited.
    began: Instant,
    next_pause: Duration,
}

/// Why there is no connection (any more).
enum Lost {
    /// It was never there.
    Unreachable(String),
    /// The server does not want it.
    Refused(String),
    /// The stream has ended.
    Closed,
    Broken(String),
    /// Another connection would not help.
    ForGood(anyhow::Error),
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lost::Unreachable(why) | Lost::Refused(why) | Lost::Broken(why) => f.write_str(why),
            Lost::Closed => f.write_str("closed by the server"),
            Lost::ForGood(error) => error.fmt(f),
        }
    }
}

impl From<anyhow::Error> for Lost {
    fn from(error: anyhow::Error) -> Self {
        Lost::ForGood(error)
    }
}

impl From<io::Error> for Lost {
    fn from(error: io::Error) -> Self {
        Lost::Broken(error.to_string())
    }
}

impl<'a> Session<'a> {
    pub(crate) fn new(args: &'a Args, outbox: &'a Outbox) -> Self {
        Session {
            args,
            address: cli::address(&args.host, args.port),
            outbox,
            output: Output::new(),
            counts: Counts::default(),
            outage: None,
        }
    }

    /// Talks to the server until every line of the input is answered.
    ///
    /// # Errors
    ///
    /// Anything else than that.
    pub(crate) fn run(mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let end = self.talk();
        let queue = &mut self.outbox.lock();
        self.output.end_line(queue);
        if self.args.summary {
            let summary = self.counts.summary(queue, begun.elapsed());
            let _ = io::stderr().write_all(summary.as_bytes());
        }
        end?;
        if let Input::Failed(error) = mem::replace(&mut queue.input, Input::Ended) {
            return Err(error).context("cannot read standard input");
        }
        self.counts.verdict(queue)
    }

    /// Connects, again after each outage, until everything is done.
    fn talk(&mut self) -> anyhow::Result<()> {
        let mut was_connected = false;
        while !was_connected || !self.outbox.lock().is_done() {
            let conversed = match self.connect() {
                Ok(stream) => {
                    was_connected = true;
                    self.converse(&stream)
                }
                Err(error) => Err(Lost::Unreachable(error.to_string())),
            };
            match conversed {
                Ok(()) => break,
                Err(Lost::ForGood(error)) => return Err(error),
                Err(lost) => self.pause(&lost)?,
            }
        }
        Ok(())
    }

    /// Tries all addresses of the server's name, in their order.
    fn connect(&self) -> io::Result<TcpStream> {
        let mut result = Err(io::Error::other("the name has no address"));
        for address in (self.args.host.as_str(), self.args.port).to_socket_addrs()? {
            let mut timeout = self.args.connect_timeout;
            if let Some(outage) = &self.outage {
                let left = self.args.retry_for.saturating_sub(outage.since.elapsed());
                timeout = timeout.min(left).max(FIRST_PAUSE);
            }
            result = connect_to(address, timeout);
            if let Ok(stream) = &result {
                // Deadlines of replies are judged when a read times out.
                stream.set_read_timeout(Some(TICK.min(self.args.timeout / 8)))?;
                break;
            }
        }
        result
    }

    /// Sends and receives over one connection, until everything is done.
    fn converse(&mut self, stream: &TcpStream) -> Result<(), Lost> {
        let outbox = self.outbox;
        let mut queue = outbox.lock();
        queue.rewind();
        queue.connected = true;
        drop(queue);
        log::info!("connected to {}", self.address);
        thread::scope(|scope| {
            let writer = thread::Builder::new().name("writer".to_string());
            let writer = writer
                .spawn_scoped(scope, || send(outbox, stream))
                .context("cannot start a thread")?;
            let end = self.receive(stream);
            let mut queue = outbox.lock();
            queue.connected = false;
            outbox.release(queue);
            // A server that does not read may have the writer blocked.
            let _ = stream.shutdown(Shutdown::Both);
            match (end, writer.join()) {
                // What broke a connection is told to one of the two threads only.
                (Err(Lost::Closed), Ok(Err(error)))
                    if error.kind() != io::ErrorKind::BrokenPipe =>
                {
                    Err(error.into())
                }
                (end, _) => end,
            }
        })
    }

    fn receive(&mut self, mut stream: &TcpStream) -> Result<(), Lost> {
        let connected = Instant::now();
        let mut printed = connected;
        let mut replies = LineReader::new(MAX_REPLY);
        loop {
            self.output.prompt(self.outbox);
            let read = replies.fill(&mut stream);

            let now = Instant::now();
            let mut queue = self.outbox.lock();
            let taken = self.take_replies(&mut replies, &mut queue, now);
            let awaited_since = queue.awaited_since();
            let is_done = queue.is_done();
            if awaited_since.is_none() && connected.elapsed() > LONGEST_PAUSE {
                self.end_outage(connected, &mut queue);
            }
            self.outbox.release(queue);
            if self.output.flush()? {
                printed = Instant::now();
            }

            match taken {
                Err(Lost::ForGood(error)) => return Err(error.into()),
                _ if is_done => return Ok(()),
                taken => taken?,
            }
            match read {
                Ok(0) => return Err(Lost::Closed),
                Err(error) if !is_timeout(&error) => return Err(error.into()),
                _ => {}
            }
            if let Some(since) = awaited_since {
                // Whoever reads our output may have kept us from reading replies.
                let awaited = now.saturating_duration_since(since.max(printed));
                let timeout = self.args.timeout;
                if awaited >= timeout {
                    let timeout = timeout.as_secs_f64();
                    return Err(Lost::Broken(format!("no reply within {timeout} s")));
                }
                if self
                    .outage
                    .as_ref()
                    .is_some_and(|outage| outage.since.elapsed() >= self.args.retry_for)
                {
                    return Err(Lost::Broken("no whole reply".to_string()));
                }
            }
        }
    }

    /// Verifies and prints every reply that is here.
    fn take_replies(
        &mut self,
        replies: &mut LineReader,
        queue: &mut Queue,
        now: Instant,
    ) -> Result<(), Lost> {
        while let Some(line) = replies.next_line() {
            let line = match line {
                Line::Whole(line) => line,
                // It may look like a whole reply, and still lack its last bytes.
                Line::Cut(_) => {
                    let why = "closed by the server in the middle of a reply";
                    return Err(Lost::Broken(why.to_string()));
                }
                Line::TooLong => return Err(self.too_long()),
            };
            match ServerLine::read(line) {
                Some(ServerLine::Refused(_)) => {
                    return Err(Lost::Refused(Excerpt::start(line).to_string()));
                }
                Some(ServerLine::Closed(_)) => {
                    return Err(Lost::Broken(Excerpt::start(line).to_string()));
                }
                _ => self.take_reply(line, queue, now)?,
            }
        }
        match replies.is_over_limit() {
            true => Err(self.too_long()),
            false => Ok(()),
        }
    }

    fn too_long(&self) -> Lost {
        anyhow!("{}: a reply of more than {MAX_REPLY} bytes", self.address).into()
    }

    fn take_reply(&mut self, line: &[u8], queue: &mut Queue, now: Instant) -> anyhow::Result<()> {
        let Some((number, sent)) = queue.front() else {
            bail!(
                "{}: a reply without a message: \"{}\"",
                self.address,
                Excerpt::start(line)
            );
        };
        let expected = wire::text(Line::Whole(sent)).map(ServerLine::Received)?;
        match ServerLine::read(line) {
            Some(reply) if reply == expected => self.counts.acknowledged += 1,
            Some(ServerLine::Rejected(reason)) => {
                self.counts.rejected += 1;
                if self.counts.rejected <= MOST_REPORTS {
                    log::error!("line {number}: rejected: {}", Excerpt::start(reason));
                }
            }
            _ => {
                self.counts.wrong += 1;
                if self.counts.wrong <= MOST_REPORTS {
                    let mut wanted = Vec::new();
                    expected.write(&mut wanted);
                    wanted.pop();
                    let same = wanted
                        .iter()
                        .zip(line)
                        .take_while(|(wanted, got)| wanted == got)
                        .count();
                    let (wanted, got) =
                        (Excerpt::around(&wanted, same), Excerpt::around(line, same));
                    log::error!("line {number}: wrong reply: expected \"{wanted}\", got \"{got}\"");
                }
            }
        }
        self.output.end_line(queue);
        self.output.print(line);
        if let Some(first_sent) = queue.acknowledge(now) {
            self.counts
                .reply_times
                .record(now.saturating_duration_since(first_sent));
        }
        self.end_outage(now, queue);
        Ok(())
    }

    /// Waits before the next attempt to connect.
    ///
    /// # Errors
    ///
    /// There is to be none, since the outage has lasted as long as it may.
    fn pause(&mut self, lost: &Lost) -> anyhow::Result<()> {
        let retry_for = self.args.retry_for;
        let outage = match self.outage.take() {
            Some(outage) => outage,
            None if retry_for.is_zero() => bail!(self.describe(lost)),
            None => {
                let what = self.describe(lost);
                self.output.end_line(&mut self.outbox.lock());
                log::warn!(
                    "{what}; trying again for up to {} s",
                    retry_for.as_secs_f64()
                );
                self.counts.outages += 1;
                let since = Instant::now();
                let began = self.outbox.lock().awaited_since().unwrap_or(since);
                Outage {
                    since,
                    began,
                    next_pause: FIRST_PAUSE,
                }
            }
        };
        let left = retry_for.saturating_sub(outage.since.elapsed());
        if left.is_zero() {
            self.counts.end_outage(outage.began.elapsed());
            let unacknowledged = unacknowledged(&self.outbox.lock());
            let (address, retry_for) = (&self.address, retry_for.as_secs_f64());
            bail!("cannot reach {address} for {retry_for} s, with {unacknowledged}: {lost}");
        }
        thread::sleep(outage.next_pause.min(left));
        let next_pause = LONGEST_PAUSE.min(outage.next_pause * 2);
        self.outage = Some(Outage {
            next_pause,
            ..outage
        });
        Ok(())
    }

    fn end_outage(&mut self, at: Instant, queue: &mut Queue) {
        let Some(outage) = self.outage.take() else {
            return;
        };
        let length = at.saturating_duration_since(outage.began);
        self.counts.end_outage(length);
        if log::log_enabled!(log::Level::Info) {
            self.output.end_line(queue);
            log::info!(
                "{} is back after {:.3} s",
                self.address,
                length.as_secs_f64()
            );
        }
    }

    /// What there is to say when a connection cannot be had or is lost.
    fn describe(&self, lost: &Lost) -> String {
        let address = &self.address;
        match lost {
            Lost::Unreachable(why) => format!("cannot connect to {address}: {why}"),
            Lost::Refused(why) => format!("{address}: {why}"),
            lost => {
                let queue = self.outbox.lock();
                let answered = self.counts.answered();
                format!(
                    "{address} lost with {}: {lost} ({} sent, {answered} answered)",
                    unacknowledged(&queue),
                    answered + queue.in_flight() as u64,
                )
            }
        }
    }
}

fn unacknowledged(queue: &Queue) -> String {
    match (queue.unacknowledged(), queue.first_line()) {
        (1, Some(line)) => format!("1 message unacknowledged, the first is line {line}"),
        (count, Some(line)) => format!("{count} messages unacknowledged, the first is line {line}"),
        _ => "no message unacknowledged".to_string(),
    }
}

/// Connects without waiting for small segments to be gathered (`TCP_NODELAY`),
/// or a message could wait for the acknowledgement of the one before.
fn connect_to(address: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, timeout)?;
    // Where nothing listens on a port that the system also gives to outgoing
    // connections, a connection can meet itself.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends what the outbox has, until there will be nothing more.
fn send(outbox: &Outbox, mut stream: &TcpStream) -> io::Result<()> {
    let mut batch = Vec::new();
    let mut sent = Ok(());
    while sent.is_ok() && outbox.take(&mut batch) {
        sent = stream.write_all(&batch);
    }
    // Wakes the thread that reads replies: it knows whether this is the end.
    let _ = stream.shutdown(Shutdown::Both);
    sent
}
