//! The pages that a person sees: login, consent, and what is wrong. They load nothing, need no
//! script, and post back to where they were shown, so they work under any address.

use askama::Template;
use indicia_catalog::Service;

use crate::model::Account;

/// A scope on the consent page.
pub(crate) struct ScopeLine {
    pub name: String,
    pub meaning: String,
}

#[derive(Template)]
#[template(path = "login.html")]
struct Login<'a> {
    service: &'a str,
    client_id: &'a str,
    accounts: Vec<&'a str>,
}

#[derive(Template)]
#[template(path = "consent.html")]
struct Consent<'a> {
    service: &'a str,
    client_id: &'a str,
    account: &'a str,
    account_id: &'a str,
    full_access: bool,
    scopes: Vec<ScopeLine>,
}

#[derive(Template)]
#[template(path = "problem.html")]
struct Problem<'a> {
    service: &'a str,
    why: &'a str,
}

#[derive(Template)]
#[template(path = "enter_code.html")]
struct EnterCode<'a> {
    service: &'a str,
    wrong: bool,
}

#[derive(Template)]
#[template(path = "decided.html")]
struct Decided<'a> {
    service: &'a str,
    approved: bool,
}

/// A service on the start page.
pub(crate) struct ServiceLine {
    pub id: String,
    pub name: String,
    pub surface: String,
    pub flows: String,
}

#[derive(Template)]
#[template(path = "start.html")]
struct Start<'a> {
    services: &'a [ServiceLine],
}

/// Asks whose account it is.
pub(crate) fn login(service: &Service, client_id: &str) -> String {
    let accounts = service.sandbox.accounts.iter().map(|a| a.name.as_str()).collect();
    rendered(&Login { service: &service.name, client_id, accounts })
}

/// Asks whether the client may.
pub(crate) fn consent(
    service: &Service,
    client_id: &str,
    account: &Account,
    scopes: Vec<ScopeLine>,
) -> String {
    rendered(&Consent {
        service: &service.name,
        client_id,
        account: &account.name,
        account_id: &account.id,
        full_access: service.scopes.full_access,
        scopes,
    })
}

/// Says what is wrong, where nothing may be sent back.
pub(crate) fn problem(service: &Service, why: &str) -> String {
    rendered(&Problem { service: &service.name, why })
}

/// Asks for the code that a device shows; `wrong`: for another one.
pub(crate) fn enter_code(service: &Service, wrong: bool) -> String {
    rendered(&EnterCode { service: &service.name, wrong })
}

/// Says that the device will know.
pub(crate) fn decided(service: &Service, approved: bool) -> String {
    rendered(&Decided { service: &service.name, approved })
}

/// Lists the services.
pub(crate) fn start(services: &[ServiceLine]) -> String {
    rendered(&Start { services })
}

/// Rendering into memory fails for no template of ours; if it did, an empty page would show it.
fn rendered(template: &impl Template) -> String {
    template.render().unwrap_or_default()
}
