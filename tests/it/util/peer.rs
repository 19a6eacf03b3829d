//! A server that a test plays itself.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

/// A server of a test's own, which may misbehave: serves one client after the
/// other, each as told, while there is somebody to be served.
pub fn peer(mut serve: impl FnMut(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        listener
            .incoming()
            .for_each(|stream| serve(stream.unwrap()))
    });
    address
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
