//! The fuzzer's door. One program for all targets, so that one build serves them: which one runs
//! is told by `INDICIA_FUZZ_TARGET`. `cargo xtask fuzz` builds and starts it.
#![no_main]
#![forbid(unsafe_code)]

use std::sync::OnceLock;

use indicia_fuzz::{Run, TARGETS};

static TARGET: OnceLock<Run> = OnceLock::new();

/// The target that was asked for; a name that there isn't stops at once.
fn target() -> Run {
    let wanted = std::env::var("INDICIA_FUZZ_TARGET").unwrap_or_default();
    match TARGETS.iter().find(|(name, _)| *name == wanted) {
        Some((_, run)) => *run,
        None => panic!("INDICIA_FUZZ_TARGET names no target: {wanted:?}"),
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    TARGET.get_or_init(target)(data);
});
