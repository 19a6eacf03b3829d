//! How the server closes a connection after a last line.
//!
//! Closing a socket with unread bytes resets the connection, and the reset can
//! destroy a notice that the client has not read yet. So the socket is only
//! half-closed after the notice, and what the client still sends is drained,
//! for at most a second. One thread does this for all clients, with sockets
//! that do not block, so that no client delays another or the accept loop.

use std::io::{self, Read, Write};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};
use std::{collections::VecDeque, net::Shutdown, sync::Arc, thread};

use tcp_chat::system::is_timeout;

use crate::{limits::Slot, stop::Stream};

/// How long a connection is drained at most, unless the server is being stopped.
const LINGER: Duration = Duration::from_secs(1);

/// How often the connections are looked at.
const SWEEP: Duration = Duration::from_millis(10);

/// A connection to be ended.
pub(crate) struct Farewell {
    /// Dropped before the client can see the notice, so that it finds its place
    /// free when it comes again.
    slot: Option<Slot>,
    stream: Arc<Stream>,
    /// What the socket's buffer has not taken yet of the server's last line.
    unsent: Vec<u8>,
    since: Instant,
}

/// Starts the thread. At most `most` connections linger at once; one more ends
/// the one that has lingered longest. While the server is being stopped, all linger
/// for as long as that takes, since a reset would destroy replies on their way.
pub(crate) fn start(most: usize) -> io::Result<SyncSender<Farewell>> {
    // No queue: a sender waits until the thread takes the connection, which is
    // some milliseconds at worst, and no more descriptors are open than are counted.
    let (sender, receiver) = mpsc::sync_channel(0);
    let thread = thread::Builder::new().name("linger".to_string());
    thread.spawn(move || run(&receiver, most))?;
    Ok(sender)
}

fn run(farewells: &Receiver<Farewell>, most: usize) {
    let mut lingering = VecDeque::new();
    let mut swept = Instant::now();
    let mut scratch = vec![0; 65_536];
    loop {
        let wait = if lingering.is_empty() { Duration::MAX } else { SWEEP };
        match farewells.recv_timeout(wait) {
            Ok(farewell) => {
                let is_stopping = farewell.stream.is_stopping();
                lingering.extend(farewell.begin());
                if lingering.len() > most && !is_stopping {
                    lingering.pop_front();
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if swept.elapsed() >= SWEEP {
            lingering.retain_mut(|farewell: &mut Farewell| farewell.goes_on(&mut scratch));
            swept = Instant::now();
        }
    }
}

impl Farewell {
    pub(crate) fn new(slot: Option<Slot>, stream: Arc<Stream>, notice: Vec<u8>) -> Self {
        Farewell { slot, stream, unsent: notice, since: Instant::now() }
    }

    /// `None` if the connection is lost already.
    fn begin(mut self) -> Option<Self> {
        self.slot = None;
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
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error),
        }
        if self.unsent.is_empty() {
            self.stream.tcp.shutdown(Shutdown::Write)?;
        }
        Ok(())
    }

    /// Takes a part of what the client has sent. It is one part for each client
    /// in turn, so that one that sends without end does not hold up the others.
    fn goes_on(&mut self, scratch: &mut [u8]) -> bool {
        if !self.unsent.is_empty() && self.send().is_err() {
            return false;
        }
        let is_open = match (&self.stream.tcp).read(scratch) {
            // A client that has ended its side still waits for the notice.
            Ok(read) => read > 0 || !self.unsent.is_empty(),
            Err(error) => is_timeout(&error),
        };
        let may_linger = self.since.elapsed() < LINGER || self.stream.is_stopping();
        is_open && may_linger
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

        let linger = start(1).unwrap();
        let stream = Arc::new(Stream::new(stream, &Arc::default()));
        let farewell = Farewell::new(None, stream, b"the notice".to_vec());
        linger.send(farewell).unwrap();
        let mut taken = Vec::new();
        client.read_to_end(&mut taken).unwrap();
        assert_eq!(taken.split_off(filled), b"the notice");
    }
}
