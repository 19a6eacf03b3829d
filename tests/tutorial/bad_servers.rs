//! The client against each mode of the bad server.

use std::{fs, thread};

use crate::programs::{bad_server, serve};
use crate::util::{acknowledgement, client, os_error, run};

/// How the client ends.
enum Ends {
    /// It prints every reply, and exits with 0.
    Well,
    /// It exits with 1, and its standard error has this reason.
    With(String),
}

fn assert_ends(mode: &str, ends: &Ends) {
    let server = serve(&mut bad_server(mode));
    let lines = ["one", "café", "three"];
    let long_prefix = "x".repeat(1024);
    let mut client = client(server.address, &["--timeout", "1"]);
    if mode == "long" {
        client.args(["--reply-prefix", &long_prefix]);
    }
    let outcome = run(&mut client, lines.join("\n") + "\n");
    let stderr = outcome.stderr.trim_end();
    match ends {
        Ends::Well => {
            let reply = |line: &str| match mode {
                "long" => format!("{long_prefix}{line}\n"),
                _ => acknowledgement(line),
            };
            let replies = lines.map(|line| format!("Server: {}", reply(line)));
            outcome.assert(0, replies.concat(), "");
            println!("{mode:6}  exit code 0, {} replies", replies.len());
        }
        Ends::With(reason) => {
            println!(
                "{mode:6}  exit code 1: {}",
                stderr.lines().last().unwrap_or_default()
            );
            assert!(stderr.contains(reason.as_str()), "{outcome}");
            outcome.assert_code(1);
        }
    }
}

#[test]
fn the_client_says_what_is_wrong_with_each_bad_server() {
    let with = |reason: &str| Ends::With(reason.to_string());
    let silent = || with("no reply within 1 s");
    let modes = [
        ("split", Ends::Well),
        ("merge", Ends::Well),
        ("long", Ends::Well),
        (
            "cut",
            with("closed by the other end in the middle of a reply"),
        ),
        (
            "close",
            with("closed by the other end (3 sent, 1 answered)"),
        ),
        ("wrong", with("3 with a wrong reply")),
        (
            "refuse",
            with("Server refused your connection: 0 clients are allowed"),
        ),
        ("reset", with(&os_error(104))),
        ("mute", silent()),
        ("late", silent()),
        ("unread", silent()),
    ];
    thread::scope(|scope| {
        for (mode, ends) in &modes {
            scope.spawn(|| assert_ends(mode, ends));
        }
    });
}

#[test]
fn the_book_shows_the_usage_of_the_bad_server_as_it_is() {
    let usage = run(&mut bad_server("unknown"), "").stderr;
    assert!(usage.starts_with("Usage: bad_server "), "{usage}");
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/src/book/README.md");
    let book = fs::read_to_string(page).unwrap();
    let shown = format!("$ /tmp/bad_server\n{usage}");
    assert!(book.contains(&shown), "{page} lacks this:\n{shown}");
}
