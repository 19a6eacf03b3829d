//! When each line is due, for `--rate`.

use std::time::{Duration, Instant};

/// A read that takes so long has waited for input. One of a full pipe or a file
/// takes far less, if the machine is not busy with something else.
const IDLE: Duration = Duration::from_millis(10);

/// Lines at a fixed rate, from the first one on.
///
/// A line that cannot go out at its place is overdue and goes out as soon as it
/// can, and its reply time counts from its place: else the time in which nothing
/// could be sent would be missing from the figures (coordinated omission).
pub(crate) struct Schedule {
    /// Lines a second.
    rate: f64,
    /// When the first line was due; `None` until there is one.
    start: Option<Instant>,
    /// How many lines came after it.
    lines: u64,
}

impl Schedule {
    pub(crate) fn new(rate: f64) -> Self {
        Schedule {
            rate,
            start: None,
            lines: 0,
        }
    }

    /// When the next line is due; `None` is never, at a rate that is too low for
    /// the clock. The first line is due when it is there, which is now.
    // Inlined, it would be computed for each line of a run without a schedule, too.
    #[inline(never)]
    pub(crate) fn due(&mut self, now: Instant) -> Option<Instant> {
        let start = *self.start.get_or_insert(now);
        // Each place counts from the start, so that no error adds up.
        let after = Duration::try_from_secs_f64(self.lines as f64 / self.rate).ok()?;
        start.checked_add(after)
    }

    /// The line that was due has its place, and the next one is due.
    pub(crate) fn advance(&mut self) {
        self.lines += 1;
    }

    /// Nothing else was done than to read input, from one time to another. If the
    /// next line's place has passed meanwhile, that time is the input's fault and
    /// not the server's: times would grow without bound if it counted.
    pub(crate) fn waited_for_input(&mut self, from: Instant, to: Instant) {
        let Some((start, due)) = self.start.and_then(|start| Some((start, self.due(start)?)))
        else {
            return;
        };
        let waited = to.saturating_duration_since(from);
        let late = to.saturating_duration_since(due);
        if late.is_zero() {
            return;
        }
        if waited >= late.min(IDLE) {
            // The line was not there to be sent any earlier.
            self.start = None;
            self.lines = 0;
        } else {
            // It was overdue before, and what overdue lines have waited counts.
            self.start = start.checked_add(waited);
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
            let mut schedule = Schedule::new(rate);
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
        let mut schedule = Schedule::new(100.0);
        schedule.due(now);
        schedule.advance();
        // The window was full for a second. Then the next line was there at once.
        let later = now + 1000 * MS;
        assert_eq!(schedule.due(later), Some(now + 10 * MS));
        schedule.waited_for_input(later, later);
        assert_eq!(schedule.due(later), Some(now + 10 * MS));
        // The time that the read took is not the server's.
        schedule.waited_for_input(later, later + MS);
        assert_eq!(schedule.due(later + MS), Some(now + 11 * MS));
    }

    #[test]
    fn an_input_slower_than_the_rate_is_on_time_again_after_a_stall() {
        for (rate, gap) in [(100.0, 20 * MS), (1000.0, 2 * MS), (10_000.0, MS / 5)] {
            let mut schedule = Schedule::new(rate);
            let now = Instant::now();
            schedule.due(now);
            schedule.advance();
            // The server stalls for a second, and then the lines trickle in.
            let mut now = now + 1000 * MS;
            for _ in 0..rate as u32 {
                schedule.waited_for_input(now, now + gap);
                now += gap;
                let late = now - schedule.due(now).unwrap();
                assert!(late <= 1000 * MS, "{late:?} at {rate} lines a second");
                schedule.advance();
            }
            schedule.waited_for_input(now, now + gap);
            assert_eq!(schedule.due(now + gap), Some(now + gap));
        }
    }

    #[test]
    fn a_line_that_the_input_was_late_with_starts_the_schedule_anew() {
        let now = Instant::now();
        let mut schedule = Schedule::new(100.0);
        // Before the first line, there is nothing to be late for.
        schedule.waited_for_input(now - 500 * MS, now);
        assert_eq!(schedule.due(now), Some(now));
        schedule.advance();
        schedule.waited_for_input(now, now + 10 * MS);
        assert_eq!(schedule.due(now + 10 * MS), Some(now + 10 * MS));
        for round in 1..100 {
            let (from, to) = (now + round * 50 * MS, now + (round + 1) * 50 * MS);
            schedule.waited_for_input(from - 40 * MS, to);
            assert_eq!(schedule.due(to), Some(to));
            schedule.advance();
            assert_eq!(schedule.due(to), Some(to + 10 * MS));
        }
    }

    #[test]
    fn a_rate_too_low_for_the_clock_is_never() {
        let now = Instant::now();
        let mut schedule = Schedule::new(f64::MIN_POSITIVE);
        assert_eq!(schedule.due(now), Some(now));
        schedule.advance();
        assert_eq!(schedule.due(now), None);
        schedule.waited_for_input(now, now + 9 * MS);
        assert_eq!(schedule.due(now), None);
    }
}
