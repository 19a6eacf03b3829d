//! How the server closes a connection after a notice.
//!
//! Closing a socket with unread bytes resets the connection, and the reset can
//! destroy a notice that the client has not read yet. So the socket is only
//! half-closed after the notice, and what the client still sends is drained.
//!
//! Usually one thread does this for all clients, for at most a second each, with
//! sockets that do not block, so no client delays another, or the thread that
//! accepts. In a shutdown each client's own thread does it, and waits for its client.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use crate::stream::Stream;

/// How long a connection is drained at most by the thread for all.
const DRAINED_FOR: Duration = Duration::from_secs(1);

/// How often the connections are looked at.
const SWEEP: Duration = Duration::from_millis(10);

/// A connection to be closed after a notice.
pub(crate) struct Closing {
    stream: Arc<Stream>,
    /// What the socket's buffer has not taken yet of the notice.
    unsent: Vec<u8>,
    since: Instant,
}

/// Starts the thread for all. It drains at most `most` connections at once; one more
/// ends the one that has been drained longest.
///
/// # Errors
///
/// No thread is available.
pub(crate) fn start(most: usize) -> io::Result<SyncSender<Closing>> {
    // Zero capacity: the sender blocks until the thread takes the connection, a few
    // milliseconds at most, so no more descriptors are open than are counted.
    let (sender, receiver) = mpsc::sync_channel(0);
    let thread = thread::Builder::new().name("drain".to_string());
    thread.spawn(move || run(&receiver, most))?;
    Ok(sender)
}

fn run(closings: &Receiver<Closing>, most: usize) {
    let mut drained = VecDeque::new();
    let mut swept = Instant::now();
    let mut scratch = vec![0; 65_536];
    loop {
        let wait = if drained.is_empty() {
            Duration::MAX
        } else {
            SWEEP
        };
        match closings.recv_timeout(wait) {
            Ok(closing) => {
                drained.extend(closing.begin());
                if drained.len() > most {
                    drained.pop_front();
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if swept.elapsed() >= SWEEP {
            drained.retain_mut(|closing: &mut Closing| closing.goes_on(&mut scratch));
            swept = Instant::now();
        }
    }
}

impl Closing {
    pub(crate) fn new(stream: Arc<Stream>, notice: Vec<u8>) -> Self {
        let since = Instant::now();
        Closing {
            stream,
            unsent: notice,
            since,
        }
    }

    /// `None` if the connection is lost already.
    fn begin(mut self) -> Option<Self> {
        // The thread may have been busy until now.
        self.since = Instant::now();
        self.stream.tcp.set_nonblocking(true).ok()?;
        self.send().ok()?;
        Some(self)
    }

    /// Sends what the socket takes; after the last of it, half-closes.
    fn send(&mut self) -> io::Result<()> {
        match (&self.stream.tcp).write(&self.unsent) {
            Ok(sent) => _ = self.unsent.drain(..sent),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if self.unsent.is_empty() {
            self.stream.tcp.shutdown(Shutdown::Write)?;
        }
        Ok(())
    }

    /// Takes a part of what the client has sent. It is one part for each client
    /// in turn: one that sends without end does not hold up the others.
    fn goes_on(&mut self, scratch: &mut [u8]) -> bool {
        if !self.unsent.is_empty() && self.send().is_err() {
            return false;
        }
        let is_open = match (&self.stream.tcp).read(scratch) {
            // A client that has half-closed still waits for the notice.
            Ok(read) => read > 0 || !self.unsent.is_empty(),
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        };
        is_open && self.since.elapsed() < DRAINED_FOR
    }
}

/// Sends a notice and drains until the client closes, in the client's own thread. Only
/// the end of the process limits this, so it is for a shutdown.
///
/// # Errors
///
/// The connection is lost.
// Never inlined: the caller's frame would have the buffer all the time.
#[inline(never)]
pub(crate) fn close_in_shutdown(stream: &Stream, notice: &[u8]) -> io::Result<()> {
    let mut tcp = &stream.tcp;
    tcp.set_write_timeout(None)?;
    tcp.write_all(notice)?;
    tcp.shutdown(Shutdown::Write)?;
    tcp.set_read_timeout(None)?;
    let mut scratch = [0; 4096];
    loop {
        match tcp.read(&mut scratch) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_notice_that_the_buffer_takes_in_part_is_sent_in_whole() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut filled = 0;
        while let Ok(sent) = (&stream).write(&[b'x'; 65_536]) {
            filled += sent;
        }
        client.shutdown(Shutdown::Write).unwrap();

        let drain = start(1).unwrap();
        let stream = Arc::new(Stream::new(stream, &Arc::default()));
        let closing = Closing::new(stream, b"the notice".to_vec());
        drain.send(closing).unwrap();
        let mut taken = Vec::new();
        client.read_to_end(&mut taken).unwrap();
        assert_eq!(taken.split_off(filled), b"the notice");
    }
}
