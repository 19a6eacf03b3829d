//! How the server ends a connection that it has something to tell.
//!
//! Closing a socket with unread bytes resets the connection, and the reset
//! destroys a notice that the client has not read yet. So the socket is only
//! half-closed after the notice, and what the client still sends is drained,
//! for at most a second. One thread does this for all clients, with sockets
//! that do not block, so that no client delays another or the accept loop.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use crate::Slot;

/// How long a connection is drained at most.
const LINGER: Duration = Duration::from_secs(1);

/// How often the connections are looked at.
const SWEEP: Duration = Duration::from_millis(10);

/// A connection to be ended.
pub(crate) struct Farewell {
    pub(crate) stream: Arc<TcpStream>,
    /// The server's last line.
    pub(crate) notice: Vec<u8>,
    /// Dropped before the client can see the end of the stream, so that it
    /// finds its place free when it comes again.
    pub(crate) slot: Option<Slot>,
}

/// Starts the thread. At most `most` connections linger at once; one more ends
/// the one that has lingered longest.
pub(crate) fn start(most: usize) -> io::Result<SyncSender<Farewell>> {
    // No queue: whoever sends waits until the thread takes the connection, which
    // is some milliseconds at worst, and no more descriptors are open than are
    // counted.
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
        let next = match lingering.is_empty() {
            true => farewells.recv().map_err(RecvTimeoutError::from),
            false => farewells.recv_timeout(SWEEP),
        };
        match next {
            Ok(farewell) => {
                let stream = Arc::clone(&farewell.stream);
                if say(farewell).is_ok() {
                    lingering.push_back((stream, Instant::now()));
                }
                if lingering.len() > most {
                    lingering.pop_front();
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if swept.elapsed() >= SWEEP {
            lingering.retain(|(stream, since)| {
                since.elapsed() < LINGER && is_open_after_drain(stream, &mut scratch)
            });
            swept = Instant::now();
        }
    }
}

fn say(farewell: Farewell) -> io::Result<()> {
    let Farewell {
        stream,
        notice,
        slot,
    } = farewell;
    stream.set_nonblocking(true)?;
    (&*stream).write_all(&notice)?;
    drop(slot);
    stream.shutdown(Shutdown::Write)
}

/// Takes a part of what the client has sent. It is one part for each client in
/// turn, so that one that sends without end does not hold up the others.
fn is_open_after_drain(mut stream: &TcpStream, scratch: &mut [u8]) -> bool {
    match stream.read(scratch) {
        Ok(read) => read > 0,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}
