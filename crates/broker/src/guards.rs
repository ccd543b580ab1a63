//! The guards that keep a grant alive, each with a switch that only the mutation proof can turn.
//!
//! Without the feature `mutants` every switch is a constant `true` and costs nothing.

/// Which guards stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one switch of the mutation proof")]
pub struct Guards {
    /// A spend is noted durably before it is sent.
    pub intent: bool,
    /// The row is looked at again under the lease.
    pub recheck: bool,
    /// A commit names the version that it started from.
    pub fence: bool,
    /// The lease is looked at immediately before the request is written.
    pub deadline: bool,
    /// A 2xx answer is kept in the journal before it is parsed.
    pub journal_before_parse: bool,
    /// No journal slot, no spend.
    pub journal_slot: bool,
    /// One flight for a grant in this process.
    pub single_flight: bool,
    /// What was refused isn't sent again to the same.
    pub refused_fingerprint: bool,
    /// A copied or restored store sends nothing until it is taken over.
    pub held: bool,
    /// Many refusals at once aren't believed.
    pub many_refused: bool,
}

impl Guards {
    /// All of them.
    pub const ALL: Self = Self {
        intent: true,
        recheck: true,
        fence: true,
        deadline: true,
        journal_before_parse: true,
        journal_slot: true,
        single_flight: true,
        refused_fingerprint: true,
        held: true,
        many_refused: true,
    };
}
