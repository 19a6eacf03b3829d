//! Limits that count only the time in which this process runs.
//!
//! SIGSTOP, a container's freezer or a suspended machine can pause a process for any
//! time. A limit by the clock alone passes during the pause. When the process continues,
//! it would at once cut off work that it could still finish within the limit.
//!
//! So this module divides a wait into steps of 10 ms, and counts a step as at most
//! 200 ms:
//!
//! ```text
//! clock    |- 10 ms -|- 10 ms -|------ a pause of 60 s ------|- 10 ms -|
//! counted     10 ms     10 ms              200 ms               10 ms
//! ```

use std::thread;
use std::time::{Duration, Instant};

/// The longest time that one step may wait.
const STEP: Duration = Duration::from_millis(10);

/// The longest time that one step counts for. A busy machine delays a step by less, so load
/// does not extend a limit.
const LONGEST_STEP: Duration = Duration::from_millis(200);

/// Calls `wait_for` until it returns a value, and returns that value. Returns `None` once
/// the process has run for `limit`. Each call gets the longest time that it may wait. A
/// pause of the process counts as 200 ms at most.
pub fn wait_within<T>(limit: Duration, wait_for: impl FnMut(Duration) -> Option<T>) -> Option<T> {
    wait_by(Instant::now, limit, wait_for)
}

/// Sleeps until the process has run for this time.
pub fn sleep(time: Duration) {
    wait_within(time, |step| -> Option<()> {
        thread::sleep(step);
        None
    });
}

/// Returns how much of a step of about 10 ms counts: all of it, but 200 ms at most, because a
/// longer one was a pause of the process.
pub fn counted(step: Duration) -> Duration {
    step.min(LONGEST_STEP)
}

fn wait_by<T>(
    mut clock: impl FnMut() -> Instant,
    limit: Duration,
    mut wait_for: impl FnMut(Duration) -> Option<T>,
) -> Option<T> {
    let mut left = limit;
    loop {
        let begun = clock();
        let value = wait_for(STEP.min(left));
        if value.is_some() {
            return value;
        }
        left = left.saturating_sub(counted(clock() - begun));
        if left.is_zero() {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Waits within `limit` for an event that comes after `over_after` waits. Each wait
    /// takes longer than it may, by `late`. Returns the number of waits, and whether the
    /// event came within the limit.
    fn waits(limit: Duration, late: Duration, over_after: u32) -> (u32, bool) {
        let now = Cell::new(Instant::now());
        let mut waits = 0;
        let over = wait_by(
            || now.get(),
            limit,
            |step| {
                now.set(now.get() + step + late);
                waits += 1;
                if waits > over_after { Some(()) } else { None }
            },
        );
        (waits, over.is_some())
    }

    #[test]
    fn waits_as_long_as_allowed_and_no_longer_than_needed() {
        let limit = Duration::from_millis(95);
        assert_eq!(waits(limit, Duration::ZERO, u32::MAX), (10, false));
        assert_eq!(
            waits(limit, Duration::from_millis(10), u32::MAX),
            (5, false)
        );
        assert_eq!(waits(limit, Duration::ZERO, 3), (4, true));
        assert_eq!(waits(Duration::ZERO, Duration::ZERO, u32::MAX), (1, false));
    }

    #[test]
    fn a_pause_of_any_length_counts_as_one_long_step() {
        for pause in [1, 60, 86_400] {
            let pause = Duration::from_secs(pause);
            assert_eq!(waits(5 * LONGEST_STEP, pause, u32::MAX), (5, false));
        }
    }
}
