//! A signal ends the client at once in each of its states, by that signal, with a summary
//! and a report.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::sync::mpsc;

use crate::util::{
    HANG_LIMIT, NameServer, Server, SignalledClient, acknowledgement, client, client_with,
    ending_signals, eventually, fill_queue, full_pipe, peer, replying_peer, unique_ip,
    unused_address,
};

#[test]
fn a_signal_ends_a_client_that_reads_its_input() {
    let server = Server::start(&["-q"]);
    for which in ending_signals() {
        let mut client = SignalledClient::start(&mut server.client(&[]));
        client.await_reply();
        client.assert_ends_by(which);
    }
}

#[test]
fn a_signal_ends_a_client_that_waits_for_a_reply() {
    let (read, is_read) = mpsc::channel();
    let address = peer(move |stream| {
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        read.send(lines.next().unwrap()).unwrap();
        assert_eq!(lines.next(), None);
    });
    for which in ending_signals() {
        let client = SignalledClient::start(&mut client(address, &[]));
        assert_eq!(is_read.recv_timeout(HANG_LIMIT).unwrap(), "hello");
        client.assert_ends_by(which);
    }
}

#[test]
fn a_signal_ends_a_client_between_two_attempts_to_connect() {
    let address = unused_address();
    for which in ending_signals() {
        let client = SignalledClient::start(&mut client(address, &["--retry-for", "20"]));
        client.await_stderr("trying again");
        client.assert_ends_by(which);
    }
}

#[test]
fn a_signal_ends_a_client_whose_connect_is_not_answered() {
    let listener = TcpListener::bind((unique_ip(), 0)).unwrap();
    let _queue = fill_queue(&listener);
    for which in ending_signals() {
        let client = SignalledClient::start(&mut client(listener.local_addr().unwrap(), &[]));
        // The connect follows shortly after the socket is there.
        let descriptors = format!("/proc/{}/fd", client.process.id());
        eventually(|| {
            let descriptors = fs::read_dir(&descriptors).unwrap().flatten();
            let files = descriptors.flat_map(|descriptor| fs::read_link(descriptor.path()));
            let mut sockets = files.filter(|file| file.to_string_lossy().starts_with("socket:"));
            sockets.next().ok_or_else(|| "no attempt".to_string())
        });
        client.assert_ends_by(which);
    }
}

#[test]
fn a_signal_ends_a_client_that_looks_up_a_name() {
    for which in ending_signals() {
        let Some(names) = NameServer::start() else {
            return;
        };
        let Some(mut command) = names.serve(&client_with(&["--host", "host.test"])) else {
            return;
        };
        let client = SignalledClient::start(&mut command);
        names.await_question();
        client.assert_ends_by(which);
    }
}

#[test]
fn a_signal_ends_a_client_whose_output_nobody_reads() {
    let (answered, is_answered) = mpsc::channel();
    let address = replying_peer(move |_, line| {
        answered.send(()).unwrap();
        acknowledgement(line)
    });
    for which in ending_signals() {
        let (_reader, full) = full_pipe();
        let client = SignalledClient::start_with(&mut client(address, &[]), full);
        is_answered.recv_timeout(HANG_LIMIT).unwrap();
        client.assert_ends_by(which);
    }
}
