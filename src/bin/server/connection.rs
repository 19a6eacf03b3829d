//! One client's thread: lines in, replies out, deadlines.
//!
//! One idea serves both the smallest and the largest load: read once, answer
//! every whole line that is here, write once. A line alone costs one read and
//! one write; a thousand lines in one segment cost no more calls than that.
//! Nothing here locks, except to log, and nothing allocates for a message that is
//! acknowledged, once there is room for the longest.
//!
//! Deadlines judge when bytes arrived, not when the server read them: a process may be
//! paused for any time. So once a deadline has passed, what lies in the socket's buffers
//! still counts.

#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use tcp_chat::cli::{self, Limit};
use tcp_chat::lines::LineReader;
use tcp_chat::printable::Excerpt;
use tcp_chat::system::is_retryable;
use tcp_chat::wire::{self, ServerLine};

use crate::accept::Client;
use crate::drain::{self, Closing};
use crate::stream::Stream;

/// Replies are written once they are this many bytes, whatever is still unread:
/// a lone LF asks for a reply 31 times its size.
const BATCH: usize = 65_536;

/// A read of at most this many bytes is short.
const SHORT: usize = 1024;

/// After this many messages that came by short reads alone, a client gives back
/// the room that longer ones took.
const SHORT_MESSAGES: u64 = 32;

/// For how long a client is read from once its thread has noticed a shutdown.
const LAST_READS: Duration = Duration::from_millis(100);

/// How many bytes from a client are read in that time at most.
const LAST_BYTES: usize = 1 << 20;

/// The reason in the notice to clients that a shutdown closes.
const SHUTTING_DOWN: &str = "the server is stopping";

/// What all clients have in common, as the command line says it.
#[derive(Clone, clap::Args)]
pub(crate) struct Settings {
    /// How long a client may send nothing; 0 is for ever
    #[arg(long, value_name = "SECS", default_value = "600", value_parser = cli::limit)]
    idle_timeout: Limit,
    /// How long a client may take to end a line begun, and to take its replies; 0 is for ever
    #[arg(long, value_name = "SECS", default_value = "30", value_parser = cli::limit)]
    timeout: Limit,
    /// How messages are told apart: by line, or, for peers that know no framing, by read
    #[arg(long, default_value = "lines")]
    pub(crate) framing: Framing,
    /// What an acknowledgement begins with, before the message's text; an empty one makes a plain
    /// echo
    #[arg(long, value_name = "TEXT", default_value = wire::DEFAULT_PREFIX,
        value_parser = wire::prefix, allow_hyphen_values = true)]
    reply_prefix: String,
}

/// How messages are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Framing {
    /// Each message and each reply is a line.
    Lines,
    /// Each read is a message, and no reply ends in an LF.
    Raw,
}

impl Framing {
    /// A notice as it is sent.
    pub(crate) fn notice(self, notice: ServerLine<'_>) -> Vec<u8> {
        let mut line = Vec::new();
        notice.write(&mut line);
        self.trim(&mut line);
        line
    }

    /// Takes the LF off a reply or notice where it is not to have one.
    fn trim(self, line: &mut Vec<u8>) {
        if self == Framing::Raw {
            line.pop();
        }
    }
}

/// How a connection ends, if it does not fail.
#[derive(Debug)]
enum End {
    /// The client has half-closed, and all its messages are answered.
    ClientEnded,
    /// The client has missed this deadline.
    Overdue(Deadline),
    /// The server is shutting down. Messages may be left that were read or are still to
    /// be read.
    Shutdown,
}

/// What a client has to do in time, and the limit.
#[derive(Clone, Copy, Debug)]
enum Deadline {
    /// To end a line begun.
    Line(Duration),
    /// To send anything.
    Idle(Duration),
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Deadline::Line(limit) => {
                write!(f, "a line was not ended within {} s", limit.as_secs_f64())
            }
            Deadline::Idle(limit) => write!(f, "idle for {} s", limit.as_secs_f64()),
        }
    }
}

/// Serves one client to its end.
pub(crate) fn serve(mut client: Client, settings: Settings, drain: &SyncSender<Closing>) {
    let peer = client.peer;
    let framing = settings.framing;
    log::info!("Accepted connection from {peer}");
    let mut connection = Connection::new(&client.stream, peer, settings);
    // Only until the thread has noticed a shutdown can it be interrupted for one.
    let mut end = client.stream.shutdown().threads.run(|| connection.run());
    if let Ok(End::Shutdown) = end {
        end = connection.answer_last();
    }
    connection.log_end(&end);
    drop(connection);

    // A client that sees a notice, or the end of the stream, finds its slot free.
    client.slot.take();
    match end {
        Ok(End::Overdue(deadline)) => {
            let why = deadline.to_string();
            let notice = framing.notice(ServerLine::Closed(why.as_bytes()));
            let _ = drain.send(Closing::new(client.stream, notice));
        }
        Ok(End::Shutdown) => {
            let notice = framing.notice(ServerLine::Closed(SHUTTING_DOWN.as_bytes()));
            if let Err(error) = drain::close_in_shutdown(&client.stream, &notice) {
                log::debug!("{peer} was lost after its notice: {error}");
            }
        }
        Ok(End::ClientEnded) | Err(_) => {}
    }
}

struct Connection<'a> {
    stream: &'a Stream,
    peer: SocketAddr,
    settings: Settings,
    lines: LineReader,
    /// Written, but not sent yet.
    replies: Vec<u8>,
    messages: u64,
    /// The number of messages when a read was last longer than [`SHORT`], or
    /// when room was last given back.
    short_since: u64,
}

impl<'a> Connection<'a> {
    fn new(stream: &'a Stream, peer: SocketAddr, settings: Settings) -> Self {
        let lines = match settings.framing {
            Framing::Lines => LineReader::new(wire::MAX_MESSAGE_LINE),
            Framing::Raw => LineReader::raw(wire::MAX_MESSAGE),
        };
        let replies = Vec::new();
        Connection {
            stream,
            peer,
            settings,
            lines,
            replies,
            messages: 0,
            short_since: 0,
        }
    }

    /// Serves until the client half-closes or misses a deadline, or there is a shutdown.
    ///
    /// # Errors
    ///
    /// The connection is lost, or the client does not take its replies.
    fn run(&mut self) -> io::Result<End> {
        let (idle_timeout, timeout) = (self.settings.idle_timeout, self.settings.timeout);
        self.stream.tcp.set_nodelay(true)?;
        // Deadlines cost no system call: they are judged after each read. So each may be
        // late by as much as the shorter one of the two limits.
        self.stream
            .tcp
            .set_read_timeout(cli::shorter(idle_timeout, timeout))?;
        self.stream.tcp.set_write_timeout(timeout)?;

        let mut now = Instant::now();
        // When all that had come was answered: until then, the client may have waited for
        // the server.
        let mut quiet_since = now;
        let mut line_begun: Option<Instant> = None;
        while !self.stream.shutdown().is_begun() {
            let overdue = self.overdue(quiet_since, line_begun, now);
            if let Some(deadline @ Deadline::Line(_)) = overdue
                && self.lines.is_over_limit()
            {
                // What is left to read of such a line may be endless.
                return Ok(End::Overdue(deadline));
            }
            // What came before a deadline may not be read yet. It is read now, but nothing
            // is waited for, so a drip of single bytes gains no time.
            let read = match overdue {
                None => self.lines.fill(&mut &self.stream.tcp),
                Some(_) => self.read_here(),
            };
            let read = match (read, overdue) {
                (Ok(read), _) => Some(read + self.read_rest()),
                (Err(error), Some(deadline)) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(End::Overdue(deadline));
                }
                // A time limit has passed, or a pause or signal has interrupted the read.
                // Either way, the clock judges.
                (Err(error), _) if is_retryable(&error) => None,
                (Err(error), _) => return Err(error),
            };
            let answered = self.answer()?;
            now = Instant::now();
            match read {
                Some(0) => return Ok(self.client_ended()),
                Some(read) => {
                    self.fit_room(read);
                    quiet_since = now;
                }
                None => {
                    self.lines.shrink();
                    self.replies = Vec::new();
                }
            }
            if !self.lines.is_inside_line() {
                line_begun = None;
            } else if answered || line_begun.is_none() {
                line_begun = Some(now);
            }
        }
        Ok(End::Shutdown)
    }

    /// The deadline that has passed, if one has.
    fn overdue(
        &self,
        quiet_since: Instant,
        line_begun: Option<Instant>,
        now: Instant,
    ) -> Option<Deadline> {
        if let (Some(begun), Some(limit)) = (line_begun, self.settings.timeout)
            && now.saturating_duration_since(begun) >= limit
        {
            return Some(Deadline::Line(limit));
        }
        let limit = self.settings.idle_timeout?;
        if now.saturating_duration_since(quiet_since) < limit {
            return None;
        }
        Some(Deadline::Idle(limit))
    }

    /// The client has half-closed. If a shutdown has ended the taking up of messages
    /// before they were all answered, the client gets a notice instead of a bare end.
    fn client_ended(&self) -> End {
        if self.lines.is_inside_line() {
            End::Shutdown
        } else {
            End::ClientEnded
        }
    }

    /// Answers what had come when the shutdown was noticed. Of a flood, that is only the
    /// beginning. A line begun is not answered: the client is to send it again
    /// elsewhere, from its beginning.
    fn answer_last(&mut self) -> io::Result<End> {
        let begun = Instant::now();
        let mut left = LAST_BYTES;
        // Once messages are left unanswered, there may be no room to read more.
        while left > 0 && begun.elapsed() < LAST_READS && !self.takes_up_no_more() {
            let Ok(read) = self.read_here() else { break };
            let read = read + self.read_rest();
            left = left.saturating_sub(read);
            self.answer()?;
            if read == 0 {
                return Ok(self.client_ended());
            }
        }
        Ok(End::Shutdown)
    }

    /// Logs how the connection has ended.
    fn log_end(&self, end: &io::Result<End>) {
        let peer = self.peer;
        let messages = cli::counted(self.messages, "message");
        let why = match end {
            Ok(End::ClientEnded) => String::new(),
            Ok(End::Overdue(deadline)) => format!(": {deadline}"),
            Ok(End::Shutdown) => format!(": {SHUTTING_DOWN}"),
            Err(error) => format!(": {error}"),
        };
        // To send a message without its end is a tutorial's first bug.
        let is_lines = self.settings.framing == Framing::Lines;
        let is_answered = !matches!(end, Ok(End::Shutdown));
        let ends_no_line =
            is_lines && is_answered && self.messages == 0 && self.lines.is_inside_line();
        let hint = if ends_no_line {
            " (a client that ends no line needs --framing raw)"
        } else {
            ""
        };
        log::info!("{peer} disconnected after {messages}{why}{hint}");
    }

    fn takes_up_no_more(&self) -> bool {
        self.stream.shutdown().takes_up_no_more()
    }

    /// With raw framing, reads what else is here, since a read is a message. The room grows
    /// only as far as that needs: most messages are short. Returns the number of bytes.
    fn read_rest(&mut self) -> usize {
        let mut rest = 0;
        while self.settings.framing == Framing::Raw && self.lines.is_full() {
            match self.read_here() {
                Ok(more @ 1..) => rest += more,
                // An end or an error comes again.
                _ => break,
            }
        }
        rest
    }

    /// Reads what is here already, and waits for nothing.
    fn read_here(&mut self) -> io::Result<usize> {
        without_waiting(&self.stream.tcp, || self.lines.fill(&mut &self.stream.tcp))
    }

    /// Gives back the room that long messages took once they are over. A client
    /// that sends long and short ones by turns keeps it.
    fn fit_room(&mut self, read: usize) {
        if read > SHORT {
            self.short_since = self.messages;
        } else if self.messages - self.short_since >= SHORT_MESSAGES {
            self.short_since = self.messages;
            self.lines.shrink();
            if self.replies.capacity() > 4 * SHORT {
                self.replies = Vec::new();
            }
        }
    }

    /// Answers every message that is here, unless a shutdown ends that. Returns whether
    /// there was one.
    fn answer(&mut self) -> io::Result<bool> {
        let peer = self.peer;
        let before = self.messages;
        let shutdown = self.stream.shutdown();
        while !shutdown.takes_up_no_more() {
            let text = match self.settings.framing {
                Framing::Lines => self.lines.next_line().map(wire::text),
                Framing::Raw => self.lines.next_read().map(Ok),
            };
            let Some(text) = text else { break };
            self.messages += 1;
            match wire::reply(&self.settings.reply_prefix, text, &mut self.replies) {
                Ok(text) => log::info!("{peer}: Received message: {}", Excerpt::start(text)),
                Err(rejection) => log::info!("{peer}: Rejected message: {rejection}"),
            }
            self.settings.framing.trim(&mut self.replies);
            if self.replies.len() >= BATCH {
                self.send()?;
            }
        }
        if !self.replies.is_empty() {
            self.send()?;
        }
        Ok(self.messages > before)
    }

    /// Sends all replies written so far, under one deadline.
    fn send(&mut self) -> io::Result<()> {
        let begun = Instant::now();
        let mut rest = &self.replies[..];
        let mut is_overdue = false;
        // The socket's own timeout starts anew with each write, so after one that took
        // only a part, the clock decides whether there is another.
        loop {
            let written = if is_overdue {
                without_waiting(&self.stream.tcp, || (&self.stream.tcp).write(rest))
            } else {
                (&self.stream.tcp).write(rest)
            };
            match written {
                Ok(written) => rest = &rest[written..],
                Err(error) if is_overdue && error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if is_retryable(&error) => {}
                Err(error) => return Err(error),
            }
            if rest.is_empty() {
                self.replies.clear();
                return Ok(());
            }
            // A client that has taken all that was sent has left room for the rest; one
            // that drips has not.
            if is_overdue {
                let why = "replies were not taken in time";
                return Err(io::Error::new(ErrorKind::TimedOut, why));
            }
            is_overdue = self
                .settings
                .timeout
                .is_some_and(|limit| begun.elapsed() >= limit);
        }
    }
}

/// A read or write of what the socket's buffers hold or take right now.
fn without_waiting<T>(stream: &TcpStream, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    stream.set_nonblocking(true)?;
    let result = act();
    stream.set_nonblocking(false)?;
    result
}
