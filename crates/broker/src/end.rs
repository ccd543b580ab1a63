//! What a refresh was asked with, and how one ends.

use std::sync::Arc;

use crate::committed::Committed;
use crate::error::Error;
use crate::model::GrantRow;

/// Whether a refresh is wished although nothing is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// Nobody wishes it: only when it is still due, looked at under the lease.
    WhenDue,
    /// Somebody wants a newer token than is there.
    No,
    /// Now; forgets refusals and back-off, but never what may not be sent again.
    Yes,
}

/// How a flight ended.
#[derive(Clone)]
pub(crate) enum End {
    /// With a token set: new, or found fresh.
    Committed(Arc<Committed>, Behind),
    /// Without one: this is how the grant stands.
    Row(Arc<GrantRow>),
    /// It could not be flown.
    Failed(Error),
}

/// Whether the store has what is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    /// It does.
    No,
    /// Not yet: the journal does.
    Yes,
}

pub(crate) enum Step {
    End(End),
    Again,
}
