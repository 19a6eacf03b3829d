//! How late the client itself is, apart from the server and the path.
//!
//! A client notices replies late if it is paused, starved of a processor, or kept from
//! reading by a slow reader of its output. Its reply times look like those of a server that
//! stalls. So the own delay is measured at the ticks of a fixed grid. Each tick stands for a
//! reply that arrives at that moment, after all replies that were asked for before the tick.
//! The own delay of the tick is how long the client would take to notice such a reply:
//!
//! ```text
//!  tick         10     20     30     40     50     60     70 ms
//!  -------------+------+------+------+------+------+------+----> time
//!  reads  ===============           ==                ========
//!  prints                ===========
//!  is paused                          ================
//!                        ^ reply    ^ 38 ms           ^ 65 ms
//!  own delay    0      0      8      0      15     5      0  ms
//! ```
//!
//! A reply at 30 ms would wait until the client has printed, at 38 ms. Replies at 50 ms and
//! 60 ms would wait for the end of the pause, at 65 ms.
//!
//! The session thread listens while it reads, connects or waits, and not while it prints or
//! logs. The measuring thread sleeps until the next tick; it may be late to see it. These callers
//! notice ticks:
//!
//! | caller | ticks | count as noticed |
//! |---|---|---|
//! | a read that leaves nothing behind (`receive`) | all | when the session thread began to listen |
//! | each read (`take_replies_to_print`) | those whose replies are read | now |
//! | the session thread when it begins to listen (`begin_to_listen`) | those whose replies are read | now |
//! | the measuring thread, each snapshot and the end of an outage or of the run (`take_ticks_from`), while the session thread listens | those whose replies are read | now |
//! | the same callers, if the session thread has listened for a tick or longer | all | when it began to listen |
//! | a loss and the end of the run (`settle_own_delays`) | all | when the session thread began to listen; now if it does not listen |
//!
//! - The replies of a tick are those that were asked for before it. Once they are read, the
//!   reply that the tick stands for is the next one.
//! - If the session thread has listened for a tick or longer, it is waiting. So no earlier read
//!   has left anything behind.
//! - A tick counts as noticed when it was seen, if that is later. So a pause of the whole
//!   process counts.
//!
//! If a reply time or an outage is far longer than the own delay, the server or the path has
//! probably caused the difference. That is not certain: pauses between two ticks, and lines
//! that a starved client sends late, are not measured.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::figures::histogram::Histogram;
use crate::figures::longest::Longest;

/// How far apart the ticks of the grid are.
const TICK: Duration = Duration::from_millis(10);

/// How late each tick was noticed: the own delays.
#[derive(Clone, Default)]
pub(crate) struct OwnDelays {
    /// The next tick; `None` if own delays are not measured.
    next: Option<Instant>,
    /// Ticks that have passed and are not noticed yet, the oldest first.
    waiting: VecDeque<Ticks>,
    pub(crate) all: Histogram,
    /// Of ticks that were noticed together, it gets only the longest own delay: that of the
    /// oldest tick.
    pub(crate) longest: Longest,
}

/// Consecutive ticks with the same number of replies asked for before them. Such ticks are
/// noticed together.
#[derive(Clone)]
struct Ticks {
    first: Instant,
    count: u32,
    /// How many replies had been asked for before these ticks.
    asked: u64,
    /// When the process was awake to see the last of these ticks: at the tick or later.
    seen: Instant,
}

/// How far the run has come with its replies.
#[derive(Clone, Copy)]
pub(crate) struct ReplyProgress {
    /// How many have been asked for.
    pub(crate) asked: u64,
    /// How many have been read.
    pub(crate) read: u64,
    /// Since when the session thread would notice a reply at once: it reads, connects or
    /// waits. `None` while it prints or logs.
    pub(crate) listening_since: Option<Instant>,
}

impl OwnDelays {
    /// Takes each tick up to now. The first call starts the grid, at `began`. Returns when
    /// the next tick is due.
    pub(crate) fn measure(
        &mut self,
        began: Instant,
        progress: ReplyProgress,
        now: Instant,
    ) -> Instant {
        let first = self.next.unwrap_or(began);
        self.take_ticks_from(first, progress, now)
    }

    /// Takes each tick up to now, if own delays are measured. After a pause of the client,
    /// the thread that measures may be late to run again, and a snapshot does not wait for it.
    pub(crate) fn catch_up(&mut self, progress: ReplyProgress, now: Instant) {
        if let Some(next) = self.next {
            self.take_ticks_from(next, progress, now);
        }
    }

    /// Takes each tick from `first` up to now, also those that were missed in a pause.
    /// Counted as a single late tick, a pause of 1 s would move no percentile. Returns when
    /// the next tick is due.
    fn take_ticks_from(
        &mut self,
        first: Instant,
        progress: ReplyProgress,
        now: Instant,
    ) -> Instant {
        let mut next = first;
        let mut count = 0;
        while next <= now {
            next += TICK;
            count += 1;
        }
        self.next = Some(next);
        if count > 0 {
            self.add(Ticks {
                first,
                count,
                asked: progress.asked,
                seen: now,
            });
        }
        if let Some(listening_since) = progress.listening_since {
            self.record_replies_read(progress.read, now);
            if now.saturating_duration_since(listening_since) >= TICK {
                self.notice_all(listening_since, now);
            }
        }
        next
    }

    /// Notices all ticks. Replies that arrived at them would have been noticed at `noticed`.
    pub(crate) fn notice_all(&mut self, noticed: Instant, now: Instant) {
        while let Some(ticks) = self.waiting.pop_front() {
            self.record(&ticks, noticed, now);
        }
    }

    /// Records that so many replies of the run have been read by now. This notices the ticks
    /// before which no more had been asked for.
    pub(crate) fn record_replies_read(&mut self, replies: u64, now: Instant) {
        while let Some(ticks) = self.waiting.front()
            && ticks.asked <= replies
        {
            let ticks = ticks.clone();
            self.waiting.pop_front();
            self.record(&ticks, now, now);
        }
    }

    /// Returns the longest own delay that has ended after this time, or that goes on: the
    /// own delay so far of the oldest tick that is not noticed yet.
    pub(crate) fn longest_after(
        &self,
        time: Instant,
        listening_since: Option<Instant>,
        now: Instant,
    ) -> Duration {
        let longest_ended = self.longest.after(time);
        let Some(oldest) = self.waiting.front() else {
            return longest_ended;
        };
        let noticed = oldest.noticed_at(listening_since.unwrap_or(now));
        longest_ended.max(noticed.saturating_duration_since(oldest.first))
    }

    /// Adds ticks that wait to be noticed.
    fn add(&mut self, ticks: Ticks) {
        if let Some(last) = self.waiting.back_mut()
            && last.asked == ticks.asked
        {
            last.count += ticks.count;
            last.seen = ticks.seen;
        } else {
            self.waiting.push_back(ticks);
        }
    }

    /// Records the own delays of these ticks: a reply would have been noticed at `noticed`.
    fn record(&mut self, ticks: &Ticks, noticed: Instant, now: Instant) {
        let noticed = ticks.noticed_at(noticed);
        self.longest
            .add(now, noticed.saturating_duration_since(ticks.first));
        for number in 0..ticks.count {
            let tick = ticks.first + number * TICK;
            self.all.record(noticed.saturating_duration_since(tick), 1);
        }
    }
}

impl Ticks {
    /// Returns when these ticks count as noticed, if a reply would be noticed at `noticed`: not
    /// before they were seen.
    fn noticed_at(&self, noticed: Instant) -> Instant {
        self.seen.max(noticed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Nothing is asked for, so each tick is noticed when it is seen.
    fn idle(since: Instant) -> ReplyProgress {
        ReplyProgress {
            asked: 0,
            read: 0,
            listening_since: Some(since),
        }
    }

    #[test]
    fn each_tick_counts_once_whenever_the_thread_wakes() {
        const TIMES: u32 = 10;
        let begin = Instant::now();
        // Halfway between ticks, too, and the last time always.
        let at = |time: u32| begin + time * TICK / 2;
        for pattern in 0..1_u32 << TIMES {
            let wakes = (0..=TIMES).filter(|time| (pattern | 1 << TIMES) >> time & 1 == 1);
            let mut delays = OwnDelays::default();
            for wake in wakes.clone() {
                let next = delays.measure(begin, idle(begin), at(wake));
                assert_eq!(next, at(wake / 2 * 2 + 2), "{pattern:b}");
            }
            let noticed = |tick| wakes.clone().find(|wake| *wake >= tick).unwrap();
            let ticks = (0..=TIMES).step_by(2);
            let mut late: Vec<Duration> = ticks
                .clone()
                .map(|tick| at(noticed(tick)) - at(tick))
                .collect();
            late.sort();
            for (number, late) in (1..).zip(&late) {
                let share = f64::from(number) / late_count(TIMES);
                let quantile = delays.all.quantile(share).unwrap();
                assert!(
                    quantile >= *late && quantile <= late.mul_f64(1.02),
                    "{pattern:b}"
                );
            }
            assert_eq!(delays.all.quantile(1.0), late.last().copied());
            for after in 0..=TIMES {
                let since = ticks.clone().filter(|tick| noticed(*tick) > after);
                let longest = since.map(|tick| at(noticed(tick)) - at(tick)).max();
                let longest_after = delays.longest_after(at(after), Some(begin), at(TIMES));
                assert_eq!(longest_after, longest.unwrap_or_default());
            }
        }
    }

    fn late_count(times: u32) -> f64 {
        f64::from(times / 2 + 1)
    }

    #[test]
    fn a_pause_raises_the_quantiles_as_it_raises_those_of_reply_times() {
        let begin = Instant::now();
        let mut delays = OwnDelays::default();
        for tick in (0..200).chain(300..500) {
            delays.measure(begin, idle(begin), begin + tick * TICK);
        }
        // Of 500 ticks, 100 were late, by ten milliseconds more each.
        for (share, millis) in [(0.5, 0), (0.9, 500), (0.99, 950), (1.0, 1000)] {
            let exact = Duration::from_millis(millis);
            let quantile = delays.all.quantile(share).unwrap();
            assert!(
                quantile >= exact && quantile <= exact.mul_f64(1.02),
                "{share}: {quantile:?}"
            );
        }
    }

    /// Simulates a client that reads replies. A step is a millisecond. The server `sends` so
    /// many replies a step, in a window. The client `takes` so many with a read, and then
    /// `prints` for so many steps. Returns the own delays and the reply times.
    fn simulate(sends: u64, takes: u64, prints: u32, steps: u32) -> (Histogram, Histogram) {
        const WINDOW: u64 = 1000;
        let begin = Instant::now();
        let mut delays = OwnDelays::default();
        let mut times = Histogram::default();
        // When each message was sent that is in flight.
        let mut in_flight = VecDeque::new();
        let mut read = 0;
        let mut arrived = 0;
        let mut listening_since = Some(begin);
        let mut prints_until = 0;
        for step in 0..steps {
            let now = begin + step * MS;
            while in_flight.len() < WINDOW as usize {
                in_flight.push_back(now);
            }
            let asked = read + in_flight.len() as u64;
            arrived = asked.min(arrived.max(read) + sends);
            if step >= prints_until {
                let since = *listening_since.get_or_insert(now);
                let taken = takes.min(arrived - read);
                read += taken;
                for sent in in_flight.drain(..taken as usize) {
                    times.record(now - sent, 1);
                }
                if taken < takes {
                    delays.notice_all(since, now);
                } else {
                    delays.record_replies_read(read, now);
                }
                if taken > 0 {
                    listening_since = None;
                    prints_until = step + prints.max(1);
                }
            }
            let asked = read + in_flight.len() as u64;
            delays.measure(
                begin,
                ReplyProgress {
                    asked,
                    read,
                    listening_since,
                },
                now,
            );
        }
        (delays.all, times)
    }

    #[test]
    fn a_slow_reader_raises_own_delays_and_reply_times_alike() {
        for prints in [20, 50, 100] {
            let (own, replies) = simulate(1000, 100, prints, 100_000);
            for share in [0.5, 0.9, 0.99] {
                let [own, reply] = [&own, &replies].map(|times| times.quantile(share).unwrap());
                let ratio = own.as_secs_f64() / reply.as_secs_f64();
                assert!(
                    (0.9..1.1).contains(&ratio),
                    "{prints}, {share}: {own:?} and {reply:?}"
                );
            }
        }
    }

    #[test]
    fn a_slow_server_is_not_taken_for_a_slow_client() {
        for sends in [1, 3, 10] {
            let (own, replies) = simulate(sends, 100, 1, 100_000);
            let own = own.quantile(1.0).unwrap();
            assert!(own <= TICK, "{sends}: {own:?}");
            assert!(replies.quantile(0.5).unwrap() >= 90 * MS);
        }
    }

    #[test]
    fn one_long_wait_for_a_reader_of_the_output_is_own_delay() {
        let begin = Instant::now();
        let mut delays = OwnDelays::default();
        let at = |millis: u32| begin + millis * MS;
        let busy = ReplyProgress {
            asked: 8,
            read: 4,
            listening_since: None,
        };
        for tick in 0..=1200 {
            delays.measure(begin, busy, at(tick * 10));
        }
        // It is 12 s old by now, and not noticed yet.
        assert_eq!(delays.longest_after(begin, None, at(12_000)), 12_000 * MS);
        assert_eq!(delays.all.quantile(1.0), None);
        delays.record_replies_read(7, at(12_001));
        assert_eq!(delays.all.quantile(1.0), None);
        delays.record_replies_read(8, at(12_002));
        assert_eq!(delays.all.quantile(1.0), Some(12_002 * MS));
        let half = delays.all.quantile(0.5).unwrap();
        assert!((5_990 * MS..6_200 * MS).contains(&half), "{half:?}");
        assert!(delays.waiting.is_empty());
    }
}
