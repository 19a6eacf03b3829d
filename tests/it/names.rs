//! The client's time limits where names and addresses do not answer.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::util::{
    NameServer, Outcome, Running, Server, client_to, etc_hosts, fill_queue, os_error, own_ip,
    printed, run, strace, unused_address,
};

/// The client, to be run against the host of a test's own.
fn client(port: u16, args: &[&str]) -> Command {
    client_to("host.test", port, args)
}

/// Runs the client with a line of input, and asserts that it takes so long.
#[track_caller]
fn run_for(command: &mut Command, seconds: f64) -> Outcome {
    let begun = Instant::now();
    let outcome = run(command, "hello\n");
    let elapsed = begun.elapsed().as_secs_f64();
    println!("limit {seconds} s: {elapsed:.3} s");
    let right = seconds - 0.001..seconds + 0.5;
    assert!(right.contains(&elapsed), "{elapsed:.3} s: {outcome}");
    outcome
}

#[test]
fn a_dead_name_server_is_waited_for_no_longer_than_allowed() {
    for (args, seconds, why) in [
        (
            &["--connect-timeout", "1"][..],
            1.0,
            "cannot connect to host.test:7: the look-up of host.test timed out after 1.000 s",
        ),
        (
            &["--retry-for", "2"],
            2.0,
            "cannot reach host.test:7 for 2 s, with 1 message unacknowledged, the first is line 1: \
             the look-up of host.test timed out after 2.000 s",
        ),
    ] {
        let Some(names) = NameServer::start() else {
            return;
        };
        let Some(mut client) = names.serve(&client(7, args)) else {
            return;
        };
        let outcome = run_for(&mut client, seconds);
        outcome.assert_code(1);
        let last = outcome.stderr.lines().last().unwrap();
        assert_eq!(last, format!("client: {why}"), "{outcome}");
        assert!(names.count_questions() > 0);
    }
}

#[test]
fn a_look_up_that_takes_too_long_is_waited_for_again_and_never_doubled() {
    let Some(names) = NameServer::start() else {
        return;
    };
    let args = ["--connect-timeout", "0.2", "--retry-for", "1.5"];
    let Some(mut client) = names.serve(&client(7, &args)) else {
        return;
    };
    run_for(&mut client, 1.5).assert_code(1);
    // One for an address of each kind.
    let questions = names.count_questions();
    assert!(questions <= 2, "asked {questions} times");
}

#[test]
fn a_look_up_that_is_answered_late_still_serves() {
    let Some(names) = NameServer::start() else {
        return;
    };
    let server = Server::start(&[]);
    let IpAddr::V4(ip) = server.address.ip() else {
        panic!("{}", server.address);
    };
    let args = ["-q", "--connect-timeout", "0.2", "--retry-for", "20"];
    let Some(mut client) = names.serve(&client(server.address.port(), &args)) else {
        return;
    };
    let mut client = Running::start(&mut client);
    client.send("hello\n");
    names.await_question();
    thread::sleep(Duration::from_millis(700));
    names.answer(ip);
    assert_eq!(client.read_line(), printed(["hello"]));
    client.stdin.take();
    client.finish().assert(0, "", "");
}

#[test]
fn a_literal_address_is_never_said_to_have_been_looked_up() {
    let address = unused_address();
    let client = crate::util::client(address, &["--connect-timeout", "0.1"]);
    // A thread that is slow to begin: the first thing that it does is to take its
    // name.
    let args = ["-e", "trace=prctl", "-e", "inject=prctl:delay_enter=200000"];
    let Some(mut strace) = strace(&args, &client) else {
        return;
    };
    let why = os_error(111) + "; is the server running there?";
    let expected = format!("client: cannot connect to {address}: {why}\n");
    let mut outcome = run(&mut strace, "");
    // strace complains of two threads that are delayed at once.
    let lines = outcome.stderr.split_inclusive('\n');
    outcome.stderr = lines.filter(|line| !line.starts_with("strace: ")).collect();
    outcome.assert(1, "", &expected);
}

#[test]
fn a_connect_without_an_answer_is_given_up_when_the_time_for_an_outage_is_over() {
    let listener = TcpListener::bind((own_ip(), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let _queue = fill_queue(&listener);
    for limit in ["10", "0.3"] {
        let args = ["--retry-for", "1", "--connect-timeout", limit];
        let outcome = run_for(&mut crate::util::client(address, &args), 1.0);
        outcome.assert_code(1);
        let unacknowledged = "with 1 message unacknowledged, the first is line 1";
        let expected = format!(
            "client: cannot reach {address} for 1 s, {unacknowledged}: Connection timed out\n"
        );
        assert!(outcome.stderr.ends_with(&expected), "{outcome}");
    }
}

#[test]
fn a_dead_address_of_a_name_leaves_time_for_a_living_one() {
    // Which address of a name comes first, the system decides.
    for swaps in [false, true] {
        let (mut dead, mut living) = (own_ip(), own_ip());
        if swaps {
            (dead, living) = (living, dead);
        }
        let server = Server::start_at(SocketAddr::new(living, 0), &[]);
        let port = server.address.port();
        let listener = TcpListener::bind((dead, port)).unwrap();
        let _queue = fill_queue(&listener);
        for args in [
            &["--connect-timeout", "1"][..],
            &["--connect-timeout", "10", "--retry-for", "1", "-q"],
        ] {
            let Some(mut client) = etc_hosts(&client(port, args), &[dead, living]) else {
                return;
            };
            let begun = Instant::now();
            let outcome = run(&mut client, "hello\n");
            let elapsed = begun.elapsed();
            println!("dead {dead}, living {living}: {elapsed:?}");
            outcome.assert(0, printed(["hello"]), "");
            assert!(elapsed < Duration::from_secs(1), "{elapsed:?}");
        }
    }
}
