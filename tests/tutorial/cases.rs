//! The cases that a server is judged by, class by class.

use std::fmt;
use std::time::Duration;

use crate::judge::{Case, Class, Finding, Need, Trial, Verdict};
use crate::limits::Exhausted;
use crate::programs::shown;
use crate::subject::{Came, End, ONE, OTHER, Subject, comes_about_within, is_listening};
use crate::util::{as_process_1, with_thread_limit};
use crate::{closing, deployment, framing, limits, measuring, peers, restarts};

/// How long a server may take to end after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(2);

pub const CASES: &[Case] = &[
    Case {
        class: Class::Wrong,
        name: "a line has a reply, which repeats it",
        entry: "Your own server",
        needs: &[],
        waits: false,
        judge: |trial| {
            let sent = format!("{ONE}\n{OTHER}\n");
            let evidence = sent_and_came(&sent, &trial.first_replies);
            Finding::judged(trial.repeats_lines(), evidence)
        },
    },
    Case {
        class: Class::Wrong,
        name: "each of two lines in one segment has its reply",
        entry: "A stream has no messages",
        needs: &[Need::Replies],
        waits: false,
        judge: |trial| {
            if trial.replies.is_none() {
                return Finding::new(Verdict::NotJudged, "its replies follow no pattern");
            }
            let sent = format!("{ONE}\n{OTHER}\n");
            Finding::judged(trial.has_lines(), sent_and_came(&sent, &trial.two_lines))
        },
    },
    Case {
        class: Class::Wrong,
        name: "a reply ends before the next one begins",
        entry: "A stream has no messages",
        needs: &[Need::Lines],
        waits: false,
        judge: |trial| {
            let replies = trial.replies.as_ref();
            let is_ended = replies.is_some_and(|replies| !replies.end.is_empty());
            let sent = format!("{ONE}\n{OTHER}\n");
            Finding::judged(is_ended, sent_and_came(&sent, &trial.two_lines))
        },
    },
    Case {
        class: Class::Wrong,
        name: "a line of 3,000 bytes is one message",
        entry: "A stream has no messages",
        needs: &[Need::Lines],
        waits: false,
        judge: |trial| judge_long_line(trial, &"x".repeat(3000)),
    },
    Case {
        class: Class::Wrong,
        name: "a character that is cut between two reads stays whole",
        entry: "A character can be cut",
        needs: &[Need::Lines],
        waits: false,
        judge: |trial| judge_long_line(trial, &framing::text_with_a_character_across_each_read()),
    },
    Case {
        class: Class::Wrong,
        name: "an empty line has a reply, and the next line, too",
        entry: "An empty line",
        needs: &[Need::Lines],
        waits: false,
        judge: |trial| {
            let sent = format!("\n{ONE}\n");
            let came = trial.start().send_at_once(&[sent.as_bytes()], &sent[1..]);
            let evidence = sent_and_came(&sent, &came);
            if trial.count(&came, [ONE]) == 1 {
                return Finding::new(Verdict::Choice, format!("no reply to it: {evidence}"));
            }
            Finding::judged(trial.count(&came, ["", ONE]) == 2, evidence)
        },
    },
    Case {
        class: Class::Wrong,
        name: "of many lines sent without waiting, each has its reply in order",
        entry: "Both write, nobody reads: deadlock",
        needs: &[Need::Lines],
        waits: false,
        judge: |trial| {
            // A server that sleeps before each reply would take too long for more.
            let count = if trial.latency < Duration::from_millis(50) {
                1000
            } else {
                10
            };
            let lines: Vec<String> = (1..=count).map(|number| format!("line {number}")).collect();
            let came = peers::send_and_read(&trial.start(), &(lines.join("\n") + "\n"));
            let right = trial.count(&came, lines.iter().map(String::as_str));
            let evidence = format!("{right} of {count} replies came in order");
            Finding::judged(right == lines.len(), evidence)
        },
    },
    Case {
        class: Class::Wrong,
        name: "a line that is no text ends the connection, or the next line has its reply",
        entry: "A dead thread keeps its connection open",
        needs: &[Need::Replies],
        waits: false,
        judge: |trial| {
            let came = closing::send_what_is_no_text(&trial.start());
            let evidence = format!(r"sent \xff\xfe\n, then {ONE}\n; came {}", came.shown());
            let is_right = came.end != End::Open || came.contains(ONE);
            Finding::judged(is_right, evidence)
        },
    },
    Case {
        class: Class::Wrong,
        name: "all replies come after a half-close, and then the end",
        entry: "Half-close, and who closes first",
        needs: &[Need::Replies],
        waits: false,
        judge: |trial| {
            let lines = closing::lines_as_long_as_a_buffer();
            let came = trial.start().send_and_half_close(&[lines.as_bytes()]);
            let wanted = lines.matches('x').count();
            let texts = came.text().matches('x').count();
            let is_right = texts == wanted && came.end == End::Closed;
            let end = end_of(&came.end);
            let evidence = format!("{texts} of {wanted} bytes came back, and then {end}");
            Finding::judged(is_right, evidence)
        },
    },
    Case {
        class: Class::Harm,
        name: "a client that closes with replies on their way harms no other",
        entry: "Closing resets, and the reset destroys replies",
        needs: &[Need::Replies, Need::Several],
        waits: false,
        judge: |trial| {
            let subject = trial.start();
            judge_service_beside(&subject, || closing::close_at_once(&subject))
        },
    },
    Case {
        class: Class::Harm,
        name: "a client that sends what is no text harms no other",
        entry: "A dead thread keeps its connection open",
        needs: &[Need::Replies, Need::Several],
        waits: false,
        judge: |trial| {
            let subject = trial.start();
            judge_service_beside(&subject, || {
                closing::send_what_is_no_text(&subject);
            })
        },
    },
    Case {
        class: Class::Harm,
        name: "a client that sends nothing, and one that ends no line, hold up no other",
        entry: "One client holds up all others",
        needs: &[Need::Replies],
        waits: false,
        judge: |trial| {
            let is_right = trial.serves_several();
            Finding::judged(is_right, served(is_right))
        },
    },
    Case {
        class: Class::Harm,
        name: "a client that reads nothing holds up no other",
        entry: "A peer that does not read",
        needs: &[Need::Replies, Need::Several],
        waits: false,
        judge: |trial| {
            let subject = trial.start();
            let flood = peers::send_without_reading(&subject, Duration::from_millis(300));
            let taken = flood.sent / 1024;
            judge_service(&subject, true, &format!("it took {taken} KiB; "))
        },
    },
    Case {
        class: Class::Harm,
        name: "a line of 16 MiB takes no memory, and has one reply at most",
        entry: "A line without end",
        needs: &[Need::Process, Need::Lines],
        waits: false,
        judge: |trial| {
            let line = framing::a_line_of_mebibytes(&trial.start(), 16);
            let replies = line.came.text().matches('\n').count();
            let came = line.came.shown();
            let evidence = format!(
                "it took {} MiB more; {replies} replies; came {came}",
                line.mib
            );
            Finding::judged(line.mib < 8 && replies <= 1, evidence)
        },
    },
    Case {
        class: Class::Harm,
        name: "its output contains no control characters of a client",
        entry: "Terminal escapes in a log",
        needs: &[Need::Process],
        waits: false,
        judge: |trial| {
            let subject = trial.start();
            subject.send_at_once(&[peers::ESCAPES.as_bytes()], "all\n");
            let log = subject.server().log();
            if !log.contains("[2J") {
                return Finding::new(
                    Verdict::NotJudged,
                    "nothing of it was printed (in C, if it prints: YOURS=\"stdbuf -oL …\")",
                );
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
        needs: &[Need::Process, Need::Replies],
        waits: false,
        judge: |trial| {
            let subject = trial.start();
            let left = limits::left_behind(&subject, 20);
            let evidence = format!(
                "{} descriptors, {} threads or processes more",
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
        needs: &[Need::Process, Need::Replies, Need::Several],
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
                    return Finding::new(
                        Verdict::NotJudged,
                        "it has descriptors left with 60 clients",
                    );
                }
                Exhausted::NoLimit => return Finding::new(Verdict::LeftOut, "needs prlimit"),
            }
            let busy = busy * 100.0;
            let busy = format!("{busy:.0} % of a processor while none was free; ");
            judge_service(&subject, is_served, &busy)
        },
    },
    Case {
        class: Class::Harm,
        name: "without free threads it serves on, and then new clients, too",
        entry: "Threads run out",
        needs: &[Need::Process, Need::Replies, Need::Several],
        waits: false,
        judge: |trial| {
            let Some(subject) = trial.start_by(|command| with_thread_limit(30, command)) else {
                let why = "it cannot be run as a user of its own, with a limit of threads";
                return Finding::new(Verdict::LeftOut, why);
            };
            let files = subject.open_files();
            let is_served = subject.is_served_beside(|| {
                let _clients = limits::connect(&subject, 40);
                subject.settle();
            });
            subject.settle();
            let left = subject.open_files().saturating_sub(files);
            let finding = judge_service(&subject, is_served, "");
            if finding.verdict == Verdict::Holds && left > 10 {
                let evidence =
                    format!("{left} descriptors stay open after their clients have gone");
                return Finding::new(Verdict::Breaks, evidence);
            }
            finding
        },
    },
    Case {
        class: Class::Harm,
        name: "it starts again on its port at once",
        entry: "Address already in use",
        needs: &[Need::Process, Need::Replies],
        waits: false,
        judge: |trial| {
            let address = restarts::kill_while_connected(trial.start());
            match trial.target.start_at(address) {
                Ok(_) => {
                    let evidence = "killed with a client connected, and started again";
                    Finding::new(Verdict::Holds, evidence)
                }
                Err(why) => {
                    let last = why.trim_end().lines().last().unwrap_or_default();
                    let is_in_use = why.to_lowercase().contains("in use");
                    let verdict = if is_in_use {
                        Verdict::Breaks
                    } else {
                        Verdict::NotJudged
                    };
                    Finding::new(
                        verdict,
                        format!("killed with a client connected; then: {last}"),
                    )
                }
            }
        },
    },
    Case {
        class: Class::Choice,
        name: "a client that sends nothing",
        entry: "Silence is not an end",
        needs: &[Need::Replies],
        waits: true,
        judge: |trial| given_up(trial.patience().with_silence),
    },
    Case {
        class: Class::Choice,
        name: "a client that sends a byte now and then and ends no line",
        entry: "Slowloris: a client that drips",
        needs: &[Need::Replies],
        waits: true,
        judge: |trial| given_up(trial.patience().with_drip),
    },
    Case {
        class: Class::Choice,
        name: "a CR before the LF",
        entry: "A stream has no messages",
        needs: &[Need::Lines],
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
        needs: &[Need::Lines],
        waits: false,
        judge: |trial| {
            let came = trial.start().send_and_half_close(&[b"one\ntwo"]);
            Finding::new(Verdict::Choice, sent_and_came("one\ntwo", &came))
        },
    },
    Case {
        class: Class::Promise,
        name: "a line that had come before SIGTERM has its reply",
        entry: "A stop that loses messages",
        needs: &[Need::Process, Need::Replies],
        waits: false,
        judge: |trial| {
            let came = restarts::terminate_before_it_reads(&trial.start());
            promise(
                came.contains(OTHER),
                sent_and_came(&format!("{OTHER}\n"), &came),
            )
        },
    },
    Case {
        class: Class::Promise,
        name: "as process 1, as in a container, it ends at SIGTERM",
        entry: "Process 1",
        needs: &[Need::Process, Need::Replies],
        waits: true,
        judge: |trial| {
            let Some(subject) = trial.start_by(as_process_1) else {
                return Finding::new(Verdict::LeftOut, "needs unshare, and the right to use it");
            };
            if !subject.serves_a_new_client() {
                return Finding::new(Verdict::NotJudged, "it serves nobody there");
            }
            deployment::terminate_process_1(&subject);
            let has_ended = comes_about_within(PATIENCE, || !is_listening(subject.address));
            let evidence = if has_ended {
                "it has ended"
            } else {
                "it listens on"
            };
            promise(has_ended, evidence)
        },
    },
    Case {
        class: Class::Figure,
        name: "of 200 clients that connect while it is paused, so many are queued",
        entry: "The backlog, and the SYN that is repeated",
        needs: &[Need::Process],
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
        needs: &[Need::Process, Need::Replies, Need::Several],
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
        needs: &[Need::Replies],
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

fn given_up(after: Option<Duration>) -> Finding {
    let evidence = match after {
        Some(after) => format!("closed after {:.1} s", after.as_secs_f64()),
        None => "no limit within 5 s".to_string(),
    };
    Finding::new(Verdict::Choice, evidence)
}

fn served(is_served: bool) -> &'static str {
    if is_served {
        "another client is served"
    } else {
        "another client is not served"
    }
}

/// Whether others are served beside a client that does this, and after it.
fn judge_service_beside(subject: &Subject, act: impl FnOnce()) -> Finding {
    let is_old_served = subject.is_served_beside(act);
    judge_service(subject, is_old_served, "")
}

/// Whether a client that was connected has its replies, and a new one, too.
fn judge_service(subject: &Subject, is_old_served: bool, before: &str) -> Finding {
    let is_new_served = subject.serves_a_new_client();
    let what = match (is_old_served, is_new_served) {
        (true, true) => "another client is served, and a new one, too",
        (true, false) => "another client is served, but no new one",
        (false, true) => "a client that was connected is served no more",
        (false, false) => "no other client is served",
    };
    let state = subject.state();
    Finding::judged(
        is_old_served && is_new_served,
        format!("{before}{what}{state}"),
    )
}

/// A line that is longer than what most servers read at once.
fn judge_long_line(trial: &Trial, line: &str) -> Finding {
    let came = framing::a_long_line(&trial.start(), line);
    let evidence = sent_and_came(&format!("{line}\n"), &came);
    if trial.count(&came, [line]) == 1 {
        return Finding::new(Verdict::Holds, evidence);
    }
    // A limit is a good thing, if the server says that it refuses the line.
    let repeats = came.text().matches('x').count();
    let is_refusal = came.contains("\n") && repeats < line.len() / 10;
    let verdict = if is_refusal {
        Verdict::Choice
    } else {
        Verdict::Breaks
    };
    Finding::new(verdict, evidence)
}

fn promise(is_kept: bool, evidence: impl fmt::Display) -> Finding {
    let verdict = if is_kept {
        Verdict::Kept
    } else {
        Verdict::NotKept
    };
    Finding::new(verdict, evidence)
}
