//! `indicia token ID`: a valid token on standard output, and nothing else there.

use indicia_broker::Broker;
use indicia_broker::view::TokenView;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

use crate::args::{Token, TokenFormat};
use crate::failure::Failure;
use crate::home::Cx;
use crate::words::shown_json;

/// Prints it.
pub fn run(cx: &Cx, args: Token) -> Result<(), Failure> {
    let token = cx.block_on(valid(cx, &args.id, args.min_valid))?;
    for warning in &token.warnings {
        cx.out.warning(&warning.detail);
    }
    let format = if cx.out.json { TokenFormat::Json } else { args.format };
    match format {
        TokenFormat::Plain => cx.out.secret_line(&token.access_token),
        TokenFormat::Json => cx.out.secret_line(&shown_json(&token.to_json())),
        TokenFormat::Header => {
            for (name, value) in &token.headers {
                cx.out.secret_line(&Zeroizing::new(format!("{name}: {}", value.as_str())))?;
            }
            Ok(())
        }
        TokenFormat::Env => {
            let variables = variables(&token);
            if let Some((name, _)) = variables.iter().find(|(_, value)| !is_plain(value)) {
                return Err(Failure::failed(
                    "not_plain",
                    format!("{name} has characters that a shell or an env file may read as more"),
                    format!("give it to a command: `indicia exec {} -- CMD`", args.id),
                ));
            }
            for (name, value) in variables {
                cx.out.secret_line(&Zeroizing::new(format!("{name}={}", value.as_str())))?;
            }
            Ok(())
        }
    }
}

/// A token that is good for long enough.
pub async fn valid(
    cx: &Cx,
    id: &str,
    min_valid: Option<Duration>,
) -> Result<Arc<TokenView>, Failure> {
    cx.must_be_there("connection", id)?;
    let broker: Arc<Broker> = cx.broker().await?;
    let min_valid = min_valid.unwrap_or(cx.options.min_valid);
    let token = broker.token(id, Some(min_valid));
    let token = cx.out.wait("asking the service for a new token", token).await?;
    // A warm token costs nothing more; nor does one that couldn't be refreshed.
    if cx.has_sent() && token.warnings.is_empty() {
        cx.do_what_is_due().await;
    }
    Ok(token)
}

/// What `--format env` prints and `exec` sets.
pub fn variables(token: &TokenView) -> Vec<(&'static str, Zeroizing<String>)> {
    let mut variables = vec![(TOKEN_VARIABLE, token.access_token.clone())];
    if let Some(url) = &token.api_base_url {
        variables.push((URL_VARIABLE, Zeroizing::new(url.clone())));
    }
    variables
}

/// Whether a value means itself in every env file and shell.
fn is_plain(value: &str) -> bool {
    !value.is_empty()
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~+/=:-".contains(&b))
}

const TOKEN_VARIABLE: &str = "INDICIA_TOKEN";
const URL_VARIABLE: &str = "INDICIA_API_BASE_URL";

#[cfg(test)]
mod tests {
    use super::is_plain;

    #[test]
    fn only_what_means_itself_everywhere_goes_into_an_env_file() {
        for plain in ["abc.DEF-1_2~3", "a+b/c==", "https://api.example.com:8080/v1"] {
            assert!(is_plain(plain), "{plain}");
        }
        for other in ["", "a b", "a\nb", "$(id)", "`id`", "a;b", "a'b", "a\"b", "a#b", "a%b", "ü"]
        {
            assert!(!is_plain(other), "{other:?}");
        }
    }
}
