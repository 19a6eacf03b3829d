//! Each limit at its last moment and one before, and each message word for word.

use super::*;

const NANOSECOND: Duration = Duration::from_nanos(1);

/// Returns a conversation that has a connection, and when it began.
fn connected(settings: Settings) -> (Conversation, Instant) {
    let now = Instant::now();
    let mut conversation = Conversation::new("server".to_string(), settings, now);
    conversation.begin_connect(now);
    conversation.record_connect(now);
    (conversation, now)
}

/// Returns a conversation with these lines in flight, and when they were sent.
fn in_flight(settings: Settings, lines: &[&str]) -> (Conversation, Instant) {
    let (mut conversation, now) = connected(settings);
    for line in lines {
        conversation.enqueue(Line::Whole(line.as_bytes()), now);
    }
    conversation.take_unsent(&mut Vec::new(), now);
    (conversation, now)
}

fn without_retry() -> Settings {
    Settings {
        retry_for: Duration::ZERO,
        ..settings()
    }
}

/// Lets these bytes arrive.
fn read(conversation: &mut Conversation, bytes: &str, now: Instant) -> Result<Received, Loss> {
    let mut replies = LineReader::new(MAX_REPLY);
    let read = replies.fill(&mut bytes.as_bytes());
    conversation.receive_since(&mut replies, read, now, now)
}

/// Lets a read time out.
fn wait(conversation: &mut Conversation, since: Instant, now: Instant) -> Result<Received, Loss> {
    let timeout = Err(READ_TIMEOUT.into());
    conversation.receive_since(&mut LineReader::new(MAX_REPLY), timeout, since, now)
}

fn acknowledgement(text: &str) -> String {
    format!("Server received your message: {text}\n")
}

/// Takes the news, and returns the errors among them.
fn take_errors(conversation: &mut Conversation) -> Vec<String> {
    let mut errors = Vec::new();
    for news in conversation.take_news() {
        if news.level == Level::Error {
            errors.push(news.line);
        }
    }
    errors
}

/// Returns how long the current outage has lasted.
fn outage(conversation: &mut Conversation, now: Instant) -> Option<Duration> {
    conversation.snapshot(now).outage
}

#[test]
fn the_window_is_open_for_its_size_in_messages_and_for_half_a_mebibyte() {
    let (mut conversation, now) = connected(Settings {
        window: 3,
        ..settings()
    });
    for _ in 0..3 {
        assert!(conversation.is_window_open());
        conversation.enqueue(Line::Whole(b""), now);
    }
    assert!(!conversation.is_window_open());

    let (mut conversation, now) = connected(settings());
    let line = [b'x'; 65_535];
    for _ in 0..8 {
        assert!(conversation.is_window_open());
        conversation.enqueue(Line::Whole(&line), now);
    }
    assert!(!conversation.is_window_open());
}

#[test]
fn a_reply_reopens_a_full_window() {
    let settings = Settings {
        window: 3,
        ..settings()
    };
    let (mut conversation, now) = in_flight(settings, &["", ""]);
    assert_eq!(conversation.window_open_since(), Some(now));
    read(&mut conversation, &acknowledgement(""), now + SECOND).unwrap();
    assert_eq!(conversation.window_open_since(), Some(now));
    for _ in 0..2 {
        conversation.enqueue(Line::Whole(b""), now + SECOND);
    }
    assert_eq!(conversation.window_open_since(), None);
    for seconds in [2, 3] {
        let at = now + seconds * SECOND;
        read(&mut conversation, &acknowledgement(""), at).unwrap();
        assert_eq!(conversation.window_open_since(), Some(now + 2 * SECOND));
        conversation.take_unsent(&mut Vec::new(), at);
    }
}

#[test]
fn queued_lines_do_not_count_as_sent_on_a_lost_connection() {
    let (mut conversation, now) = in_flight(without_retry(), &["one", "two"]);
    conversation.enqueue(Line::Whole(b"three"), now);
    conversation.record_disconnect();
    let why = conversation.record_loss(&Loss::Ended, now).reason();
    assert!(why.ends_with(" (2 sent, 0 answered)"), "{why}");
    assert!(
        why.contains(" with 2 messages in flight (3 unacknowledged), from line 1: "),
        "{why}"
    );
}

#[test]
fn no_reply_is_missed_until_the_whole_timeout_has_passed() {
    let (mut conversation, now) = in_flight(settings(), &["one", "two"]);
    let last = now + 10 * SECOND - NANOSECOND;
    assert_eq!(wait(&mut conversation, now, last), Ok(More));
    let end = Loss::Broken("no reply within 10 s".to_string());
    let over = last + NANOSECOND;
    assert_eq!(wait(&mut conversation, now, over), Err(end.clone()));
    // It counts again from each reply, and from when the client began to listen.
    assert_eq!(
        read(&mut conversation, &acknowledgement("one"), last),
        Ok(More)
    );
    assert_eq!(wait(&mut conversation, now, last + 9 * SECOND), Ok(More));
    let listening = last + SECOND;
    assert_eq!(
        wait(&mut conversation, listening, last + 10 * SECOND),
        Ok(More)
    );
    assert_eq!(
        wait(&mut conversation, listening, last + 11 * SECOND),
        Err(end)
    );
}

#[test]
fn an_unused_connection_ends_an_outage_after_a_second() {
    let (mut conversation, now) = connected(settings());
    assert!(conversation.record_loss(&Loss::Ended, now).is_retry());
    let back = now + 3 * SECOND;
    conversation.record_connect(back);
    let last = back + SECOND - NANOSECOND;
    assert_eq!(wait(&mut conversation, back, last), Ok(More));
    // While no message is sent, the outage ends at the connect.
    assert_eq!(outage(&mut conversation, last), Some(3 * SECOND));
    assert_eq!(wait(&mut conversation, back, last + NANOSECOND), Ok(More));
    assert_eq!(outage(&mut conversation, last), None);
    let news = conversation.take_news();
    let back = "connected to server again after 3.000 s; 0 lines sent again";
    assert_eq!(news.last().unwrap(), &News::warn(back.to_string()));
}

#[test]
fn in_an_outage_the_first_reply_must_come_within_retry_for() {
    let (mut conversation, now) = in_flight(
        Settings {
            retry_for: 12 * SECOND,
            ..settings()
        },
        &["one"],
    );
    assert!(conversation.record_loss(&Loss::Ended, now).is_retry());
    conversation.record_connect(now + 5 * SECOND);
    conversation.take_unsent(&mut Vec::new(), now + 5 * SECOND);
    let last = now + 12 * SECOND - NANOSECOND;
    assert_eq!(wait(&mut conversation, now, last), Ok(More));
    let end = Loss::Broken("no complete reply before --retry-for ran out".to_string());
    assert_eq!(
        wait(&mut conversation, now, last + NANOSECOND),
        Err(end.clone())
    );
    let why = conversation.record_loss(&end, last + NANOSECOND).reason();
    assert_eq!(
        why,
        "gave up on server after 12 s (--retry-for); 1 message unacknowledged, from line 1: \
         no complete reply before --retry-for ran out"
    );
}

#[test]
fn an_outage_begins_with_the_first_reply_that_is_missed() {
    let (mut conversation, now) = in_flight(settings(), &["one", "two"]);
    let answered = now + SECOND;
    assert_eq!(
        read(&mut conversation, &acknowledgement("one"), answered),
        Ok(More)
    );
    let lost = now + 3 * SECOND;
    assert!(conversation.record_loss(&Loss::Ended, lost).is_retry());
    assert_eq!(outage(&mut conversation, lost), Some(2 * SECOND));
    let back = now + 5 * SECOND;
    conversation.record_connect(back);
    conversation.take_unsent(&mut Vec::new(), back);
    assert_eq!(
        read(&mut conversation, &acknowledgement("two"), back),
        Ok(More)
    );
    let outage = &conversation.first_outages[0];
    assert_eq!(
        (outage.began, outage.length, outage.sent_again),
        (now + SECOND, 4 * SECOND, 1)
    );
    assert_eq!(
        conversation.take_news(),
        [
            "connection to server lost with 1 message in flight, from line 2: \
             closed by the other end (2 sent, 1 answered); trying again for up to 3600 s",
            "connected to server again after 4.000 s; 1 line sent again",
        ]
        .map(|line| News::warn(line.to_string()))
    );
}

#[test]
fn an_outage_at_the_start_begins_with_the_first_attempt() {
    let now = Instant::now();
    let mut conversation = Conversation::new("server".to_string(), settings(), now - SECOND);
    assert_eq!(conversation.begin_connect(now), Some(5 * SECOND));
    let end = unreachable("refused");
    // Two of the three seconds count for the pause, too.
    let later = now + 3 * SECOND;
    assert_eq!(
        conversation.record_loss(&end, later),
        Next::RetryIn(3 * SECOND / 16)
    );
    assert_eq!(outage(&mut conversation, later), Some(3 * SECOND));
    let length = conversation.outage_length(later).unwrap();
    let outage = conversation.close_outage(length, later).unwrap();
    assert_eq!((outage.began, outage.length), (now, 3 * SECOND));
}

#[test]
fn an_attempt_to_connect_takes_no_longer_than_the_shortest_limit() {
    let limit = |retry_for| {
        let settings = Settings {
            retry_for,
            ..settings()
        };
        Conversation::new("server".to_string(), settings, Instant::now())
            .begin_connect(Instant::now())
    };
    assert_eq!(limit(Duration::ZERO), Some(5 * SECOND));
    assert_eq!(limit(4 * SECOND), Some(4 * SECOND));
    assert_eq!(limit(6 * SECOND), Some(5 * SECOND));

    let (mut conversation, now) = connected(settings());
    assert!(conversation.record_loss(&Loss::Ended, now).is_retry());
    for (left, limit) in [
        (6 * SECOND, 5 * SECOND),
        (4 * SECOND, 4 * SECOND),
        (NANOSECOND, SHORTEST_PAUSE),
    ] {
        let at = now + settings().retry_for - left;
        assert_eq!(conversation.begin_connect(at), Some(limit));
        // There is no pause beyond the last moment.
        let pause = conversation.record_loss(&Loss::Ended, at);
        assert_eq!(pause, Next::RetryIn(SECOND.min(left)));
    }
}

#[test]
fn deadlines_are_judged_by_the_shortest_limit() {
    let limit = |timeout, retry_for| {
        let settings = Settings {
            timeout,
            retry_for,
            ..settings()
        };
        Conversation::new("server".to_string(), settings, Instant::now()).shortest_limit()
    };
    assert_eq!(limit(Some(2 * SECOND), Duration::ZERO), Some(2 * SECOND));
    assert_eq!(limit(Some(2 * SECOND), 3 * SECOND), Some(2 * SECOND));
    assert_eq!(limit(Some(4 * SECOND), 3 * SECOND), Some(3 * SECOND));
    assert_eq!(limit(None, 3 * SECOND), Some(3 * SECOND));
    assert_eq!(limit(None, Duration::ZERO), None);
}

#[test]
fn a_reply_time_counts_from_when_the_line_was_due() {
    let (mut conversation, now) = connected(settings());
    conversation.enqueue(Line::Whole(b"one"), now);
    conversation.take_unsent(&mut Vec::new(), now + SECOND);
    assert_eq!(
        read(&mut conversation, &acknowledgement("one"), now + 3 * SECOND),
        Ok(More)
    );
    assert_eq!(
        conversation.counts.reply_times.quantile(1.0),
        Some(3 * SECOND)
    );
}

#[test]
fn ten_errors_of_a_kind_are_logged_and_further_ones_only_counted() {
    let (mut conversation, now) = connected(settings());
    for _ in 0..14 {
        conversation.enqueue(Line::TooLong, now);
    }
    let errors = take_errors(&mut conversation);
    assert_eq!(errors.len(), 11);
    assert_eq!(errors[9], "line 10: not sent: longer than 65536 bytes");
    assert_eq!(errors[10], "further lines over the limit are only counted");

    for (reply, first, more) in [
        (
            "Server rejected your message: no\n",
            "line 1: rejected: no",
            "further rejections are only counted",
        ),
        (
            "no\n",
            "line 1: wrong reply: expected \"Server received your message: x\", got \"no\"",
            "further wrong replies are only counted",
        ),
    ] {
        let (mut conversation, now) = in_flight(settings(), &["x"; 14]);
        assert_eq!(read(&mut conversation, &reply.repeat(14), now), Ok(More));
        let errors = take_errors(&mut conversation);
        assert_eq!(errors.len(), 11);
        assert_eq!((&errors[0][..], &errors[10][..]), (first, more));
    }
}

#[test]
fn the_verdict_counts_what_was_not_acknowledged() {
    let (mut conversation, now) = in_flight(settings(), &["x"; 6]);
    conversation.enqueue(Line::TooLong, now);
    let replies =
        acknowledgement("x").repeat(2) + "Server rejected your message: no\n" + "?\n?\n?\n";
    assert_eq!(read(&mut conversation, &replies, now), Ok(More));
    let counted =
        "5 of 7 lines were not acknowledged: 1 too long, 1 rejected, 3 with a wrong reply";
    assert_eq!(conversation.verdict(), Err(counted.to_string()));
    conversation.end_input(Err(io::Error::other("bad")));
    let unread = "cannot read standard input: bad";
    assert_eq!(conversation.verdict(), Err(unread.to_string()));
    assert!(conversation.input != Input::Open && !conversation.snapshot(now).input_was_read);
    conversation.end_input(Ok(()));
    assert!(conversation.snapshot(now).input_was_read);
}

#[test]
fn a_long_wrong_reply_is_shown_from_where_it_differs() {
    let (mut conversation, now) = in_flight(settings(), &[&"x".repeat(100)]);
    let wrong = acknowledgement(&("x".repeat(99) + "y"));
    assert_eq!(read(&mut conversation, &wrong, now), Ok(More));
    let x = "x".repeat(20);
    assert_eq!(
        take_errors(&mut conversation),
        [format!(
            "line 1: wrong reply: from column 130 on \
             expected \"…{x}x… (130 bytes)\", got \"…{x}y… (130 bytes)\""
        )]
    );
}

#[test]
fn without_retries_the_end_says_what_is_missing() {
    for (lines, answered, end, why) in [
        (
            &["one", "two"][..],
            1,
            Loss::Broken("reset".to_string()),
            "connection to server lost with 1 message in flight, from line 2: \
             reset (2 sent, 1 answered)",
        ),
        (
            &["one", "two"],
            0,
            Loss::Ended,
            "connection to server lost with 2 messages in flight, from line 1: \
             closed by the other end (2 sent, 0 answered)",
        ),
        (
            &["one"],
            1,
            Loss::Ended,
            "connection to server closed; all messages so far have replies: closed by the other end",
        ),
        (
            &[],
            0,
            Loss::Ended,
            "connection to server lost before anything was sent: closed by the other end",
        ),
        (&[], 0, Loss::NotServed("full".to_string()), "server: full"),
        (
            &[],
            0,
            unreachable("refused"),
            "cannot connect to server: refused",
        ),
    ] {
        let (mut conversation, now) = in_flight(without_retry(), lines);
        for line in &lines[..answered] {
            assert_eq!(
                read(&mut conversation, &acknowledgement(line), now),
                Ok(More)
            );
        }
        assert_eq!(
            conversation.record_loss(&end, now),
            Next::GiveUp(why.to_string())
        );
    }
}

/// Lines that were sent over an earlier connection have no reply, though nothing is in flight.
#[test]
fn a_connection_lost_with_nothing_in_flight_does_not_hide_unacknowledged_lines() {
    let cause = |conversation: &mut Conversation, now| {
        assert!(conversation.record_loss(&Loss::Ended, now).is_retry());
        let outage = conversation.outage.take().unwrap();
        outage.cause
    };
    // Nothing was acknowledged, and then: one line was.
    for answered in [0, 1] {
        let (mut conversation, now) = in_flight(settings(), &["one", "two"]);
        for line in &["one", "two"][..answered] {
            let received = read(&mut conversation, &acknowledgement(line), now);
            assert_eq!(received, Ok(More));
        }
        cause(&mut conversation, now);
        conversation.record_connect(now);
        let missing = 2 - answered;
        assert_eq!(
            cause(&mut conversation, now),
            format!(
                "connection to server lost with nothing in flight ({missing} unacknowledged): \
                 closed by the other end"
            )
        );
    }
    // A line that is queued and was never sent.
    let (mut conversation, now) = in_flight(settings(), &["one"]);
    let received = read(&mut conversation, &acknowledgement("one"), now);
    assert_eq!(received, Ok(More));
    conversation.enqueue(Line::Whole(b"two"), now);
    assert_eq!(
        cause(&mut conversation, now),
        "connection to server lost with nothing in flight (1 unacknowledged): \
         closed by the other end"
    );
    let (mut conversation, now) = connected(settings());
    conversation.enqueue(Line::Whole(b"one"), now);
    assert_eq!(
        cause(&mut conversation, now),
        "connection to server lost before anything was sent: closed by the other end"
    );
}

#[test]
fn the_column_of_a_difference_counts_characters() {
    let text = "\u{e9}".repeat(100);
    let (mut conversation, now) = in_flight(settings(), &[&(text.clone() + "x")]);
    let wrong = acknowledgement(&(text + "y"));
    assert_eq!(read(&mut conversation, &wrong, now), Ok(More));
    let errors = take_errors(&mut conversation);
    // The prefix has 30 characters.
    assert!(
        errors[0].starts_with("line 1: wrong reply: from column 131 on expected "),
        "{errors:?}"
    );
}

#[test]
fn a_reply_over_the_limit_is_a_violation_with_and_without_its_end() {
    for end in ["", "\n"] {
        let (mut conversation, now) = in_flight(settings(), &["one"]);
        let bytes = "x".repeat(MAX_REPLY + 1) + end;
        let (mut source, mut replies) = (bytes.as_bytes(), LineReader::new(MAX_REPLY));
        let received = loop {
            let read = replies.fill(&mut source);
            match conversation.receive_since(&mut replies, read, now, now) {
                Ok(More) => {}
                received => break received,
            }
        };
        let why = "a reply of more than 65567 bytes; is this a tcp-chat server?";
        assert_eq!(received, Err(Loss::Violation(why.to_string())));
    }
}

#[test]
fn a_notice_after_replies_ends_the_connection() {
    let refused = "Server refused your connection: full";
    let closed = "Server closed your connection: idle";
    for (notice, end) in [
        (refused, Loss::NotServed(refused.to_string())),
        (closed, Loss::Broken(closed.to_string())),
    ] {
        let (mut conversation, now) = in_flight(settings(), &["one", "two"]);
        let bytes = acknowledgement("one") + notice + "\n";
        assert_eq!(read(&mut conversation, &bytes, now), Err(end));
        assert_eq!(conversation.outbox.len(), 1);
    }
}

#[test]
fn replies_that_could_not_be_printed_do_not_count() {
    let (mut conversation, began) = in_flight(settings(), &["one", "two", "three"]);
    let at = |seconds| began + seconds * SECOND;
    assert_eq!(
        read(&mut conversation, &acknowledgement("one"), at(1)),
        Ok(More)
    );
    let replies = acknowledgement("two") + &acknowledgement("three");
    assert_eq!(read(&mut conversation, &replies, at(2)), Ok(More));
    for (is_printing, acknowledged, unacknowledged, waiting) in
        [(false, 3, 0, None), (true, 1, 2, Some(3 * SECOND))]
    {
        conversation.printing.has_unprinted = is_printing;
        let end = conversation.conclude(at(3));
        assert_eq!(
            (end.counts.replies.acknowledged, end.unacknowledged),
            (acknowledged, unacknowledged)
        );
        assert_eq!(end.waiting, waiting);
        assert!(end.counts.reply_times.figures().is_some());
    }

    // If no reply is left, none has a reply time.
    let (mut conversation, now) = in_flight(settings(), &["one"]);
    assert_eq!(
        read(&mut conversation, &acknowledgement("one"), now),
        Ok(More)
    );
    conversation.printing.has_unprinted = true;
    let end = conversation.conclude(now);
    assert_eq!((end.counts.replies.total(), end.unacknowledged), (0, 1));
    assert_eq!(end.counts.reply_times.figures(), None);
}

/// The client prints replies, and its output is not read for five seconds. In that time the
/// server is away for a moment.
#[test]
fn a_blocked_output_in_an_outage_is_own_delay() {
    const TICK: Duration = Duration::from_millis(10);
    let (mut conversation, began) = in_flight(settings(), &["one", "two"]);
    let at = |millis| began + Duration::from_millis(millis);
    let mut replies = LineReader::new(MAX_REPLY);
    conversation.begin_to_listen(began);
    for millis in (0..1000).step_by(10) {
        conversation.measure_own_delay(at(millis));
    }
    let read = replies.fill(&mut acknowledgement("one").as_bytes());
    assert_eq!(conversation.receive(&mut replies, read, at(1000)), Ok(More));
    for millis in (1000..6000).step_by(10) {
        conversation.measure_own_delay(at(millis));
    }
    let so_far = conversation.snapshot(at(5995));
    let own_delay = so_far.longest_own_delay(at(1000));
    assert!(
        own_delay + 2 * TICK > 5 * SECOND && own_delay < 5 * SECOND,
        "{own_delay:?}"
    );

    conversation.end_printing();
    conversation.begin_to_listen(at(6000));
    let end = replies.fill(&mut &b""[..]);
    assert_eq!(
        conversation.receive(&mut replies, end, at(6000)),
        Err(Loss::Ended)
    );
    conversation.record_disconnect();
    assert!(conversation.record_loss(&Loss::Ended, at(6000)).is_retry());
    conversation.begin_connect(at(6100));
    conversation.record_connect(at(6200));
    conversation.take_unsent(&mut Vec::new(), at(6200));
    let mut replies = LineReader::new(MAX_REPLY);
    conversation.begin_to_listen(at(6200));
    let read = replies.fill(&mut acknowledgement("two").as_bytes());
    assert_eq!(conversation.receive(&mut replies, read, at(6200)), Ok(More));
    let outage = &conversation.first_outages[0];
    let of_the_path = outage.length - outage.own_delay;
    assert_eq!(outage.length, Duration::from_millis(5200));
    assert!(
        of_the_path.abs_diff(SECOND / 5) <= 2 * TICK,
        "{of_the_path:?}"
    );
}

/// A client that waits in a read would notice each reply at once, however long none comes.
#[test]
fn a_silent_server_is_no_delay_of_the_client() {
    let (mut conversation, began) = in_flight(settings(), &["one"]);
    conversation.measure_own_delay(began);
    conversation.begin_to_listen(began);
    for ticks in 1..900 {
        let now = began + ticks * SECOND / 100;
        conversation.measure_own_delay(now);
        if ticks % 100 == 0 {
            let waited = Err(READ_TIMEOUT.into());
            let received = conversation.receive(&mut LineReader::new(MAX_REPLY), waited, now);
            assert_eq!(received, Ok(More));
        }
        let so_far = conversation.snapshot(now);
        assert!(
            so_far.longest_own_delay(began) <= SECOND / 100,
            "after {ticks} ticks"
        );
    }
}

/// Replies and a notice come together. While the replies are printed, ticks come.
#[test]
fn ticks_before_a_lost_connection_do_not_delay_those_of_the_outage() {
    let (mut conversation, began) = in_flight(settings(), &["one", "two"]);
    let at = |millis: u64| began + Duration::from_millis(millis);
    let measure = |conversation: &mut Conversation, from: u64, to: u64| {
        for millis in (from..to).step_by(10) {
            conversation.measure_own_delay(at(millis));
        }
    };
    let mut replies = LineReader::new(MAX_REPLY);
    conversation.begin_to_listen(began);
    let bytes = acknowledgement("one") + "Server closed your connection: bye\n";
    let read = replies.fill(&mut bytes.as_bytes());
    assert!(conversation.receive(&mut replies, read, at(0)).is_err());
    measure(&mut conversation, 0, 500);
    conversation.end_printing();
    conversation.record_disconnect();
    let end = Loss::Broken("bye".to_string());
    assert!(conversation.record_loss(&end, at(500)).is_retry());
    conversation.begin_to_listen(at(500));
    measure(&mut conversation, 500, 3000);
    conversation.begin_connect(at(3000));
    conversation.record_connect(at(3000));
    conversation.take_unsent(&mut Vec::new(), at(3000));
    let mut replies = LineReader::new(MAX_REPLY);
    conversation.begin_to_listen(at(3000));
    let read = replies.fill(&mut acknowledgement("two").as_bytes());
    assert_eq!(conversation.receive(&mut replies, read, at(3001)), Ok(More));
    let outage = &conversation.first_outages[0];
    assert_eq!(outage.length, Duration::from_millis(3001));
    let own_delay = outage.own_delay;
    assert!(
        own_delay.abs_diff(SECOND / 2) <= SECOND / 100,
        "{own_delay:?}"
    );
}

/// Standard error takes nothing for a while, and a line is logged.
#[test]
fn blocked_logging_is_own_delay() {
    for in_flight in [false, true] {
        let (mut conversation, began) = connected(settings());
        let at = |millis: u64| began + Duration::from_millis(millis);
        conversation.measure_own_delay(began);
        if in_flight {
            conversation.enqueue(Line::Whole(b"one"), began);
            conversation.take_unsent(&mut Vec::new(), began);
        }
        conversation.stop_listening();
        for millis in (10..2000).step_by(10) {
            conversation.measure_own_delay(at(millis));
        }
        conversation.begin_to_listen(at(2000));
        if in_flight {
            assert_eq!(
                read(&mut conversation, &acknowledgement("one"), at(2000)),
                Ok(More)
            );
        }
        let end = conversation.conclude(at(2000));
        let own_delay = end.longest_own_delay(began);
        assert!(
            own_delay.abs_diff(2 * SECOND) <= SECOND / 100,
            "{in_flight}: {own_delay:?}"
        );
    }
}
