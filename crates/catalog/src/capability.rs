//! Service-neutral permissions; the catalogue maps each to a service's least scopes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A permission in our words. Text form: `contacts.read`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Capability {
    /// Who the account is.
    #[serde(rename = "account.read")]
    AccountRead,
    /// Read contacts.
    #[serde(rename = "contacts.read")]
    ContactsRead,
    /// Create and change contacts.
    #[serde(rename = "contacts.write")]
    ContactsWrite,
    /// Read lists, segments, tags.
    #[serde(rename = "lists.read")]
    ListsRead,
    /// Change lists, segments, tags.
    #[serde(rename = "lists.write")]
    ListsWrite,
    /// Read campaigns.
    #[serde(rename = "campaigns.read")]
    CampaignsRead,
    /// Create and change campaigns.
    #[serde(rename = "campaigns.write")]
    CampaignsWrite,
    /// Send campaigns.
    #[serde(rename = "campaigns.send")]
    CampaignsSend,
    /// Read templates.
    #[serde(rename = "templates.read")]
    TemplatesRead,
    /// Change templates.
    #[serde(rename = "templates.write")]
    TemplatesWrite,
    /// Read reports.
    #[serde(rename = "reports.read")]
    ReportsRead,
    /// Manage webhooks.
    #[serde(rename = "webhooks.manage")]
    WebhooksManage,
}

impl Capability {
    /// All that there are, in the order of their declaration.
    pub const ALL: [Self; 12] = [
        Self::AccountRead,
        Self::ContactsRead,
        Self::ContactsWrite,
        Self::ListsRead,
        Self::ListsWrite,
        Self::CampaignsRead,
        Self::CampaignsWrite,
        Self::CampaignsSend,
        Self::TemplatesRead,
        Self::TemplatesWrite,
        Self::ReportsRead,
        Self::WebhooksManage,
    ];

    /// The text form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccountRead => "account.read",
            Self::ContactsRead => "contacts.read",
            Self::ContactsWrite => "contacts.write",
            Self::ListsRead => "lists.read",
            Self::ListsWrite => "lists.write",
            Self::CampaignsRead => "campaigns.read",
            Self::CampaignsWrite => "campaigns.write",
            Self::CampaignsSend => "campaigns.send",
            Self::TemplatesRead => "templates.read",
            Self::TemplatesWrite => "templates.write",
            Self::ReportsRead => "reports.read",
            Self::WebhooksManage => "webhooks.manage",
        }
    }

    /// Capabilities near to a mistyped one, nearest first, at most three.
    pub fn nearest(text: &str) -> Vec<Self> {
        let near = crate::walk::nearest(text, Self::ALL.iter().map(|c| c.as_str()));
        near.into_iter().filter_map(|text| text.parse().ok()).collect()
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// There is no capability of that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no capability {0:?}")]
pub struct UnknownCapability(pub String);

impl FromStr for Capability {
    type Err = UnknownCapability;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|capability| capability.as_str() == text);
        found.ok_or_else(|| UnknownCapability(text.to_owned()))
    }
}
