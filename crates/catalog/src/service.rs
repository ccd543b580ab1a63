//! A service, validated: what the engine, the simulated services and the pages are driven by.
//!
//! Whatever depends on a client (its kind, inputs, settings) is asked for with a [`Context`] and
//! comes back concrete: absolute URLs, one rule.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use indicia_oauth::client_assertion::Algorithm;
use indicia_oauth::{Dialect, TokenEndpoint, Verdict};
use serde::{Deserialize, Serialize};

use crate::api_key::{ApiJwtRule, ApiKeyRule};
use crate::capability::Capability;
use crate::present::Carried;
use crate::template::{Input, Template};

/// How a grant is obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flow {
    /// RFC 6749 §4.1.
    AuthorizationCode,
    /// RFC 6749 §4.4.
    ClientCredentials,
    /// RFC 6749 §4.2; legacy.
    Implicit,
    /// RFC 8628.
    Device,
    /// A token set that exists already.
    Import,
    /// No OAuth: a key.
    ApiKey,
}

/// RFC 6749 §2.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientKind {
    /// Keeps a secret.
    Confidential,
    /// Can keep none.
    Public,
}

/// Which token request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantType {
    /// Code for tokens.
    AuthorizationCode,
    /// Client credentials.
    ClientCredentials,
    /// Device code for tokens (RFC 8628 §3.4).
    DeviceCode,
    /// Refresh.
    RefreshToken,
}

/// What the catalogue's templates and rules are filled in from.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The client's kind.
    pub kind: ClientKind,
    /// Named inputs, client level and connection level together.
    pub inputs: &'a BTreeMap<String, String>,
    /// Settings of the client; defaults of the service apply where a key is missing.
    pub settings: &'a BTreeMap<String, String>,
}

/// Named values learnt from a callback, an answer or a discovery call, after their patterns were
/// checked: they become connection inputs.
pub type Bindings = BTreeMap<String, String>;

/// Where a service file comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Shipped with Indicia.
    Shipped,
    /// A user's own.
    Own(PathBuf),
    /// A user's own that takes the place of a shipped one.
    Overrides(PathBuf),
}

/// PKCE at a service. Always S256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pkce {
    /// Refused without.
    Required,
    /// Taken.
    Supported,
    /// Required of public clients, refused of confidential ones.
    PublicOnly,
    /// Refused.
    Forbidden,
    /// Not documented: sent (RFC 7636 §5: unknown parameters are ignored).
    Unknown,
}

/// Whether a refresh gives a new refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rotation {
    /// A new one each time; the old one is dead.
    Rotates,
    /// The same one for good.
    Keeps,
    /// Sometimes, or nobody knows.
    May,
}

/// Proof that a service verifiably keeps its refresh token, so that nothing can be lost by sending
/// it again. Only [`RefreshRule::keeps`] makes one.
#[derive(Clone, Copy, Debug)]
pub struct Keeps(());

/// What a refresh does there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshRule {
    /// Whether the service gives refresh tokens at all.
    pub supported: bool,
    /// Whether it rotates.
    pub rotation: Rotation,
    /// Whether `rotation` is verified; unverified counts as [`Rotation::May`].
    pub verified: bool,
    /// For how long a used refresh token is forgiven.
    pub reuse_grace: Option<Duration>,
    /// Whether a refresh ends the access token before it.
    pub kills_access: bool,
    /// Life of a refresh token, from its issue.
    pub lifetime: Option<Duration>,
    /// It dies unused after this.
    pub idle: Option<Duration>,
    /// Asking earlier than this before the end returns the same token; `None`: any time.
    pub earliest_before_end: Option<Duration>,
    /// At most `.0` token requests in `.1`, per grant.
    pub mint_limit: Option<(u32, Duration)>,
    /// A token set is replaced after this at the latest: the client's own `token_max_age`.
    pub max_age: Option<Duration>,
}

impl RefreshRule {
    /// Rotation as the engine must treat it.
    pub fn effective_rotation(&self) -> Rotation {
        if self.verified { self.rotation } else { Rotation::May }
    }

    /// The proof that the refresh token is kept, if it verifiably is.
    pub fn keeps(&self) -> Option<Keeps> {
        (self.effective_rotation() == Rotation::Keeps).then_some(Keeps(()))
    }
}

/// The authorization endpoint, filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizeCall {
    /// Absolute URL.
    pub url: String,
    /// Further parameters.
    pub params: Vec<(String, String)>,
    /// Whether a challenge is sent for this client.
    pub pkce: bool,
    /// Whether `redirect_uri` is sent.
    pub send_redirect_uri: bool,
    /// The issuer, where the service has one (RFC 9207).
    pub issuer: Option<String>,
    /// Whether it always sends `iss`.
    pub issuer_always: bool,
}

/// Which token a call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// The refresh token.
    RefreshToken,
    /// The access token.
    AccessToken,
}

/// What a revocation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kills {
    /// That token only.
    Token,
    /// The grant: refresh token and its access tokens.
    Grant,
    /// Everything that the account gave this client.
    Account,
}

/// How a grant is taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevocationRule {
    /// The service can't; what to do by hand.
    Cannot {
        /// What the account's owner or the operator does by hand.
        by_hand: String,
    },
    /// One or two calls.
    Call {
        /// Where and how.
        endpoint: TokenEndpoint,
        /// Name of the token's parameter.
        token_param: String,
        /// Which tokens are sent, in order.
        tokens: Vec<TokenKind>,
        /// Whether `token_type_hint` is sent.
        hint: bool,
        /// What it ends.
        kills: Kills,
    },
}

/// A call to a service's API that is cheap and harmless: probe, discovery, who-am-I.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRule {
    /// Absolute URL, filled in.
    pub url: String,
    /// GET or POST.
    pub method: indicia_oauth::Method,
    /// What it carries, filled in but for the token ([`crate::present::Presented::put`]).
    pub carries: Carried<String>,
    /// Dotted path of the account's id in its answer.
    pub account_id: Option<String>,
    /// Dotted path of the account's name.
    pub account_name: Option<String>,
    /// Inputs learnt from its answer: input → dotted path.
    pub learns: BTreeMap<String, String>,
}

/// Where API calls go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiBase {
    /// A template, fixed when it has no inputs.
    Template(Template),
    /// A member of the token answer, allowed only in the domain that the file names and when the
    /// whole of it matches the pattern.
    FromAnswer {
        /// Member (dotted path) that the dialect keeps.
        member: String,
        /// Pattern of the whole URL.
        pattern: String,
    },
    /// None known.
    Unknown,
}

/// How client secrets are changed there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRule {
    /// How many may live at once: 1 means that a new one kills the old at once.
    pub live_max: u32,
    /// A new secret is staged, and activated by hand (which kills the old one).
    pub staged: bool,
    /// Secrets end after this.
    pub lifetime: Option<Duration>,
    /// The input whose values have secrets of their own (a data centre).
    pub per_input: Option<String>,
    /// What is known, in words.
    pub note: String,
}

/// Keys that a client may have in place of secrets (RFC 7523 §2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientKeyRule {
    /// How they may sign, the usual one first; at least one.
    pub algorithms: Vec<Algorithm>,
    /// There are no secrets, only keys.
    pub only: bool,
}

/// A documentation source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// What it is.
    pub title: String,
    /// Where it is.
    pub url: String,
    /// The day on which it was read, `YYYY-MM-DD`.
    pub read: String,
}

/// A setting that depends on the application as registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Key.
    pub name: String,
    /// Values that it may take.
    pub values: Vec<String>,
    /// Value when not set.
    pub default: String,
    /// What it is, and where the portal shows it.
    pub help: String,
}

/// A scope with its meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// As the service spells it.
    pub name: String,
    /// What it allows.
    pub meaning: String,
}

/// What a service knows of scopes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScopeRule {
    /// True: there are none, or one for everything. A token is full access to the account.
    pub full_access: bool,
    /// Between scopes in a request.
    pub separator: String,
    /// All that are known.
    pub known: Vec<Scope>,
    /// Always asked for (identity).
    pub always: Vec<String>,
    /// Asked for where a refresh token is wanted: in every flow but client credentials.
    pub offline: Option<String>,
    /// The least scopes for each capability.
    pub capabilities: BTreeMap<Capability, Vec<String>>,
    /// Parameter for scopes that may be refused without harm (`optional_scope`).
    pub optional_param: Option<String>,
    /// Scopes that travel in `optional_param` rather than in `scope`.
    pub optional: Vec<String>,
    /// Whether the granted scopes in an answer can be compared with those asked for.
    pub comparable: bool,
    /// What a request without scopes gets.
    pub omitted: Omitted,
}

/// What a request without a scope parameter gets. An empty one is never sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Omitted {
    /// Nobody knows.
    #[default]
    Unknown,
    /// All that the application may have.
    Everything,
    /// A default that the service chooses.
    Default,
    /// A token without permissions.
    Nothing,
    /// A refusal.
    Refused,
}

/// An answer that a row of an error table stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// HTTP status.
    pub status: u16,
    /// Media type.
    pub content_type: String,
    /// Body.
    pub body: String,
}

/// A rate limit of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// At most so many calls…
    pub calls: u32,
    /// …in this window…
    pub window: Duration,
    /// …counted by this.
    pub per: LimitPer,
    /// In words; may be empty.
    pub note: String,
}

/// What a rate limit counts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitPer {
    /// The application, over all of its accounts together.
    Client,
    /// The account at the service.
    Account,
    /// The user there.
    User,
    /// The token.
    Connection,
}

/// An account at the simulated service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Id, as the service spells it.
    pub id: String,
    /// Name.
    pub name: String,
}

/// What only a server knows; played by the simulated service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxFacts {
    /// Life of an access token.
    pub access_life: Duration,
    /// Life of an authorization code.
    pub code_life: Duration,
    /// Using a spent refresh token ends the whole grant.
    pub reuse_kills: bool,
    /// Members that a token answer has besides the usual: JSON object, `{…}` filled in by the model
    /// with [`crate::template::fill_json`].
    pub answer_extra: serde_json::Map<String, serde_json::Value>,
    /// Members that a token answer leaves out (`token_type`, `scope`, …).
    pub answer_omits: Vec<String>,
    /// Members that a refresh's answer leaves out besides.
    pub refresh_omits: Vec<String>,
    /// Value of `expires_in` when it isn't the life (0 for "never").
    pub expires_in: Option<serde_json::Value>,
    /// Query parameters that the callback has besides `code` and `state`.
    pub callback_extra: BTreeMap<String, String>,
    /// What the probe and discovery calls answer: URL path → JSON, `{…}` filled in by the model
    /// with [`crate::template::fill_json`].
    pub api_answers: BTreeMap<String, serde_json::Value>,
    /// Accounts that may log in, the default first; at least two.
    pub accounts: Vec<Account>,
    /// Rotation where nobody knows: played each way, by seed. Empty: as the refresh rule says.
    pub rotation_variants: Vec<Rotation>,
    /// Whether a refresh ends the access token before it, where nobody knows.
    pub kills_access_variants: Vec<bool>,
    /// Whether an old client secret outlives a new one, where nobody knows.
    pub secret_overlap_variants: Vec<bool>,
}

/// A service. Made by [`crate::read::read`] alone.
#[derive(Clone, Debug)]
pub struct Service {
    /// `[a-z0-9-]+`.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Which API surface this is.
    pub surface: String,
    /// Where the file comes from.
    pub origin: Origin,
    /// Developer portal.
    pub portal_url: String,
    /// How to register there, step by step.
    pub portal_steps: Vec<String>,
    /// The default redirect URI's form and its rules.
    pub redirect: RedirectRule,
    /// Documentation, with dates.
    pub sources: Vec<Source>,
    /// Facts that decide behaviour: field → verified?
    pub verified: BTreeMap<String, bool>,
    /// Flows offered, preferred first.
    pub flows: Vec<Flow>,
    /// Kinds of client, default first.
    pub client_kinds: Vec<ClientKind>,
    /// PKCE.
    pub pkce: Pkce,
    /// Named inputs.
    pub inputs: Vec<Input>,
    /// Settings that depend on the application.
    pub settings: Vec<Setting>,
    /// Scopes.
    pub scopes: ScopeRule,
    /// Token endpoint's dialect.
    pub dialect: Dialect,
    /// An answer for each row of `dialect.errors`, in the same order: the simulated service plays
    /// refusals by them.
    pub examples: Vec<Example>,
    /// The API's error dialect (its `errors` rows only).
    pub api_dialect: Dialect,
    /// An answer for each row of `api_dialect.errors`, in the same order.
    pub api_examples: Vec<Example>,
    /// True: two connections of one client to one account share a grant.
    pub grant_per_account: bool,
    /// Dotted member of the token answer that names the account (`hub_id`), if one does.
    pub account_member: Option<String>,
    /// Where API calls go.
    pub api_base: ApiBase,
    /// Rate limits of the API.
    pub limits: Vec<Limit>,
    /// Client secrets.
    pub secrets: SecretRule,
    /// How its API keys look, where it has the flow `api-key`.
    pub api_key: Option<ApiKeyRule>,
    /// How API calls are signed, where they are.
    pub api_jwt: Option<ApiJwtRule>,
    /// Keys in place of secrets, where it takes them.
    pub client_keys: Option<ClientKeyRule>,
    /// End-of-life dates of endpoints: URL or path → `YYYY-MM-DD`.
    pub ends: BTreeMap<String, String>,
    /// A user's file may allow `http://127.0.0.1` endpoints.
    pub loopback_http: bool,
    /// For the simulated service.
    pub sandbox: SandboxFacts,
    /// As read; private parts that the methods below resolve.
    pub(crate) raw: crate::schema::File,
}

/// What redirect URIs may look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectRule {
    /// `http://127.0.0.1:PORT` is taken.
    pub loopback_ip: bool,
    /// `http://localhost:PORT` is taken.
    pub loopback_name: bool,
    /// The port may differ from the registered one.
    pub any_port: bool,
    /// Only one URI per application.
    pub single: bool,
    /// In words.
    pub note: String,
}

impl RedirectRule {
    /// The default redirect URI for a client: `127.0.0.1`, else `localhost`, else pasted back.
    pub fn default_uri(&self, client: &str, port: u16) -> String {
        match (self.loopback_ip, self.loopback_name) {
            (true, _) => format!("http://127.0.0.1:{port}/oauth/callback/{client}"),
            (false, true) => format!("http://localhost:{port}/oauth/callback/{client}"),
            (false, false) => format!("https://localhost/oauth/callback/{client}"),
        }
    }
}

impl Service {
    /// The first example answer of the token endpoint that means this, so that a simulated service
    /// refuses in the service's own words; `None`: it has no words of its own, RFC 6749 §5.2 holds.
    pub fn example(&self, verdict: Verdict) -> Option<&Example> {
        let rows = self.dialect.errors.iter().zip(&self.examples);
        rows.into_iter().find(|(row, _)| row.verdict == verdict).map(|(_, example)| example)
    }

    /// The same for the API.
    pub fn api_example(&self, verdict: Verdict) -> Option<&Example> {
        let rows = self.api_dialect.errors.iter().zip(&self.api_examples);
        rows.into_iter().find(|(row, _)| row.verdict == verdict).map(|(_, example)| example)
    }

    /// Whether a fact is verified; what the file doesn't speak of is not.
    pub fn is_verified(&self, fact: &str) -> bool {
        self.verified.get(fact).copied().unwrap_or(false)
    }
}
