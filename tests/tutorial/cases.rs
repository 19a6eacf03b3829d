//! The cases that a server is judged by, class by class.

use std::fmt;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tcp_chat::system::is_timeout;

use crate::judge::{Case, Class, Finding, Needs, Trial, Verdict};
use crate::limits::Exhausted;
use crate::programs::shown;
use crate::subject::{Came, End};
use crate::util::{as_process_1, read_once, with_thread_limit};
use crate::{closing, deployment, framing, limits, measuring, peers, restarts};

pub const CASES: &[Case] = &[
    Case {
        class: Class::Wrong,
        name: "a line has a reply, which repeats it",
        entry: "Your own server",
        needs: Needs::Address,
        waits: false,
        judge: |trial| {
            let evidence = sent_and_came("hello\nagain\n", &trial.first_replies);
            Finding::judged(trial.first_replies.contains("hello"), evidence)
        },
    },
    Case {
        class: Class::Wrong,
        name: "each of two lines in one segment has its reply",
        entry: "A stream has no messages",
        needs: Needs::Address,
        waits: false,
        judge: |trial| {
            if trial.replies.is_none() {
                return Finding::new(Verdict::NotJudged, "its replies follow no pattern");
            }
            let evidence = sent_and_came("one\ntwo\n", &trial.two_lines);
            Finding::judged(trial.has_lines(), evidence)
        },
    },
    Case {
        class: Class::Wrong,
        name: "a reply ends before the next one begins",
        entry: "A stream has no messages",
        needs: Needs::Lines,
        waits: false,
        judge: |trial| {
            let is_ended = trial
                .replies
                .as_ref()
                .is_some_and(|replies| !replies.end.is_empty());
            Finding::judged(is_ended, sent_and_came("one\ntwo\n", &trial.two_lines))
        },
    },
    Case {
        class: Class::Wrong,
        name: "a line of 3,000 bytes is one message",
        entry: "A stream has no messages",
        needs: Needs::Lines,
        waits: false,
        judge: |trial| {
            let line = "x".repeat(3000);
            let came = framing::a_long_line(&trial.start(), &line);
            let is_right = came.text() == trial.expected([&*line]);
            Finding::judged(is_right, sent_and_came(&format!("{line}\n"), &came))
        },
    },
    Case {
        class: Class::Wrong,
        name: "a character that is cut between two reads stays whole",
        entry: "A character can be cut",
        needs: Needs::Lines,
        waits: false,
        judge: |trial| {
            let line = framing::text_with_a_character_across_each_read();
            let came = framing::a_long_line(&trial.start(), &line);
            let is_right = came.text() == trial.expected([&*line]);
            Finding::judged(is_right, sent_and_came(&format!("{line}\n"), &came))
        },
    },
    Case {
        class: Class::Wrong,
        name: "an empty line has a reply, and the next line, too",
        entry: "An empty line",
        needs: Needs::Lines,
        waits: false,
        judge: |trial| {
            let came = trial.start().send_at_once(&[b"\nhello\n"], "hello\n");
            let evidence = sent_and_came("\nhello\n", &came);
            if came.text() == trial.expected(["hello"]) {
                return Finding::new(Verdict::Choice, format!("no reply to it: {evidence}"));
            }
            Finding::judged(came.text() == trial.expected(["", "hello"]), evidence)
        },
    },
    Case {
        class: Class::Wrong,
        name: "of 1,000 lines sent without waiting, each has its reply in order",
        entry: "Both write, nobody reads: deadlock",
        needs: Needs::Lines,
        waits: false,
        judge: |trial| {
            let lines: Vec<String> = (1..=1000).map(|number| format!("line {number}")).collect();
            let came = peers::send_and_read(&trial.start(), &(lines.join("\n") + "\n"));
            let expected = trial.expected(lines.iter().map(String::as_str));
            let came = came.text();
            let pairs = came.lines().zip(expected.lines());
            let right = pairs.take_while(|(came, expected)| came == expected);
            let evidence = format!("{} of 1000 replies came in order", right.count());
            Finding::judged(came == expected, evidence)
        },
    },
    Case {
        class: Class::Wrong,
        name: "a line that is no text ends the connection, or the next line has its reply",
        entry: "A dead thread keeps its connection open",
        needs: Needs::Address,
        waits: false,
        judge: |trial| {
            let came = closing::send_what_is_no_text(&trial.start());
            let evidence = format!(r"sent \xff\xfe\n, then hello\n; came {}", came.shown());
            let is_right = came.end != End::Open || came.contains("hello");
            Finding::judged(is_right, evidence)
        },
    },
    Case {
        class: Class::Wrong,
        name: "all replies come after a half-close, and then the end",
        entry: "Half-close, and who closes first",
        needs: Needs::Address,
        waits: false,
        judge: |trial| {
            let lines = closing::lines_as_long_as_a_buffer();
            let came = trial.start().send_and_half_close(&[lines.as_bytes()]);
            let texts = came.text().matches(&"x".repeat(1023)).count();
            let is_right = texts == 3 && came.end == End::Closed;
            let evidence = format!("{texts} of 3 replies came, and then {}", end_of(&came.end));
            Finding::judged(is_right, evidence)
        },
    },
    Case {
        class: Class::Harm,
        name: "a client that closes with replies on their way harms no other",
        entry: "Closing resets, and the reset destroys replies",
        needs: Needs::Address,
        waits: false,
        judge: |trial| {
            let subject = trial.start();
            let is_served = subject.is_served_beside(|| closing::close_at_once(&subject));
            let is_right = is_served && subject.serves_a_new_client();
            Finding::judged(is_right, served_or_not(is_right))
        },
    },
    Case {
        class: Class::Harm,
        name: "a client that sends nothing, and one that ends no line, hold up no other",
        entry: "One client holds up all others",
        needs: Needs::Address,
        waits: false,
        judge: |trial| {
            let subject = trial.start();
            let _silent = subject.connect();
            let mut begun = subject.connect();
            begun.write_all(b"hel").unwrap();
            let is_right = subject.serves_a_new_client();
            Finding::judged(is_right, served_or_not(is_right))
        },
    },
    Case {
        class: Class::Harm,
        name: "a client that reads nothing holds up no other",
        entry: "A peer that does not read",
        needs: Needs::Address,
        waits: false,
        judge: |trial| {
            let subject = trial.start();
            let flood = peers::send_without_reading(&subject, Duration::from_millis(300));
            let is_right = subject.serves_a_new_client();
            let evidence = served_or_not(is_right);
            let taken = flood.sent / 1024;
            Finding::judged(is_right, format!("took {taken} KiB of it, and {evidence}"))
        },
    },
    Case {
        class: Class::Harm,
        name: "a line of 16 MiB without an end takes no memory",
        entry: "A line without end",
        needs: Needs::LinesAndProcess,
        waits: false,
        judge: |trial| {
            let line = framing::a_line_of_mebibytes(&trial.start(), 16);
            let evidence = format!("it took {} MiB more; came {}", line.mib, line.came.shown());
            Finding::judged(line.mib < 8, evidence)
        },
    },
    Case {
        class: Class::Harm,
        name: "its output contains no control characters of a client",
        entry: "Terminal escapes in a log",
        needs: Needs::Process,
        waits: false,
        judge: |trial| {
            let subject = trial.start();
            subject.send_at_once(&[peers::ESCAPES.as_bytes()], "all\n");
            let log = subject.server().log();
            if !log.contains("[2J") {
                return Finding::new(Verdict::NotJudged, "it prints nothing of what it reads");
            }
            let printed = log.lines().find(|line| line.contains("[2J"));
            let printed = printed.unwrap_or_default();
            let has_escape = printed.contains('\x1b');
            let how = if has_escape {
                "with its ESC"
            } else {
                "without an ESC"
            };
            let evidence = format!(r"sent \x1b[2Jhello\n; printed {how}: {printed:?}");
            Finding::judged(!has_escape, evidence)
        },
    },
    Case {
        class: Class::Harm,
        name: "20 clients that have gone leave no thread and no descriptor behind",
        entry: "Descriptors run out",
        needs: Needs::Process,
        waits: false,
        judge: |trial| {
            let subject = trial.start();
            let left = limits::left_behind(&subject, 20);
            let evidence = format!(
                "{} descriptors and {} threads more",
                left.files, left.threads
            );
            // A runtime may keep a few of each for later.
            Finding::judged(left.files < 10 && left.threads < 10, evidence)
        },
    },
    Case {
        class: Class::Harm,
        name: "without free descriptors it serves on, and then new clients, too",
        entry: "Descriptors run out",
        needs: Needs::Process,
        waits: false,
        judge: |trial| {
            let subject = trial.start();
            let mut exhausted = Exhausted::No;
            let mut busy = 0.0;
            let is_served = subject.is_served_beside(|| {
                exhausted = limits::exhaust_descriptors(&subject);
                busy = subject.busy_share(Duration::from_millis(300));
            });
            match exhausted {
                Exhausted::Yes(clients) => drop(clients),
                Exhausted::No => {
                    return Finding::new(Verdict::NotJudged, "it accepts few clients at once");
                }
                Exhausted::NoLimit => return Finding::new(Verdict::LeftOut, "needs prlimit"),
            }
            let is_right = is_served && subject.serves_a_new_client();
            let busy = busy * 100.0;
            let served = served_or_not(is_right);
            let evidence = format!("{served}; {busy:.0} % of a processor while none is free");
            Finding::judged(is_right, evidence)
        },
    },
    Case {
        class: Class::Harm,
        name: "without free threads it serves on, and then new clients, too",
        entry: "Threads run out",
        needs: Needs::Process,
        waits: false,
        judge: |trial| {
            let Some(subject) = trial.start_by(|command| with_thread_limit(30, command)) else {
                let why = "it cannot be run as a user of its own, with a limit of threads";
                return Finding::new(Verdict::LeftOut, why);
            };
            let is_served = subject.is_served_beside(|| {
                let _clients = limits::connect(&subject, 60);
                subject.settle();
            });
            let is_right = is_served && subject.serves_a_new_client();
            Finding::judged(is_right, served_or_not(is_right))
        },
    },
    Case {
        class: Class::Harm,
        name: "it starts again on its port at once",
        entry: "Address already in use",
        needs: Needs::Process,
        waits: false,
        judge: |trial| {
            let address = restarts::kill_while_connected(trial.start());
            let again = trial.target.start_at(address);
            let evidence = match &again {
                Ok(_) => "killed with a client connected, and started again".to_string(),
                Err(why) => {
                    let last = why.trim_end().lines().last().unwrap_or_default();
                    format!("killed with a client connected; then: {last}")
                }
            };
            Finding::judged(again.is_ok(), evidence)
        },
    },
    Case {
        class: Class::Choice,
        name: "a client that sends nothing",
        entry: "Silence is not an end",
        needs: Needs::Address,
        waits: true,
        judge: |trial| given_up(trial, |_| {}),
    },
    Case {
        class: Class::Choice,
        name: "a client that sends a byte now and then and ends no line",
        entry: "Slowloris: a client that drips",
        needs: Needs::Address,
        waits: true,
        judge: |trial| given_up(trial, |mut stream| _ = stream.write(b"x")),
    },
    Case {
        class: Class::Choice,
        name: "a CR before the LF",
        entry: "A stream has no messages",
        needs: Needs::Lines,
        waits: false,
        judge: |trial| {
            let came = trial.start().send_at_once(&[b"hello\r\n"], "hello");
            Finding::new(Verdict::Choice, sent_and_came("hello\r\n", &came))
        },
    },
    Case {
        class: Class::Choice,
        name: "a last line without an LF",
        entry: "Half-close, and who closes first",
        needs: Needs::Lines,
        waits: false,
        judge: |trial| {
            let came = trial.start().send_and_half_close(&[b"one\ntwo"]);
            Finding::new(Verdict::Choice, sent_and_came("one\ntwo", &came))
        },
    },
    Case {
        class: Class::Promise,
        name: "a line that had come before SIGTERM has its reply",
        entry: "Exactly once needs both ends",
        needs: Needs::Process,
        waits: false,
        judge: |trial| {
            let came = restarts::terminate_before_it_reads(&trial.start());
            promise(came.contains("two"), sent_and_came("two\n", &came))
        },
    },
    Case {
        class: Class::Promise,
        name: "as process 1, as in a container, it ends at SIGTERM",
        entry: "Process 1",
        needs: Needs::Process,
        waits: false,
        judge: |trial| {
            let Some(subject) = trial.start_by(as_process_1) else {
                return Finding::new(Verdict::LeftOut, "needs unshare, and the right to use it");
            };
            deployment::terminate_process_1(&subject);
            let has_ended = !subject.serves_a_new_client();
            let evidence = if has_ended {
                "it has ended"
            } else {
                "it serves on"
            };
            promise(has_ended, evidence)
        },
    },
    Case {
        class: Class::Figure,
        name: "of 200 clients that connect while it is paused, so many are queued",
        entry: "The backlog, and the SYN that is repeated",
        needs: Needs::Process,
        waits: false,
        judge: |trial| {
            let queued = limits::connect_while_paused(&trial.start(), 200);
            Finding::new(Verdict::Figure, queued)
        },
    },
    Case {
        class: Class::Figure,
        name: "a client takes",
        entry: "What a thread costs",
        needs: Needs::Process,
        waits: false,
        judge: |trial| {
            let cost = limits::cost_of_a_client(&trial.start(), 50);
            let limits::Cost {
                address_space,
                memory,
            } = cost;
            let evidence = format!("{address_space} KB of address space, {memory} KB of memory");
            Finding::new(Verdict::Figure, evidence)
        },
    },
    Case {
        class: Class::Figure,
        name: "one client that waits for each reply gets, in a second",
        entry: "Nagle's algorithm meets delayed acknowledgement",
        needs: Needs::Address,
        waits: false,
        judge: |trial| {
            let subject = trial.start();
            let rate = measuring::lockstep_rate(&subject, 200);
            Finding::new(Verdict::Figure, format!("{rate:.0} replies"))
        },
    },
];

fn sent_and_came(sent: &str, came: &Came) -> String {
    format!("sent {}; came {}", shown(sent), came.shown())
}

fn end_of(end: &End) -> String {
    match end {
        End::Closed => "the end".to_string(),
        End::Failed(error) => error.clone(),
        End::Open => "nothing".to_string(),
    }
}

/// Waits 5 s at most until the server closes a client that does this each 0.1 s.
fn given_up(trial: &Trial, act: impl Fn(&TcpStream)) -> Finding {
    const LIMIT: Duration = Duration::from_secs(5);
    let subject = trial.start();
    let stream = subject.connect();
    let begun = Instant::now();
    stream
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    while begun.elapsed() < LIMIT {
        act(&stream);
        match read_once(&stream, &mut [0; 1024]) {
            Err(error) if is_timeout(&error) => {}
            // A server without lines replies to each byte.
            Ok(1..) => {}
            Ok(0) | Err(_) => {
                let seconds = begun.elapsed().as_secs_f64();
                return Finding::new(Verdict::Choice, format!("closed after {seconds:.1} s"));
            }
        }
    }
    Finding::new(Verdict::Choice, "no limit within 5 s")
}

fn served_or_not(is_served: bool) -> &'static str {
    if is_served {
        "the others are served"
    } else {
        "the others are not served"
    }
}

fn promise(is_kept: bool, evidence: impl fmt::Display) -> Finding {
    let verdict = if is_kept {
        Verdict::Kept
    } else {
        Verdict::NotKept
    };
    Finding::new(verdict, evidence)
}
