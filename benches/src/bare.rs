//! The least that a Rust program does: what a start of `indicia` is measured against.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "it is all that it does")]

fn main() {
    println!("hello");
}
