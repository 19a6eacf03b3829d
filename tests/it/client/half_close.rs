//! `--half-close`: servers that reply only after it, and paths that close both directions
//! at it.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use crate::util::{Server, client, peer, peer_replying_at_the_end, printed, read_once, run};

fn input(lines: usize) -> String {
    (0..lines).map(|n| format!("{n}\n")).collect()
}

#[test]
fn a_server_that_replies_only_after_the_half_close_is_verified() {
    let address = peer_replying_at_the_end(0);
    let args = ["--half-close", "--window", "10000"];
    let outcome = run(&mut client(address, &args), input(10_000));
    outcome.assert(0, printed(0..10_000), "");
}

#[test]
fn replies_only_after_the_half_close_need_a_window_for_all_lines() {
    let address = peer_replying_at_the_end(0);
    let args = ["--half-close", "--window", "9", "--timeout", "0.5"];
    let outcome = run(&mut client(address, &args), input(10));
    let why = "lost with 9 messages in flight, from line 1: \
               no reply within 0.5 s (9 sent, 0 answered)";
    outcome.assert(1, "", &format!("client: connection to {address} {why}\n"));
}

#[test]
fn each_connection_is_half_closed_after_its_last_line() {
    let address = peer_replying_at_the_end(3);
    let args = ["-q", "--half-close", "--retry-for", "20"];
    run(&mut client(address, &args), input(100)).assert(0, printed(0..100), "");
}

#[test]
fn with_nothing_to_send_a_half_close_changes_nothing() {
    let server = Server::start(&[]);
    run(&mut server.client(&["--half-close"]), "").assert(0, "", "");
}

/// Starts a path to this server that delays replies, and closes both directions at a
/// half-close. Returns its address.
fn closing_path(server: SocketAddr) -> SocketAddr {
    peer(move |client| {
        let server = TcpStream::connect(server).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                let _ = io::copy(&mut &client, &mut &server);
                let _ = client.shutdown(Shutdown::Both);
                let _ = server.shutdown(Shutdown::Both);
            });
            let mut replies = [0; 4096];
            while let Ok(length @ 1..) = read_once(&server, &mut replies) {
                thread::sleep(Duration::from_millis(300));
                if (&client).write_all(&replies[..length]).is_err() {
                    break;
                }
            }
            let _ = client.shutdown(Shutdown::Both);
        });
    })
}

#[test]
fn a_path_that_closes_at_a_half_close_is_detected() {
    let server = Server::start(&["-q"]);
    let address = closing_path(server.address);
    run(&mut client(address, &[]), input(3)).assert(0, printed(0..3), "");
    let outcome = run(&mut client(address, &["--half-close"]), input(3));
    let why = "lost with 3 messages in flight, from line 1: \
               closed by the other end (3 sent, 0 answered)";
    outcome.assert(1, "", &format!("client: connection to {address} {why}\n"));
}
