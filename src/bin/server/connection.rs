//! One client's thread: lines in, replies out, deadlines.
//!
//! One loop serves both the smallest and the largest load: read once, reply to every whole
//! line that has arrived, write once. A single line costs one read and one write. A thousand
//! lines in one segment cost no more calls. The loop takes no lock, except to log. Once the
//! buffers are as large as the longest message needs, an acknowledgement allocates nothing.
//!
//! # Deadlines
//!
//! Two deadlines limit the wait for the client. A third one limits each sending of replies
//! (see `Connection::send`).
//!
//! ```text
//!   arrives: "one\ntw"              "o"
//! ──────────────┼────────────────────┼──────────────────────────────────────▶ time
//!               ├─ idle_timeout ...  ├─ idle_timeout ──────▶ "idle"
//!               │  after "one" has   │  begins again: every byte is a sign of life
//!               │  its reply         │
//!               └─ timeout ──────────┴───────────▶ "a line was not ended"
//!                  for the line "tw…"; further bytes of the same line do not renew it,
//!                  so a drip of single bytes gains no time
//! ```
//!
//! Deadlines judge when bytes arrived, not when the server read them: the process may be
//! paused for any time. So a client whose deadline has passed is read from once more:
//!
//! ```text
//! a deadline passes ──▶ the blocked read ends ──▶ one read that waits for nothing
//!                       (late by at most the        ├─ bytes: replies, judges again
//!                       shorter limit)              └─ nothing: closes with a notice
//! ```
//!
//! A pause of the server can therefore make a deadline late, but cannot make a client miss it.

#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tcp_chat::cli::{self, Limit};
use tcp_chat::lines::LineReader;
use tcp_chat::printable::Excerpt;
use tcp_chat::system::is_retryable;
use tcp_chat::wire::{self, ServerLine};

use crate::drain::{self, Drain};
use crate::limits::Slot;
use crate::stream::Stream;

/// Replies are sent as soon as they are this many bytes, even if more messages have arrived.
/// This bounds memory: with the default prefix, a message of a single LF has a
/// reply of 31 times its size.
const BATCH: usize = 65_536;

/// A read of at most this many bytes is short.
const SHORT: usize = 1024;

/// After this many messages that came by short reads alone, the connection frees the memory
/// that longer ones took.
const SHORT_MESSAGES: u64 = 32;

/// For how long a client is read from once its thread has noticed a shutdown.
const LAST_READS: Duration = Duration::from_millis(100);

/// How many bytes are read from a client in that time at most.
const LAST_BYTES: usize = 1 << 20;

/// The reason in the notice to clients that a shutdown closes.
const SHUTTING_DOWN: &str = "the server is stopping";

/// The end of the reason for a client that has sent bytes, but never an LF.
const HINT: &str = " (end each message with LF, or start the server with --framing raw)";

// The headings of these flags in the help.
const LIMITS: &str = "Limits";
const PROTOCOL: &str = "Protocol";

/// What all clients have in common, as the command line says it.
#[derive(Clone, clap::Args)]
pub(crate) struct Settings {
    /// Limit for sending nothing
    ///
    /// A client that sends nothing for so long is disconnected. 0 means no
    /// limit.
    #[arg(long, help_heading = LIMITS, value_name = "SECS", default_value = "600",
        value_parser = cli::limit, verbatim_doc_comment)]
    idle_timeout: Limit,
    /// Limit to end a line or read replies
    ///
    /// A client that takes longer to end a line that it has begun, or to
    /// read its replies, is disconnected. 0 means no limit.
    #[arg(long, help_heading = LIMITS, value_name = "SECS", default_value = "30",
        value_parser = cli::limit, verbatim_doc_comment)]
    timeout: Limit,
    /// Split messages: lines (at LF) or raw (each read)
    ///
    /// raw is for peers that end no message: no reply ends in an LF, either.
    /// The default is lines.
    #[arg(long, help_heading = PROTOCOL, value_name = "MODE", default_value = "lines",
        hide_default_value = true, hide_possible_values = true, verbatim_doc_comment)]
    pub(crate) framing: Framing,
    /// Start replies with TEXT; '' makes a plain echo
    ///
    /// The rest of the reply is the message's text. Without this flag, TEXT
    /// is "Server received your message: ".
    #[arg(long, help_heading = PROTOCOL, value_name = "TEXT",
        default_value = wire::DEFAULT_PREFIX, hide_default_value = true,
        value_parser = wire::parse_prefix, allow_hyphen_values = true, verbatim_doc_comment)]
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
    /// Returns a notice as the bytes to send.
    pub(crate) fn notice(self, notice: ServerLine<'_>) -> Vec<u8> {
        let mut line = Vec::new();
        notice.write(&mut line);
        self.trim(&mut line);
        line
    }

    /// Removes the LF that ends a reply or notice, if this framing has none.
    fn trim(self, line: &mut Vec<u8>) {
        if self == Framing::Raw {
            line.pop();
        }
    }
}

/// A client that is served; its thread owns this. The slot is dropped before the stream,
/// so a client that sees the end of the stream finds a slot free.
pub(crate) struct Client {
    /// `None` once the thread has given the slot back.
    pub(crate) slot: Option<Slot>,
    pub(crate) stream: Arc<Stream>,
    /// The client's address.
    pub(crate) peer: SocketAddr,
}

/// How a connection ends, if it does not fail.
#[derive(Debug)]
enum End {
    /// The client has half-closed, and all its messages have replies.
    ClientEnded,
    /// The client has missed this deadline.
    Overdue(Deadline),
    /// The server is shutting down. Messages without a reply may be left, read or unread.
    Shutdown,
}

/// What the client has to do in time, with the limit for it.
#[derive(Clone, Copy, Debug)]
enum Deadline {
    /// End the line that it has begun.
    Line(Duration),
    /// Send anything.
    Idle(Duration),
}

/// The outcome of one attempt to read.
enum Received {
    /// So many bytes; at least one.
    Bytes(usize),
    /// The end of the stream: the client has half-closed.
    End,
    /// Nothing yet.
    Nothing,
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

/// Serves one client until its connection ends, and logs that end. Then closes the
/// connection, with a notice unless the client has half-closed or is lost.
pub(crate) fn serve(mut client: Client, settings: Settings, drain: &Drain) {
    let peer = client.peer;
    let framing = settings.framing;
    log::info!("Accepted connection from {peer}");
    let mut connection = Connection::new(&client.stream, peer, settings);
    // A shutdown interrupts the reads and writes in `run`, and none after it.
    let threads = &client.stream.server_shutdown().threads;
    let mut end = threads.run_interruptibly(|| connection.run());
    if let Ok(End::Shutdown) = end {
        end = connection.reply_to_last_messages();
    }
    connection.log_end(&end);
    let ends_no_line = connection.ends_no_line();
    drop(connection);

    // Before the notice and the end of the stream: a client that sees either and connects
    // again finds its slot free.
    client.slot = None;
    match end {
        Ok(End::Overdue(deadline)) => {
            let mut why = deadline.to_string();
            if ends_no_line {
                why += HINT;
            }
            let notice = framing.notice(ServerLine::Closed(why.as_bytes()));
            drain.close(peer, client.stream, notice);
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
    /// What was read and has no reply yet.
    lines: LineReader,
    /// The bytes of replies that are not sent yet.
    replies: Vec<u8>,
    /// How many messages were processed.
    messages: u64,
    /// The value of `messages` when the current run of short reads began. A read longer than
    /// [`SHORT`] begins a new run, and so does freeing memory.
    messages_before_run: u64,
}

impl<'a> Connection<'a> {
    fn new(stream: &'a Stream, peer: SocketAddr, settings: Settings) -> Self {
        let lines = match settings.framing {
            Framing::Lines => LineReader::new(wire::MAX_MESSAGE_LINE),
            Framing::Raw => LineReader::raw(wire::MAX_MESSAGE),
        };
        Connection {
            stream,
            peer,
            settings,
            lines,
            replies: Vec::new(),
            messages: 0,
            messages_before_run: 0,
        }
    }

    /// Serves until the client half-closes or misses a deadline, or until a shutdown begins.
    ///
    /// # Errors
    ///
    /// The connection is lost, or the client does not read its replies in time.
    fn run(&mut self) -> io::Result<End> {
        let idle_timeout = self.settings.idle_timeout;
        let timeout = self.settings.timeout;
        self.stream.tcp.set_nodelay(true)?;
        // One time limit for all reads, because to set it for each costs a system call.
        // After each read, the clock judges. So a deadline is late by at most the shorter
        // one of the two limits.
        self.stream
            .tcp
            .set_read_timeout(cli::shorter(idle_timeout, timeout))?;
        self.stream.tcp.set_write_timeout(timeout)?;

        let mut now = Instant::now();
        // When all that had arrived had its replies. Until then, the client may have waited
        // for the server, so it was not idle.
        let mut quiet_since = now;
        // When the current line was first seen; `None` between lines.
        let mut line_begun: Option<Instant> = None;
        while !self.stream.server_shutdown().is_begun() {
            // 1. Judge by the time after the last read. Even after a pause of any length, that
            //    leaves one more read for the bytes that arrived in time.
            let overdue = self.overdue(quiet_since, line_begun, now);
            if let Some(deadline @ Deadline::Line(_)) = overdue
                && self.lines.is_over_limit()
            {
                // The rest of such a line may be endless, so it is not read.
                return Ok(End::Overdue(deadline));
            }

            // 2. Read. Wait for bytes only if no deadline has passed.
            let read = match overdue {
                None => self.lines.fill(&mut &self.stream.tcp),
                Some(_) => self.read_arrived(),
            };
            let received = match read {
                Ok(0) => Received::End,
                Ok(read) => Received::Bytes(read + self.read_rest()),
                Err(error) => {
                    if let Some(deadline) = overdue
                        && error.kind() == ErrorKind::WouldBlock
                    {
                        return Ok(End::Overdue(deadline));
                    }
                    if !is_retryable(&error) {
                        return Err(error);
                    }
                    // The time limit of the read has passed, or a pause or signal has
                    // interrupted it. Either way, the clock judges.
                    Received::Nothing
                }
            };

            // 3. Reply, also to what a client has sent before its half-close.
            let replied = self.reply_to_messages()?;

            // 4. Look at the clock only now: the time that replies take is the server's.
            now = Instant::now();
            match received {
                Received::Bytes(read) => {
                    self.fit_buffers(read);
                    quiet_since = now;
                }
                Received::End => return Ok(self.client_ended()),
                Received::Nothing => {
                    self.lines.shrink();
                    self.replies = Vec::new();
                }
            }
            if !self.lines.is_inside_line() {
                line_begun = None;
            } else if replied > 0 || line_begun.is_none() {
                // A message has ended, so the current line is another one than before.
                line_begun = Some(now);
            }
        }
        Ok(End::Shutdown)
    }

    /// Returns the deadline that has passed, if one has.
    fn overdue(
        &self,
        quiet_since: Instant,
        line_begun: Option<Instant>,
        now: Instant,
    ) -> Option<Deadline> {
        if let Some(begun) = line_begun
            && let Some(limit) = self.settings.timeout
            && now.saturating_duration_since(begun) >= limit
        {
            return Some(Deadline::Line(limit));
        }
        if let Some(limit) = self.settings.idle_timeout
            && now.saturating_duration_since(quiet_since) >= limit
        {
            return Some(Deadline::Idle(limit));
        }
        None
    }

    /// Returns how the connection ends after the client has half-closed and the messages have
    /// their replies. If a shutdown has left messages without a reply, the client gets a
    /// notice instead of a bare end.
    fn client_ended(&self) -> End {
        // At the end of the stream, even a line without an LF is a message. So bytes are left
        // only if a shutdown has stopped the processing of messages.
        if self.lines.is_inside_line() {
            End::Shutdown
        } else {
            End::ClientEnded
        }
    }

    /// Replies to the messages that had arrived when the thread noticed the shutdown. Of a
    /// flood, that is only the beginning. A line that has not ended gets no reply: the client
    /// is to send it again to another server, from its beginning.
    ///
    /// # Errors
    ///
    /// The connection is lost, or the client does not read its replies in time.
    fn reply_to_last_messages(&mut self) -> io::Result<End> {
        let begun = Instant::now();
        let mut bytes_left = LAST_BYTES;
        // Once messages are no longer processed, they may fill the buffer, and a read into a
        // full buffer fails.
        while bytes_left > 0 && begun.elapsed() < LAST_READS && !self.has_stopped_processing() {
            let read = match self.read_arrived() {
                Ok(read) => read,
                // Nothing more has arrived.
                Err(error) if is_retryable(&error) => break,
                Err(error) => return Err(error),
            };
            let read = read + self.read_rest();
            bytes_left = bytes_left.saturating_sub(read);
            self.reply_to_messages()?;
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
        // After a deadline, the hint is in the notice, where the client's user sees it.
        let hint = match end {
            Err(_) if self.ends_no_line() => HINT,
            _ => "",
        };
        log::info!("{peer} disconnected after {messages}{why}{hint}");
    }

    /// Whether the client has sent bytes, but never an LF: a tutorial's first bug.
    fn ends_no_line(&self) -> bool {
        self.settings.framing == Framing::Lines && self.messages == 0 && self.lines.is_inside_line()
    }

    fn has_stopped_processing(&self) -> bool {
        self.stream.server_shutdown().has_stopped_processing()
    }

    /// With raw framing, reads the rest of what has arrived, because a read is a message.
    /// The buffer grows only as far as that needs: most messages are short. Returns the
    /// number of bytes.
    fn read_rest(&mut self) -> usize {
        let mut rest = 0;
        while self.settings.framing == Framing::Raw && self.lines.may_read_more() {
            // The next read meets an end or an error again.
            let more = self.read_arrived().unwrap_or(0);
            if more == 0 {
                break;
            }
            rest += more;
        }
        rest
    }

    /// Reads what has arrived already, without waiting.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WouldBlock`] if nothing has arrived; otherwise the connection is lost.
    fn read_arrived(&mut self) -> io::Result<usize> {
        without_waiting(&self.stream.tcp, || self.lines.fill(&mut &self.stream.tcp))
    }

    /// Frees the memory that long messages took, once only short ones come. A client that
    /// sends long and short ones by turns keeps it.
    fn fit_buffers(&mut self, read: usize) {
        if read > SHORT {
            self.messages_before_run = self.messages;
        } else if self.messages - self.messages_before_run >= SHORT_MESSAGES {
            self.messages_before_run = self.messages;
            self.lines.shrink();
            if self.replies.capacity() > 4 * SHORT {
                self.replies = Vec::new();
            }
        }
    }

    /// Processes every message that is in the buffer, until a shutdown ends that: logs it and
    /// replies to it. Returns how many they were.
    ///
    /// # Errors
    ///
    /// The connection is lost, or the client does not read its replies in time.
    fn reply_to_messages(&mut self) -> io::Result<u64> {
        let peer = self.peer;
        let before = self.messages;
        let shutdown = self.stream.server_shutdown();
        while !shutdown.has_stopped_processing() {
            let prefix = &self.settings.reply_prefix;
            let replied = match self.settings.framing {
                Framing::Lines => {
                    let Some(line) = self.lines.next_line() else {
                        break;
                    };
                    wire::append_reply(prefix, line, &mut self.replies)
                }
                Framing::Raw => {
                    let Some(text) = self.lines.next_read() else {
                        break;
                    };
                    wire::append_reply_to_text(prefix, text, &mut self.replies)
                }
            };
            self.messages += 1;
            match replied {
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
        Ok(self.messages - before)
    }

    /// Sends all replies in the buffer, under one deadline.
    ///
    /// ```text
    /// write, write, …  ──▶  deadline  ──▶  one more write, without waiting
    /// (each may wait)                        ├─ it takes all the rest: in time
    ///                                        └─ it takes less: too late
    /// ```
    ///
    /// Why one more write: the server may have been paused in the write before it, while the
    /// client read all that had been sent. Then the socket's buffer is empty, and the client
    /// has missed nothing. A client that reads in drips has left no room for all the rest.
    ///
    /// # Errors
    ///
    /// The connection is lost, or the client does not read its replies in time.
    fn send(&mut self) -> io::Result<()> {
        let begun = Instant::now();
        let mut rest = &self.replies[..];
        let mut is_overdue = false;
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
            if is_overdue {
                let why = "replies were not taken in time";
                return Err(io::Error::new(ErrorKind::TimedOut, why));
            }
            // The socket's own time limit begins again with each write, so the clock judges.
            if let Some(limit) = self.settings.timeout {
                is_overdue = begun.elapsed() >= limit;
            }
        }
    }
}

/// Reads or writes what the socket's buffers hold or take right now.
///
/// # Errors
///
/// [`ErrorKind::WouldBlock`] if that is nothing; otherwise those of the read or write.
fn without_waiting<T>(stream: &TcpStream, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    stream.set_nonblocking(true)?;
    let result = act();
    stream.set_nonblocking(false)?;
    result
}
