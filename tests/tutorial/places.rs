//! Where the programs run, and who reads what they say.

use std::io::Write;

use crate::programs::{naive, naive_server, read_to_end, send_at_once, serve, show};
use crate::util::{
    Server, acknowledgement, as_process_1, ask, ask_line, await_refusal, children,
    is_signal_ignored, server, signal,
};

#[test]
fn as_process_1_a_program_ignores_sigterm() {
    // As in a container: it is the first process in a room of its own.
    let Some(mut in_room) = as_process_1(&naive()) else {
        return;
    };
    let terminate = |server: &Server| signal(children(server.id())[0], "TERM");
    let naive = serve(&mut in_room);
    terminate(&naive);
    ask(
        &naive.connect(),
        "hello",
        acknowledgement("hello").trim_end(),
    );
    println!("naive: serves on after SIGTERM");

    let mut in_room = as_process_1(&server(&["--port", "0"])).unwrap();
    let real = Server::spawn(&mut in_room);
    ask_line(&real.connect(), "hello");
    terminate(&real);
    await_refusal(real.address);
    println!("real:  has ended");
}

#[test]
fn a_shutdown_loses_messages_that_have_arrived() {
    if is_signal_ignored(15) {
        return;
    }
    // A line that has come, and that the server has not read yet.
    let stop_before_it_reads = |server: &Server| {
        let mut stream = server.connect();
        ask_line(&stream, "one");
        server.pause();
        stream.write_all(b"two\n").unwrap();
        signal(server.id(), "TERM");
        server.resume();
        read_to_end(stream)
    };
    let naive = stop_before_it_reads(&naive_server());
    let real = stop_before_it_reads(&Server::start(&[]));
    show("naive", "two\n", &naive);
    show("real ", "two\n", &real);
    assert!(!naive.contains("two"), "{naive}");
    let notice = "Server closed your connection: the server is stopping\n";
    assert_eq!(real, acknowledgement("two") + notice);
}

#[test]
fn escapes_and_forged_lines_reach_the_log() {
    // It clears a terminal, and then looks like a line of the log.
    let sent = "\x1b[2Jhello\nReceived message: transfer it all";
    let [naive, real] = [naive_server(), Server::start(&[])];
    for server in [&naive, &real] {
        send_at_once(server, &[sent.as_bytes()]);
    }
    let forged = "\nReceived message: transfer it all";
    let log = naive.log_with(forged);
    println!("naive: {log:?}");
    assert!(log.contains('\x1b'), "{log:?}");
    let log = real.log_with(" disconnected ");
    println!("real:\n{log}");
    assert!(!log.contains('\x1b') && !log.contains(forged), "{log:?}");
    assert!(log.contains(r"\u{1b}[2Jhello"), "{log:?}");
}
