//! A server that a test plays itself.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::conversation::{limited, received};

/// A server of a test's own, which may misbehave: serves one client after the
/// other, each as told, until the test is over.
pub fn peer(mut serve: impl FnMut(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    PEERS.with_borrow_mut(|peers| peers.push(Peer(address, Arc::clone(&is_over))));
    thread::spawn(move || {
        let clients = listener.incoming().map(Result::unwrap);
        clients
            .take_while(|_| !is_over.load(Ordering::Relaxed))
            .for_each(|stream| serve(limited(stream)));
    });
    address
}

thread_local! {
    /// Those of the test that this thread runs: it ends with it.
    static PEERS: RefCell<Vec<Peer>> = const { RefCell::new(Vec::new()) };
}

struct Peer(SocketAddr, Arc<AtomicBool>);

impl Drop for Peer {
    fn drop(&mut self) {
        self.1.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.0);
    }
}

/// Reads the client's lines and answers each as told.
pub fn answering(mut answer: impl FnMut(u64, &str) -> String + Send + 'static) -> SocketAddr {
    peer(move |mut stream| {
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        for (number, line) in (1..).zip(lines.map_while(Result::ok)) {
            if stream.write_all(answer(number, &line).as_bytes()).is_err() {
                return;
            }
        }
    })
}

/// A server that reads everything before it answers anything. It hangs up on so
/// many clients instead of answering them.
pub fn answering_at_the_end(mut hangs_up: usize) -> SocketAddr {
    peer(move |mut stream| {
        let mut text = String::new();
        // Whoever only tries whether it is there may end with a reset.
        if stream.read_to_string(&mut text).is_err() {
            return;
        }
        if hangs_up > 0 {
            hangs_up -= 1;
            return;
        }
        let replies: String = text.lines().map(received).collect();
        let _ = stream.write_all(replies.as_bytes());
    })
}

/// Fills the queue of connections that nobody accepts at this address, so that
/// it drops what further clients send. They are let go with what is returned.
pub fn fill_queue(listener: &TcpListener) -> Vec<TcpStream> {
    let address = listener.local_addr().unwrap();
    let waits = Duration::from_millis(100);
    let queue: Vec<TcpStream> = (0..1000)
        .map_while(|_| TcpStream::connect_timeout(&address, waits).ok())
        .collect();
    assert!(queue.len() < 1000);
    queue
}
