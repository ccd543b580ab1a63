//! `indicia clients rotate`: goes with somebody through a new client secret, by the service's rule.
//! It does nothing that `clients secrets` and `refresh` couldn't.
//!
//! What would surprise: it can be left at any question and run again: a secret that is staged by
//! then is gone on with.

use std::sync::Arc;

use indicia_broker::list::ConnectionQuery;
use indicia_broker::model::SecretState;
use indicia_broker::view::{ClientView, ConnectionState, ConnectionView, ExpiryKind};
use indicia_broker::{Broker, Error, Force};
use indicia_catalog::{ClientKind, Flow, Service};

use super::{new_secret, secrets_table, tell_key};
use crate::args::SecretSource;
use crate::failure::Failure;
use crate::home::{Cx, beside};
use crate::prompt;
use crate::words::shown;

/// What a new secret does to the one before it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Both live until the old one is deleted.
    Overlap,
    /// It waits there until it is activated by hand, which ends the old one.
    Staged,
    /// It ends the old one at once.
    Swap,
}

/// Goes through it.
pub(super) fn run(cx: &Cx, id: &str) -> Result<(), Failure> {
    cx.must_be_there("client", id)?;
    if !prompt::somebody_is_there() {
        let hint = format!("without a terminal: `indicia clients secrets {id} add --secret-stdin`");
        return Err(Failure::usage("needs_terminal", "this asks questions", hint));
    }
    let view = cx.block_on(rotated(cx, id))?;
    match cx.out.json {
        true => cx.out.document(&view),
        false => secrets_table(cx, &view.secrets),
    }
}

async fn rotated(cx: &Cx, id: &str) -> Result<ClientView, Failure> {
    let broker = cx.broker().await?;
    let client = broker.client(id).await?;
    let service = broker.catalogue().service(&client.service);
    let service = service.ok_or_else(|| Error::no_service(broker.catalogue(), &client.service))?;
    if client.kind == ClientKind::Public || client.secrets.is_empty() {
        let detail = format!("client {id} has no secret that could be rotated");
        return Err(Failure::failed("no_secret", detail, "`indicia clients show` tells its kind"));
    }
    let rule = match (&service.secrets, is_key(&client)) {
        (rule, false) if rule.staged => Rule::Staged,
        (rule, false) if rule.live_max < 2 => Rule::Swap,
        // Of keys a service takes several: each is known by its id.
        (_, true) | (_, false) => Rule::Overlap,
    };
    let staged = client.secrets.iter().rev().find(|secret| secret.state == SecretState::Staged);
    let n = match staged {
        Some(secret) => {
            cx.out.say(&format!("secret {} is staged: going on with it", secret.n));
            secret.n
        }
        None => added(cx, &broker, (&service, &client), rule).await?,
    };
    if rule == Rule::Staged {
        go_on(cx, "activate it in the portal now; the old one ends by that").await?;
    }
    if rule == Rule::Overlap {
        broker.promote_secret(id, n).await?;
    }
    if service.secrets.per_input.is_some() {
        cx.out.note("it is tried when a connection that it is for is refreshed");
        return Ok(broker.client(id).await?);
    }
    if !tried(cx, &broker, id, n).await? {
        return Ok(broker.client(id).await?);
    }
    if rule == Rule::Overlap {
        go_on(cx, "delete the old one in the portal now, or keep it for a while and stop here")
            .await?;
    }
    for old in broker.client(id).await?.secrets {
        if matches!(old.state, SecretState::Retiring) {
            broker.retire_secret(id, old.n).await?;
        }
    }
    Ok(broker.client(id).await?)
}

fn is_key(client: &ClientView) -> bool {
    client.secrets.iter().any(|s| s.state == SecretState::Current && s.key.is_some())
}

/// Asks for the new secret, or makes the new key; its number.
async fn added(
    cx: &Cx,
    broker: &Arc<Broker>,
    (service, client): (&Arc<Service>, &ClientView),
    rule: Rule,
) -> Result<u32, Failure> {
    cx.out.say(&format!("{}: {}", shown(&service.name), shown(&service.portal_url)));
    let generate_key = is_key(client);
    cx.out.say(match (generate_key, rule) {
        (true, _) => "a new key is made here; enter its public part there beside the old one's",
        (_, Rule::Overlap) => "make a second secret there; leave the old one as it is",
        (_, Rule::Staged) => "make a new secret there; don't activate it yet",
        (_, Rule::Swap) => {
            "a new secret ends the old one at once: make it there and give it here right after; \
             tokens that are valid are served meanwhile, and no grant is lost"
        }
    });
    if !service.secrets.note.is_empty() {
        cx.out.say(&format!("  {}", shown(&service.secrets.note)));
    }
    let source = SecretSource { secret_stdin: false, secret_file: None, generate_key };
    let of = Arc::clone(service);
    let typed = beside(move || new_secret(&of, "new client secret", &source)).await?;
    let Some(secret) = typed else {
        return Err(Failure::usage("secret_missing", "no secret was given", "run it again"));
    };
    let of_input = match &service.secrets.per_input {
        None => None,
        Some(input) => {
            let question = format!("for which {input}? (empty: for all)");
            let typed = beside(move || prompt::line_or(&question, Some(String::new()))).await?;
            Some(typed.to_string()).filter(|value| !value.is_empty())
        }
    };
    let view = broker.add_secret(&client.id, secret, None, of_input).await?;
    let new = view.secrets.last();
    tell_key(cx, new);
    if generate_key {
        go_on(cx, "enter it in the portal now").await?;
    }
    Ok(new.map(|secret| secret.n).unwrap_or_default())
}

/// Waits until somebody has done something in the portal.
async fn go_on(cx: &Cx, what: &str) -> Result<(), Failure> {
    cx.out.say(what);
    match beside(|| prompt::confirm("Done?")).await? {
        true => Ok(()),
        false => Err(Failure::failed(
            "left",
            "left here; what was done stays",
            "run it again when it is done, or use `indicia clients secrets`",
        )),
    }
}

/// Whether the service takes the new secret, seen by a refresh; true also where nothing is there to
/// try it with, and that is said.
async fn tried(cx: &Cx, broker: &Arc<Broker>, id: &str, n: u32) -> Result<bool, Failure> {
    let query = ConnectionQuery { client: Some(id.to_owned()), ..ConnectionQuery::default() };
    let (there, _) = broker.connections(query, None, LOOKED_AT_MAX).await?;
    let Some(view) = there.iter().find(|view| is_renewable(view)) else {
        broker.promote_secret(id, n).await?;
        cx.out.note("no connection is there to try it with: it is tried when one is refreshed");
        return Ok(false);
    };
    let refreshed = broker.refresh(&view.id, Force::Yes);
    let refreshed = cx.out.wait(&format!("refreshing {} with it", view.id), refreshed).await;
    let current = broker.client(id).await?.secrets.into_iter().find(|secret| secret.n == n);
    let is_current = current.is_some_and(|secret| secret.state == SecretState::Current);
    match refreshed {
        Ok(_) if is_current => {
            cx.out.say("the service takes the new secret");
            Ok(true)
        }
        Ok(_) => {
            cx.out.warning("the service doesn't take the new secret, or takes the old one still");
            cx.out.note(&format!(
                "the old one stays; if the new one is wrong: `indicia clients secrets {id} retire {n}`"
            ));
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether it may well be renewed by a refresh, in which the client's secret is sent.
fn is_renewable(view: &ConnectionView) -> bool {
    let works = matches!(view.state, ConnectionState::Active | ConnectionState::Attention);
    let by_client = !matches!(view.flow, Flow::ApiKey | Flow::Implicit);
    works && by_client && view.expiry != ExpiryKind::Never
}

/// Connections that are looked through for one to try with.
const LOOKED_AT_MAX: usize = 100;
