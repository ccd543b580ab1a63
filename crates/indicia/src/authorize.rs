//! A connection's token on a request of the caller's own, made by whatever HTTP client he likes.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use http::{HeaderName, HeaderValue, Request, Uri};
use indicia_broker::view::TokenView;
use indicia_broker::{Broker, Error};
use zeroize::Zeroizing;

/// With what a request was authorized, for the case that the API refuses it.
#[derive(Clone)]
pub struct Authorized {
    connection: String,
    sha256_hex: String,
    /// Version of the grant that the token is of.
    pub version: u64,
    token: Arc<TokenView>,
}

/// Puts on a request everything that an API call of this connection needs: the token, in the way in
/// which the service wants it, and headers that it insists on. A URI without a host is taken as a
/// path below the API's base. Headers and parameters of these names that are there already are
/// replaced. A body isn't read: where the service wants something in it, that is in
/// [`Authorized::body`], for the caller to add.
///
/// # Errors
/// As [`Broker::token`]. [`Error::Refused`] with code `other_host` when the request goes elsewhere
/// than to the service's API, or unencrypted: a token must not be sent there. The request is as it
/// was then.
pub async fn authorize<B>(
    broker: &Arc<Broker>,
    connection: &str,
    request: &mut Request<B>,
) -> Result<Authorized, Error> {
    let token = broker.token(connection, None).await?;
    let uri = target(&token, request.uri())?;
    let mut headers = Vec::with_capacity(token.headers.len());
    for (name, value) in &token.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unfit(name))?;
        let mut value = HeaderValue::from_str(value).map_err(|_| unfit(name.as_str()))?;
        value.set_sensitive(true);
        headers.push((name, value));
    }
    *request.uri_mut() = with_query(uri, &token.query)?;
    for (name, value) in headers {
        request.headers_mut().insert(name, value);
    }
    let mut sha256_hex = String::with_capacity(64);
    for byte in digest(&SHA256, token.access_token.as_bytes()).as_ref() {
        // Writing into a string can't fail.
        let _ = write!(sha256_hex, "{byte:02x}");
    }
    let connection = connection.to_owned();
    Ok(Authorized { connection, sha256_hex, version: token.version, token })
}

impl fmt::Debug for Authorized {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Authorized");
        shown.field("connection", &self.connection).field("version", &self.version);
        shown.finish_non_exhaustive()
    }
}

impl Authorized {
    /// Members that the body of the call needs, form or JSON; as a rule, none.
    pub fn body(&self) -> impl Iterator<Item = (&str, &str)> {
        self.token.body.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Tells that the API refused the token (401): it is replaced, if nobody did so already. After
    /// that the request may be authorized anew and sent once more.
    ///
    /// # Errors
    /// As [`Broker::rejected`].
    pub async fn refused(&self, broker: &Arc<Broker>) -> Result<(), Error> {
        broker.rejected(&self.connection, &self.sha256_hex).await.map(drop)
    }
}

/// Where the request goes: to the API and nowhere else.
fn target(token: &TokenView, asked: &Uri) -> Result<Uri, Error> {
    let base = token.api_base_url.as_deref().map(str::parse::<Uri>).transpose();
    let base = base.map_err(|_| unfit("the API's address"))?;
    let Some(base) = base else {
        return if is_private(asked) { Ok(asked.clone()) } else { Err(other_host(asked, None)) };
    };
    let Some(host) = asked.host() else {
        let path = asked.path_and_query().map_or("/", |path| path.as_str());
        let joined = format!("{}/{}", base.to_string().trim_end_matches('/'), below(path));
        return joined.parse().map_err(|_| unfit("the request's path"));
    };
    let same = base.host().is_some_and(|own| own.eq_ignore_ascii_case(host))
        && base.scheme() == asked.scheme()
        && base.port_u16() == asked.port_u16();
    if same { Ok(asked.clone()) } else { Err(other_host(asked, base.host())) }
}

/// The address with the parameters of the query that a call needs.
fn with_query(uri: Uri, query: &[(String, Zeroizing<String>)]) -> Result<Uri, Error> {
    if query.is_empty() {
        return Ok(uri);
    }
    let unfit = || unfit("a parameter of the query");
    let mut url: url::Url = uri.to_string().parse().map_err(|_| unfit())?;
    let names: Vec<&str> = query.iter().map(|(name, _)| name.as_str()).collect();
    let kept: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let kept = kept.iter().filter(|(name, _)| !names.contains(&name.as_str()));
    let own = query.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let all = kept.map(|(name, value)| (name.as_str(), value.as_str())).chain(own);
    let all: Vec<(&str, &str)> = all.collect();
    url.query_pairs_mut().clear().extend_pairs(all);
    url.as_str().parse().map_err(|_| unfit())
}

fn below(path: &str) -> &str {
    path.trim_start_matches('/')
}

fn is_private(uri: &Uri) -> bool {
    uri.scheme_str() == Some("https")
}

fn other_host(asked: &Uri, own: Option<&str>) -> Error {
    let host = asked.host().unwrap_or("no host");
    Error::Refused {
        code: "other_host",
        field: "uri".into(),
        detail: match own {
            Some(own) => format!("the request goes to {host}, and the token belongs to {own}"),
            None => format!("the request to {host} isn't over https"),
        },
        hint: "give a path alone: it is taken below the API's base".into(),
    }
}

fn unfit(what: &str) -> Error {
    Error::Refused {
        code: "unfit_request",
        field: "request".into(),
        detail: format!("{what} can't stand in a request"),
        hint: "`indicia services show` tells what the service wants".into(),
    }
}
