//! The reference page of the schema is what the schema says.

use std::path::PathBuf;

use indicia_catalog::schema::reference;

/// Set to write the page instead of comparing it: `INDICIA_BLESS=1 cargo test -p indicia-catalog`.
const BLESS: Option<&str> = option_env!("INDICIA_BLESS");

#[test]
fn the_page_is_what_the_schema_says() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/catalogue.md");
    if BLESS.is_some() {
        std::fs::write(&path, reference()).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    let hint =
        "docs/reference/catalogue.md is out of date: INDICIA_BLESS=1 cargo test -p indicia-catalog";
    assert!(page == reference(), "{hint}");
}
