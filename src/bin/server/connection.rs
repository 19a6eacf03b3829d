//! One client's thread: lines in, replies out, deadlines.
//!
//! One idea serves both the smallest and the largest load: read once, answer
//! every whole line that is here, write once. A line alone costs one read and
//! one write; a thousand lines in one segment cost no more calls than that.
//! Nothing here locks, except to log, and nothing allocates for a message that is
//! acknowledged, once there is room for the longest.
//!
//! A deadline judges the client by what it had done, not by when the server
//! looked: a process may be stopped for any time. So once a deadline has passed,
//! what lies in the socket's buffers still counts.

#[cfg(test)]
mod tests;

use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use tcp_chat::wire::{self, ServerLine};
use tcp_chat::{cli, lines::LineReader, printable::Excerpt, system::is_timeout};

use crate::stop::Stream;

/// Replies are written once they are this many bytes, whatever is still unread:
/// a lone LF asks for a reply 31 times its size.
const BATCH: usize = 65_536;

/// A read of at most this many bytes is short.
const SHORT: usize = 1024;

/// After this many messages that came by short reads alone, a client gives back
/// the room that longer ones took.
const SHORT_MESSAGES: u64 = 32;

/// For how long a client is read from once its thread sees that the server is stopped.
const LAST_READS: Duration = Duration::from_millis(100);

/// How many bytes from a client are read in that time at most.
const LAST_BYTES: usize = 1 << 20;

/// What all clients have in common, as the command line says it.
#[derive(Clone, clap::Args)]
pub(crate) struct Settings {
    /// How long a client may send nothing; 0 is for ever
    #[arg(long, value_name = "SECS", default_value = "600", value_parser = cli::timeout)]
    idle_timeout: Duration,
    /// How long a client may take to end a line begun, and to take its replies; 0 is for ever
    #[arg(long, value_name = "SECS", default_value = "30", value_parser = cli::timeout)]
    timeout: Duration,
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

/// Serves one client to its end. Returns the notice for a client that the server
/// has to close; `None` if the client ended its side or is out of reach.
pub(crate) fn serve(stream: &Stream, peer: SocketAddr, settings: Settings) -> Option<Vec<u8>> {
    log::info!("Accepted connection from {peer}");
    let framing = settings.framing;
    let lines = match framing {
        Framing::Lines => LineReader::new(wire::MAX_MESSAGE_LINE),
        Framing::Raw => LineReader::raw(wire::MAX_MESSAGE),
    };
    let replies = Vec::new();
    let mut connection =
        Connection { stream, peer, settings, lines, replies, messages: 0, short_since: 0 };
    let end = connection.run();
    let messages = cli::counted(connection.messages, "message");
    let why = match &end {
        Ok(None) => String::new(),
        Ok(Some(why)) => format!(": {why}"),
        Err(error) => format!(": {error}"),
    };
    // To send a message without its end is a tutorial's first bug.
    let ends_no_line = connection.messages == 0 && connection.lines.is_inside_line();
    let hint = match framing {
        Framing::Lines if ends_no_line => " (a client that ends no line needs --framing raw)",
        _ => "",
    };
    log::info!("{peer} disconnected after {messages}{why}{hint}");
    let why = end.ok().flatten()?;
    Some(framing.notice(ServerLine::Closed(why.as_bytes())))
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

impl Connection<'_> {
    /// Returns why the server has to close; `None` if the client ended its side.
    fn run(&mut self) -> io::Result<Option<String>> {
        let (idle_timeout, timeout) = (self.settings.idle_timeout, self.settings.timeout);
        // Deadlines cost no system call: they are only looked at when a read
        // times out or leaves a line unfinished, and so may be late by as much as
        // the smaller of the two.
        let wait = idle_timeout.min(timeout);
        self.stream.tcp.set_nodelay(true)?;
        self.stream.tcp.set_read_timeout(Some(wait))?;
        self.stream.tcp.set_write_timeout(Some(timeout))?;

        // When a read first timed out since bytes last came.
        let mut quiet_since: Option<Instant> = None;
        let mut line_begun: Option<Instant> = None;
        loop {
            let read = match self.read() {
                Err(error) if is_timeout(&error) => None,
                read => Some(read?),
            };
            let answered = self.answer()?;
            let quiet = match read {
                Some(0) => return Ok(None),
                Some(read) => {
                    self.fit_room(read);
                    quiet_since = None;
                    Duration::ZERO
                }
                None => {
                    self.lines.shrink();
                    self.replies = Vec::new();
                    let since = quiet_since.get_or_insert_with(Instant::now);
                    since.elapsed().saturating_add(wait)
                }
            };

            if self.stream.is_stopping() {
                let is_at_end = self.answer_last()?;
                return Ok((!is_at_end).then(|| "the server is stopping".to_string()));
            }
            line_begun = match line_begun {
                _ if !self.lines.is_inside_line() => None,
                Some(begun) if !answered => Some(begun),
                _ => Some(Instant::now()),
            };
            if line_begun.is_some_and(|begun| begun.elapsed() >= timeout) {
                if !self.catch_up()? {
                    let timeout = timeout.as_secs_f64();
                    return Ok(Some(format!("a line was not ended within {timeout} s")));
                }
                line_begun = self.lines.is_inside_line().then(Instant::now);
                quiet_since = None;
            } else if quiet >= idle_timeout {
                return Ok(Some(format!("idle for {} s", idle_timeout.as_secs_f64())));
            }
        }
    }

    /// Answers what has come by the time that the server is stopped, of a flood no
    /// more than a part. A line begun is not answered: the client is to send it again
    /// elsewhere, from its beginning. Returns whether the client has ended its side.
    fn answer_last(&mut self) -> io::Result<bool> {
        let (begun, mut left) = (Instant::now(), LAST_BYTES);
        while left > 0 && begun.elapsed() < LAST_READS {
            let Ok(read) = self.read_here() else { break };
            left = left.saturating_sub(read);
            self.answer()?;
            if read == 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads. Where a read is a message, it takes all that is here, but only as much
    /// room as that needs: most messages are short.
    fn read(&mut self) -> io::Result<usize> {
        let mut read = self.lines.fill(&mut self.stream)?;
        while self.settings.framing == Framing::Raw && self.lines.is_full() {
            match self.read_here() {
                Ok(more @ 1..) => read += more,
                // An end or an error comes again.
                _ => break,
            }
        }
        Ok(read)
    }

    /// Reads what is here already, and waits for nothing.
    fn read_here(&mut self) -> io::Result<usize> {
        without_waiting(&self.stream.tcp, || self.lines.fill(&mut self.stream))
    }

    /// Reads what is here already of a line whose deadline has passed, and tells
    /// whether the line ends in it. Nothing is waited for, so a drip of single
    /// bytes gains no time.
    fn catch_up(&mut self) -> io::Result<bool> {
        while !self.lines.is_over_limit() {
            let Ok(read) = self.read_here() else { break };
            if self.answer()? || read == 0 {
                return Ok(true);
            }
        }
        Ok(false)
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

    /// Answers every message that is here, and tells whether there was one.
    fn answer(&mut self) -> io::Result<bool> {
        let (peer, before) = (self.peer, self.messages);
        loop {
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
            let write = || (&self.stream.tcp).write(rest);
            let written =
                if is_overdue { without_waiting(&self.stream.tcp, write) } else { write() };
            match written {
                Ok(written) => rest = &rest[written..],
                Err(error) if is_timeout(&error) || error.kind() == ErrorKind::Interrupted => {}
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
            is_overdue = begun.elapsed() >= self.settings.timeout;
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
