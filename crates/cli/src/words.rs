//! Small readings of what people type: `K=V`, `60s`, and what they may have meant.

use std::fmt::Write as _;
use std::time::Duration;

use zeroize::Zeroizing;

/// Reads `K=V`; only the first `=` counts.
pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as K=V".to_owned()),
    }
}

/// Reads a length of time: a whole number with `ms`, `s`, `m`, `h` or `d`; without: seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write it as a whole number with ms, s, m, h or d, such as 60s".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit_millis: u64 = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit_millis).map(Duration::from_millis).ok_or_else(wrong)
}

/// A length of time in at most two units, as one says it: `2 h 5 min`.
pub fn spoken(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    let two = |a: u64, a_unit: &str, b: u64, b_unit: &str| match b {
        0 => format!("{a} {a_unit}"),
        _ => format!("{a} {a_unit} {b} {b_unit}"),
    };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest} s"),
        (0, 0, _) => two(minutes, "min", rest, "s"),
        (0, _, _) => two(hours, "h", minutes, "min"),
        (1, _, _) => two(1, "day", hours, "h"),
        _ => two(days, "days", hours, "h"),
    }
}

/// Candidates near to a mistyped word, nearest first, at most three.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let limit = word.chars().count() / 3 + 1;
    let mut near: Vec<(usize, &str)> = candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .collect();
    near.sort_unstable();
    near.into_iter().take(NEAREST_MAX).map(|(_, candidate)| candidate).collect()
}

/// Letters to add, take away or change.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// Text from outside, made safe for a terminal: what could move the cursor, change what was printed
/// before, or read as something else becomes `\u{fffd}`.
pub fn shown(text: &str) -> String {
    text.chars().map(|c| if is_hidden(c) { '\u{fffd}' } else { c }).collect()
}

/// JSON text with hidden characters as `\uXXXX`, so that it is the same document and as safe to
/// look at. Its own line breaks stay: inside strings there are none.
pub fn shown_json(json: &str) -> Zeroizing<String> {
    // Room for some, so that a secret isn't copied while the text grows.
    let mut text = Zeroizing::new(String::with_capacity(json.len() * 2));
    for c in json.chars() {
        if c == '\n' || !is_hidden(c) {
            text.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = write!(text, "\\u{unit:04x}");
        }
    }
    text
}

/// Characters that nobody sees, but that change what others see: controls, marks that turn the
/// direction of text around, joiners and spaces without width, line and paragraph breaks, tags.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

const NEAREST_MAX: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_spoken() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(duration(text).ok().map(spoken).as_deref(), expected, "{text}");
        };
        check("60s", Some("1 min"));
        check("90", Some("1 min 30 s"));
        check("1500ms", Some("1 s"));
        check("2h", Some("2 h"));
        check("36h", Some("1 day 12 h"));
        check("3d", Some("3 days"));
        for wrong in ["", "s", "1.5h", "-1s", "5 s", "5w", "99999999999999999999s"] {
            check(wrong, None);
        }
        check("18446744073709551615d", None);
    }

    #[test]
    fn near_words_come_nearest_first() {
        let words = ["alpha", "alpine", "beta", "gamma"];
        assert_eq!(nearest("alpa", words), ["alpha"]);
        assert_eq!(nearest("alpne", words), ["alpine", "alpha"]);
        assert!(nearest("zzzzzz", words).is_empty());
    }

    #[test]
    fn nothing_from_outside_moves_the_cursor() {
        assert_eq!(
            shown("a\x1b[2Jb\r\nc\u{202e}d\u{9b}e"),
            "a\u{fffd}[2Jb\u{fffd}\u{fffd}c\u{fffd}d\u{fffd}e"
        );
        assert_eq!(shown("Bücher 書"), "Bücher 書");
        for hidden in ["\u{61c}", "\u{feff}", "\u{200b}", "\u{2028}", "\u{2029}", "\u{e0041}"] {
            assert_eq!(shown(hidden), "\u{fffd}", "{hidden:?}");
        }
    }

    #[test]
    fn json_hides_nothing_and_says_the_same() {
        let text = "a\u{7f}b\u{9b}c\u{202e}d\u{e0041}\n\u{1b}\"\\ü書";
        let json = serde_json::to_string_pretty(&serde_json::json!({ "k": text })).unwrap();
        let shown = shown_json(&json);
        assert!(shown.contains(r"a\u007fb\u009bc\u202ed\udb40\udc41\n\u001b"), "{}", *shown);
        assert!(!shown.chars().any(|c| c != '\n' && is_hidden(c)));
        let again: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(again["k"], text);
    }
}
