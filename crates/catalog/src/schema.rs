//! What a service file may say.

/// A service file, as written.
#[derive(Clone, Debug)]
pub struct File {}
