//! Where the programs run, and who reads what they say.

use std::process::Command;

use crate::programs::{await_end, naive_server, program, send_at_once, serve};
use crate::util::{Server, ask, ask_line, received, server};

#[test]
fn as_process_1_it_cannot_be_stopped() {
    // As in a container: it is the first process in a room of its own.
    let in_room = |server: &Command| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--pid", "--fork", "--kill-child"]);
        command.arg(server.get_program()).args(server.get_args());
        command
    };
    let mut unshare = in_room(&Command::new("true"));
    if !unshare.status().is_ok_and(|status| status.success()) {
        println!("skipped: not allowed: {unshare:?}");
        return;
    }
    let terminate = "kill -s TERM $(cat /proc/$0/task/$0/children)";

    let mut naive = Command::new(program("naive"));
    let naive = serve(&mut in_room(naive.arg("server")));
    naive.shell(terminate);
    ask(&naive.connect(), "hello", received("hello").trim_end());
    println!("naive: serves on after SIGTERM");

    let real = Server::spawn(&mut in_room(&server(&["--port", "0"])));
    ask_line(&real.connect(), "hello");
    real.shell(terminate);
    await_end(&real);
    println!("real:  has ended");
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
