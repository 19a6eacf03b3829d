//! Numbers for tests: they look random, and are the same in each run (xorshift).

use std::time::Duration;

pub(crate) struct Random(u64);

impl Default for Random {
    fn default() -> Self {
        Random(88_172_645_463_325_252)
    }
}

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Returns a time between these. Each order of magnitude is as likely as every other.
    pub(crate) fn time(&mut self, shortest: Duration, longest: Duration) -> Duration {
        let share = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        shortest.mul_f64((longest.as_secs_f64() / shortest.as_secs_f64()).powf(share))
    }

    pub(crate) fn one_of<T: Copy, const N: usize>(&mut self, choices: [T; N]) -> T {
        choices[self.next() as usize % N]
    }
}
