//! What a service file may say, field by field; `docs/reference/catalogue.md` is made from this.
//!
//! Surprise: the structs are what is *written*, not what is *meant*. [`crate::Service`] is the
//! meaning, made from them by [`crate::read::read`], and nothing else reads them.

use std::collections::BTreeMap;

use indicia_oauth::Verdict;
use indicia_oauth::expiry::ExpiryKind;

use crate::service::{ClientKind, Flow, Kills, LimitPer, Omitted, Pkce, Rotation, TokenKind};
use crate::shape::{Section, Shape, Shaped, Span, section};
use crate::spelling::{Auth, Codec, From, Level, MethodName, Says, Standing};

mod keys;

pub(crate) use keys::{ApiKeyFile, ClientKeysFile, JwtFile};

/// The one version of the schema that there is.
pub(crate) const SCHEMA_VERSION: u32 = 1;

/// The reference page of the schema, as Markdown; `docs/reference/catalogue.md` holds the same
/// text.
pub fn reference() -> String {
    format!("{PREFACE}{}", crate::shape::render(root()))
}

/// The section that is the whole file.
pub(crate) fn root() -> &'static Section {
    match File::SHAPE {
        Shape::Table(section) => section,
        // `File` is made by `section!`, whose shape is a table.
        _ => &Section { doc: "", fields: &[] },
    }
}

const PREFACE: &str = "\
# Service files

This page is generated from `crates/catalog/src/schema.rs`; a test compares the two.

A service is one TOML file. The shipped ones are in `services/`; your own go into \
`$INDICIA_HOME/services/`, in files that only you can write. `indicia services check FILE` tells \
what is wrong with one, by file and line. `docs/examples/own-server.toml` is one to start from.

A **template** is text with `{name}` in it, filled in from the input of that name, or `{name.key}`, \
from its table. A value that doesn't match its input's pattern is refused. In the host part of a \
URL a value may hold lower-case letters, digits, `-` and `.` only, and can't change what follows \
it. An input that ends a host (or has less than two labels after it) must come from a table or be \
typed in for the client: never from a callback or an answer.

A **dotted path** names a member of a JSON answer: `organization.member_id`, `data.0.id`.

";

section! {
    /// Keys that stand before the first table.
    pub File {
        /// Version of this schema: 1.
        req schema: u32,
        /// Name in commands and addresses: lower-case letters, digits and `-`. `list`, `show`,
        /// `check` and `try` are taken.
        req id: String,
        /// Name for people.
        req name: String,
        /// Which of the vendor's APIs this is.
        req surface: String,
        /// The authorization server's issuer (a template), where it has one: RFC 9207, RFC 8414.
        /// Endpoints that the file leaves out are taken from its metadata.
        opt issuer: Option<String>,
        /// How a grant can be obtained, preferred first.
        req flows: Vec<Flow>,
        /// Kinds of client that can be registered, default first. Default: `confidential`.
        opt client_kinds: Vec<ClientKind>,
        /// What the service makes of PKCE (always S256). `unknown`: it is sent.
        req pkce: Option<Pkce>,
        /// Two connections of one client to one account share a grant at the service.
        opt grant_per_account: bool,
        /// Dotted path in the token answer that names the account.
        opt account_member: Option<String>,
        /// Endpoints may be `http://127.0.0.1:PORT`. For your own files only.
        opt loopback_http: bool,
        /// The developer portal.
        req portal: PortalFile,
        /// What redirect URIs the portal takes.
        req redirect: RedirectFile,
        /// Where the facts were read.
        req sources: Vec<SourceFile>,
        /// How sure each fact is that decides behaviour.
        req facts: BTreeMap<String, Standing>,
        /// Endpoints with an end of life: URL → day (`YYYY-MM-DD`).
        opt ends: BTreeMap<String, String>,
        /// Values that templates are filled in from.
        opt inputs: Vec<InputFile>,
        /// What depends on the application as registered.
        opt settings: Vec<SettingFile>,
        /// The authorization endpoint.
        opt authorize: AuthorizeFile,
        /// The token endpoint.
        opt token: TokenFile,
        /// The device authorization endpoint (RFC 8628 §3.1). Parameters of the token endpoint are
        /// not taken over.
        opt device: Option<EndpointFile>,
        /// The pushed authorization request endpoint (RFC 9126).
        opt par: Option<EndpointFile>,
        /// The introspection endpoint (RFC 7662).
        opt introspection: Option<EndpointFile>,
        /// How a grant is taken back.
        req revocation: RevocationFile,
        /// What can be asked for.
        req scopes: ScopesFile,
        /// What a refresh does.
        opt refresh: RefreshFile,
        /// How a token answer is spelt, where it differs from RFC 6749.
        opt answer: AnswerFile,
        /// How the token endpoint refuses, where it differs from RFC 6749. First match wins.
        opt errors: Vec<ErrorFile>,
        /// A call right after the exchange that learns the account and where its API is.
        opt discovery: Option<CallFile>,
        /// The OpenID or vendor's own who-am-I call.
        opt userinfo: Option<CallFile>,
        /// The API.
        req api: ApiFile,
        /// How client secrets are changed.
        opt secrets: SecretsFile,
        /// API keys, for the flow `api-key`.
        opt api_key: Option<ApiKeyFile>,
        /// A client may have a private key in place of a secret (RFC 7523); `auth` says how one
        /// with a secret authenticates, or `private-key-jwt` where there are none.
        opt client_keys: Option<ClientKeysFile>,
        /// What only a server knows, for the simulated service.
        opt sandbox: SandboxFile,
    }
}

section! {
    /// Where an application is registered.
    pub(crate) PortalFile {
        /// Address.
        req url: String,
        /// What to do there, step by step.
        req steps: Vec<String>,
    }
}

section! {
    /// What redirect URIs may look like. Neither kind of loopback: https only, and the address is
    /// pasted back.
    pub(crate) RedirectFile {
        /// `http://127.0.0.1:PORT/…` is taken.
        opt loopback_ip: bool,
        /// `http://localhost:PORT/…` is taken.
        opt loopback_name: bool,
        /// The port may differ from the registered one (RFC 8252 §7.3).
        opt any_port: bool,
        /// Only one URI per application.
        opt single: bool,
        /// In words.
        opt note: String,
    }
}

section! {
    /// A page that was read.
    pub(crate) SourceFile {
        /// What it is.
        req title: String,
        /// Where it is.
        req url: String,
        /// The day on which it was read (`YYYY-MM-DD`).
        req read: String,
    }
}

section! {
    /// A value that templates are filled in from, as `{name}`.
    pub(crate) InputFile {
        /// Name: lower-case letters, digits and `_`.
        req name: String,
        /// Whose it is: the registered application's, or one connection's.
        req level: Level,
        /// Where it comes from. Default: `user`.
        opt from: From,
        /// The callback parameter, or dotted path in the token answer, that it comes from.
        opt member: Option<String>,
        /// Regular expression that the whole value must match; not needed with a table.
        opt pattern: Option<String>,
        /// An example; the simulated service uses it.
        req example: String,
        /// What it is and where to find it.
        req help: String,
        /// Used when nothing is given; a template.
        opt default: Option<String>,
        /// May be missing: a parameter made from it is then left out.
        opt optional: bool,
        /// Value → derived values, for `{name.key}`. Other values are refused.
        opt table: BTreeMap<String, BTreeMap<String, String>>,
        /// Further callback parameters that must agree with it: parameter → template.
        opt confirm: BTreeMap<String, String>,
    }
}

section! {
    /// A property of the application as registered, which a client may set.
    pub(crate) SettingFile {
        /// Key.
        req name: String,
        /// Values that it may take; the first is the default.
        req values: Vec<String>,
        /// What it is, and where the portal shows it.
        req help: String,
    }
}

section! {
    /// The authorization endpoint (RFC 6749 §3.1).
    pub(crate) AuthorizeFile {
        /// Address; a template.
        opt url: Option<String>,
        /// Further parameters; templates.
        opt params: BTreeMap<String, String>,
        /// `redirect_uri` must not be sent.
        opt omit_redirect_uri: bool,
        /// The service always sends `iss` (RFC 9207 §3).
        opt issuer_always: bool,
    }
}

section! {
    /// The token endpoint (RFC 6749 §3.2). What a grant needs otherwise stands in a table of its
    /// name.
    pub(crate) TokenFile {
        /// Address; a template.
        opt url: Option<String>,
        /// HTTP method. Default: `POST`.
        opt method: Option<MethodName>,
        /// How parameters travel. Default: `form`.
        opt codec: Option<Codec>,
        /// How a confidential client authenticates. Default: `basic`.
        opt auth: Option<Auth>,
        /// How a public client does. Default: `none`.
        opt public_auth: Option<Auth>,
        /// Headers that the call needs; templates.
        opt headers: BTreeMap<String, String>,
        /// Further parameters; templates.
        opt params: BTreeMap<String, String>,
        /// Differences when a code is exchanged.
        opt authorization_code: Option<EndpointFile> = "authorization-code",
        /// Differences for client credentials.
        opt client_credentials: Option<EndpointFile> = "client-credentials",
        /// Differences when a device code is polled with.
        opt device_code: Option<EndpointFile> = "device-code",
        /// Differences for a refresh.
        opt refresh_token: Option<EndpointFile> = "refresh-token",
    }
}

section! {
    /// An endpoint; what is left out is as at the token endpoint.
    pub(crate) EndpointFile {
        /// Address; a template.
        opt url: Option<String>,
        /// HTTP method.
        opt method: Option<MethodName>,
        /// How parameters travel.
        opt codec: Option<Codec>,
        /// How a confidential client authenticates.
        opt auth: Option<Auth>,
        /// How a public client does.
        opt public_auth: Option<Auth>,
        /// Headers that the call needs; templates.
        opt headers: Option<BTreeMap<String, String>>,
        /// Further parameters; templates.
        opt params: Option<BTreeMap<String, String>>,
    }
}

section! {
    /// How a grant is taken back: `by_hand`, or a call.
    pub(crate) RevocationFile {
        /// There is no call: what the account's owner does by hand.
        opt by_hand: Option<String>,
        /// Address; a template.
        opt url: Option<String>,
        /// HTTP method.
        opt method: Option<MethodName>,
        /// How parameters travel.
        opt codec: Option<Codec>,
        /// How a confidential client authenticates.
        opt auth: Option<Auth>,
        /// How a public client does.
        opt public_auth: Option<Auth>,
        /// Headers that the call needs; templates.
        opt headers: Option<BTreeMap<String, String>>,
        /// Further parameters; templates.
        opt params: Option<BTreeMap<String, String>>,
        /// Name of the token's parameter. Default: `token`.
        opt token_param: Option<String>,
        /// Which tokens are sent, in order. Default: the refresh token.
        opt tokens: Vec<TokenKind>,
        /// `token_type_hint` is sent.
        opt hint: bool,
        /// What it ends. Default: `grant`.
        opt kills: Option<Kills>,
    }
}

section! {
    /// What can be asked for.
    pub(crate) ScopesFile {
        /// There are none, or one for everything: a token is full access to the account.
        opt full_access: bool,
        /// Between scopes in a request. Default: a space.
        opt separator: Option<String>,
        /// What a request without scopes gets.
        opt omitted: Omitted,
        /// Scope → meaning.
        opt known: BTreeMap<String, String>,
        /// Asked for where a refresh token is wanted; not for client credentials.
        opt offline: Option<String>,
        /// Always asked for, such as the account's identity.
        opt always: Vec<String>,
        /// Capability → the least scopes that it needs.
        opt capabilities: BTreeMap<String, Vec<String>>,
        /// A second parameter, for scopes that may be refused without harm.
        opt optional_param: Option<String>,
        /// Scopes that travel in it.
        opt optional: Vec<String>,
        /// Granted scopes in an answer can be compared with those asked for.
        opt comparable: bool,
    }
}

section! {
    /// What a refresh does (RFC 6749 §6).
    pub(crate) RefreshFile {
        /// There are no refresh tokens.
        opt none: bool,
        /// Whether a new refresh token comes each time.
        opt rotation: Option<Rotation>,
        /// For how long a used one is forgiven.
        opt reuse_grace: Option<Span>,
        /// A refresh ends the access token before it.
        opt kills_access: bool,
        /// Life of a refresh token, from its issue.
        opt lifetime: Option<Span>,
        /// It dies unused after this.
        opt idle: Option<Span>,
        /// Asking earlier than this before the end returns the same token.
        opt earliest_before_end: Option<Span>,
        /// At most this many token requests per grant…
        opt mint_max: Option<u32>,
        /// …in this window.
        opt mint_window: Option<Span>,
        /// Differences where the client has a setting.
        opt when: Vec<RefreshWhenFile>,
    }
}

section! {
    /// What a refresh does when the client's setting has this value.
    pub(crate) RefreshWhenFile {
        /// Name of the setting.
        req setting: String,
        /// Its value.
        req value: String,
        /// As above.
        opt rotation: Option<Rotation>,
        /// As above.
        opt reuse_grace: Option<Span>,
        /// As above.
        opt lifetime: Option<Span>,
        /// As above.
        opt idle: Option<Span>,
    }
}

section! {
    /// How a token answer is spelt.
    pub(crate) AnswerFile {
        /// Member with the access token. Default: `access_token`.
        opt access_token: Option<String>,
        /// Member with the refresh token. Default: `refresh_token`.
        opt refresh_token: Option<String>,
        /// Member with the granted scopes. Default: `scope`.
        opt scope: Option<String>,
        /// That member is no scope, or not comparable: it is not read.
        opt scope_ignored: bool,
        /// Any of these characters stands between scopes. Default: a space.
        opt scope_separators: Option<String>,
        /// Members that tell the access token's end, in order. Default: `expires_in`, in seconds.
        opt expires: Vec<ExpiresFile>,
        /// Members that tell the refresh token's end.
        opt refresh_expires: Vec<ExpiresFile>,
        /// What a missing or zero life means: `unknown`, `never`, or a length of time.
        opt no_expiry: Option<String>,
        /// An answer may come without `token_type`.
        opt token_type_optional: bool,
        /// Token types that are Bearer by another name.
        opt token_types: Vec<String>,
        /// A form-encoded answer is read too.
        opt accept_form: bool,
        /// Further members to keep (dotted paths).
        opt keep: Vec<String>,
    }
}

section! {
    /// A member that tells when a token ends.
    pub(crate) ExpiresFile {
        /// Its name.
        req member: String,
        /// How it is to be read.
        req kind: Option<ExpiryKind>,
    }
}

section! {
    /// A row of an error table.
    pub(crate) ErrorFile {
        /// What it means for us.
        req verdict: Option<Verdict>,
        /// Statuses; none: any.
        opt status: Vec<u16>,
        /// Dotted path → what it must say; all must match.
        opt fields: BTreeMap<String, Says>,
        /// Matches only a body that is not JSON.
        opt not_json: bool,
        /// How long to wait, where the answer doesn't say.
        opt retry_after: Option<Span>,
        /// What it means, for people.
        req meaning: String,
        /// An answer that this row matches; the simulated service gives it.
        req example: ExampleFile,
    }
}

section! {
    /// An answer.
    pub(crate) ExampleFile {
        /// HTTP status.
        req status: u16,
        /// Media type. Default: `application/json`.
        opt content_type: Option<String>,
        /// Body.
        req body: String,
    }
}

section! {
    /// A call to the API that is cheap and harmless.
    pub(crate) CallFile {
        /// Address; a template. With `/` in front, it follows the API's base URL.
        req url: String,
        /// HTTP method. Default: `GET`.
        opt method: Option<MethodName>,
        /// Headers, `{token}` being the access token. Default: those of the API.
        opt headers: Option<BTreeMap<String, String>>,
        /// Dotted path of the account's id.
        opt account_id: Option<String>,
        /// Dotted path of the account's name.
        opt account_name: Option<String>,
        /// Inputs learnt from the answer: input → dotted path.
        opt learns: BTreeMap<String, String>,
    }
}

section! {
    /// The API that tokens are for.
    pub(crate) ApiFile {
        /// Base URL; a template.
        opt base: Option<String>,
        /// Or: dotted path in the token answer that holds it…
        opt base_member: Option<String>,
        /// …the domain that its host must be, or be in: two labels or more, such as
        /// `api.example.com`. It must be https, on the usual port.
        opt base_domain: Option<String>,
        /// …and the pattern that the whole of it must match besides.
        opt base_pattern: Option<String>,
        /// Headers of each call, `{token}` being the access token or API key; `{token.basic}` is it
        /// as Basic credentials, `{token.jwt}` a JWT that it signs. Where it stands nowhere:
        /// `Authorization: Bearer {token}`.
        opt headers: BTreeMap<String, String>,
        /// Query parameters of each call; `{token}` may stand here.
        opt query: BTreeMap<String, String>,
        /// Members that the body of each call needs; `{token}` may stand here.
        opt body: BTreeMap<String, String>,
        /// What `{token.jwt}` is made of.
        opt jwt: Option<JwtFile>,
        /// A call that proves a token, and tells the account where nothing else does.
        opt probe: Option<CallFile>,
        /// How the API refuses. First match wins.
        opt errors: Vec<ErrorFile>,
        /// Rate limits.
        opt limits: Vec<LimitFile>,
    }
}

section! {
    /// A rate limit of the API.
    pub(crate) LimitFile {
        /// At most so many calls…
        req calls: u32,
        /// …in this window…
        req window: Option<Span>,
        /// …counted by this.
        req per: Option<LimitPer>,
        /// In words.
        opt note: String,
    }
}

section! {
    /// How client secrets are changed there.
    pub(crate) SecretsFile {
        /// How many may live at once. Default 1: a new one kills the old one.
        opt live_max: Option<u32>,
        /// A new one is staged, and activated by hand.
        opt staged: bool,
        /// A secret ends after this.
        opt lifetime: Option<Span>,
        /// The input whose values have secrets of their own.
        opt per_input: Option<String>,
        /// What is known, in words.
        opt note: String,
    }
}

section! {
    /// What only a server knows. In texts, `{account_id}`, `{account_name}` and `{INPUT}` are
    /// filled in; a text that is nothing but `{account_id#}` becomes a number.
    pub(crate) SandboxFile {
        /// Life of an access token. Default: `1h`.
        opt access_life: Option<Span>,
        /// Life of an authorization code. Default: `5m`.
        opt code_life: Option<Span>,
        /// Using a spent refresh token ends the whole grant.
        opt reuse_kills: bool,
        /// Further members of a token answer.
        opt answer_extra: BTreeMap<String, serde_json::Value>,
        /// Members that a token answer leaves out.
        opt answer_omits: Vec<String>,
        /// Members that a refresh's answer leaves out besides.
        opt refresh_omits: Vec<String>,
        /// `expires_in`, when it isn't the life.
        opt expires_in: Option<serde_json::Value>,
        /// Callback parameters besides `code` and `state`.
        opt callback_extra: BTreeMap<String, String>,
        /// What API calls answer: URL path → JSON.
        opt api_answers: BTreeMap<String, serde_json::Value>,
        /// Accounts that may log in; the first is the default.
        opt accounts: Vec<AccountFile>,
        /// Rotation, played each way where nobody knows.
        opt rotation_variants: Vec<Rotation>,
        /// Whether a refresh ends the access token before it, played each way.
        opt kills_access_variants: Vec<bool>,
        /// Whether an old client secret outlives a new one, played each way.
        opt secret_overlap_variants: Vec<bool>,
    }
}

section! {
    /// An account at the simulated service.
    pub(crate) AccountFile {
        /// Id.
        req id: String,
        /// Name.
        req name: String,
    }
}
