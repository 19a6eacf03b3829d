//! Both command lines: usage, addresses, failures to start.

use crate::util::{
    Server, ask_line, client_to, client_with, has_ipv6, os_error, printed, run, server,
};

#[test]
fn both_help_texts_show_an_example() {
    for mut program in [server(&["--help"]), client_with(&["--help"])] {
        let outcome = run(&mut program, "");
        outcome.assert_code(0);
        assert!(
            String::from_utf8_lossy(&outcome.stdout).contains("Example:\n"),
            "{outcome}"
        );
    }
}

#[test]
fn usage_errors_exit_with_2() {
    let wrong = [
        "--nonsense",
        "--port=65536",
        "--timeout=inf",
        "--timeout=-1",
        "--timeout=0.0001",
    ];
    let wrong_for_server = ["--max-clients=0", "--framing=words", "--idle-timeout=x"];
    let wrong_for_client = [
        "--window=0",
        "--retry-for=-0",
        "--connect-timeout=nan",
        "--window=65537",
        "--port=0",
        "--rate=0",
        "--rate=-0",
        "--rate=-1",
        "--rate=nan",
        "--rate=inf",
        "--rate=-inf",
        "--rate=1e999",
        "--rate=x",
        "--rate=",
    ];
    for arg in wrong.iter().chain(&wrong_for_server) {
        run(&mut server(&[arg]), "").assert_code(2);
    }
    for arg in wrong.iter().chain(&wrong_for_client) {
        run(&mut client_with(&[arg]), "").assert_code(2);
    }
}

#[test]
fn the_client_accepts_host_and_port_as_arguments() {
    let running = Server::start(&["--host", "127.0.0.1"]);
    let port = running.address.port().to_string();
    for host in ["127.0.0.1", "localhost"] {
        let outcome = run(&mut client_with(&[host, &port]), "hello\n");
        outcome.assert(0, printed(["hello"]), "");
    }
    for (args, why) in [
        (&["127.0.0.1", "--port", &port][..], "cannot be used with"),
        (&["127.0.0.1", "--host", "127.0.0.1"], "cannot be used with"),
        (&[&port], "this looks like a port; use --port "),
        (&["tcp://h:1"], "a host has no '/'; write: client h 1"),
        (
            &["--host", "h/1"],
            "a host has no '/'; write: client h PORT",
        ),
        (
            &["--report", "-"],
            "'-' is no file; use /dev/stdout or /dev/stderr",
        ),
        (&["--series", "-"], "'-' is no file; use /dev/stderr"),
        (&["localhost:80"], "give the port separately: localhost 80"),
        (
            &["--host", "[::1]:80"],
            "give the port separately: [::1] 80",
        ),
        (&["localhost", "0"], "0 is not in 1..=65535"),
    ] {
        let outcome = run(&mut client_with(args), "");
        outcome.assert_code(2);
        assert!(outcome.stderr.contains(why), "{outcome}");
    }
    // The server, too, has a separate flag for the port.
    let outcome = run(&mut server(&["--host", "localhost:80"]), "");
    outcome.assert_code(2);
    assert!(
        outcome
            .stderr
            .contains("give the port separately: localhost 80"),
        "{outcome}"
    );
}

#[test]
fn listens_and_connects_by_name_and_by_ipv6_address() {
    let server = Server::start(&["--host", "localhost"]);
    let mut client = client_to("localhost", server.address.port(), &[]);
    run(&mut client, "hello\n").assert(0, printed(["hello"]), "");

    // All addresses of a name are tried, and ::1 may be the first.
    let server = Server::start(&["--host", "127.0.0.1"]);
    let mut client = client_to("localhost", server.address.port(), &[]);
    run(&mut client, "hello\n").assert(0, printed(["hello"]), "");

    if !has_ipv6() {
        return;
    }
    let server = Server::start(&["--host", "::1"]);
    assert!(server.address.is_ipv6());
    run(&mut server.client(&[]), "hello\n").assert(0, printed(["hello"]), "");
}

#[test]
fn a_busy_port_is_a_one_line_error() {
    let first = Server::start(&[]);
    let address = first.address;
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let second = run(&mut server(&["--host", &host, "--port", &port]), "");
    let why = os_error(98);
    second.assert(
        1,
        "",
        &format!("server: cannot listen on {address}: {why}; --port takes another port\n"),
    );
    ask_line(&first.connect(), "still here");
}

#[test]
fn failures_are_one_line_even_with_rust_backtrace() {
    let mut server = server(&["--host", "192.0.2.1"]);
    let why = os_error(99);
    run(server.env("RUST_BACKTRACE", "1"), "").assert(
        1,
        "",
        &format!("server: cannot listen on 192.0.2.1:12345: {why}\n"),
    );
    let outcome = run(
        client_with(&["--host", "not a name"]).env("RUST_BACKTRACE", "1"),
        "",
    );
    outcome.assert_code(1);
    assert!(
        outcome
            .stderr
            .starts_with("client: cannot connect to not a name:12345: "),
        "{outcome}"
    );
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome}");
}

#[test]
fn rust_log_overrides_quiet_unless_it_is_empty() {
    for (filter, is_logged) in [("info", true), ("", false), ("warn", false)] {
        let server = Server::spawn(server(&["--port", "0", "-q"]).env("RUST_LOG", filter));
        ask_line(&server.connect(), "hello");
        assert_eq!(
            server.log().contains("Received message: hello"),
            is_logged,
            "{filter:?}"
        );
    }
}
