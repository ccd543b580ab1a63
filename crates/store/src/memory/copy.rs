//! Copies of a store in memory: made, put back, and opened beside it. As the SQLite store's backups
//! do it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use indicia_broker::model::{Event, EventKind};
use indicia_broker::ports::{Clock, StoreError};

use super::Memory;
use super::state::State;

/// A store as it was at one moment.
#[derive(Clone)]
pub struct Snapshot(State);

impl Memory {
    /// The store as it is now.
    pub fn copied(&self) -> Snapshot {
        Snapshot(self.with(|state| state.clone()))
    }

    /// Puts a copy of this store back into its place. It is held afterwards, until it is taken
    /// over.
    ///
    /// # Errors
    /// The event that tells it can't be written; nothing was changed then.
    pub fn put_back(&self, copy: &Snapshot) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.with(|state| {
            let mut then = copy.0.clone();
            then.change_number = then.change_number.max(state.change_number) + 1;
            then.put_back = true;
            // Who is dead stays so, and what checkers were told stays told.
            then.dead.clone_from(&state.dead);
            then.commits.clone_from(&state.commits);
            // The journal's answers may be sealed with a key that is younger than the copy.
            for (id, row) in &state.data_keys {
                then.data_keys.entry(*id).or_insert_with(|| row.clone());
            }
            then.changed(vec![Event {
                kind: EventKind::Restored,
                at: now,
                connection: None,
                client: None,
                grant: None,
                facts: BTreeMap::new(),
            }])?;
            *state = then;
            Ok(())
        })
    }

    /// Whether it was put back, and nobody took it over since.
    pub fn is_held(&self) -> bool {
        self.with(|state| state.put_back)
    }
}

impl Snapshot {
    /// A store of its own, on another host: held, until it is taken over.
    pub fn opened(&self, clock: Arc<dyn Clock>) -> Memory {
        let mut state = self.0.clone();
        state.put_back = true;
        Memory { state: Arc::new(Mutex::new(state)), clock }
    }
}
