//! One connection: a thread that writes messages, beside the one that reads
//! replies.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tcp_chat::{lines::LineReader, system};

use crate::rules::conversation::{Loss, Received, ToSend};
use crate::shared::{self, End, Shared};

/// Deadlines are checked at least this often while nothing is received.
const TICK: Duration = Duration::from_secs(1);

/// Sends and receives over a connection until everything that it is for is answered.
/// Returns the loss that ended it earlier, if one did.
///
/// # Errors
///
/// The output cannot be written, or there is no thread to send from.
pub(crate) fn converse(shared: &Arc<Shared>, stream: TcpStream) -> Result<Option<Loss>, End> {
    let limit = shared.lock().shortest_limit();
    // Deadlines are judged when a read times out.
    let tick = limit.map_or(TICK, |limit| TICK.min(limit / 8));
    let set = stream.set_read_timeout(Some(tick));
    if let Err(error) = set.and_then(|()| system::limit_writes(&stream, limit)) {
        return Ok(Some(Loss::Broken(error.to_string())));
    }
    let stream = Arc::new(stream);
    let written = Arc::clone(&stream);
    let writer = shared::start_thread("writer", shared, move |shared| {
        let sent = write_messages(shared, &written);
        // Wakes the thread that reads replies: it knows whether this is the end.
        let _ = written.shutdown(Shutdown::Both);
        sent
    })
    .map_err(End::Failed)?;
    let loss = read_replies(shared, &*stream);
    shared.change(|conversation| conversation.record_disconnect());
    // A server that does not read may have the writer blocked.
    let _ = stream.shutdown(Shutdown::Both);
    let write_error = match writer.join() {
        Ok(Some(Err(error))) => Some(error),
        // A panic has ended the run already.
        Ok(Some(Ok(())) | None) | Err(_) => None,
    };
    match (loss, write_error) {
        // Only one of the two threads learns what broke a connection. (A half-close
        // of a connection that is gone already says nothing.)
        (Ok(Some(Loss::Ended)), Some(error))
            if !system::is_broken_pipe(&error) && error.kind() != io::ErrorKind::NotConnected =>
        {
            Ok(Some(Loss::Broken(error.to_string())))
        }
        (loss, _) => loss,
    }
}

/// Writes messages as they are queued, until there will be no more.
///
/// # Errors
///
/// The write failed. The thread that reads may know more of the reason.
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
            Some(ToSend::Over) | None => return Ok(()),
        }
    }
}

/// Reads, verifies and prints replies until everything that the connection is for is
/// answered. Returns the loss that ended it earlier, if one did.
///
/// # Errors
///
/// The output cannot be written.
fn read_replies(shared: &Shared, mut stream: impl Read) -> Result<Option<Loss>, End> {
    let output = &shared.output;
    let mut replies = LineReader::new(shared.lock().longest_reply());
    let mut printed = Vec::new();
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
        conversation.take_output(&mut printed);
        let news = shared.release_answered(conversation);
        listens = printed.is_empty() && news.is_empty();
        if !printed.is_empty() {
            output.print(&printed).map_err(End::by_output)?;
            shared.end_printing();
        }
        if !news.is_empty() {
            shared.log(news);
        }
        match received {
            Ok(Received::More) => {}
            Ok(Received::Done) => return Ok(None),
            Err(loss) => return Ok(Some(loss)),
        }
    }
}
