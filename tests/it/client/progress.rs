//! `--progress`: a line each second, in a file and at a terminal.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::util::{PROMPT, Probe, Server, at_terminal, client_at_terminal, printed};

/// Asserts that a line shows the progress of a run. Returns how many lines it counts.
#[track_caller]
fn assert_progress(line: &str) -> u64 {
    let parts: Vec<&str> = line.split(", ").collect();
    let count = parts[0]
        .strip_prefix("client: ")
        .and_then(|rest| rest.strip_suffix(" acknowledged"));
    let rate = parts[1].strip_suffix("/s").map(str::parse::<u64>);
    assert!(matches!(rate, Some(Ok(_))), "{line:?}");
    assert!(line.contains(" in flight"), "{line:?}");
    count.unwrap().parse().unwrap()
}

#[test]
#[cfg_attr(windows, ignore = "needs signals")]
fn each_second_a_line_shows_the_progress_and_the_outage() {
    let mut server = Server::start(&["-q"]);
    let address = server.address;
    let args = ["--rate", "100", "--progress", "--retry-for", "20"];
    let begun = Instant::now();
    let probe = Probe::start(address, &args);
    probe.await_stderr(" in flight", 1);
    server.kill();
    // In a second without replies, there are no reply times.
    let in_outage = ", 0/s, 0 in flight, outage for ";
    probe.await_stderr(in_outage, 1);
    let _server = Server::start_at(address, &["-q"]);
    probe.await_stderr(" again after ", 1);
    let before = probe.stderr().matches(" in flight\n").count();
    probe.await_stderr(" in flight\n", before + 1);
    let (_, stderr) = probe.interrupt();
    let elapsed = begun.elapsed().as_secs() as usize;
    println!("{stderr}");
    let lines = stderr.lines();
    let progress: Vec<&str> = lines
        .filter(|line| line.contains(" acknowledged, "))
        .collect();
    assert!((3..=elapsed).contains(&progress.len()), "{stderr}");
    let counts = progress.iter().map(|line| assert_progress(line));
    assert!(counts.is_sorted(), "{stderr}");
    let mut of_outage = progress.iter().filter(|line| line.contains(in_outage));
    assert!(
        of_outage.all(|line| line.contains(" s, waiting for ")),
        "{stderr}"
    );
    assert!(progress[0].contains(" ms, "), "{stderr}");
}

#[test]
fn at_a_terminal_progress_stays_on_one_line_and_disappears_at_the_end() {
    let server = Server::start(&["-q"]);
    thread::scope(|scope| {
        for (args, end) in [("", ""), ("--summary", "client: 120 acknowledged, ")] {
            let address = server.address;
            scope.spawn(move || shows_progress_in_place(address, args, end));
        }
    });
}

fn shows_progress_in_place(address: SocketAddr, args: &str, end: &str) {
    let (host, port) = (address.ip(), address.port());
    let client = format!("\"$CLIENT\" --host {host} -p {port} --rate 100 --progress {args}");
    let begun = Instant::now();
    let Some(terminal) = at_terminal(&format!("seq 120 | {client} >/dev/null")) else {
        return;
    };
    let outcome = terminal.finish();
    outcome.assert_code(0);
    let elapsed = begun.elapsed().as_secs() as usize;
    let shown = String::from_utf8(outcome.stdout).unwrap();
    let lines: Vec<&str> = shown.split("\r\x1b[K").collect();
    let (last, progress) = lines.split_last().unwrap();
    assert!((1..=elapsed).contains(&progress.len()), "{shown:?}");
    for line in progress {
        assert!(assert_progress(line) <= 120, "{shown:?}");
        assert!(!line.contains(['\r', '\n']), "{shown:?}");
    }
    assert!(
        last.starts_with(end) && last.is_empty() == end.is_empty(),
        "{shown:?}"
    );
}

#[test]
fn at_a_prompt_progress_does_not_disturb_typing() {
    let server = Server::start(&["-q"]);
    let Some(mut terminal) = client_at_terminal(server.address, "--progress") else {
        return;
    };
    terminal.read_until(PROMPT);
    thread::sleep(Duration::from_millis(1300));
    terminal.send("hello\n");
    let shown = terminal.read_until(PROMPT);
    assert_eq!(shown.replace('\r', ""), printed(["hello"]) + PROMPT);
    terminal.send("\x04");
    terminal.finish().assert_code(0);
}
