//! Untrusted text made fit to show: no control bytes, no marks that turn or hide text, no length
//! without end, nothing that looks like a token (RFC 6749 §4.1.2.1, §5.2).
//!
//! What would surprise: long runs of token characters are blotted out, since services do echo the
//! refresh token or code that they refuse.

/// Characters of a code or description that are shown at most.
pub(crate) const SHOWN_CHARS_MAX: usize = 200;

/// Characters that are looked at: a huge text costs no more.
const READ_CHARS_MAX: usize = 4 * SHOWN_CHARS_MAX;

/// Cleans and cuts at [`SHOWN_CHARS_MAX`].
pub(crate) fn clean(text: &str) -> String {
    let mut read: String = text.chars().take(READ_CHARS_MAX).collect();
    if read.len() < text.len() {
        // The start of a token that is cut here would no longer look like one.
        read.truncate(read.trim_end_matches(is_token_char).len());
        read.push('…');
    }
    read.retain(|c| !is_hidden(c));
    let mut out = String::new();
    for word in read.split(|c: char| c.is_whitespace() || c.is_control()) {
        if !out.is_empty() && !word.is_empty() {
            out.push(' ');
        }
        push_blotted(&mut out, word);
    }
    out.chars().take(SHOWN_CHARS_MAX).collect()
}

/// Cleans; `None` when nothing is left.
pub(crate) fn clean_some(text: &str) -> Option<String> {
    Some(clean(text)).filter(|text| !text.is_empty())
}

fn push_blotted(out: &mut String, word: &str) {
    let mut rest = word;
    while !rest.is_empty() {
        let end = rest.find(|c| !is_token_char(c)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        out.push_str(if looks_like_token(run) { "[…]" } else { run });
        let next = after.chars().next().map_or(0, char::len_utf8);
        out.push_str(&after[..next]);
        rest = &after[next..];
    }
}

/// Random text, as far as that can be seen: long, and with more digits, or more capitals after
/// small letters, than codes such as `oauth.v2.InvalidRefreshToken` have.
fn looks_like_token(run: &str) -> bool {
    let digits = run.bytes().filter(u8::is_ascii_digit).count();
    let humps = run.as_bytes().windows(2);
    let humps = humps.filter(|w| w[0].is_ascii_lowercase() && w[1].is_ascii_uppercase()).count();
    let random_word = |word: &str| {
        word.len() >= 32 || (word.len() >= 16 && word.bytes().any(|b| b.is_ascii_digit()))
    };
    let mut words = run.split(|c: char| !c.is_ascii_alphanumeric());
    run.len() >= 16 && (digits >= 3 || humps >= 4 || words.any(random_word))
}

fn is_token_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~' | '+' | '/' | '=' | '|' | '%')
}

/// Marks that change what a reader sees without being seen: bidi controls, zero widths, tags.
fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}')
}
