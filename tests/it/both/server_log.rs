//! The client's output against the logs of servers that are killed: each acknowledged line
//! is in a log.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::util::{Random, Server, printed, spawn, temporary_file};

const KILLS: usize = 15;

/// Returns a line. All lines have the same length, so no line begins with another one.
fn line(number: usize) -> String {
    format!("line {number:09}")
}

/// How often the servers have logged each line.
#[derive(Default)]
struct Received {
    times: HashMap<String, usize>,
}

impl Received {
    /// Counts the lines in the log of a server that was killed.
    fn add(&mut self, log: &str) {
        for entry in log.split_inclusive('\n') {
            let Some((_, text)) = entry.split_once(": Received message: ") else {
                assert!(entry.starts_with('['), "{entry}");
                continue;
            };
            match text.strip_suffix('\n') {
                Some(text) => *self.times.entry(text.to_string()).or_default() += 1,
                // A kill may cut the last entry of the log.
                None => assert!(line(0).len() >= text.len(), "{entry}"),
            }
        }
    }
}

#[test]
fn each_acknowledged_line_is_logged_and_only_resent_lines_twice() {
    let mut server = Server::start(&[]);
    let address = server.address;
    let output = temporary_file();
    let mut client = server.client(&["-q", "--retry-for", "20", "--summary"]);
    client.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut client = spawn(client.stdout(File::create(&output).unwrap()));
    let mut stdin = client.stdin.take().unwrap();
    let is_over = AtomicBool::new(false);
    let mut received = Received::default();
    let lines = thread::scope(|scope| {
        let feeder = scope.spawn(|| {
            let mut lines = 0;
            while !is_over.load(Ordering::Relaxed) {
                let part: String = (lines..lines + 50).map(|n| line(n) + "\n").collect();
                stdin.write_all(part.as_bytes()).unwrap();
                lines += 50;
                thread::sleep(Duration::from_millis(4));
            }
            drop(stdin);
            lines
        });
        let mut random = Random(20_261_124);
        for _ in 0..KILLS {
            thread::sleep(Duration::from_millis(20 + random.below(120)));
            server.kill();
            received.add(&server.log());
            thread::sleep(Duration::from_millis(random.below(30)));
            server = Server::start_at(address, &[]);
        }
        is_over.store(true, Ordering::Relaxed);
        feeder.join().unwrap()
    });
    let outcome = client.finish();
    server.kill();
    received.add(&server.log());

    outcome.assert_code(0);
    let stderr = outcome.stderr;
    let is_right = fs::read(&output).unwrap() == printed((0..lines).map(line)).as_bytes();
    fs::remove_file(output).unwrap();
    assert!(is_right, "{stderr}");

    let mut copies = 0;
    for number in 0..lines {
        let times = received.times.remove(&line(number));
        let times = times.unwrap_or_else(|| panic!("no log has {:?}", line(number)));
        copies += times - 1;
    }
    // Only lines that a kill has cut are left, and they begin like a line.
    for text in received.times.keys() {
        let zeros = text.replace(|c: char| c.is_ascii_digit(), "0");
        let is_beginning = text.len() < line(0).len() && line(0).starts_with(&zeros);
        assert!(is_beginning, "{text:?} was never sent");
    }
    let sent_again = stderr.split_once(" sent again").unwrap().0;
    let sent_again: usize = sent_again.rsplit(' ').next().unwrap().parse().unwrap();
    println!("{KILLS} kills, {lines} lines, {copies} copies, {sent_again} sent again");
    assert!(
        copies <= sent_again,
        "{copies} copies, {sent_again} sent again"
    );
}
