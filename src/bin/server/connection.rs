//! One client's thread: lines in, replies out, deadlines.
//!
//! One idea serves both the smallest and the largest load: read once, answer
//! every whole line that is here, write once. A line alone costs one read and
//! one write; a thousand lines in one segment cost no more calls than that.
//! Nothing here locks, and nothing allocates for a message that is acknowledged.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use tcp_chat::lines::LineReader;
use tcp_chat::printable::Excerpt;
use tcp_chat::wire::{self, ServerLine, is_timeout};

use crate::Args;

/// Replies are written once they are this many bytes, whatever is still unread:
/// a lone LF asks for a reply 31 times its size.
const BATCH: usize = 65_536;

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

/// Serves one client to its end. Returns why the server has to close, for a
/// notice; `None` if the client ended its side.
///
/// # Errors
///
/// The connection is lost, or the client did not take its replies in time
/// ([`io::ErrorKind::TimedOut`]).
pub(crate) fn serve(
    stream: &TcpStream,
    peer: SocketAddr,
    args: &Args,
) -> io::Result<Option<String>> {
    log::info!("Accepted connection from {peer}");
    let mut connection = Connection {
        stream,
        peer,
        args,
        lines: match args.framing {
            Framing::Lines => LineReader::new(wire::MAX_MESSAGE_LINE),
            Framing::Raw => LineReader::raw(wire::MAX_MESSAGE),
        },
        replies: Vec::new(),
        messages: 0,
    };
    let end = connection.run();
    let messages = connection.messages;
    match &end {
        Ok(None) => log::info!("{peer} disconnected after {messages} messages"),
        Ok(Some(why)) => log::info!("{peer} disconnected after {messages} messages: {why}"),
        Err(error) => log::info!("{peer} disconnected after {messages} messages: {error}"),
    }
    end
}

struct Connection<'a> {
    stream: &'a TcpStream,
    peer: SocketAddr,
    args: &'a Args,
    lines: LineReader,
    /// Written, but not sent yet.
    replies: Vec<u8>,
    messages: u64,
}

impl Connection<'_> {
    fn run(&mut self) -> io::Result<Option<String>> {
        let Args {
            idle_timeout,
            timeout,
            ..
        } = *self.args;
        // Deadlines cost no system call: they are only looked at when a read
        // times out or leaves a line unfinished, and so may be late by as much as
        // the smaller of the two.
        let wait = idle_timeout.min(timeout);
        self.stream.set_nodelay(true)?;
        self.stream.set_read_timeout(Some(wait))?;
        self.stream.set_write_timeout(Some(timeout))?;

        let mut quiet = Duration::ZERO;
        let mut line_begun: Option<Instant> = None;
        loop {
            let read = match self.lines.fill(&mut self.stream) {
                Err(error) if is_timeout(&error) => None,
                read => Some(read?),
            };
            let answered = self.answer()?;
            match read {
                Some(0) => return Ok(None),
                Some(_) => quiet = Duration::ZERO,
                None => {
                    quiet = quiet.saturating_add(wait);
                    self.lines.shrink();
                    self.replies = Vec::new();
                }
            }

            line_begun = match line_begun {
                _ if !self.lines.is_inside_line() => None,
                Some(begun) if !answered => Some(begun),
                _ => Some(Instant::now()),
            };
            if line_begun.is_some_and(|begun| begun.elapsed() >= timeout) {
                let timeout = timeout.as_secs_f64();
                return Ok(Some(format!("a line was not ended within {timeout} s")));
            }
            if quiet >= idle_timeout {
                let idle_timeout = idle_timeout.as_secs_f64();
                return Ok(Some(format!("idle for {idle_timeout} s")));
            }
        }
    }

    /// Answers every message that is here, and tells whether there was one.
    fn answer(&mut self) -> io::Result<bool> {
        let before = self.messages;
        loop {
            let text = match self.args.framing {
                Framing::Lines => self.lines.next_line().map(wire::text),
                Framing::Raw => self.lines.next_read().map(Ok),
            };
            let Some(text) = text else { break };
            self.messages += 1;
            match wire::reply(text, &mut self.replies) {
                Ok(text) => {
                    log::info!("{}: Received message: {}", self.peer, Excerpt::start(text));
                }
                Err(rejection) => log::info!("{}: Rejected message: {rejection}", self.peer),
            }
            self.args.framing.trim(&mut self.replies);
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
        // The socket's own timeout starts anew with each write, so a write that
        // took only a part leaves it to the clock whether there is another.
        loop {
            match (&mut &*self.stream).write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if is_timeout(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if rest.is_empty() {
                self.replies.clear();
                return Ok(());
            }
            if begun.elapsed() >= self.args.timeout {
                let why = "replies were not taken in time";
                return Err(io::Error::new(io::ErrorKind::TimedOut, why));
            }
        }
    }
}
