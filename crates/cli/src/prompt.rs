//! Secrets and answers from people: by prompt without echo, from standard input, or from a file.
//! Never by argument, which everybody on the machine can read.

use std::io::{IsTerminal as _, Read, Write as _};
use std::path::Path;

use zeroize::Zeroizing;

use crate::args::SecretSource;
use crate::failure::Failure;

/// Whether a person is there to be asked.
pub fn somebody_is_there() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// A secret from where it was said to be; without a place: by prompt, when somebody is there.
/// `Ok(None)`: no place was said and nobody is there.
pub fn secret(what: &str, source: &SecretSource) -> Result<Option<Zeroizing<String>>, Failure> {
    if source.secret_stdin {
        return from_stdin(what).map(Some);
    }
    if let Some(path) = &source.secret_file {
        return from_file(what, path).map(Some);
    }
    if !somebody_is_there() {
        return Ok(None);
    }
    let typed = dialoguer::Password::new().with_prompt(what).interact().map_err(no_answer)?;
    checked(what, Zeroizing::new(typed)).map(Some)
}

/// A secret from a file, less one trailing newline.
pub fn from_file(what: &str, path: &Path) -> Result<Zeroizing<String>, Failure> {
    let file = std::fs::File::open(path).map_err(|error| Failure::file(path, &error))?;
    read(what, file)
}

/// A secret from standard input, less one trailing newline.
pub fn from_stdin(what: &str) -> Result<Zeroizing<String>, Failure> {
    if somebody_is_there() {
        let typed = dialoguer::Password::new().with_prompt(what).interact().map_err(no_answer)?;
        return checked(what, Zeroizing::new(typed));
    }
    read(what, std::io::stdin().lock())
}

/// A line that somebody pastes or pipes in.
pub fn line(question: &str) -> Result<Zeroizing<String>, Failure> {
    if somebody_is_there() {
        let typed: String =
            dialoguer::Input::new().with_prompt(question).interact_text().map_err(no_answer)?;
        return Ok(Zeroizing::new(typed.trim().to_owned()));
    }
    let mut typed = Zeroizing::new(String::new());
    let taken =
        std::io::BufRead::read_line(&mut std::io::stdin().lock().take(BYTES_MAX), &mut typed);
    match taken {
        Ok(_) if !typed.trim().is_empty() => Ok(Zeroizing::new(typed.trim().to_owned())),
        _ => Err(Failure::failed(
            "nothing_pasted",
            "nothing came on standard input",
            "paste the address that the browser ended on",
        )),
    }
}

/// A line that somebody types, who has been seen; `usual`: when nothing is typed.
pub fn line_or(question: &str, usual: Option<String>) -> Result<Zeroizing<String>, Failure> {
    let mut input = dialoguer::Input::<String>::new().with_prompt(question);
    if let Some(usual) = usual {
        input = input.default(usual);
    }
    let typed = input.interact_text().map_err(no_answer)?;
    Ok(Zeroizing::new(typed.trim().to_owned()))
}

/// Says why an answer isn't taken, before it is asked for again.
pub fn not_taken(why: &str) -> Result<(), Failure> {
    Ok(writeln!(std::io::stderr(), "  {why}")?)
}

/// A question that is answered with yes or no; only when [`somebody_is_there`].
pub fn confirm(question: &str) -> Result<bool, Failure> {
    let asked = dialoguer::Confirm::new().with_prompt(question).default(false);
    asked.interact().map_err(no_answer)
}

pub(crate) fn read(what: &str, from: impl Read) -> Result<Zeroizing<String>, Failure> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(BYTES_FIRST));
    let taken = from.take(BYTES_MAX + 1).read_to_end(&mut bytes);
    let refused = |why: &str| Failure::usage("secret_refused", format!("{what}: {why}"), "");
    taken.map_err(|error| refused(&format!("can't be read: {error}")))?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(refused("longer than 64 KiB"));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| refused("not UTF-8"))?;
    checked(what, Zeroizing::new(less_newline(text).to_owned()))
}

/// Cuts one trailing newline, which editors and `echo` add, and no more.
fn less_newline(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

fn checked(what: &str, secret: Zeroizing<String>) -> Result<Zeroizing<String>, Failure> {
    if secret.is_empty() {
        return Err(Failure::usage("secret_refused", format!("{what}: it is empty"), ""));
    }
    Ok(secret)
}

fn no_answer(_: dialoguer::Error) -> Failure {
    Failure::failed("no_answer", "nobody answered", "nothing was done")
}

/// A secret at most.
const BYTES_MAX: u64 = 64 * 1024;
/// Room taken at once, so that a usual secret isn't copied while it is read.
const BYTES_FIRST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_trailing_newline_is_cut_and_no_more() {
        let check = |input: &str, expected: Option<&str>| {
            let secret = read("secret", input.as_bytes()).ok();
            assert_eq!(secret.as_ref().map(|s| s.as_str()), expected, "{input:?}");
        };
        check("abc", Some("abc"));
        check("abc\n", Some("abc"));
        check("abc\r\n", Some("abc"));
        check("abc\n\n", Some("abc\n"));
        check(" a b \n", Some(" a b "));
        check("\n", None);
        check("", None);
        check(&"x".repeat(70_000), None);
    }
}
