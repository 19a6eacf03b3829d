//! When each line is due, for `--rate`.
//!
//! The rule: a place moves, and all later ones with it, only by the time in which the
//! line was overdue, there was room for it, and it had not come. So an input that is
//! slower than the rate does not make times grow, and a stall of the server is never
//! forgotten, however the input comes.

use std::time::{Duration, Instant};

/// Lines at a fixed rate, from the first one on. Without a rate, each is due when
/// it enters the window.
///
/// A line that cannot go out at its place is overdue and goes out as soon as it
/// can, and its reply time counts from its place: else the time in which nothing
/// could be sent would be missing from the figures (coordinated omission).
pub(crate) struct Schedule {
    /// Lines a second, if they have places.
    rate: Option<f64>,
    /// When the first line was due, and later by what the input was late since;
    /// `None` until there is a line.
    start: Option<Instant>,
    /// How many lines had their places.
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

    /// When the next line is due; `None` is never, at a rate that is too low for
    /// the clock. The first line is due when it is there, which is now.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Instant> {
        self.rate.map_or(Some(now), |rate| self.place(rate, now))
    }

    // Inlined, it would be computed for each line of a run without a rate, too.
    #[inline(never)]
    fn place(&mut self, rate: f64, now: Instant) -> Option<Instant> {
        let start = *self.start.get_or_insert(now);
        // Each place counts from the start, so that no error adds up.
        let after = Duration::try_from_secs_f64(self.lines as f64 / rate).ok()?;
        start.checked_add(after)
    }

    /// The line has gone; on to the next place.
    pub(crate) fn advance(&mut self) {
        self.lines += 1;
    }

    /// From one time to another the next line was not there. `room` is since when there
    /// is room for it; `None` if there is none yet.
    pub(crate) fn waited_for_input(&mut self, from: Instant, to: Instant, room: Option<Instant>) {
        if let (Some(start), Some(room)) = (self.start, room)
            && let Some(due) = self.due(start)
        {
            // Before its place or without room, it was not missing.
            let missing = to.saturating_duration_since(from.max(due).max(room));
            self.start = start.checked_add(missing);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_places_are_as_far_apart_as_the_rate_says_and_no_error_adds_up() {
        let now = Instant::now();
        for rate in [1.0, 3.0, 100_000.0] {
            let mut schedule = Schedule::new(Some(rate));
            for line in 0..1_000_000 {
                let due = schedule.due(now).unwrap();
                let exact = f64::from(line) / rate;
                assert!((due - now).as_secs_f64() - exact < 1e-6, "line {line}");
                schedule.advance();
            }
        }
    }

    #[test]
    fn a_line_that_could_not_go_out_keeps_its_place() {
        let now = Instant::now();
        let mut schedule = Schedule::new(Some(100.0));
        schedule.due(now);
        schedule.advance();
        // The window was full for a second. Then the next line was there at once.
        let later = now + 1000 * MS;
        assert_eq!(schedule.due(later), Some(now + 10 * MS));
        schedule.waited_for_input(later, later, Some(later));
        assert_eq!(schedule.due(later), Some(now + 10 * MS));
        // The time that the read took is not the server's.
        schedule.waited_for_input(later, later + MS, Some(later));
        assert_eq!(schedule.due(later + MS), Some(now + 11 * MS));
    }

    #[test]
    fn an_input_slower_than_the_rate_is_on_time_again_after_a_stall() {
        for (rate, gap) in [(100.0, 20 * MS), (1000.0, 2 * MS), (10_000.0, MS / 5)] {
            let mut schedule = Schedule::new(Some(rate));
            let now = Instant::now();
            schedule.due(now);
            schedule.advance();
            // The server stalls for a second, and then the lines trickle in.
            let mut now = now + 1000 * MS;
            for _ in 0..rate as u32 {
                schedule.waited_for_input(now, now + gap, Some(now));
                now += gap;
                let late = now - schedule.due(now).unwrap();
                assert!(late <= 1000 * MS, "{late:?} at {rate} lines a second");
                schedule.advance();
            }
            schedule.waited_for_input(now, now + gap, Some(now));
            assert_eq!(schedule.due(now + gap), Some(now + gap));
        }
    }

    #[test]
    fn a_line_that_the_input_was_late_with_is_due_when_it_is_there() {
        let now = Instant::now();
        let mut schedule = Schedule::new(Some(100.0));
        // Before the first line, there is nothing to be late for.
        schedule.waited_for_input(now - 500 * MS, now, Some(now - 500 * MS));
        assert_eq!(schedule.due(now), Some(now));
        schedule.advance();
        schedule.waited_for_input(now, now + 10 * MS, Some(now));
        assert_eq!(schedule.due(now + 10 * MS), Some(now + 10 * MS));
        for round in 1..100 {
            let (from, to) = (now + round * 50 * MS, now + (round + 1) * 50 * MS);
            schedule.waited_for_input(from - 40 * MS, to, Some(now));
            assert_eq!(schedule.due(to), Some(to));
            schedule.advance();
            assert_eq!(schedule.due(to), Some(to + 10 * MS));
        }
    }

    #[test]
    fn a_rate_too_low_for_the_clock_is_never() {
        let now = Instant::now();
        let mut schedule = Schedule::new(Some(f64::MIN_POSITIVE));
        assert_eq!(schedule.due(now), Some(now));
        schedule.advance();
        assert_eq!(schedule.due(now), None);
        schedule.waited_for_input(now, now + 9 * MS, Some(now));
        assert_eq!(schedule.due(now), None);
    }

    /// Lines that come with a gap before each, and a server that takes its time for
    /// each, one after the other. All in milliseconds.
    struct Mixture {
        /// When each line is there.
        there: Vec<u32>,
        /// How long the server takes for each.
        answer_times: Vec<u32>,
        window: usize,
    }

    /// How far apart the places are.
    const INTERVAL: u32 = 2;

    impl Mixture {
        /// From when on there is room for the next line, after those that went out
        /// at these times.
        fn room_since(&self, went_out: &[u32]) -> u32 {
            let mut answered = 0;
            let answers = went_out.iter().zip(&self.answer_times);
            let answers = answers.map(|(at, takes)| {
                answered = answered.max(*at) + takes;
                answered
            });
            let before = went_out.len().checked_sub(self.window);
            before.map_or(0, |index| answers.take(index + 1).last().unwrap())
        }

        /// When each line is due and when it goes out, as the thread that reads the
        /// input asks the schedule. A read may bring only a part of a line.
        fn scheduled(&self, brings_parts: bool) -> (Vec<u32>, Vec<u32>) {
            let origin = Instant::now();
            let at = |ms: u32| origin + ms * MS;
            let mut schedule = Schedule::new(Some(1000.0 / f64::from(INTERVAL)));
            let (mut due, mut went_out) = (Vec::new(), Vec::new());
            let (mut now, mut read) = (0, 0);
            for line in 0..self.there.len() {
                let room_since = self.room_since(&went_out);
                while line >= read {
                    let whole = now.max(self.there[line]);
                    let part = if brings_parts {
                        (now + whole) / 2
                    } else {
                        whole
                    };
                    let to = if part > now { part } else { whole };
                    let room = (room_since <= to).then(|| at(room_since));
                    schedule.waited_for_input(at(now), at(to), room);
                    now = to;
                    read = self.there.iter().filter(|there| **there <= now).count();
                }
                let place = schedule.due(at(now)).unwrap() - origin;
                assert_eq!(place.subsec_nanos() % 1_000_000, 0);
                let place = place.as_millis() as u32;
                now = now.max(place).max(room_since);
                schedule.advance();
                due.push(place);
                went_out.push(now);
            }
            (due, went_out)
        }

        /// The same by the rule alone, one millisecond after the other.
        fn by_the_rule(&self) -> (Vec<u32>, Vec<u32>) {
            let (mut due, mut went_out) = (Vec::new(), Vec::new());
            let (mut now, mut place) = (self.there[0], self.there[0]);
            while let Some(there) = self.there.get(due.len()) {
                let has_room = self.room_since(&went_out) <= now;
                let (is_there, is_overdue) = (*there <= now, place <= now);
                if is_overdue && has_room && is_there {
                    due.push(place);
                    went_out.push(now);
                    place += INTERVAL;
                    continue;
                }
                now += 1;
                place += u32::from(is_overdue && has_room && !is_there);
            }
            (due, went_out)
        }
    }

    /// Every list of so many of these numbers.
    fn lists(numbers: &[u32], length: u32) -> impl Iterator<Item = Vec<u32>> {
        let base = numbers.len();
        (0..base.pow(length)).map(move |list| {
            let digit = |index| list / base.pow(index) % base;
            (0..length).map(|index| numbers[digit(index)]).collect()
        })
    }

    #[test]
    fn every_mixture_of_reads_and_waits_keeps_to_the_rule() {
        let (mut mixtures, mut overdue) = (0, 0);
        for gaps in lists(&[0, 1, 3, 9], 4) {
            for answer_times in lists(&[0, 3, 10], 4) {
                for window in [1, 2] {
                    let mut there = vec![0];
                    there.extend(gaps.iter().scan(0, |now, gap| {
                        *now += gap;
                        Some(*now)
                    }));
                    let mixture = Mixture {
                        there,
                        answer_times: answer_times.clone(),
                        window,
                    };
                    let ruled = mixture.by_the_rule();
                    for brings_parts in [false, true] {
                        let scheduled = mixture.scheduled(brings_parts);
                        assert_eq!(scheduled, ruled, "{gaps:?}, {answer_times:?}, {window}");
                    }
                    let (due, went_out) = ruled;
                    let is_late = due.iter().zip(&went_out).any(|(due, at)| at > due);
                    if answer_times.iter().all(|takes| *takes == 0) {
                        assert!(!is_late, "the input made a line late: {gaps:?}");
                    }
                    if gaps.iter().all(|gap| *gap == 0) {
                        let places = (0..5).map(|line| line * INTERVAL);
                        assert!(places.eq(due), "a place has moved: {answer_times:?}");
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
