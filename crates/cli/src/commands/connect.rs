//! `indicia connect CLIENT`: gets a grant, through the system browser or without one.
//!
//! Surprise: standard output carries the connection's id and nothing else, so that a script can
//! take it; what a person reads, the address included, goes to standard error.

mod device;
pub(super) mod key;

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use indicia_broker::connect::{BrowserStep, ConnectRequest, ConnectStep};
use indicia_broker::list::ConnectionQuery;
use indicia_broker::scopes::{AskedScope, Why};
use indicia_broker::view::{ConnectionState, ConnectionView};
use indicia_broker::{Broker, Error};
use indicia_catalog::{Capability, Flow};
use indicia_oauth::AccessToken;

use crate::args::{Connect, FlowName};
use crate::commands::connections::Access;
use crate::commands::exec::without_ours;
use crate::commands::{clients, connections};
use crate::failure::Failure;
use crate::home::{Cx, beside};
use crate::listen::{AnswerIn, CannotListen, Listener, Shown};
use crate::output::now;
use crate::prompt;
use crate::words::{shown, spoken};

/// Connects.
pub fn run(cx: &Cx, args: Connect) -> Result<(), Failure> {
    if cx.catalogue()?.service(&args.client).is_none_or(|service| service.registers()) {
        cx.must_be_there("client", &args.client)?;
    }
    let view = cx.block_on(async {
        let view = connect(cx, args).await.map_err(nothing_at_hand)?;
        tell_of(cx, &view).await?;
        cx.do_what_is_due().await;
        Ok(view)
    })?;
    if cx.out.json {
        return cx.out.document(&view);
    }
    let account = match connections::account(&view).as_str() {
        "" => String::new(),
        name => format!(": {}", shown(name)),
    };
    cx.out.note(&format!("connected at {}{account}", view.service));
    if let Some(reason) = &view.reason {
        cx.out.warning(&reason.detail);
    }
    cx.out.line(&view.id)
}

/// What else there is to know of a connection that was just made.
async fn tell_of(cx: &Cx, view: &ConnectionView) -> Result<(), Failure> {
    let broker = cx.broker().await?;
    if connections::access(&broker, view) == Access::Full {
        cx.out.remark("its token has full access to the account");
    }
    if let Some(path) = &view.overridden {
        let path = shown(path);
        cx.out.remark(&format!("{} is overridden by your own file {path}", view.service));
    }
    let Some(account) = &view.account else { return Ok(()) };
    let query =
        ConnectionQuery { service: Some(view.service.clone()), ..ConnectionQuery::default() };
    let (others, _) = broker.connections(query, None, LOOKED_AT_MAX).await?;
    let others = others.iter().filter(|other| {
        let same = other.account.as_ref().is_some_and(|other| other.id == account.id);
        let lives = other.state != ConnectionState::Revoked;
        same && lives && other.id != view.id && other.environment == view.environment
    });
    let names: Vec<&str> = others.map(|other| other.id.as_str()).take(NAMED_MAX).collect();
    if !names.is_empty() {
        cx.out.remark(&format!("this account is connected also as {}", names.join(", ")));
    }
    Ok(())
}

/// A client that the service refuses is a later matter for who has a token; who wants the first one
/// has to mend it.
fn nothing_at_hand(failure: Failure) -> Failure {
    match failure {
        Failure::Broker(Error::Unavailable { code: "client_refused", detail, hint, .. }) => {
            Failure::failed("client_refused", detail, hint)
        }
        other => other,
    }
}

pub(super) async fn connect(cx: &Cx, args: Connect) -> Result<ConnectionView, Failure> {
    let broker = cx.broker().await?;
    let made = key::client_of_its_own(&broker, &args.client).await?;
    let connected = by_its_flow(cx, &broker, args).await;
    if connected.is_err() {
        made.undo(&broker).await;
    }
    connected
}

async fn by_its_flow(
    cx: &Cx,
    broker: &Arc<Broker>,
    args: Connect,
) -> Result<ConnectionView, Failure> {
    let paste = args.no_browser || !cx.options.browser;
    let request = request(broker, args).await?;
    let started = broker.connect(request.clone());
    match cx.out.wait("asking the service", started).await? {
        ConnectStep::Done(view) => {
            if !view.scopes.asked.is_empty() {
                cx.out.remark(&format!("asked for: {}", view.scopes.asked.join(" ")));
            }
            Ok(*view)
        }
        ConnectStep::Device(step) => {
            tell_asks(cx, &step.asks, step.full_access);
            device::show(cx, &step);
            let finish = broker.finish_device(&step.flow);
            Ok(cx.out.wait("waiting until the code is entered", finish).await?)
        }
        ConnectStep::Key(step) => {
            tell_asks(cx, &[], step.full_access);
            let key = AccessToken::new(key::read(cx, &step).await?.as_str());
            let connected = broker.connect_key(request, key);
            Ok(cx.out.wait("asking the service", connected).await?)
        }
        ConnectStep::Browser(step) => {
            tell(cx, &step);
            let listener = if paste { None } else { listener(cx, &step) };
            match listener {
                Some(listener) => caught(cx, broker, &step, listener).await,
                None => pasted(cx, broker, &step).await,
            }
        }
    }
}

async fn request(broker: &Broker, args: Connect) -> Result<ConnectRequest, Failure> {
    let capabilities = capabilities(broker, &args.client, &args.can).await?;
    let flow = args.flow.map(|flow| match flow {
        FlowName::ApiKey => Flow::ApiKey,
        FlowName::AuthorizationCode => Flow::AuthorizationCode,
        FlowName::ClientCredentials => Flow::ClientCredentials,
        FlowName::Device => Flow::Device,
        FlowName::Implicit => Flow::Implicit,
    });
    Ok(ConnectRequest {
        client: args.client,
        id: args.id,
        capabilities,
        scopes: args.scopes,
        inputs: clients::once("--input", args.inputs)?,
        labels: clients::once("--label", args.labels)?,
        flow,
        other_account: args.other_account,
    })
}

/// Reads `--can` for a client; all that is wrong is told at once.
pub async fn capabilities(
    broker: &Broker,
    client: &str,
    typed: &[String],
) -> Result<Vec<Capability>, Failure> {
    let client = broker.client(client).await?;
    let service = broker.catalogue().service(&client.service);
    let service = service.ok_or_else(|| Error::no_service(broker.catalogue(), &client.service))?;
    let mut found = Vec::new();
    let mut problems = Vec::new();
    for text in typed {
        match text.parse::<Capability>() {
            Ok(capability) => found.push(capability),
            Err(_) => {
                let near = Capability::nearest(text);
                let near: Vec<&str> = near.iter().map(|capability| capability.as_str()).collect();
                problems.push(match near.as_slice() {
                    [] => format!("--can: there is no capability {text:?}"),
                    near => format!("--can: there is no {text:?}; near are {}", near.join(", ")),
                });
            }
        }
    }
    if problems.is_empty() {
        return Ok(found);
    }
    let known = service.scopes.capabilities.keys().map(|c| c.as_str()).collect::<Vec<_>>();
    let hint = format!("{} has {}", service.name, known.join(", "));
    Err(Failure::usage("capability_unknown", problems.join("\n"), hint))
}

/// What is asked for, and why it matters.
fn tell(cx: &Cx, step: &BrowserStep) {
    if step.implicit {
        cx.out.remark(
            "the implicit flow is legacy: its token passes through the browser's address, and can't \
             be refreshed; where the service offers it, --flow authorization-code is better",
        );
    }
    tell_asks(cx, &step.asks, step.full_access);
}

fn tell_asks(cx: &Cx, asks: &[AskedScope], full_access: bool) {
    if full_access {
        cx.out.remark("asks for full access to the account: this service knows no less");
    }
    if !asks.is_empty() {
        cx.out.remark("asks for:");
    }
    for AskedScope { scope, meaning, why } in asks {
        let why = match why {
            Why::Named => "you named it".to_owned(),
            Why::Can(capabilities) => {
                let names: Vec<&str> = capabilities.iter().map(|c| c.as_str()).collect();
                format!("for {}", names.join(", "))
            }
            Why::Offline => "to refresh without you".to_owned(),
            Why::Identity => "to learn whose account it is".to_owned(),
        };
        let meaning = meaning.as_ref().map(|text| format!(": {}", shown(text)));
        cx.out.remark(&format!("  {}{} ({why})", shown(scope), meaning.unwrap_or_default()));
    }
}

/// A listener on the redirect URI, or word of why the address is to be pasted.
fn listener(cx: &Cx, step: &BrowserStep) -> Option<Listener> {
    let answer = if step.implicit { AnswerIn::Fragment } else { AnswerIn::Query };
    match Listener::open(&step.redirect_uri, answer) {
        Ok(listener) => Some(listener),
        Err(why) => {
            cx.out.note(&match why {
                CannotListen::NotLoopback => {
                    "this service sends the browser to an address that can't be caught here"
                        .to_owned()
                }
                CannotListen::PortTaken(port) => {
                    format!(
                        "port {port} is taken by another program, so nothing can be caught there"
                    )
                }
                CannotListen::Refused(error) => {
                    format!("nothing can be caught on this machine: {error}")
                }
            });
            None
        }
    }
}

/// By the listener: waits until the callback comes, or the time for it is over.
async fn caught(
    cx: &Cx,
    broker: &Arc<Broker>,
    step: &BrowserStep,
    mut listener: Listener,
) -> Result<ConnectionView, Failure> {
    open_browser(cx, &step.authorize_url);
    let finished = until_ours(cx, broker, step, &mut listener).await;
    listener.close().await;
    finished
}

/// Takes callbacks until one belongs to a flow of ours. Any page on this machine can send one that
/// doesn't: that must not end the flow.
async fn until_ours(
    cx: &Cx,
    broker: &Arc<Broker>,
    step: &BrowserStep,
    listener: &mut Listener,
) -> Result<ConnectionView, Failure> {
    let begun = now();
    let mut has_told = false;
    loop {
        let left = step.expires_at.since(now());
        let Ok(arrived) = tokio::time::timeout(left, listener.next()).await else {
            return Err(too_late(now().since(begun)));
        };
        let finish = broker.finish(&arrived.url);
        let finished = cx.out.wait("exchanging the code for a token", finish).await;
        let show = match &finished {
            Ok(_) => Shown::Connected,
            Err(error) if is_stray(error) => Shown::NotOurs,
            Err(_) => Shown::NotConnected,
        };
        // The browser may have gone; the connection is made all the same.
        let _ = arrived.reply.send(show);
        match finished {
            Err(error) if is_stray(&error) => {
                // Any page can send many: once is enough.
                if !std::mem::replace(&mut has_told, true) {
                    cx.out
                        .note("an answer came that belongs to no flow of this home; still waiting");
                }
            }
            // Another `connect` of this client waits too, and its browser came to our port.
            Ok(view) if view.id != step.connection => {
                cx.out.note(&format!("another attempt made {}; still waiting", view.id));
            }
            finished => return finished.map_err(Failure::from),
        }
    }
}

/// Whether a callback belongs to no flow that waits: then nothing was spent by it.
fn is_stray(error: &Error) -> bool {
    let Error::Refused { code, .. } = error else {
        return false;
    };
    STRAY_CODES.contains(code)
}

/// By hand: the address is printed, the resulting one comes back.
async fn pasted(
    cx: &Cx,
    broker: &Arc<Broker>,
    step: &BrowserStep,
) -> Result<ConnectionView, Failure> {
    cx.out.say("open this address in a browser, and allow the access:");
    cx.out.say(&step.authorize_url);
    cx.out.say(&format!(
        "the browser ends on an address that begins with {} (the page may fail to load): paste it here",
        shown(&step.redirect_uri)
    ));
    let left = step.expires_at.since(now());
    let line = beside(|| prompt::line("address"));
    let url = match tokio::time::timeout(left, line).await {
        Ok(url) => url?,
        Err(_) => return Err(too_late(left)),
    };
    let finish = broker.finish(&url);
    Ok(cx.out.wait("exchanging the code for a token", finish).await?)
}

fn too_late(after: Duration) -> Failure {
    Failure::failed(
        "flow_expired",
        format!("nobody came back from the browser within {}", spoken(after)),
        "run `indicia connect` again; with --no-browser from another machine",
    )
}

/// Opens the system browser, never a view of our own (RFC 8252 §8.12). The address is printed in
/// any case: what opened may not be the browser that somebody wants to log in with.
fn open_browser(cx: &Cx, url: &str) {
    cx.out.say("waiting for the browser; should it not have opened, open this address:");
    cx.out.say(url);
    if !has_browser() || !browses(cx, url) {
        cx.out.note("no browser was found here; from another machine: --no-browser");
    }
}

/// Starts the browser from a process of this program that has none of our variables: the library
/// that knows how to start one hands on what it finds.
fn browses(cx: &Cx, url: &str) -> bool {
    let Ok(program) = std::env::current_exe() else { return false };
    let mut command = Command::new(program);
    command.args([crate::BROWSE, url]);
    without_ours(&mut command, &cx.options);
    command.status().is_ok_and(|status| status.success())
}

/// Without a screen only a browser in this very terminal could open, in the middle of our output.
fn has_browser() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !cfg!(target_os = "linux") || ["DISPLAY", "WAYLAND_DISPLAY", "BROWSER"].into_iter().any(set)
}

/// Connections that are looked through for the same account.
const LOOKED_AT_MAX: usize = 1_000;
const NAMED_MAX: usize = 3;
/// What the engine says of callbacks that didn't take our flow.
const STRAY_CODES: &[&str] = &[
    "state_unknown",
    "state_used",
    "state_expired",
    "callback_of_another_client",
    "callback_malformed",
];
