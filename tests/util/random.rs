//! A random generator that gives the same numbers in each run.

/// A generator (xorshift) with its seed, which must not be 0.
pub struct Random(pub u64);

impl Random {
    /// Returns the next number, less than the bound.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
