//! The client's time limits if a name server or an address does not answer.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::util::{
    NameServer, Outcome, Running, Server, client_to, despite_load, fill_queue, os_error, printed,
    run, strace, take_report, temporary_file, unique_ip, unused_address, with_host_addresses,
};

/// Returns a command for the client of the host that only the test's processes know.
fn client(port: u16, args: &[&str]) -> Command {
    client_to("host.test", port, args)
}

/// Runs a client, and asserts that it fails after so many seconds by its own report.
#[track_caller]
fn run_for(seconds: f64, mut client: impl FnMut() -> Option<Command>) -> Option<Outcome> {
    despite_load(|| {
        let report = temporary_file();
        let Some(mut client) = client() else {
            return Ok(None);
        };
        let outcome = run(client.arg("--report").arg(&report), "hello\n");
        outcome.assert_code(1);
        let took = take_report(&report)["seconds"].number();
        println!("limit {seconds} s: {took:.3} s");
        assert!(took > seconds - 0.001, "{took:.3} s: {outcome}");
        match took < seconds + 0.4 {
            true => Ok(Some(outcome)),
            false => Err(format!("{took:.3} s: {outcome}")),
        }
    })
}

#[test]
fn a_dead_name_server_does_not_exceed_the_time_limits() {
    for (args, why) in [
        (
            &["--connect-timeout", "0.5"][..],
            "cannot connect to host.test:7: the look-up of host.test timed out after 0.500 s",
        ),
        (
            &["--retry-for", "0.5"],
            "gave up on host.test:7 after 0.5 s (--retry-for); 1 message unacknowledged, from line 1: \
             the look-up of host.test timed out after 0.500 s",
        ),
    ] {
        let Some(names) = NameServer::start() else {
            return;
        };
        let Some(outcome) = run_for(0.5, || names.serve(&client(7, args))) else {
            return;
        };
        let last = outcome.stderr.lines().last().unwrap();
        assert_eq!(last, format!("client: {why}"), "{outcome}");
        assert!(names.count_questions() > 0);
    }
}

#[test]
fn a_slow_look_up_goes_on_and_is_never_started_twice() {
    let Some(names) = NameServer::start() else {
        return;
    };
    let args = ["--connect-timeout", "0.1", "--retry-for", "0.8"];
    let client = || {
        names.count_questions();
        names.serve(&client(7, &args))
    };
    if run_for(0.8, client).is_some() {
        // One question for IPv4, one for IPv6.
        let questions = names.count_questions();
        assert!(questions <= 2, "asked {questions} times");
    }
}

#[test]
fn a_late_look_up_result_is_still_used() {
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
fn a_literal_address_is_never_reported_as_a_look_up() {
    let address = unused_address();
    let client = crate::util::client(address, &["--connect-timeout", "0.1"]);
    // This delays the start of a thread: its first system call sets its name.
    let args = ["-e", "trace=prctl", "-e", "inject=prctl:delay_enter=200000"];
    let Some(mut strace) = strace(&args, &client) else {
        return;
    };
    let why = os_error(111) + "; is the server running there?";
    let expected = format!("client: cannot connect to {address}: {why}\n");
    let mut outcome = run(&mut strace, "");
    // strace itself complains if two threads are delayed at the same time.
    let lines = outcome.stderr.split_inclusive('\n');
    outcome.stderr = lines.filter(|line| !line.starts_with("strace: ")).collect();
    outcome.assert(1, "", &expected);
}

#[test]
fn an_unanswered_connect_ends_with_the_limit_for_an_outage() {
    let listener = TcpListener::bind((unique_ip(), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let _queue = fill_queue(&listener);
    for limit in ["10", "0.3"] {
        let args = ["--retry-for", "0.8", "--connect-timeout", limit];
        let client = || Some(crate::util::client(address, &args));
        let outcome = run_for(0.8, client).unwrap();
        let unacknowledged = "1 message unacknowledged, from line 1";
        let expected = format!(
            "client: gave up on {address} after 0.8 s (--retry-for); {unacknowledged}: Connection timed out\n"
        );
        assert!(outcome.stderr.ends_with(&expected), "{outcome}");
    }
}

#[test]
fn a_dead_address_of_a_name_leaves_time_for_a_working_one() {
    // The system decides which address of a name is first, so both orders are tested.
    thread::scope(|scope| {
        for args in [
            &["--connect-timeout", "2"][..],
            &["--connect-timeout", "20", "--retry-for", "2", "-q"],
        ] {
            let dead = unique_ip();
            let working = unique_ip();
            scope.spawn(move || assert_connects_to_working_address(dead, working, args));
            let working = unique_ip();
            let dead = unique_ip();
            scope.spawn(move || assert_connects_to_working_address(dead, working, args));
        }
    });
}

/// Asserts that a client connects by a name with two addresses. A wait for the dead one
/// alone would take all the time that the client has.
fn assert_connects_to_working_address(dead: IpAddr, working: IpAddr, args: &[&str]) {
    let server = Server::start_at(SocketAddr::new(working, 0), &[]);
    let port = server.address.port();
    let listener = TcpListener::bind((dead, port)).unwrap();
    let _queue = fill_queue(&listener);
    if let Some(mut client) = with_host_addresses(&client(port, args), &[dead, working]) {
        let outcome = run(&mut client, "hello\n");
        let is_first = outcome.stderr.contains("cannot connect");
        let dead = SocketAddr::new(dead, port);
        let news = match is_first && !args.contains(&"-q") {
            true => {
                format!(
                    "client: cannot connect to {dead}: timed out; trying {}\n",
                    server.address
                )
            }
            false => String::new(),
        };
        outcome.assert(0, printed(["hello"]), &news);
    }
}

/// While its server is away, the working address refuses at once. Then the dead address must
/// not take the time that is left.
#[test]
#[cfg_attr(windows, ignore = "needs signals")]
fn a_dead_second_address_does_not_prolong_an_outage_or_fail_a_run() {
    thread::scope(|scope| {
        for retry_for in ["5", "20"] {
            scope.spawn(move || despite_load(|| check_outage_beside_dead_address(retry_for)));
        }
    });
}

fn check_outage_beside_dead_address(retry_for: &str) -> Result<(), String> {
    let working = unique_ip();
    let dead = unique_ip();
    let mut server = Server::start_at(SocketAddr::new(working, 0), &["-q"]);
    let address = server.address;
    let listener = TcpListener::bind((dead, address.port())).unwrap();
    let _queue = fill_queue(&listener);
    let report = temporary_file();
    let mut command = client(
        address.port(),
        &["-q", "--retry-for", retry_for, "--report"],
    );
    let Some(mut command) = with_host_addresses(command.arg(&report), &[working, dead]) else {
        return Ok(());
    };
    let mut client = Running::start(&mut command);
    client.send("one\n");
    assert_eq!(client.read_line(), printed(["one"]));
    let killed = Instant::now();
    server.kill();
    thread::sleep(Duration::from_secs(1));
    let _server = Server::start_at(address, &["-q"]);
    let truth = killed.elapsed().as_secs_f64();
    client.send("two\n");
    client.stdin.take();
    assert_eq!(client.read_line(), printed(["two"]));
    client.finish().assert(0, "", "");
    let report = take_report(&report);
    let outage = report["outage_seconds"].number();
    println!("an outage of {truth:.3} s, reported as {outage:.3} s");
    let most = truth * 1.07 + 0.03 + 0.25;
    match (truth - 0.03..most + 0.2).contains(&outage) {
        true => Ok(()),
        false => Err(format!("{outage} of {truth} s")),
    }
}
