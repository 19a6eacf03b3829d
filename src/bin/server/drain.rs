//! How the server closes a connection after a notice.
//!
//! The symptom to avoid: the client never sees the notice. The cause: closing a socket with
//! unread bytes resets the connection. The reset can destroy a notice that the client has
//! not read yet. So the server sends the notice and only half-closes. Then it drains: it
//! reads and discards the bytes that the client still sends.
//!
//! Usually the drain thread does this, for at most a second for each client. Its sockets do
//! not block, so no client delays another one, or the main thread. In a shutdown each client's
//! own thread does it, and waits until its client closes.
//!
//! If the drain thread panics, the server goes on without it. Each connection that should get
//! a notice is then closed at once, without one, and an error is logged.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use tcp_chat::running_time;

use crate::stream::Stream;

/// How long the drain thread drains each connection at most.
const DRAINED_FOR: Duration = Duration::from_secs(1);

/// How often the drain thread reads from all its connections.
const SWEEP: Duration = Duration::from_millis(10);

/// The way to the drain thread. That thread ends after the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Drain(SyncSender<Closing>);

/// A connection to be closed after a notice.
struct Closing {
    stream: Arc<Stream>,
    notice: Vec<u8>,
}

/// A connection that the drain thread has taken.
struct Draining {
    stream: Arc<Stream>,
    /// The rest of the notice, which the socket's buffer has not taken yet.
    unsent: Vec<u8>,
    /// For how long it may still be drained. A pause of the server uses up 0.2 s at most, and a
    /// client that reads in time still gets its notice.
    left: Duration,
}

/// Whether a connection is to be drained further.
#[derive(PartialEq)]
enum Progress {
    Open,
    /// The client has closed, the connection is lost, or its time is over.
    Over,
}

impl Drain {
    /// Starts the drain thread. It drains at most `most` connections at once: one more ends
    /// the one that has been drained longest.
    ///
    /// # Errors
    ///
    /// The system starts no further thread.
    pub(crate) fn start(most: usize) -> io::Result<Self> {
        // Zero capacity: the sender blocks until the thread takes the connection, a few
        // milliseconds at most. So no more descriptors are open than are counted.
        let (sender, receiver) = mpsc::sync_channel(0);
        let thread = thread::Builder::new().name("drain".to_string());
        thread.spawn(move || run(&receiver, most))?;
        Ok(Drain(sender))
    }

    /// Gives the drain thread a connection to `peer`, to be closed after this notice. If that
    /// thread has panicked, logs an error and closes the connection without the notice.
    pub(crate) fn close(&self, peer: SocketAddr, stream: Arc<Stream>, notice: Vec<u8>) {
        if self.0.send(Closing { stream, notice }).is_err() {
            log::error!("{peer} gets no notice: the thread \"drain\" has panicked");
        }
    }

    /// Returns the way to a thread that is gone.
    #[cfg(test)]
    pub(crate) fn without_thread() -> Self {
        Drain(mpsc::sync_channel(0).0)
    }
}

/// Drains all connections that come through the channel.
fn run(closings: &Receiver<Closing>, most: usize) {
    // The first one has been drained longest.
    let mut draining: VecDeque<Draining> = VecDeque::new();
    let mut swept = Instant::now();
    let mut scratch = vec![0; 65_536];
    loop {
        let wait = if draining.is_empty() {
            Duration::MAX
        } else {
            SWEEP
        };
        match closings.recv_timeout(wait) {
            Ok(closing) => {
                if draining.is_empty() {
                    swept = Instant::now();
                }
                // A connection that is lost already needs no draining.
                if let Ok(begun) = Draining::begin(closing) {
                    draining.push_back(begun);
                }
                if draining.len() > most {
                    draining.pop_front();
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let step = swept.elapsed();
        if step >= SWEEP {
            swept = Instant::now();
            let step = running_time::counted(step);
            draining.retain_mut(|connection| {
                connection.left = connection.left.saturating_sub(step);
                connection.advance(&mut scratch) == Progress::Open
            });
        }
    }
}

impl Draining {
    /// Sends the beginning of the notice, usually all of it.
    ///
    /// # Errors
    ///
    /// The connection is lost already.
    fn begin(closing: Closing) -> io::Result<Self> {
        let mut draining = Draining {
            stream: closing.stream,
            unsent: closing.notice,
            left: DRAINED_FOR,
        };
        draining.stream.tcp.set_nonblocking(true)?;
        draining.send()?;
        Ok(draining)
    }

    /// Sends as much of the notice as the socket's buffer takes. After the end of the
    /// notice, half-closes.
    fn send(&mut self) -> io::Result<()> {
        match (&self.stream.tcp).write(&self.unsent) {
            Ok(sent) => {
                self.unsent.drain(..sent);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if self.unsent.is_empty() {
            self.stream.tcp.shutdown(Shutdown::Write)?;
        }
        Ok(())
    }

    /// Sends more of the notice, and discards one part of what the client has sent. It is
    /// one part for each client in turn, so a client that sends without end does not delay
    /// the others.
    fn advance(&mut self, scratch: &mut [u8]) -> Progress {
        if !self.unsent.is_empty() && self.send().is_err() {
            return Progress::Over;
        }
        let is_open = match (&self.stream.tcp).read(scratch) {
            // A client that has half-closed still waits for the notice.
            Ok(0) => !self.unsent.is_empty(),
            Ok(_) => true,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        };
        if is_open && !self.left.is_zero() {
            Progress::Open
        } else {
            Progress::Over
        }
    }
}

/// Sends a notice and drains until the client closes, in the client's own thread. Only the
/// end of the process limits the time, so this is for a shutdown alone.
///
/// # Errors
///
/// The connection is lost.
// Never inlined: otherwise the buffer would take a part of the thread's small stack as long
// as the client is served.
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
        let (stream, peer) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut filled = 0;
        while let Ok(sent) = (&stream).write(&[b'x'; 65_536]) {
            filled += sent;
        }
        client.shutdown(Shutdown::Write).unwrap();

        let drain = Drain::start(1).unwrap();
        let stream = Arc::new(Stream::new(stream, &Arc::default()));
        drain.close(peer, stream, b"the notice".to_vec());
        let mut taken = Vec::new();
        client.read_to_end(&mut taken).unwrap();
        assert_eq!(taken.split_off(filled), b"the notice");
    }
}
