//! The real source of unguessable bytes.

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use indicia_broker::ports::Random;

/// The operating system's randomness, through aws-lc.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemChance;

impl Random for SystemChance {
    #[expect(clippy::disallowed_methods, reason = "the one place that draws")]
    #[expect(
        clippy::expect_used,
        reason = "without randomness no state, key or nonce may be made: going on would be worse"
    )]
    fn fill(&self, bytes: &mut [u8]) {
        SystemRandom::new().fill(bytes).expect("the operating system gives random bytes");
    }
}
