//! Service-neutral permissions; the catalogue maps each to a service's least scopes.

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
