//! Lists the shipped service files, so that adding one is adding a file: no code names a service.

use std::fmt::Write as _;
use std::path::PathBuf;

#[expect(clippy::disallowed_methods, reason = "cargo tells a build script its folders so")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let here = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let folder = here.join("../../services").canonicalize()?;
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort_by_key(|path| path.file_stem().map(ToOwned::to_owned));
    let mut list = String::from("&[\n");
    for path in &files {
        let id = path.file_stem().unwrap_or_default().to_string_lossy();
        writeln!(list, "    ({id:?}, include_str!({:?})),", path.display().to_string())?;
    }
    list.push_str("]\n");
    let out = PathBuf::from(std::env::var("OUT_DIR")?).join("shipped.rs");
    std::fs::write(out, list)?;
    Ok(())
}
