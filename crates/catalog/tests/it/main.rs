//! The catalogue's integration tests.

mod shipped;
