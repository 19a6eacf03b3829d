//! Sockets of a test: connect, accept, send, read and expect bytes and lines.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::{HANG_LIMIT, eventually, excerpt};

/// Connects. A read or write that hangs fails after `HANG_LIMIT`.
pub fn connect(address: SocketAddr) -> TcpStream {
    with_time_limits(TcpStream::connect(address).unwrap())
}

/// Accepts the next client of a server that a test plays itself.
pub fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let (stream, _) = eventually(|| listener.accept().map_err(|error| error.to_string()));
    stream.set_nonblocking(false).unwrap();
    with_time_limits(stream)
}

/// Accepts the next client, or returns nothing if `is_over` becomes true before.
pub fn accept_unless(listener: &TcpListener, is_over: &AtomicBool) -> Option<TcpStream> {
    listener.set_nonblocking(true).unwrap();
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                return Some(with_time_limits(stream));
            }
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}"),
        }
        if is_over.load(Ordering::Relaxed) {
            return None;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Makes a read or write that hangs fail after `HANG_LIMIT`.
pub fn with_time_limits(stream: TcpStream) -> TcpStream {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(HANG_LIMIT)).unwrap();
    stream.set_write_timeout(Some(HANG_LIMIT)).unwrap();
    stream
}

/// Sends these bytes, half-closes, and returns all that arrives.
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

/// Sends these bytes, and asserts that the next bytes to arrive are the expected ones. No
/// more are read, because a reply with raw framing does not show where it ends.
#[track_caller]
pub fn ask(mut stream: &TcpStream, sent: impl AsRef<[u8]>, expected: impl AsRef<[u8]>) {
    let sent = sent.as_ref();
    let expected = expected.as_ref();
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
    ask(stream, format!("{line}\n"), acknowledgement(line));
}

/// Waits for bytes, and leaves them to be read. Returns how many there are.
pub fn peek(stream: &TcpStream, part: &mut [u8]) -> io::Result<usize> {
    uninterrupted(|| stream.peek(part))
}

/// Reads once. Returns how many bytes were read.
pub fn read_once(mut stream: &TcpStream, part: &mut [u8]) -> io::Result<usize> {
    uninterrupted(|| stream.read(part))
}

/// Repeats a wait for a socket with a time limit until it is not interrupted. Such a wait
/// is interrupted even if the process handles no signal: by a pause of the process, or by
/// the end of a child.
pub fn uninterrupted<T>(mut wait: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match wait() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Reads one line, LF included; returns an empty text at the end of the stream.
pub fn read_line(mut stream: &TcpStream) -> String {
    let mut line = Vec::new();
    let mut part = [0; 65_536];
    while !line.ends_with(b"\n") {
        // The bytes after the line are left for the next reader.
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

/// Reads all that still arrives until the other side closes.
pub fn read_rest(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// The end of the reason in a notice to a client that has sent bytes, but never an LF.
pub const LF_HINT: &str = " (end each message with LF, or start the server with --framing raw)";

/// Returns the acknowledgement of this text, with its LF.
pub fn acknowledgement(text: &str) -> String {
    format!("Server received your message: {text}\n")
}

/// Returns what the client prints if all these lines are acknowledged.
pub fn printed(lines: impl IntoIterator<Item = impl fmt::Display>) -> String {
    lines
        .into_iter()
        .map(|line| format!("Server: {}", acknowledgement(&line.to_string())))
        .collect()
}
