//! Servers that a test plays itself, on a thread of the test.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::sockets::{acknowledgement, with_time_limits};

/// Starts a server that may misbehave: it passes one connection after the other to
/// `serve` until the test is over. Returns its address.
pub fn peer(mut serve: impl FnMut(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let peer = Peer {
        address,
        is_over: Arc::clone(&is_over),
    };
    PEERS.with_borrow_mut(|peers| peers.push(peer));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            if is_over.load(Ordering::Relaxed) {
                return;
            }
            serve(with_time_limits(stream));
        }
    });
    address
}

thread_local! {
    /// The peers of the test that this thread runs; both end together.
    static PEERS: RefCell<Vec<Peer>> = const { RefCell::new(Vec::new()) };
}

/// Ends a server when it is dropped.
struct Peer {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // The server looks at the flag after each `accept`.
        let _ = TcpStream::connect(self.address);
    }
}

/// Starts a server that sends what `reply` returns for each line, given the line's number
/// on its connection (from 1) and its text.
pub fn replying_peer(mut reply: impl FnMut(u64, &str) -> String + Send + 'static) -> SocketAddr {
    peer(move |mut stream| {
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        for (number, line) in (1..).zip(lines.map_while(Result::ok)) {
            if stream.write_all(reply(number, &line).as_bytes()).is_err() {
                return;
            }
        }
    })
}

/// Starts a server that replies to all lines of a connection after the half-close. It
/// closes the first so many connections without a reply.
pub fn peer_replying_at_the_end(mut closes: usize) -> SocketAddr {
    peer(move |mut stream| {
        let mut text = String::new();
        // A client that only tests whether the server is there may end with a reset.
        if stream.read_to_string(&mut text).is_err() {
            return;
        }
        if closes > 0 {
            closes -= 1;
            return;
        }
        let replies: String = text.lines().map(acknowledgement).collect();
        let _ = stream.write_all(replies.as_bytes());
    })
}

/// Fills the queue of a listener that accepts nothing: a further connect hangs, because
/// the system drops its SYN. Returns the connections in the queue.
pub fn fill_queue(listener: &TcpListener) -> Vec<TcpStream> {
    let address = listener.local_addr().unwrap();
    let limit = Duration::from_millis(100);
    let queue: Vec<TcpStream> = (0..1000)
        .map_while(|_| TcpStream::connect_timeout(&address, limit).ok())
        .collect();
    assert!(queue.len() < 1000);
    queue
}
