//! One connection: the session thread reads replies, and a writer thread sends messages.
//!
//! ```text
//!  session thread                           writer thread
//!  --------------                           -------------
//!  starts the writer  --------------------> sends batches of messages
//!  reads, verifies and prints replies
//!
//!  if all have come, or the connection
//!  is lost: record_disconnect  -----------> has nothing to send any more: returns
//!  shuts the socket down  ----------------> a blocked write fails: returns
//!
//!  its read fails or ends  <--------------- if a write fails: shuts the socket down
//!  joins the writer
//! ```
//!
//! If the input stays open for a while, as a terminal does, a run ends in another way. Every
//! message has its reply before the input thread notices the end of the input. The session
//! thread is then blocked in a read:
//!
//! ```text
//!  input thread                writer thread              session thread
//!  ------------                -------------              --------------
//!                              waits for `changed`        is blocked in a read
//!  end_input, `changed` -----> take_unsent: Over
//!                              shuts the socket down ---> the read returns 0 bytes
//!                              returns                    receive: Received::Done
//! ```

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tcp_chat::cli::Limit;
use tcp_chat::lines::LineReader;
use tcp_chat::system;

use crate::rules::conversation::{Loss, Received, ToSend};
use crate::shared::{self, End, Finished, Shared};

/// The longest time between two checks of the deadlines.
const TICK: Duration = Duration::from_secs(1);

/// How a connection, or an attempt to make one, ends.
pub(crate) enum Outcome {
    /// All lines that the connection was for have replies.
    Done,
    Lost(Loss),
}

/// Sends messages and receives replies over a connection, until all lines that it is for have
/// replies or it is lost.
///
/// # Errors
///
/// The end of the run, if replies cannot be printed or no thread is available for the writer.
pub(crate) fn converse(shared: &Arc<Shared>, stream: TcpStream) -> Result<Outcome, End> {
    let limit = shared.lock().shortest_limit();
    if let Err(error) = set_timeouts(&stream, limit) {
        return Ok(Outcome::Lost(Loss::Broken(error.to_string())));
    }
    let stream = Arc::new(stream);
    let writer_stream = Arc::clone(&stream);
    let writer = shared::start_thread("writer", shared, move |shared| {
        let sent = write_messages(shared, &writer_stream);
        // Wakes the session thread, which knows whether this is the end.
        let _ = writer_stream.shutdown(Shutdown::Both);
        sent
    })
    .map_err(End::Failed)?;
    let outcome = read_replies(shared, &*stream);
    shared.change(|conversation| conversation.record_disconnect());
    // The writer may be blocked because the server does not read.
    let _ = stream.shutdown(Shutdown::Both);
    let write_error = match writer.join() {
        Ok(Finished::Returned(sent)) => sent.err(),
        // The panic ends the run.
        Ok(Finished::Panicked) | Err(_) => None,
    };
    // Only one of the two threads learns what broke the connection.
    if let Ok(Outcome::Lost(Loss::Ended)) = &outcome
        && let Some(error) = write_error
        && tells_why(&error)
    {
        return Ok(Outcome::Lost(Loss::Broken(error.to_string())));
    }
    outcome
}

/// Sets the time limits of the socket.
fn set_timeouts(stream: &TcpStream, limit: Limit) -> io::Result<()> {
    // Deadlines are checked after each read, so a read must not take long. It ends early
    // enough to miss none by more than an eighth.
    let tick = match limit {
        Some(limit) => TICK.min(limit / 8),
        None => TICK,
    };
    stream.set_read_timeout(Some(tick))?;
    system::limit_writes(stream, limit)
}

/// Whether a failed write says more than that the connection is gone.
fn tells_why(error: &io::Error) -> bool {
    // A half-close of a connection that is gone fails with `NotConnected`.
    !system::is_broken_pipe(error) && error.kind() != io::ErrorKind::NotConnected
}

/// Sends messages as they are queued, until there will be no more on this connection.
///
/// # Errors
///
/// A write or the half-close has failed. The session thread may learn more of the reason.
fn write_messages(shared: &Shared, stream: &TcpStream) -> io::Result<()> {
    let mut batch = Vec::new();
    loop {
        batch.clear();
        let to_send = shared.wait_until(None, |conversation| {
            conversation.take_unsent(&mut batch, Instant::now())
        });
        match to_send {
            Some(ToSend::Batch) => system::outgoing(stream).write_all(&batch)?,
            Some(ToSend::HalfClose) => stream.shutdown(Shutdown::Write)?,
            Some(ToSend::Over) => return Ok(()),
            // Impossible without a deadline.
            None => return Ok(()),
        }
    }
}

/// Reads, verifies and prints replies, until all lines that the connection is for have replies
/// or it is lost.
///
/// # Errors
///
/// The end of the run, if replies cannot be printed.
fn read_replies(shared: &Shared, mut stream: impl Read) -> Result<Outcome, End> {
    let output = &shared.output;
    let mut replies = LineReader::new(shared.lock().longest_reply());
    let mut to_print = Vec::new();
    // Whether the conversation knows that this thread is about to read. After it has printed
    // or logged, it must say so again.
    let mut listens = false;
    loop {
        if !listens {
            shared.prompt();
            shared.lock().begin_to_listen(Instant::now());
        }
        let read = replies.fill(&mut stream);
        let now = Instant::now();
        let mut conversation = shared.lock();
        let received = conversation.receive(&mut replies, read, now);
        conversation.take_output(&mut to_print);
        let news = shared.unlock_after_replies(conversation);
        listens = to_print.is_empty() && news.is_empty();
        if !to_print.is_empty() {
            output.print(&to_print).map_err(End::from_output_error)?;
            shared.end_printing();
        }
        if !news.is_empty() {
            shared.log_in_session(news);
        }
        match received {
            Ok(Received::More) => {}
            Ok(Received::Done) => return Ok(Outcome::Done),
            Err(loss) => return Ok(Outcome::Lost(loss)),
        }
    }
}
