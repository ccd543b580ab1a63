//! `indicia connections`: what there is, and how healthy.

use std::time::Duration;

use indicia_broker::Broker;
use indicia_broker::list::ConnectionQuery;
use indicia_broker::model::Environment;
use indicia_broker::view::{ConnectionState, ConnectionView, ExpiryKind};
use serde_json::json;

use crate::args::{Connections, ConnectionsCommand, ConnectionsFilter, StateName};
use crate::commands::word;
use crate::failure::Failure;
use crate::home::Cx;
use crate::output::{now, when};

/// Lists or shows.
pub fn run(cx: &Cx, args: Connections) -> Result<(), Failure> {
    match args.command {
        None => list(cx, args.filter),
        Some(ConnectionsCommand::List(filter)) => list(cx, filter),
        Some(ConnectionsCommand::Show { id }) => {
            let (view, access) = cx.block_on(async {
                cx.must_be_there("connection", &id)?;
                let broker = cx.broker().await?;
                let view = broker.connection(&id).await?;
                let access = access(&broker, &view);
                Ok((view, access))
            })?;
            show(cx, &view, access)
        }
    }
}

fn list(cx: &Cx, filter: ConnectionsFilter) -> Result<(), Failure> {
    let (views, next, secrets) = match cx.home_is_there() {
        false => (Vec::new(), None, Vec::new()),
        true => cx.block_on(async {
            let query = ConnectionQuery {
                service: filter.service,
                client: filter.client,
                label: filter.label,
                state: filter.state.map(state),
            };
            let broker = cx.broker().await?;
            let (views, next) =
                broker.connections(query, filter.after.as_deref(), filter.limit).await?;
            Ok((views, next, broker.secrets_ending(now().plus(SOON)).await?))
        })?,
    };
    if cx.out.json {
        return cx.out.document(&json!({ "connections": views, "next": next }));
    }
    let rows: Vec<Vec<String>> = views.iter().map(row).collect();
    cx.out.table(&["ID", "SERVICE", "ACCOUNT", "STATE", "TOKEN", "REASON"], &rows)?;
    if rows.is_empty() {
        cx.out.note("there are no connections; `indicia connect CLIENT` makes one");
    }
    for ending in secrets {
        let client = ending.client.unwrap_or_default();
        let at = when(ending.at, now());
        cx.out.warning(&format!("{client}: {} {at}: {}", ending.detail, ending.next_step));
    }
    if let Some(next) = next {
        cx.out.note(&format!("there are more: add --after {next}"));
    }
    Ok(())
}

fn state(name: StateName) -> ConnectionState {
    match name {
        StateName::Active => ConnectionState::Active,
        StateName::Attention => ConnectionState::Attention,
        StateName::ReauthorizationRequired => ConnectionState::ReauthorizationRequired,
        StateName::Revoked => ConnectionState::Revoked,
    }
}

fn row(view: &ConnectionView) -> Vec<String> {
    vec![
        view.id.clone(),
        service(view),
        account(view),
        word(&view.state),
        expiry(view),
        view.reason.as_ref().map(|reason| word(&reason.code)).unwrap_or_default(),
    ]
}

fn service(view: &ConnectionView) -> String {
    let mut text = view.service.clone();
    if matches!(view.environment, Environment::Sandbox { .. }) {
        text += " (sandbox)";
    }
    if view.overridden.is_some() {
        text += OVERRIDDEN;
    }
    text
}

/// What a connection's token may do: everything, where its service knows no less.
pub fn access(broker: &Broker, view: &ConnectionView) -> Access {
    let service = broker.catalogue().service(&view.service);
    match service.is_some_and(|service| service.scopes.full_access) {
        true => Access::Full,
        false => Access::AsGranted,
    }
}

/// What a connection's token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everything.
    Full,
    /// What its scopes say.
    AsGranted,
}

/// The account's name, or its id where it has no name.
pub fn account(view: &ConnectionView) -> String {
    let account = view.account.as_ref();
    account.map(|a| a.name.clone().unwrap_or_else(|| a.id.clone())).unwrap_or_default()
}

fn expiry(view: &ConnectionView) -> String {
    match (view.expiry, view.expires_at) {
        (ExpiryKind::Never, _) => "never ends".to_owned(),
        (ExpiryKind::At, Some(end)) if end <= now() => "ended".to_owned(),
        (ExpiryKind::At, Some(end)) => {
            format!("ends in {}", crate::words::spoken(end.since(now())))
        }
        (ExpiryKind::Unknown | ExpiryKind::At, _) => "end unknown".to_owned(),
    }
}

/// Shows one in full.
pub fn show(cx: &Cx, view: &ConnectionView, access: Access) -> Result<(), Failure> {
    if cx.out.json {
        return cx.out.document(view);
    }
    let full = match access {
        Access::Full => "full access to the account",
        Access::AsGranted => "",
    };
    let environment = match &view.environment {
        Environment::Live => "live".to_owned(),
        Environment::Sandbox { address } => format!("sandbox at {address}"),
    };
    let account = view.account.as_ref().map(|account| match &account.name {
        Some(name) => format!("{name} ({})", account.id),
        None => account.id.clone(),
    });
    let labels: Vec<_> = view.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let at = |moment| when(moment, now());
    let reason = view.reason.as_ref();
    cx.out.facts(&[
        ("connection", view.id.clone()),
        ("service", view.service.clone()),
        ("overridden", view.overridden.clone().unwrap_or_default()),
        ("client", view.client.clone()),
        ("environment", environment),
        ("account", account.unwrap_or_else(|| "not learnt".to_owned())),
        ("flow", word(&view.flow)),
        ("state", word(&view.state)),
        ("reason", reason.map(|r| format!("{}: {}", word(&r.code), r.detail)).unwrap_or_default()),
        ("since", reason.map(|r| at(r.since)).unwrap_or_default()),
        ("next step", reason.map(|r| r.next_step.clone()).unwrap_or_default()),
        ("access", full.to_owned()),
        ("asked for", view.scopes.asked.join(" ")),
        ("granted", view.scopes.granted.join(" ")),
        ("token", view.expires_at.map_or_else(|| expiry(view), |end| format!("ends {}", at(end)))),
        ("refreshed", view.refresh.last_at.map(at).unwrap_or_default()),
        ("due", view.refresh.next_at.map(at).unwrap_or_default()),
        ("refresh token", rotation(view)),
        ("labels", labels.join(" ")),
        ("made", at(view.created_at)),
        ("changed", at(view.updated_at)),
        ("version", view.version.to_string()),
    ])
}

fn rotation(view: &ConnectionView) -> String {
    use indicia_catalog::Rotation;
    match view.refresh.rotation {
        Rotation::Rotates => "a new one with each refresh",
        Rotation::Keeps => "stays the same",
        Rotation::May => "may change with a refresh",
    }
    .to_owned()
}

/// Beside the name of a service whose facts come from a file of the user's own.
pub const OVERRIDDEN: &str = " (overridden)";

/// Client secrets that end before this are told.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);
