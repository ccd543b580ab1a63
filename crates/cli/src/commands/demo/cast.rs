//! Who plays what: services chosen from the catalogue by what their files say, never by name.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use indicia_catalog::service::Kills;
use indicia_catalog::template::{InputFrom, Level};
use indicia_catalog::{
    Catalogue, ClientKind, Context, Flow, RefreshRule, RevocationRule, Rotation, Service,
};

use crate::failure::Failure;

/// The services of the play.
pub struct Cast {
    /// Keeps its refresh token, for a client with [`Self::keeps_settings`].
    pub keeps: Arc<Service>,
    /// Settings of the client there.
    pub keeps_settings: Settings,
    /// Gives a new refresh token each time, and forgives nothing.
    pub rotates: Arc<Service>,
    /// The same, but forgives the reuse of a spent one for a minute: a variant, written for the
    /// play.
    pub forgives: Arc<Service>,
    /// The variant's file, for the home.
    pub forgives_text: String,
    /// Has a revocation call that ends the whole grant.
    pub revokes: Arc<Service>,
}

impl Cast {
    /// The first service of each kind.
    pub fn of(catalogue: &Catalogue) -> Result<Self, Failure> {
        let all: Vec<_> = catalogue.ids().iter().filter_map(|id| catalogue.service(id)).collect();
        let simple = || all.iter().filter(|service| is_simple(service));
        let none = Settings::new();
        let rotates = simple().find(|service| {
            let rule = rule(service, &none);
            let rotates = rule.effective_rotation() == Rotation::Rotates;
            rotates && rule.reuse_grace.is_none() && !rule.kills_access && has_no_pace(&rule)
        });
        let rotates = rotates.ok_or_else(|| missing("gives a new refresh token each time"))?;
        let keeps = simple().find_map(|service| {
            let fits = |settings: &Settings| {
                let rule = rule(service, settings);
                let keeps = rule.effective_rotation() == Rotation::Keeps;
                rule.supported && keeps && has_no_pace(&rule)
            };
            Some((Arc::clone(service), settings_of(service).into_iter().find(fits)?))
        });
        let (keeps, keeps_settings) = keeps.ok_or_else(|| missing("keeps its refresh token"))?;
        let revokes = simple().find(|service| {
            with_context(service, &none, |cx| {
                let rule = service.revocation(cx);
                matches!(rule, Ok(RevocationRule::Call { kills: Kills::Grant, .. }))
            })
        });
        let revokes = revokes.ok_or_else(|| missing("has a revocation call"))?;
        let (forgives, forgives_text) = variant(rotates)?;
        Ok(Self {
            keeps,
            keeps_settings,
            rotates: Arc::clone(rotates),
            forgives,
            forgives_text,
            revokes: Arc::clone(revokes),
        })
    }
}

/// Settings of a client.
pub type Settings = BTreeMap<String, String>;

/// Nothing set, then each value of each setting.
fn settings_of(service: &Service) -> Vec<Settings> {
    let each = service.settings.iter().flat_map(|setting| {
        let values = setting.values.iter();
        values.map(|value| Settings::from([(setting.name.clone(), value.clone())]))
    });
    std::iter::once(Settings::new()).chain(each).collect()
}

/// Tokens may be asked for as often as they end here, which is every few seconds.
fn has_no_pace(rule: &RefreshRule) -> bool {
    rule.mint_limit.is_none() && rule.earliest_before_end.is_none()
}

/// People connect in a browser, nothing has to be typed first, and the token ends.
fn is_simple(service: &Service) -> bool {
    let typed = service
        .inputs
        .iter()
        .any(|input| input.from == InputFrom::User && !input.optional && input.default.is_none());
    let expiring = service.sandbox.expires_in.is_none();
    service.flows.first() == Some(&Flow::AuthorizationCode) && !typed && expiring
}

fn rule(service: &Service, settings: &Settings) -> RefreshRule {
    with_context(service, settings, |cx| service.refresh_rule(cx))
}

fn with_context<T>(
    service: &Service,
    settings: &Settings,
    ask: impl FnOnce(Context<'_>) -> T,
) -> T {
    let examples = service.inputs.iter().filter(|input| input.level == Level::Connection);
    let inputs: BTreeMap<String, String> =
        examples.map(|input| (input.name.clone(), input.example.clone())).collect();
    let kind = service.client_kinds.first().copied().unwrap_or(ClientKind::Confidential);
    ask(Context { kind, inputs: &inputs, settings })
}

/// The same service with a grace for spent refresh tokens, as a user's own file.
fn variant(of: &Service) -> Result<(Arc<Service>, String), Failure> {
    let broken = |why: String| Failure::failed("demo_failed", why, "this is a defect");
    let text = Catalogue::shipped_text(&of.id).ok_or_else(|| missing("is shipped"))?;
    let mut file: toml::Table = text.parse().map_err(|e: toml::de::Error| broken(e.to_string()))?;
    let id = format!("{}-forgiving", of.id);
    file.insert("id".into(), id.clone().into());
    file.insert("name".into(), format!("{} (forgiving)", of.name).into());
    // An issuer belongs to one service.
    file.remove("issuer");
    if let Some(toml::Value::Table(refresh)) = file.get_mut("refresh") {
        refresh.insert("reuse_grace".into(), GRACE.into());
    }
    let text = file.to_string();
    let path = PathBuf::from(format!("{id}.toml"));
    let own = Catalogue::with_own([(path.as_path(), text.as_str())]).map_err(|errors| {
        broken(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })?;
    let service = own.service(&id).ok_or_else(|| missing("forgives"))?;
    Ok((service, text))
}

fn missing(what: &str) -> Failure {
    let detail = format!("no service of the catalogue is one that {what}");
    Failure::failed("demo_failed", detail, "put the shipped service files back")
}

/// For how long the variant forgives.
const GRACE: &str = "60s";
