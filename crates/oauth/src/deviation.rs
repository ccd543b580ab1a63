//! Where an answer strayed from the standards and was understood all the same: one text each, to
//! show with `--verbose`. Each begins with the id of its row in docs/standards.md.

/// A life that was a text or had a fraction.
pub const LIFE_SPELLING: &str = "DV-1 the life is spelt as a text or with a fraction";
/// A life that could not be read, or was negative: taken as unknown.
pub const LIFE_UNREADABLE: &str = "DV-1 the life can't be read, taken as unknown";
/// A life beyond [`crate::expiry::LIFE_MAX`].
pub const LIFE_CAPPED: &str = "DV-1 the life is absurdly long, capped";
/// A life that was zero or null.
pub const LIFE_NOTHING: &str = "DV-2 the life is zero or null";
/// No token type, and the dialect lets it be left out.
pub const NO_TOKEN_TYPE: &str = "DV-4 no token type, taken as Bearer";
/// Scopes that were null, empty, an array or of another type.
pub const SCOPE_SPELLING: &str = "DV-6 the scope is null, empty or no text";
/// A refresh token that was null, empty, or the text "null".
pub const EMPTY_REFRESH_TOKEN: &str = "DV-27 the refresh token is empty, taken as none";
/// A form-encoded answer.
pub const FORM_ANSWER: &str = "DV-11 the answer is form-encoded";
/// JSON under another content type, or none.
pub const CONTENT_TYPE: &str = "DV-12 JSON under another content type";
/// A byte-order mark before the JSON.
pub const BYTE_ORDER_MARK: &str = "DV-12 a byte-order mark before the JSON";
/// The body was shorter than announced, but the JSON in it is whole.
pub const CUT_BUT_WHOLE: &str = "DV-13 the body was cut, but the JSON in it is whole";

/// A time by a clock that is well ahead of ours.
pub const CLOCK_AHEAD: &str = "DV-33 the service's clock is ahead, its times are shortened";

/// All of them: what [`crate::TokenSet::from_bytes`] knows again.
pub(crate) const ALL: [&str; 12] = [
    LIFE_SPELLING,
    LIFE_UNREADABLE,
    LIFE_CAPPED,
    LIFE_NOTHING,
    NO_TOKEN_TYPE,
    SCOPE_SPELLING,
    EMPTY_REFRESH_TOKEN,
    FORM_ANSWER,
    CONTENT_TYPE,
    BYTE_ORDER_MARK,
    CUT_BUT_WHOLE,
    CLOCK_AHEAD,
];
