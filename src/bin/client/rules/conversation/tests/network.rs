//! A server that is away at times, the path to it, and the run of a client, all in virtual
//! time.

use std::collections::VecDeque;

use super::*;

/// How long a reply takes.
const ROUND_TRIP: Duration = Duration::from_micros(200);

/// When the system sends each SYN of an attempt, in seconds from the first, if none has a
/// reply.
const SYNS: [u64; 7] = [0, 1, 3, 7, 15, 31, 63];

/// What the client sees of a server that is away.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Away {
    /// Its connections break, and connects are refused.
    Refuses,
    /// Its connections break, and a proxy accepts and closes at once.
    Proxy,
    /// Its connections break, and nothing answers a SYN.
    Vanishes,
    /// Nothing at all comes from it; its connections do not break.
    Silent,
    /// It accepts, and sends no reply.
    Mute,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Absence {
    pub(super) from: Instant,
    pub(super) to: Instant,
    pub(super) away: Away,
}

/// A user's lines, one in each interval, and the server that they go to.
pub(super) struct Network {
    pub(super) conversation: Conversation,
    pub(super) now: Instant,
    /// In the order of time.
    pub(super) absences: Vec<Absence>,
    pub(super) interval: Duration,
    pub(super) next_line: Instant,
    pub(super) last_line: Instant,
    /// How many connections were made.
    pub(super) connections: u64,
    /// When each attempt to connect began.
    pub(super) attempts: Vec<Instant>,
    /// When the client knew of each lost connection.
    pub(super) losses: Vec<Instant>,
    /// When messages were sent that get no reply.
    pub(super) missed: Vec<Instant>,
    pub(super) news: Vec<News>,
}

impl Network {
    /// Returns a client that starts now, and has a line in each interval until `length` is over.
    pub(super) fn new(settings: Settings, interval: Duration, length: Duration) -> Self {
        let now = Instant::now();
        Network {
            conversation: Conversation::new("server".to_string(), settings, now),
            now,
            absences: Vec::new(),
            interval,
            next_line: now + interval,
            last_line: now + length,
            connections: 0,
            attempts: Vec::new(),
            losses: Vec::new(),
            missed: Vec::new(),
            news: Vec::new(),
        }
    }

    fn absence(&self, at: Instant) -> Option<Absence> {
        let past = self.absences.partition_point(|absence| absence.to <= at);
        let next = self.absences.get(past).copied();
        next.filter(|absence| absence.from <= at)
    }

    /// Runs to the end, as the loop that connects does.
    pub(super) fn run(&mut self) -> Result<(), String> {
        while !self.conversation.is_done() {
            let limit = self.conversation.begin_connect(self.now).unwrap();
            self.attempts.push(self.now);
            assert!(self.attempts.len() < 100_000, "it goes on without end");
            let end = match self.connect(limit) {
                Err(why) => unreachable(why),
                Ok(()) => {
                    self.connections += 1;
                    let end = self.converse();
                    self.conversation.record_disconnect();
                    let Err(end) = end else {
                        self.rest();
                        continue;
                    };
                    self.losses.push(self.now);
                    end
                }
            };
            let next = self.conversation.record_loss(&end, self.now);
            self.news.extend(self.conversation.take_news());
            match next {
                Next::Done => {}
                Next::RetryIn(pause) => self.now += pause,
                Next::GiveUp(why) => return Err(why),
            }
            self.enqueue();
        }
        Ok(())
    }

    /// Waits for the next line, if there is one.
    fn rest(&mut self) {
        self.enqueue();
        if !self.conversation.has_unsent() && !self.conversation.is_done() {
            self.now = self.next_line.min(self.last_line).max(self.now);
            self.enqueue();
        }
    }

    /// Makes an attempt, which takes its time.
    fn connect(&mut self, limit: Duration) -> Result<(), &'static str> {
        let began = self.now;
        for after in SYNS.map(Duration::from_secs) {
            if after >= limit {
                break;
            }
            self.now = began + after;
            match self.absence(self.now).map(|absence| absence.away) {
                None | Some(Away::Proxy | Away::Mute) => return Ok(()),
                Some(Away::Refuses) => return Err("refused"),
                Some(Away::Vanishes | Away::Silent) => {}
            }
        }
        self.now = began + limit;
        Err("timed out")
    }

    /// Returns when a connection that is made now breaks.
    fn breaks_at(&self) -> Option<Instant> {
        match self.absence(self.now) {
            Some(absence) if absence.away == Away::Proxy => Some(self.now + ROUND_TRIP),
            _ => {
                let breaks =
                    |absence: &&Absence| absence.away != Away::Silent && absence.from > self.now;
                self.absences
                    .iter()
                    .find(breaks)
                    .map(|absence| absence.from)
            }
        }
    }

    /// Queues every line that the user has written by now.
    fn enqueue(&mut self) {
        while self.next_line <= self.now.min(self.last_line) && self.conversation.is_window_open() {
            self.conversation
                .enqueue(Line::Whole(b"line"), self.next_line);
            self.next_line += self.interval;
        }
        if self.now >= self.last_line && self.next_line > self.last_line {
            self.conversation.end_input(Ok(()));
        }
    }

    /// Sends and receives until the connection is lost.
    fn converse(&mut self) -> Result<(), Loss> {
        self.conversation.record_connect(self.now);
        let tick = SECOND.min(self.conversation.shortest_limit().unwrap() / 8);
        let breaks_at = self.breaks_at();
        let mut replies = LineReader::new(MAX_REPLY);
        let mut carried = VecDeque::new();
        let mut is_heard = true;
        let mut listening_since = self.now;
        let mut reading_since = self.now;
        for round in 0.. {
            assert!(round < 1_000_000, "it goes on without end");
            self.enqueue();
            let mut batch = Vec::new();
            match self.conversation.take_unsent(&mut batch, self.now) {
                Some(ToSend::Batch) => {
                    is_heard &= self.absence(self.now).is_none();
                    match is_heard {
                        true => carried.push_back((self.now + ROUND_TRIP, batch)),
                        false => self.missed.push(self.now),
                    }
                }
                Some(_) => return Ok(()),
                None => {}
            }
            let arrives = carried.front().map(|(at, _)| *at);
            let next_line = self.next_line.min(self.last_line);
            let says = if next_line > self.now {
                Some(next_line)
            } else {
                None
            };
            let times_out = reading_since + tick;
            let next = [arrives, says, breaks_at].into_iter().flatten();
            self.now = next.fold(times_out, Instant::min);

            let now = self.now;
            let conversation = &mut self.conversation;
            assert!(now < self.last_line + 60 * SECOND, "it goes on too long");
            if breaks_at == Some(now) {
                let reset = Err(io::ErrorKind::ConnectionReset.into());
                conversation.receive_since(&mut replies, reset, listening_since, now)?;
            } else if arrives == Some(now) {
                let messages = carried.pop_front().map(|(_, batch)| batch);
                let messages = messages.unwrap_or_default().len() / b"line\n".len();
                let line = b"Server received your message: line\n";
                for _ in 0..messages {
                    let read = replies.fill(&mut &line[..]);
                    let received =
                        conversation.receive_since(&mut replies, read, listening_since, now)?;
                    if received == Done {
                        return Ok(());
                    }
                }
                listening_since = now;
                reading_since = now;
            } else if now == times_out {
                let timeout = Err(READ_TIMEOUT.into());
                conversation.receive_since(&mut replies, timeout, listening_since, now)?;
                reading_since = now;
            }
            self.news.extend(self.conversation.take_news());
        }
        Ok(())
    }
}
