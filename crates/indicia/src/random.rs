//! The real source of unguessable bytes.
//!
//! What would surprise: it isn't aws-lc, which does all else that is secret. Its generator gathers
//! jitter of the processor before it gives the first byte: 25 ms, more than all that a command with
//! a valid token does.

use indicia_broker::ports::Random;

/// The operating system's randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemChance;

impl Random for SystemChance {
    #[expect(clippy::disallowed_methods, reason = "the one place that draws")]
    #[expect(
        clippy::expect_used,
        reason = "without randomness no state, key or nonce may be made: going on would be worse"
    )]
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the operating system gives random bytes");
    }
}
