//! `cargo xtask book`: docs/ as a book. A link that leads nowhere, or a page that no chapter names,
//! fails it.

use crate::needs::Needs;
use crate::repo::Repo;
use crate::step::run as run_command;
use anyhow::{Result, bail};
use std::process::Command;

/// Builds it into `.cache/book`.
pub fn build(repo: &Repo) -> Result<()> {
    let python = repo.path(".cache/peers/venv/bin/python");
    if Needs::look(repo)?.missing() || !python.exists() {
        bail!("what builds the book isn't installed yet; run `cargo xtask test` once");
    }
    let mut mkdocs = Command::new(python);
    mkdocs.args(["-m", "mkdocs", "build", "--quiet", "--strict"]);
    run_command(mkdocs.current_dir(&repo.root))
}
