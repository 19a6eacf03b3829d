//! A conversation to which any event can happen, beside a model of its expected state.

use super::events::Event;
use super::model::{Answer, InputEnd, Model, TEXTS};
use super::*;

const BEGINNING: &[u8] = b"Server rec";

/// The longest reply in bytes here: more than any whole reply has, and few, to exceed it
/// quickly.
const LONGEST_REPLY: usize = 200;

#[derive(Clone)]
pub(super) struct World {
    pub(super) conversation: Conversation,
    pub(super) model: Model,
    replies: LineReader,
    pub(super) now: Instant,
    /// Whether a reply has begun and not ended.
    pub(super) is_mid_reply: bool,
    /// Whether an outage has lasted for as long as one may.
    pub(super) is_waited_out: bool,
    /// Whether there are to be no more attempts.
    pub(super) is_given_up: bool,
    /// How many connections were lost.
    pub(super) losses: usize,
    /// Why the connection is over, until the loop that connects knows it.
    pub(super) end: Option<Loss>,
    /// How the run ended.
    pub(super) outcome: Option<Result<(), String>>,
    /// All news that the conversation handed out.
    pub(super) news: Vec<News>,
    /// All replies that it handed out.
    pub(super) printed: Vec<u8>,
}

impl World {
    pub(super) fn new(settings: &Settings) -> Self {
        let now = Instant::now();
        World {
            conversation: Conversation::new("server".to_string(), settings.clone(), now),
            model: Model {
                reconnect_every: settings.reconnect_every.map(|every| every as usize),
                ..Model::default()
            },
            replies: LineReader::new(LONGEST_REPLY),
            now,
            is_mid_reply: false,
            is_waited_out: false,
            is_given_up: false,
            losses: 0,
            end: None,
            outcome: None,
            news: Vec::new(),
            printed: Vec::new(),
        }
    }

    /// Makes an event happen, and asserts everything that can be seen of it.
    pub(super) fn happen(&mut self, event: Event) {
        self.now += Duration::from_millis(1);
        let awaits = self.model.in_flight() > 0;
        let timeout = self.conversation.settings.timeout.unwrap();
        match event {
            Event::Say => {
                let text = TEXTS[self.model.lines];
                self.model.enqueue(Some(text));
                self.conversation.enqueue(Line::Whole(text), self.now);
            }
            Event::SayTooLong => {
                self.model.enqueue(None);
                self.conversation.enqueue(Line::TooLong, self.now);
            }
            Event::EndInput => {
                self.model.input = Some(InputEnd::Good);
                self.conversation.end_input(Ok(()));
            }
            Event::FailInput => {
                self.model.input = Some(InputEnd::Bad);
                self.conversation.end_input(Err(broken("no input")));
            }
            Event::Connect => {
                self.begin_attempt();
                self.model.connect();
                self.conversation.record_connect(self.now);
                self.replies = LineReader::new(LONGEST_REPLY);
                self.is_mid_reply = false;
            }
            Event::FailToConnect => {
                self.begin_attempt();
                self.lose(&unreachable("refused"));
            }
            Event::GiveUp => {
                self.begin_attempt();
                self.wait_out_outage();
                self.lose(&unreachable("refused"));
            }
            Event::Send => {
                let (to_send, batch) = self.take_unsent();
                assert_eq!(to_send, Some(ToSend::Batch));
                assert_eq!(batch, self.model.send());
            }
            Event::HalfClose => {
                self.model.is_half_closed = true;
                assert_eq!(self.take_unsent(), (Some(ToSend::HalfClose), Vec::new()));
            }
            Event::Acknowledge if awaits => {
                self.read_answer(Answer::Acknowledged, &self.model.acknowledgement(), 0);
            }
            Event::Acknowledge => self.read_bad(b"Server received your message: one\n"),
            Event::Echo => self.read_answer(Answer::Echoed, &self.model.echo(), 0),
            Event::AcknowledgeAll => {
                let mut lines = Vec::new();
                while self.model.in_flight() > 0 {
                    let line = self.model.acknowledgement();
                    self.model.answer(Answer::Acknowledged, &line);
                    lines.extend(line);
                }
                self.read(&lines, Ok(received(self.model.has_done_its_part())));
            }
            Event::Reject if awaits => {
                self.read_answer(Answer::Rejected, b"Server rejected your message: no\n", 0);
            }
            Event::Reject => self.read_bad(b"Server rejected your message: no\n"),
            Event::AnswerWrongly if awaits => self.read_answer(Answer::Wrong, b"wrong\n", 0),
            Event::AnswerWrongly => self.read_bad(b"wrong\n"),
            Event::BeginReply => {
                self.is_mid_reply = true;
                self.read(BEGINNING, Ok(received(self.model.has_done_its_part())));
            }
            Event::EndReply if awaits => {
                let line = self.model.acknowledgement();
                self.read_answer(Answer::Acknowledged, &line, BEGINNING.len());
            }
            Event::EndReply => self.read_bad(b"eived your message: one\n"),
            Event::EndReplyWrongly if awaits => {
                self.read_answer(Answer::Wrong, b"Server recalls\n", BEGINNING.len());
            }
            Event::EndReplyWrongly => self.read_bad(b"alls\n"),
            Event::SendTooLongReply => self.read_bad(&vec![b'x'; LONGEST_REPLY + 1]),
            Event::Refuse => {
                let line = "Server refused your connection: full";
                let expected = self.unless_done(Loss::NotServed(line.to_string()));
                self.read(format!("{line}\n").as_bytes(), expected);
            }
            Event::Close => {
                let line = "Server closed your connection: idle";
                let expected = self.unless_done(Loss::Broken(line.to_string()));
                self.read(format!("{line}\n").as_bytes(), expected);
            }
            Event::Wait => self.time_out(self.now, Ok(received(self.model.has_done_its_part()))),
            Event::WaitLong => {
                self.now += timeout;
                let end = Loss::Broken(match self.is_mid_reply {
                    true => format!("no whole reply within 10 s{}", self.begun_reply()),
                    false => "no reply within 10 s".to_string(),
                });
                let expected = match awaits {
                    true => Err(end),
                    false => Ok(received(self.model.is_done())),
                };
                if expected == Ok(More) {
                    // A connection that stays is one that works.
                    self.model.end_outage();
                }
                self.time_out(self.now - timeout, expected);
            }
            Event::WaitOutOutage => {
                self.wait_out_outage();
                let end = Loss::Broken(format!(
                    "no complete reply before --retry-for ran out{}",
                    self.begun_reply()
                ));
                self.time_out(self.now, Err(end));
            }
            Event::EndStream => {
                let why = "closed by the other end in the middle of a reply";
                let end = match self.is_mid_reply {
                    true => Loss::Broken(why.to_string()),
                    false => Loss::Ended,
                };
                self.read(b"", self.unless_done(end));
            }
            Event::Reset => {
                let end = self.unless_done(Loss::Broken("reset".to_string()));
                self.receive(Err(broken("reset")), self.now, end);
            }
            Event::Lose => {
                let end = self.end.take().unwrap();
                self.lose(&end);
            }
        }
        let mut printed = Vec::new();
        self.conversation.take_output(&mut printed);
        self.printed.extend(printed);
        self.news.extend(self.conversation.take_news());
        if self.model.is_done() && !self.model.is_connected && self.end.is_none() {
            // The loop that connects sees that there is no need to.
            self.outcome.get_or_insert(self.conversation.verdict());
        }
    }

    /// Returns what the writer does next, and the batch.
    pub(super) fn take_unsent(&mut self) -> (Option<ToSend>, Vec<u8>) {
        let mut batch = Vec::new();
        let to_send = self.conversation.take_unsent(&mut batch, self.now);
        (to_send, batch)
    }

    fn begin_attempt(&mut self) {
        let limit = self.conversation.begin_connect(self.now);
        let longest = self.conversation.settings.connect_timeout;
        assert!(limit > Some(Duration::ZERO) && limit <= longest);
        self.model.begin_attempt();
    }

    fn wait_out_outage(&mut self) {
        let outage = self.conversation.outage.as_ref().unwrap();
        self.now += outage.left_of(self.conversation.settings.retry_for, self.now);
        self.is_waited_out = true;
    }

    fn lose(&mut self, end: &Loss) {
        let is_violation = matches!(end, Loss::Violation(_));
        // The end of the input may have come between the end of the connection and
        // this, and then nothing is lost.
        let is_done = self.model.is_done() && !is_violation;
        let is_final = !is_done
            && (self.conversation.settings.retry_for.is_zero()
                || is_violation
                || self.model.is_no_line_echo()
                || self.is_waited_out);
        let next = self.conversation.record_loss(end, self.now);
        assert_eq!(next == Next::Done, is_done, "{end:?}: {next:?}");
        assert_eq!(next.is_retry(), !is_final && !is_done, "{end:?}: {next:?}");
        self.model.is_outage |= !is_final && !is_done;
        self.model.is_resting = false;
        if is_done {
            self.outcome = Some(self.conversation.verdict());
        }
        if let Next::GiveUp(why) = next {
            assert!(why.contains(end.why()), "{end:?}: {why}");
            self.is_given_up = true;
            self.outcome = Some(Err(why));
        }
    }

    /// Returns how a loss describes a reply that has begun.
    fn begun_reply(&self) -> &'static str {
        match self.is_mid_reply {
            true => ": \"Server rec\" came without its LF",
            false => "",
        }
    }

    /// Returns the expected result of the read that ends a connection.
    fn unless_done(&self, end: Loss) -> Result<Received, Loss> {
        match self.model.is_done() {
            true => Ok(Done),
            false => Err(end),
        }
    }

    /// Reads a line that is the reply to the oldest message in flight. Its bytes before `from`
    /// have come already.
    fn read_answer(&mut self, answer: Answer, line: &[u8], from: usize) {
        self.is_mid_reply = false;
        self.model.answer(answer, line);
        self.read(&line[from..], Ok(received(self.model.has_done_its_part())));
    }

    /// Reads bytes that no server sends.
    fn read_bad(&mut self, mut bytes: &[u8]) {
        let received = loop {
            let read = self.replies.fill(&mut bytes);
            let replies = &mut self.replies;
            let received = self
                .conversation
                .receive_since(replies, read, self.now, self.now);
            if received != Ok(More) {
                break received;
            }
        };
        // If the bytes come in several reads, the first may be enough for the end.
        let ended_before = !bytes.is_empty() && self.model.is_done() && received == Ok(Done);
        let is_violation = matches!(received, Err(Loss::Violation(_)));
        assert!(is_violation || ended_before, "{received:?}");
        self.take(received);
    }

    fn read(&mut self, mut bytes: &[u8], expected: Result<Received, Loss>) {
        let read = self.replies.fill(&mut bytes);
        self.receive(read, self.now, expected);
    }

    fn time_out(&mut self, listening_since: Instant, expected: Result<Received, Loss>) {
        let timeout = Err(READ_TIMEOUT.into());
        self.receive(timeout, listening_since, expected);
    }

    fn receive(
        &mut self,
        read: io::Result<usize>,
        listening_since: Instant,
        expected: Result<Received, Loss>,
    ) {
        let replies = &mut self.replies;
        let received = self
            .conversation
            .receive_since(replies, read, listening_since, self.now);
        assert_eq!(received, expected);
        self.take(received);
    }

    fn take(&mut self, received: Result<Received, Loss>) {
        match received {
            Ok(More) => {}
            Ok(Done) if !self.model.is_done() => {
                self.conversation.record_disconnect();
                self.model.is_connected = false;
                self.model.is_resting = true;
            }
            Ok(Done) => {
                // The connection was all that was missing.
                self.model.end_outage();
                self.outcome = Some(self.conversation.verdict());
            }
            Err(end) => {
                self.conversation.record_disconnect();
                self.model.is_connected = false;
                self.losses += 1;
                self.end = Some(end);
            }
        }
    }
}

fn broken(why: &str) -> io::Error {
    io::Error::other(why.to_string())
}
