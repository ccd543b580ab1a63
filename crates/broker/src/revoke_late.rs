//! A token set that comes after its connection was taken back, or was never wanted: it goes into
//! the same queue.

use std::collections::BTreeMap;
use std::time::Duration;

use indicia_oauth::{Timestamp, TokenSet};

use crate::Broker;
use crate::call::Bound;
use crate::error::Error;
use crate::model::{Event, EventKind, GrantRow, RevocationRow};
use crate::revoke::{ID_BYTES, Whose, is_wide, revoked_state};

/// Longer than an exchange and what is asked after it take.
const WIDE_PAUSE: Duration = Duration::from_secs(120);

impl Broker {
    /// A token set that came for a connection that was revoked meanwhile: taken back too.
    pub(crate) async fn revoke_late(
        &self,
        whose: &Whose,
        bound: &Bound,
        tokens: TokenSet,
        now: Timestamp,
    ) -> Result<(), Error> {
        let access = self.vault.fingerprint(tokens.access_token.expose());
        // The same token set is queued once, however often it is found.
        let id = access.to_hex()[..2 * ID_BYTES].to_owned();
        if self.ports.store.revocation(&id).await?.is_some() {
            return Ok(());
        }
        let mut row = RevocationRow { id, ..self.empty_row(now) };
        // Where the call ends all that the account gave, a consent that is being stored just now
        // must be seen before.
        row.next_at = Some(if is_wide(bound) { now.plus(WIDE_PAUSE) } else { now });
        self.add_items(&mut row, whose, bound, Some(&tokens), now);
        let event = Event {
            kind: EventKind::Revoked,
            at: now,
            connection: None,
            client: Some(whose.client.clone()),
            grant: Some(whose.grant.clone()),
            facts: BTreeMap::new(),
        };
        self.ports.store.revoke(&[], revoked_state(now), row, vec![event]).await?;
        Ok(())
    }

    /// A token set that came for a grant that is gone: taken back too, where the grant was.
    pub(crate) async fn revoke_if_taken_back(
        &self,
        grant: &GrantRow,
        bound: &Bound,
        tokens: TokenSet,
        now: Timestamp,
    ) -> Result<(), Error> {
        match self.ports.store.revoked_item(&grant.id).await? {
            Some(_) => self.revoke_late(&Whose::of(grant), bound, tokens, now).await,
            None => Ok(()),
        }
    }
}
