//! The baseline: the barest server with a thread per client, to compare the real one with.

use std::io::{BufRead, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use crate::util::Server;

/// Serves with a thread per client, and no limits, checks, deadlines or log.
pub fn serve() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("Server listening on {}", listener.local_addr().unwrap());
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        thread::Builder::new()
            .stack_size(64 * 1024)
            .spawn(move || echo(&mut stream))
            .unwrap();
    }
}

fn echo(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 65_536];
    let mut end = 0;
    let mut replies = Vec::new();
    loop {
        let read = stream.read(&mut buffer[end..])?;
        if read == 0 {
            return Ok(());
        }
        end += read;
        let mut rest = &buffer[..end];
        loop {
            let mut after = rest;
            let line = after.skip_until(b'\n')?;
            if line == 0 || rest[line - 1] != b'\n' {
                break;
            }
            replies.extend_from_slice(b"Server received your message: ");
            replies.extend_from_slice(&rest[..line]);
            rest = after;
        }
        let left = rest.len();
        buffer.copy_within(end - left..end, 0);
        end = left;
        stream.write_all(&replies)?;
        replies.clear();
    }
}

/// Starts the baseline as a separate process.
pub fn start() -> Server {
    Server::spawn(Command::new(std::env::current_exe().unwrap()).arg("--baseline"))
}
