//! The conversation against the library's own replies, over a stream that ends
//! after any byte, in either direction and in any manner.

use tcp_chat::wire::MAX_MESSAGE_LINE;

use super::stream::{Connection, Damage, How, Input, Way};
use super::*;

/// Lines that are alike, empty, end in CR LF, hold characters of several bytes,
/// and a last one that lacks its LF.
const GOOD: &[u8] = "hello\n\ngr\u{fc}\u{df}e\r\n\r\n\u{1f389} \u{4e16}\nhello\nbye".as_bytes();

/// The same with lines that are rejected.
const BAD: &[u8] = b"hello\nab\xff\n\xe4\xb8\r\nhello\n\xf0";

/// The reasons for which a connection may be lost here.
const CLOSED: &str = "closed by the other end (";
const CUT: &str = "closed by the other end in the middle of a reply";
const RESET: &str = "connection reset";
const SILENT: &str = "reply within 10 s";
const CAUSES: [&str; 4] = [CLOSED, CUT, RESET, SILENT];

/// What a run has led to.
#[derive(Debug, PartialEq)]
struct Outcome {
    printed: String,
    acknowledged: u64,
    rejected: u64,
    wrong: u64,
    /// Why some messages have no reply, if some have none.
    missing: Option<&'static str>,
}

/// What was covered.
#[derive(Default)]
struct Covered {
    /// How many bytes a stream was cut after.
    bytes: usize,
    /// How many runs had a reply to every message.
    complete: usize,
    incomplete: usize,
}

#[test]
fn wherever_a_stream_is_cut_the_output_is_exact_or_the_run_fails() {
    let mut covered = Covered::default();
    cut_everywhere(GOOD, &mut covered);
    cut_everywhere(BAD, &mut covered);
    let Covered {
        bytes,
        complete,
        incomplete,
    } = covered;
    println!("{bytes} bytes, {complete} runs complete, {incomplete} not");
    assert!(complete > 1000 && incomplete > 1000);
}

/// Runs the input once for each cut, each setting and each size of a read.
fn cut_everywhere(input: &[u8], covered: &mut Covered) {
    let sent = sent(input);
    let replies = replies(&sent.concat(), false);
    let lengths = [sent.concat().len(), replies.len()];
    covered.bytes += lengths.iter().sum::<usize>();
    for damage in every_damage(lengths) {
        for settings in every_setting() {
            let is_single = settings.retry_for.is_zero() && settings.reconnect_every.is_none();
            if is_single && damage.connections > 1 {
                // The first connection is the only one, and was damaged so before.
                continue;
            }
            let expected = expected(&sent, damage, &settings);
            // So many bytes come in a read.
            for part in [1, 7, 1024] {
                let outcome = run(settings.clone(), input, damage, part);
                assert_eq!(outcome, expected, "{damage:?}, {settings:?}, {part}");
                if expected.missing.is_none() {
                    covered.complete += 1;
                } else {
                    covered.incomplete += 1;
                }
            }
        }
    }
}

/// Returns cuts after every byte of the messages and of their replies, which have these
/// lengths, on the first connection or the first two.
fn every_damage(lengths: [usize; 2]) -> Vec<Damage> {
    let mut every = Vec::new();
    for (way, length) in [Way::There, Way::Back].into_iter().zip(lengths) {
        for how in [How::EndOfFile, How::Reset, How::Silence] {
            for (after, connections) in (0..=length).flat_map(|after| [(after, 1), (after, 2)]) {
                every.push(Damage {
                    way,
                    how,
                    after,
                    connections,
                });
            }
        }
    }
    every
}

/// Returns settings that differ in what is in flight and in what a loss means.
fn every_setting() -> Vec<Settings> {
    let mut every = Vec::new();
    for retry_for in [Duration::ZERO, 3600 * SECOND] {
        for (window, reconnect_every) in [(1, None), (3, None), (100, None), (3, Some(2))] {
            every.push(Settings {
                window,
                retry_for,
                reconnect_every,
                ..settings()
            });
        }
    }
    every
}

/// Returns the messages of an input as they are sent.
fn sent(input: &[u8]) -> Vec<Vec<u8>> {
    let lines = input.split_inclusive(|byte| *byte == b'\n');
    lines
        .map(|line| [line.strip_suffix(b"\n").unwrap_or(line), b"\n"].concat())
        .collect()
}

/// Returns the replies of the server to these bytes, and to their end if `is_end`.
fn replies(bytes: &[u8], is_end: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let (mut source, mut lines) = (bytes, LineReader::new(MAX_MESSAGE_LINE));
    while !source.is_empty() || is_end {
        let read = lines.fill(&mut source).unwrap();
        while let Some(line) = lines.next_line() {
            let _ = wire::append_reply(wire::DEFAULT_PREFIX, line, &mut out);
        }
        if read == 0 {
            break;
        }
    }
    out
}

/// Returns the expected outcome, worked out without a conversation.
fn expected(sent: &[Vec<u8>], damage: Damage, settings: &Settings) -> Outcome {
    let is_first_loss_the_end = settings.retry_for.is_zero();
    let Damage {
        way, how, after, ..
    } = damage;
    let mut answers: Vec<Vec<u8>> = Vec::new();
    let mut lost = None;
    for _ in 0..damage.connections {
        let most = settings.reconnect_every.unwrap_or(u64::MAX) as usize;
        let to = sent.len().min(answers.len().saturating_add(most));
        let unanswered = sent[answers.len()..to].concat();
        if unanswered.is_empty() {
            break;
        }
        // Only the end of a stream makes a message of a line that was cut.
        let is_end = how == How::EndOfFile;
        let answered = match way {
            Way::There => replies(&unanswered[..after.min(unanswered.len())], is_end),
            Way::Back => {
                let replies = replies(&unanswered, false);
                replies[..after.min(replies.len())].to_vec()
            }
        };
        let lines = answered.split_inclusive(|byte| *byte == b'\n');
        let (whole, cut): (Vec<_>, Vec<_>) = lines.partition(|line| line.ends_with(b"\n"));
        answers.extend(whole.into_iter().map(<[u8]>::to_vec));
        if answers.len() < to {
            let is_mid_reply = !cut.is_empty();
            lost = Some(match how {
                How::EndOfFile if is_mid_reply => CUT,
                How::EndOfFile => CLOSED,
                How::Reset => RESET,
                How::Silence => SILENT,
            });
            if is_first_loss_the_end {
                break;
            }
        }
    }
    if !is_first_loss_the_end {
        lost = None;
    }
    if lost.is_none() {
        answers.extend(
            sent[answers.len()..]
                .iter()
                .map(|line| replies(line, false)),
        );
    }
    let mut outcome = Outcome {
        printed: String::new(),
        acknowledged: 0,
        rejected: 0,
        wrong: 0,
        missing: lost,
    };
    for (answer, line) in answers.iter().zip(sent) {
        let answer = String::from_utf8(answer.clone()).unwrap();
        // Cut before its LF, a message keeps its CR.
        let right = [
            replies(line, false),
            [wire::DEFAULT_PREFIX.as_bytes(), line].concat(),
        ];
        if answer.starts_with("Server rejected your message: ") {
            outcome.rejected += 1;
        } else if right.iter().any(|right| answer.as_bytes() == right) {
            outcome.acknowledged += 1;
        } else {
            outcome.wrong += 1;
        }
        outcome.printed += &format!("Server: {answer}");
    }
    outcome
}

/// Runs a conversation over this input. The first connections are damaged, and each
/// read brings at most so many bytes.
fn run(settings: Settings, input: &[u8], damage: Damage, part: usize) -> Outcome {
    let mut now = Instant::now();
    let mut conversation = Conversation::new("server".to_string(), settings, now);
    let mut input = Input::new(input);
    let mut printed = Vec::new();
    let mut missing = None;
    let mut rounds = 0;
    for number in 0.. {
        conversation.begin_connect(now);
        conversation.record_connect(now);
        let mut connection = Connection::new(damage, number < damage.connections);
        let received = loop {
            rounds += 1;
            assert!(rounds < 10_000, "it goes on without end");
            input.enqueue(&mut conversation, now);
            match connection.step(&mut conversation, part, &mut now) {
                Ok(More) => {}
                received => break received,
            }
        };
        let mut part = Vec::new();
        conversation.take_output(&mut part);
        printed.extend(part);
        conversation.record_disconnect();
        let Err(end) = received else {
            // The end of the input may be all that is to come.
            input.enqueue(&mut conversation, now);
            if conversation.is_done() {
                break;
            }
            continue;
        };
        match conversation.record_loss(&end, now) {
            Next::Done => {}
            Next::RetryIn(pause) => now += pause,
            Next::GiveUp(why) => {
                missing = CAUSES.into_iter().find(|cause| why.contains(cause));
                assert!(missing.is_some(), "{why}");
                break;
            }
        }
    }
    assert_eq!(missing.is_none(), conversation.is_done());
    let counts = &conversation.counts;
    let failed = counts.replies.rejected + counts.replies.wrong > 0;
    assert_eq!(conversation.verdict().is_err(), failed);
    Outcome {
        printed: String::from_utf8(printed).unwrap(),
        acknowledged: counts.replies.acknowledged,
        rejected: counts.replies.rejected,
        wrong: counts.replies.wrong,
        missing,
    }
}
