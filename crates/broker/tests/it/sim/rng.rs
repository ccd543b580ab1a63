//! The one source of chance of a run (splitmix64). What is drawn depends on the order of draws, and
//! that on the seed alone.

/// A generator; a copy draws the same again.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x1D_1C1A_5EED)
    }

    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// One of `0..sides`.
    pub const fn below(&mut self, sides: u64) -> u64 {
        self.next() % sides
    }

    /// One of `from..=to`.
    pub const fn within(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    /// True in `share` of ten thousand.
    pub const fn chance(&mut self, share: u64) -> bool {
        self.below(10_000) < share
    }
}
