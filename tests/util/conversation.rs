//! Bytes and lines over a socket, and what is expected of them.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::{LIMIT, eventually, excerpt};

/// A connection that gives up a read or write which hangs.
pub fn connect(address: SocketAddr) -> TcpStream {
    limited(TcpStream::connect(address).unwrap())
}

/// The next client of a server that a test plays itself.
pub fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let (stream, _) = eventually(|| listener.accept().map_err(|error| error.to_string()));
    stream.set_nonblocking(false).unwrap();
    limited(stream)
}

/// The next client of such a server, unless it is over before one comes.
pub fn accept_unless(listener: &TcpListener, is_over: &AtomicBool) -> Option<TcpStream> {
    listener.set_nonblocking(true).unwrap();
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                return Some(limited(stream));
            }
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}"),
        }
        if is_over.load(Ordering::Relaxed) {
            return None;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Lets a connection give up a read or write which hangs.
pub fn limited(stream: TcpStream) -> TcpStream {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    stream
}

/// Sends these bytes, half-closes, and returns all that comes back.
pub fn exchange(mut stream: TcpStream, bytes: &[u8]) -> Vec<u8> {
    let mut writer = stream.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            writer.write_all(bytes).unwrap();
            writer.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut replies = Vec::new();
        stream.read_to_end(&mut replies).unwrap();
        replies
    })
}

/// Sends these bytes, and asserts that the reply to them begins with the expected
/// ones. No more are read, since a raw reply has no end of its own.
#[track_caller]
pub fn ask(mut stream: &TcpStream, sent: impl AsRef<[u8]>, expected: impl AsRef<[u8]>) {
    let (sent, expected) = (sent.as_ref(), expected.as_ref());
    stream.write_all(sent).unwrap();
    let mut reply = vec![0; expected.len()];
    let end = stream.read_exact(&mut reply);
    assert!(
        end.is_ok() && reply == expected,
        "asked {:?}\nexpected {:?}\ngot {:?}: {end:?}",
        shown(sent),
        shown(expected),
        // What was not read is still zero.
        shown(&reply).trim_end_matches('\0'),
    );
}

fn shown(bytes: &[u8]) -> String {
    excerpt(&String::from_utf8_lossy(bytes))
}

/// Sends a line, and asserts that it is acknowledged.
#[track_caller]
pub fn ask_line(stream: &TcpStream, line: &str) {
    ask(stream, format!("{line}\n"), received(line));
}

/// Waits for what comes, and leaves it there.
pub fn peek(stream: &TcpStream, part: &mut [u8]) -> io::Result<usize> {
    uninterrupted(|| stream.peek(part))
}

/// Reads once.
pub fn read_once(mut stream: &TcpStream, part: &mut [u8]) -> io::Result<usize> {
    uninterrupted(|| stream.read(part))
}

/// Waits for a socket that has a time limit. Such a wait may be interrupted where no
/// signal is handled: a pause of the process is enough, or the end of a child.
pub fn uninterrupted<T>(mut wait: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match wait() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// One line, LF included; empty at the end of the stream.
pub fn read_line(mut stream: &TcpStream) -> String {
    let mut line = Vec::new();
    let mut part = [0; 65_536];
    while !line.ends_with(b"\n") {
        // What comes after the line is left for the next reader.
        let here = peek(stream, &mut part).unwrap();
        let end = part[..here]
            .iter()
            .position(|&byte| byte == b'\n')
            .map_or(here, |lf| lf + 1);
        stream.read_exact(&mut part[..end]).unwrap();
        line.extend_from_slice(&part[..end]);
        if here == 0 {
            break;
        }
    }
    String::from_utf8(line).unwrap()
}

/// All that still comes until the other side closes.
pub fn last_words(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// The acknowledgement of this text, with its LF.
pub fn received(text: &str) -> String {
    format!("Server received your message: {text}\n")
}

/// What the client prints for these lines.
pub fn printed(lines: impl IntoIterator<Item = impl fmt::Display>) -> String {
    lines
        .into_iter()
        .map(|line| format!("Server: {}", received(&line.to_string())))
        .collect()
}
