//! When each line is due, for `--rate`.
//!
//! The due times are evenly spaced from the first line on. If the input delivers a line too
//! late, the whole schedule shifts later. It shifts only by time in which all of this held:
//!
//! - the line was due,
//! - the window was open,
//! - the input had not delivered the line.
//!
//! So an input that is slower than the rate does not make reply times grow. A stall of the
//! server, on the other hand, is never forgotten, however the input delivers its lines.

use std::time::{Duration, Instant};

/// Lines at a fixed rate, from the first one on. Without a rate, each line is due when it
/// enters the window.
///
/// A line that cannot be sent when it is due is sent as soon as possible. Its reply time
/// counts from its due time. Otherwise the figures would miss the time in which nothing
/// could be sent (coordinated omission).
pub(crate) struct Schedule {
    /// Lines a second; `None` if each line is due at once.
    rate: Option<f64>,
    /// The due time of the first line, shifted by all time in which the input was late
    /// since then. `None` until there is a line.
    start: Option<Instant>,
    /// How many lines have been queued: the index, from 0, of the next line.
    lines: u64,
}

impl Schedule {
    pub(crate) fn new(rate: Option<f64>) -> Self {
        Schedule {
            rate,
            start: None,
            lines: 0,
        }
    }

    /// Returns when the next line is due; the input has delivered it. The first call starts
    /// the schedule: the first line is due now. `None` means never: the rate is too low for
    /// the clock.
    pub(crate) fn start_or_next_due(&mut self, now: Instant) -> Option<Instant> {
        match self.rate {
            Some(rate) => {
                let start = *self.start.get_or_insert(now);
                self.due_at_rate(rate, start)
            }
            None => Some(now),
        }
    }

    // Inlined, it would be computed for each line of a run without a rate, too.
    #[inline(never)]
    fn due_at_rate(&self, rate: f64, start: Instant) -> Option<Instant> {
        // Each due time counts from the start, not from the one before it. So no error
        // adds up.
        let after = Duration::try_from_secs_f64(self.lines as f64 / rate).ok()?;
        start.checked_add(after)
    }

    /// Goes on to the next line, after the current one was queued.
    pub(crate) fn advance(&mut self) {
        self.lines += 1;
    }

    /// Shifts the schedule, if the next line was late: the input had not delivered it
    /// between `from` and `to`. `window_open_since` is `None` while the window is full.
    pub(crate) fn waited_for_input(
        &mut self,
        from: Instant,
        to: Instant,
        window_open_since: Option<Instant>,
    ) {
        // Without a rate, no line can be late.
        let Some(rate) = self.rate else {
            return;
        };
        // Nor can the first line.
        let Some(start) = self.start else {
            return;
        };
        let Some(window_open_since) = window_open_since else {
            return;
        };
        let Some(due) = self.due_at_rate(rate, start) else {
            return;
        };
        // Before it was due, or while the window was full, the line was not missing.
        let missing_since = from.max(due).max(window_open_since);
        let missing = to.saturating_duration_since(missing_since);
        // If the clock does not reach that far, the schedule stays as it is. Without a start,
        // it would begin again.
        if let Some(shifted) = start.checked_add(missing) {
            self.start = Some(shifted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn due_times_are_evenly_spaced_and_errors_do_not_add_up() {
        let now = Instant::now();
        for rate in [1.0, 3.0, 100_000.0] {
            let mut schedule = Schedule::new(Some(rate));
            for line in 0..1_000_000 {
                let due = schedule.start_or_next_due(now).unwrap();
                let exact = f64::from(line) / rate;
                assert!((due - now).as_secs_f64() - exact < 1e-6, "line {line}");
                schedule.advance();
            }
        }
    }

    #[test]
    fn a_line_that_could_not_be_sent_keeps_its_due_time() {
        let now = Instant::now();
        let mut schedule = Schedule::new(Some(100.0));
        schedule.start_or_next_due(now);
        schedule.advance();
        // The window was full for a second. Then the next line was there at once.
        let later = now + 1000 * MS;
        assert_eq!(schedule.start_or_next_due(later), Some(now + 10 * MS));
        schedule.waited_for_input(later, later, Some(later));
        assert_eq!(schedule.start_or_next_due(later), Some(now + 10 * MS));
        // The time that the read took is not the server's.
        schedule.waited_for_input(later, later + MS, Some(later));
        assert_eq!(schedule.start_or_next_due(later + MS), Some(now + 11 * MS));
    }

    #[test]
    fn an_input_slower_than_the_rate_is_on_time_again_after_a_stall() {
        for (rate, gap) in [(100.0, 20 * MS), (1000.0, 2 * MS), (10_000.0, MS / 5)] {
            let mut schedule = Schedule::new(Some(rate));
            let now = Instant::now();
            schedule.start_or_next_due(now);
            schedule.advance();
            // The server stalls for a second, and then the lines trickle in.
            let mut now = now + 1000 * MS;
            for _ in 0..rate as u32 {
                schedule.waited_for_input(now, now + gap, Some(now));
                now += gap;
                let late = now - schedule.start_or_next_due(now).unwrap();
                assert!(late <= 1000 * MS, "{late:?} at {rate} lines a second");
                schedule.advance();
            }
            schedule.waited_for_input(now, now + gap, Some(now));
            assert_eq!(schedule.start_or_next_due(now + gap), Some(now + gap));
        }
    }

    #[test]
    fn a_line_that_the_input_delivers_late_is_due_when_it_comes() {
        let now = Instant::now();
        let mut schedule = Schedule::new(Some(100.0));
        // Before the first line, there is nothing to be late for.
        schedule.waited_for_input(now - 500 * MS, now, Some(now - 500 * MS));
        assert_eq!(schedule.start_or_next_due(now), Some(now));
        schedule.advance();
        schedule.waited_for_input(now, now + 10 * MS, Some(now));
        assert_eq!(
            schedule.start_or_next_due(now + 10 * MS),
            Some(now + 10 * MS)
        );
        for round in 1..100 {
            let (from, to) = (now + round * 50 * MS, now + (round + 1) * 50 * MS);
            schedule.waited_for_input(from - 40 * MS, to, Some(now));
            assert_eq!(schedule.start_or_next_due(to), Some(to));
            schedule.advance();
            assert_eq!(schedule.start_or_next_due(to), Some(to + 10 * MS));
        }
    }

    #[test]
    fn at_a_rate_too_low_for_the_clock_the_second_line_is_never_due() {
        let now = Instant::now();
        let mut schedule = Schedule::new(Some(f64::MIN_POSITIVE));
        assert_eq!(schedule.start_or_next_due(now), Some(now));
        schedule.advance();
        assert_eq!(schedule.start_or_next_due(now), None);
        schedule.waited_for_input(now, now + 9 * MS, Some(now));
        assert_eq!(schedule.start_or_next_due(now), None);
    }

    /// Lines with a gap before each, and a server that takes some time for each reply, one
    /// after the other. All times are in milliseconds.
    struct Mixture {
        /// When the input delivers each line.
        there: Vec<u32>,
        /// How long the server takes for each reply.
        reply_times: Vec<u32>,
        window: usize,
    }

    /// How far apart the due times are, in milliseconds.
    const INTERVAL: u32 = 2;

    impl Mixture {
        /// Returns since when the window is open for the next line, if the lines before it
        /// were sent at these times.
        fn open_since(&self, went_out: &[u32]) -> u32 {
            let mut answered = 0;
            let answers = went_out.iter().zip(&self.reply_times);
            let answers = answers.map(|(at, takes)| {
                answered = answered.max(*at) + takes;
                answered
            });
            let before = went_out.len().checked_sub(self.window);
            before.map_or(0, |index| answers.take(index + 1).last().unwrap())
        }

        /// Returns when each line is due and when it is sent, as the thread that reads the
        /// input asks the schedule. A read may bring only a part of a line.
        fn scheduled(&self, brings_parts: bool) -> (Vec<u32>, Vec<u32>) {
            let origin = Instant::now();
            let at = |ms: u32| origin + ms * MS;
            let mut schedule = Schedule::new(Some(1000.0 / f64::from(INTERVAL)));
            let mut due_times = Vec::new();
            let mut went_out = Vec::new();
            let mut now = 0;
            let mut read = 0;
            for line in 0..self.there.len() {
                let open_since_ms = self.open_since(&went_out);
                while line >= read {
                    let whole = now.max(self.there[line]);
                    let part = if brings_parts {
                        (now + whole) / 2
                    } else {
                        whole
                    };
                    let to = if part > now { part } else { whole };
                    let open_since = if open_since_ms <= to {
                        Some(at(open_since_ms))
                    } else {
                        None
                    };
                    schedule.waited_for_input(at(now), at(to), open_since);
                    now = to;
                    read = self.there.iter().filter(|there| **there <= now).count();
                }
                let due = schedule.start_or_next_due(at(now)).unwrap() - origin;
                assert_eq!(due.subsec_nanos() % 1_000_000, 0);
                let due = due.as_millis() as u32;
                now = now.max(due).max(open_since_ms);
                schedule.advance();
                due_times.push(due);
                went_out.push(now);
            }
            (due_times, went_out)
        }

        /// Returns the same by the rule alone, one millisecond after the other.
        fn by_the_rule(&self) -> (Vec<u32>, Vec<u32>) {
            let mut due_times = Vec::new();
            let mut went_out = Vec::new();
            let mut now = self.there[0];
            let mut due = self.there[0];
            while let Some(there) = self.there.get(due_times.len()) {
                let is_open = self.open_since(&went_out) <= now;
                let is_there = *there <= now;
                let is_overdue = due <= now;
                if is_overdue && is_open && is_there {
                    due_times.push(due);
                    went_out.push(now);
                    due += INTERVAL;
                    continue;
                }
                now += 1;
                if is_overdue && is_open && !is_there {
                    due += 1;
                }
            }
            (due_times, went_out)
        }
    }

    /// Returns every list of `length` of these numbers.
    fn lists(numbers: &[u32], length: u32) -> impl Iterator<Item = Vec<u32>> {
        let base = numbers.len();
        (0..base.pow(length)).map(move |list| {
            let digit = |index| list / base.pow(index) % base;
            (0..length).map(|index| numbers[digit(index)]).collect()
        })
    }

    #[test]
    fn the_schedule_follows_the_rule_for_every_input_and_server() {
        let (mut mixtures, mut overdue) = (0, 0);
        for gaps in lists(&[0, 1, 3, 9], 4) {
            for reply_times in lists(&[0, 3, 10], 4) {
                for window in [1, 2] {
                    let mut there = vec![0];
                    there.extend(gaps.iter().scan(0, |now, gap| {
                        *now += gap;
                        Some(*now)
                    }));
                    let mixture = Mixture {
                        there,
                        reply_times: reply_times.clone(),
                        window,
                    };
                    let ruled = mixture.by_the_rule();
                    for brings_parts in [false, true] {
                        let scheduled = mixture.scheduled(brings_parts);
                        assert_eq!(scheduled, ruled, "{gaps:?}, {reply_times:?}, {window}");
                    }
                    let (due, went_out) = ruled;
                    let is_late = due.iter().zip(&went_out).any(|(due, at)| at > due);
                    if reply_times.iter().all(|takes| *takes == 0) {
                        assert!(!is_late, "the input made a line late: {gaps:?}");
                    }
                    if gaps.iter().all(|gap| *gap == 0) {
                        let evenly = (0..5).map(|line| line * INTERVAL);
                        assert!(evenly.eq(due), "a due time has moved: {reply_times:?}");
                    }
                    mixtures += 1;
                    overdue += u32::from(is_late);
                }
            }
        }
        assert_eq!(mixtures, 4_u32.pow(4) * 3_u32.pow(4) * 2);
        assert!(overdue > mixtures / 2, "{overdue} of {mixtures}");
    }
}
