//! The convention about secrets, proven when this compiles: no type that holds one implements
//! `Debug`, `Display` or `Serialize`, and what is single-use can't be cloned. And the list is
//! whole: a type in `src` that holds a secret and isn't listed here fails the last test.

use std::fmt::{Debug, Display};
use std::fs;
use std::path::Path;

use indicia_oauth::authorization::ValidCallback;
use indicia_oauth::grant::device::DeviceAuthorization;
use indicia_oauth::token_answer::{Reading, TokenSet};
use indicia_oauth::{
    AccessToken, Answer, ClientAssertion, ClientSecret, Code, Credentials, DeviceCode, Proof,
    RefreshToken, Request, Verifier,
};

/// Doesn't compile when the type implements the trait: the method is then ambiguous.
macro_rules! implements_not {
    ($type:ty: $($bound:path),+) => {
        $(const _: fn() = || {
            trait AmbiguousIfImplemented<A> {
                fn here() {}
            }
            impl<T: ?Sized> AmbiguousIfImplemented<()> for T {}
            struct Implemented;
            impl<T: ?Sized + $bound> AmbiguousIfImplemented<Implemented> for T {}
            let _ = <$type as AmbiguousIfImplemented<_>>::here;
        };)+
    };
}

macro_rules! secret_types {
    ($($type:ident),+ $(,)?) => {
        $(implements_not!($type: Debug, Display, serde::Serialize);)+
        const LISTED: &[&str] = &[$(stringify!($type)),+];
    };
}

type BorrowedCredentials = Credentials<'static>;
type BorrowedProof = Proof<'static>;

secret_types!(
    AccessToken,
    Answer,
    BorrowedCredentials,
    BorrowedProof,
    ClientAssertion,
    ClientSecret,
    Code,
    DeviceAuthorization,
    DeviceCode,
    Reading,
    RefreshToken,
    Request,
    TokenSet,
    ValidCallback,
    Verifier,
);

// RFC 6749 §4.1.2 (a code is used once) and §6 (a refresh token may be).
implements_not!(Code: Clone);
implements_not!(RefreshToken: Clone);
implements_not!(TokenSet: Clone);
implements_not!(ValidCallback: Clone);

#[test]
fn the_list_of_secret_types_is_whole() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut held: Vec<String> = Vec::new();
    for file in [
        "secret",
        "request",
        "answer",
        "client_auth",
        "authorization",
        "token_answer",
        "grant/device",
    ] {
        let text = fs::read_to_string(source.join(file).with_extension("rs")).expect("a source");
        held.extend(public_types_with_secrets(&text));
        let made_by_macro = text.split("secret! {").skip(1).filter_map(|made| {
            made.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with("///"))
        });
        held.extend(made_by_macro.map(str::to_owned));
    }
    let listed = |name: &String| LISTED.iter().any(|listed| listed.ends_with(name.as_str()));
    let missing: Vec<_> = held.iter().filter(|name| !listed(name)).collect();
    assert!(held.len() >= LISTED.len() - 1, "the search finds too little: {held:?}");
    assert!(missing.is_empty(), "hold secrets, but aren't listed: {missing:?}");
}

/// Names of public types whose fields name a secret's type.
fn public_types_with_secrets(source: &str) -> Vec<String> {
    let declared = source.split("\npub ").skip(1);
    let types = declared.filter(|d| d.starts_with("struct ") || d.starts_with("enum "));
    let secret = [
        "Zeroizing<",
        "AccessToken",
        "RefreshToken",
        "ClientSecret",
        ": Code,",
        "DeviceCode",
        "TokenSet>",
    ];
    types
        .filter_map(|declaration| {
            let body = declaration.split("\n}").next()?;
            let name = body.split([' ', '<', '{']).nth(1)?;
            let fields = body.lines().skip(1).filter(|line| !line.trim().starts_with("//"));
            let fields: String = fields.collect();
            secret.iter().any(|word| fields.contains(word)).then(|| name.to_owned())
        })
        .collect()
}
