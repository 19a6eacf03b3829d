//! Both command lines: usage, addresses, failures to start.

use std::process::Command;

use crate::util::{
    Server, ask_line, client_to, client_with, has_ipv6, os_error, printed, run, server,
};

/// Each flag of the client, in the order of the help.
const CLIENT_FLAGS: &str = "--host --port --connect-timeout --timeout --retry-for \
    --reconnect-every --half-close --rate --window --reply-prefix --progress --summary --report \
    --series --quiet --verbose --help --version";

/// Each flag of the server, in the order of the help.
const SERVER_FLAGS: &str = "--host --port --inherit --max-clients --idle-timeout --timeout \
    --framing --reply-prefix --quiet --help --version";

/// Returns what a program prints on standard output for this flag.
fn shown(program: fn(&[&str]) -> Command, flag: &str) -> String {
    let outcome = run(&mut program(&[flag]), "");
    outcome.assert(0, &outcome.stdout, "");
    String::from_utf8(outcome.stdout).unwrap()
}

/// Returns the name of the long flag that this line of a help text describes.
fn described_flag(line: &str) -> Option<&str> {
    let words = line.strip_prefix("  ")?.split([' ', ',']);
    words
        .take_while(|word| word.is_empty() || word.starts_with('-'))
        .find(|word| word.starts_with("--"))
}

#[test]
fn the_short_help_has_one_line_for_each_flag_under_its_heading() {
    for (program, arguments, flags, expected_headings) in [
        (
            client_with as fn(&[&str]) -> Command,
            2,
            CLIENT_FLAGS,
            &[
                "Arguments",
                "Connection",
                "Sending and checking",
                "Output",
                "Help",
            ][..],
        ),
        (
            server,
            0,
            SERVER_FLAGS,
            &["Listening", "Limits", "Protocol", "Logging", "Help"],
        ),
    ] {
        let help = shown(program, "-h");
        let (_, after_usage) = help.split_once("Usage: ").unwrap();
        let mut headings = Vec::new();
        let mut flag_lines = 0;
        // A blank line comes before each heading. The last part is what follows the flags.
        let parts: Vec<&str> = after_usage.split("\n\n").collect();
        for part in &parts[1..parts.len() - 1] {
            let (heading, lines) = part.split_once(":\n").unwrap();
            headings.push(heading);
            flag_lines += lines.lines().count();
        }
        assert_eq!(headings, expected_headings, "{help}");
        let described: Vec<&str> = help.lines().filter_map(described_flag).collect();
        let flags: Vec<&str> = flags.split(' ').collect();
        assert_eq!(described, flags, "{help}");
        assert_eq!(flag_lines, arguments + flags.len(), "{help}");
    }
}

#[test]
fn every_line_of_the_help_fits_in_79_columns() {
    for program in [client_with, server] {
        for flag in ["-h", "--help"] {
            for line in shown(program, flag).lines() {
                assert!(line.chars().count() <= 79, "{flag}: {line}");
            }
        }
    }
}

#[test]
fn the_help_explains_zero_exit_codes_and_hidden_defaults_and_has_two_examples() {
    for (program, texts) in [
        (
            client_with as fn(&[&str]) -> Command,
            &[
                "A timeout of 0 is no limit",
                "--retry-for 0 (default) fails at the first outage",
                "0, the default, ends the run at the first outage.",
                "Exit codes: 0 every line acknowledged and printed; 1 failure; 2 usage;",
            ][..],
        ),
        (
            server,
            &[
                "A limit of 0 seconds means no limit.",
                "The default is lines.",
                "Exit codes: 0 shut down by SIGTERM; 1 failure; 2 usage;",
            ],
        ),
    ] {
        let help = shown(program, "--help");
        for text in texts {
            assert!(help.contains(text), "{text}\n{help}");
        }
        assert!(
            help.contains("\"Server received your message: \""),
            "{help}"
        );
        let (_, examples) = help.split_once("Examples:\n").unwrap();
        assert_eq!(examples.lines().count(), 2, "{help}");
    }
}

#[test]
fn the_version_names_the_program() {
    for (program, name) in [
        (client_with as fn(&[&str]) -> Command, "client"),
        (server, "server"),
    ] {
        for flag in ["-V", "--version"] {
            let version = env!("CARGO_PKG_VERSION");
            assert_eq!(
                shown(program, flag),
                format!("{name} {version} (tcp-chat)\n")
            );
        }
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
        for args in [
            &[host, &port][..],
            &[host, "-p", &port],
            &["--port", &port, host],
            &["--host", host, &port],
            &[&port, "--host", host],
            &["--host", host, "--port", &port],
        ] {
            let outcome = run(&mut client_with(args), "hello\n");
            outcome.assert(0, printed(["hello"]), "");
        }
    }
    for (args, why) in [
        (
            &["80"][..],
            "error: invalid value '80' for '[HOST]': this looks like a port; use --port 80\n",
        ),
        (&["80", "81"], "this looks like a port; use --port 80"),
        (&["--host", "80"], "this looks like a port; use --port 80"),
        (
            &["--host", "localhost", "65536"],
            "error: invalid value '65536' for '[PORT]': 65536 is not in 1..=65535\n",
        ),
        (
            &["--host", "localhost", "0"],
            "invalid value '0' for '[PORT]': 0 is not in 1..=65535\n",
        ),
        (&["tcp://h:1"], "a host has no '/'; write: client h 1"),
        (
            &["--host", "h/1"],
            "a host has no '/'; write: client h PORT",
        ),
        (
            &["--report", "-"],
            "'-' is not a file; use /dev/stdout or /dev/stderr",
        ),
        (&["--series", "-"], "'-' is not a file; use /dev/stderr"),
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
}

#[test]
fn a_host_or_a_port_given_twice_is_a_one_line_error() {
    for (args, what) in [
        (
            &["h", "--host", "h"][..],
            "host is given twice, as HOST and by --host",
        ),
        (
            &["h", "80", "--host", "h"],
            "host is given twice, as HOST and by --host",
        ),
        (
            &["80", "81", "--host", "h"],
            "host is given twice, as HOST and by --host",
        ),
        (
            &["h", "80", "-p", "80"],
            "port is given twice, as PORT and by --port",
        ),
        (
            &["--host", "h", "80", "-p", "80"],
            "port is given twice, as PORT and by --port",
        ),
    ] {
        let outcome = run(&mut client_with(args), "");
        outcome.assert(2, "", &format!("error: the {what}; leave one out\n"));
    }
}

#[test]
fn the_server_says_which_flags_to_use_for_a_host_and_a_port() {
    for (host, why) in [
        ("80", "this looks like a port; use --port 80"),
        (
            "localhost:80",
            "give the port separately: --host localhost --port 80",
        ),
        (
            "[::1]:80",
            "give the port separately: --host [::1] --port 80",
        ),
        (
            "tcp://h:1",
            "a host has no '/'; write: server --host h --port 1",
        ),
        (
            "h/1",
            "a host has no '/'; write: server --host h --port PORT",
        ),
    ] {
        let outcome = run(&mut server(&["--host", host]), "");
        outcome.assert_code(2);
        assert!(outcome.stderr.contains(&format!(": {why}\n")), "{outcome}");
    }
}

#[test]
fn a_usage_error_says_what_to_write() {
    for program in [client_with, server] {
        for (timeout, why) in [
            ("5s", "write seconds without a unit: 5 or 0.5"),
            ("0.0001", "must be 0 or at least 0.001"),
            ("soon", "must be a number of seconds, such as 5 or 0.5"),
        ] {
            let outcome = run(&mut program(&["--timeout", timeout]), "");
            outcome.assert_code(2);
            assert!(outcome.stderr.contains(&format!(": {why}\n")), "{outcome}");
        }
    }
    let outcome = run(&mut client_with(&["--rate", "0"]), "");
    assert!(
        outcome.stderr.contains(": must be a number above 0\n"),
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
        &format!(
            "server: cannot listen on {address}: {why}; choose another with --port, or 0 for any\n"
        ),
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
        &format!(
            "server: cannot listen on 192.0.2.1:12345: {why}; \
             choose an address of this machine with --host, or 0.0.0.0 for all\n"
        ),
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
