//! Where the programs run, and where their output goes.

use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::programs::{naive, naive_client, naive_server, serve};
use crate::subject::Subject;
use crate::util::{
    Outcome, Server, as_process_1, ask_line, await_refusal, children, server, signal, spawn,
};

/// Sends SIGTERM to a server that is process 1 of a container.
pub fn terminate_process_1(subject: &Subject) {
    signal(children(subject.server().id())[0], "TERM");
}

#[test]
fn as_process_1_a_program_ignores_sigterm() {
    // As in a container: it is the first process of a namespace.
    let Some(mut contained) = as_process_1(&naive()) else {
        return;
    };
    let naive = Subject::from(serve(&mut contained));
    terminate_process_1(&naive);
    let is_served = naive.serves_a_new_client();
    println!("naive: after SIGTERM to process 1, a new client is served: {is_served}");
    assert!(is_served);

    let mut contained = as_process_1(&server(&["--port", "0"])).unwrap();
    let real = Subject::from(Server::spawn(&mut contained));
    ask_line(&real.connect(), "hello");
    terminate_process_1(&real);
    await_refusal(real.address);
    let is_served = real.serves_a_new_client();
    println!("real:  after SIGTERM to process 1, a new client is served: {is_served}");
    assert!(!is_served);
}

/// Runs a client whose output nobody reads any more.
fn without_a_reader(client: &mut Command) -> Outcome {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    client.stdin(Stdio::piped()).stdout(writer);
    let mut process = spawn(client.stderr(Stdio::piped()));
    let mut stdin = process.stdin.take().unwrap();
    // Not at once: a test that starts a program at this moment lends it the
    // reader.
    while stdin.write_all(b"hello\n").is_ok() {
        thread::sleep(Duration::from_millis(1));
    }
    process.finish()
}

#[test]
fn a_closed_output_panics() {
    let naive = without_a_reader(&mut naive_client(naive_server().address));
    println!("naive: {}\n{}", naive.status, naive.stderr.trim_end());
    assert!(naive.stderr.contains("panicked"), "{naive}");
    naive.assert_code(101);
    let real = without_a_reader(&mut Server::start(&[]).client(&[]));
    println!("real:  {}, as a shell shows SIGPIPE", real.status);
    real.assert(141, "", "");
}
