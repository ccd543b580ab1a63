//! What a caller can do about a failure. As few kinds as there are exit statuses; each with a
//! stable code and a hint. What a service answered is data ([`crate::outcome::Outcome`]), not this.
#![warn(clippy::wildcard_enum_match_arm)]

use std::time::Duration;

use indicia_catalog::Catalogue;
use thiserror::Error;

use crate::model::{ClientId, ConnectionId, Reason};
use crate::ports::{StoreError, StoreErrorKind};

/// What went wrong, for a caller. Texts: lower case, what · why; the hint says what next.
#[derive(Clone, Debug, Error)]
pub enum Error {
    /// There is no such thing.
    #[error("there is no {what} {id:?}")]
    NotFound {
        /// `connection`, `client`, `service`, …
        what: &'static str,
        /// What was asked for.
        id: String,
        /// Names near to it, nearest first.
        nearest: Vec<String>,
    },
    /// Only the account's owner can renew this grant.
    #[error("connection {connection} needs to be connected again: {}", reason.detail)]
    Reauthorization {
        /// Which connection.
        connection: ConnectionId,
        /// Why.
        reason: Box<Reason>,
    },
    /// It was taken back.
    #[error("connection {connection} was revoked")]
    Revoked {
        /// Which connection.
        connection: ConnectionId,
        /// Its client.
        client: ClientId,
    },
    /// The service can't be had now.
    #[error("{detail}")]
    Unavailable {
        /// Stable code, such as `service_unavailable`, `throttled`, `answer_lost`.
        code: &'static str,
        /// What happened.
        detail: String,
        /// When to try again.
        retry_after: Option<Duration>,
        /// What to type next.
        hint: String,
    },
    /// What was given can't be used.
    #[error("{detail}")]
    Refused {
        /// Stable code, such as `input_refused`, `state_unknown`, `access_denied`.
        code: &'static str,
        /// Which field, option or input.
        field: String,
        /// What is wrong with it.
        detail: String,
        /// What to type next.
        hint: String,
    },
    /// It is in the way of something that is there.
    #[error("{detail}")]
    Conflict {
        /// Stable code, such as `id_taken`, `grant_shared`, `other_account`.
        code: &'static str,
        /// What is in the way.
        detail: String,
        /// What to type next.
        hint: String,
    },
    /// The store or the keys can't be used.
    #[error("{detail}")]
    Store {
        /// Stable code, such as `store_locked`, `wrong_root_key`.
        code: &'static str,
        /// What happened.
        detail: String,
        /// What to type next.
        hint: String,
    },
    /// A defect of ours.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// Why a catalogue has no service of that id: there is none, or the user's own file of it is
    /// wrong (`service_file_refused`, with all that is wrong in it).
    pub fn no_service(catalogue: &Catalogue, id: &str) -> Self {
        let problems: Vec<_> = catalogue.problems_of(id).iter().map(ToString::to_string).collect();
        if problems.is_empty() {
            let nearest = catalogue.nearest(id);
            return Self::NotFound { what: "service", id: id.to_owned(), nearest };
        }
        Self::Refused {
            code: "service_file_refused",
            field: "service".into(),
            detail: problems.join("\n"),
            hint: "mend this file, or move it out of the home; other services go on".into(),
        }
    }

    /// The stable code, part of the contract.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::Reauthorization { .. } => "reauthorization_required",
            Self::Revoked { .. } => "revoked",
            Self::Unavailable { code, .. }
            | Self::Refused { code, .. }
            | Self::Conflict { code, .. }
            | Self::Store { code, .. } => code,
            Self::Internal(_) => "internal",
        }
    }

    /// What to do next, as a command or an act; empty when there is nothing.
    pub fn hint(&self) -> String {
        match self {
            Self::NotFound { what, nearest, .. } if nearest.is_empty() => match *what {
                "service" => "`indicia services` lists what there is".into(),
                "client" => "`indicia clients list` lists what there is".into(),
                _ => "`indicia connections` lists what there is".into(),
            },
            Self::NotFound { nearest, .. } => format!("did you mean {}?", nearest.join(", ")),
            Self::Reauthorization { reason, .. } => reason.next_step.clone(),
            Self::Revoked { connection, client } => {
                format!("connect again, the id stays: `indicia connect {client} --id {connection}`")
            }
            Self::Unavailable { hint, .. }
            | Self::Refused { hint, .. }
            | Self::Conflict { hint, .. }
            | Self::Store { hint, .. } => hint.clone(),
            Self::Internal(_) => "this is a defect: please report it".into(),
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let (code, hint) = match error.kind {
            StoreErrorKind::Locked => ("store_locked", "end the program that holds it, or wait"),
            StoreErrorKind::Full => ("store_full", "make room on the disk; nothing was lost"),
            StoreErrorKind::ReadOnly => ("store_read_only", "check the rights of the home folder"),
            StoreErrorKind::Newer => {
                ("store_newer", "use the Indicia that made it, or a newer one")
            }
            StoreErrorKind::NetworkFileSystem => {
                ("store_on_network", "choose a home on a local disk with --home")
            }
            StoreErrorKind::Unreadable => ("store_unreadable", "`indicia doctor` looks closer"),
            StoreErrorKind::Unavailable => ("store_unavailable", "try again"),
        };
        Self::Store { code, detail: error.detail, hint: hint.into() }
    }
}

impl From<crate::vault::VaultError> for Error {
    fn from(error: crate::vault::VaultError) -> Self {
        use crate::vault::VaultError;
        let detail = error.to_string();
        match error {
            VaultError::WrongRootKey => Self::Store {
                code: "wrong_root_key",
                detail,
                hint: "give the right one with --root-key; nothing was changed".into(),
            },
            VaultError::Damaged => Self::Store {
                code: "sealed_damaged",
                detail,
                hint: "restore the store from a backup".into(),
            },
            VaultError::RootKey(_) => Self::Store {
                code: "root_key_unavailable",
                detail,
                hint: "`indicia doctor` checks the root key".into(),
            },
            VaultError::Store(error) => error.into(),
        }
    }
}
