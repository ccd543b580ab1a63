//! TOML → [`crate::Service`], with file, line and the fix in each error.
//!
//! Surprise: what can be told from keys and kinds of values is told by `walk`, all at once; only a
//! file without such problems is looked at for what it means, by `resolve`, again all at once.

use thiserror::Error;

use crate::schema::{self, File};
use crate::service::{Origin, Service};
use crate::walk::Tree;

/// What is wrong in a service file.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{file}:{line}: {problem}; {fix}")]
pub struct ReadError {
    /// File name as given.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: String,
    /// What to write instead.
    pub fix: String,
}

/// Bytes of a service file at most.
pub const FILE_BYTES_MAX: usize = 256 * 1024;

/// Reads one service file. `file` names it in errors. The service's origin is
/// [`Origin::Own`] with that name; the catalogue says otherwise for shipped ones.
pub fn read(file: &str, text: &str) -> Result<Service, Vec<ReadError>> {
    read_tree(file, text).map(|(service, _)| service)
}

/// As [`read`], with the tree, so that a check can name lines.
pub(crate) fn read_tree<'a>(
    file: &'a str,
    text: &'a str,
) -> Result<(Service, Tree<'a>), Vec<ReadError>> {
    if text.len() > FILE_BYTES_MAX {
        return Err(vec![ReadError {
            file: file.to_owned(),
            line: 1,
            problem: format!("the file is larger than {} KiB", FILE_BYTES_MAX / 1024),
            fix: "a service file holds facts only: take the rest out".into(),
        }]);
    }
    let tree = Tree::parse(file, text)?;
    let problems = tree.problems(schema::root());
    if !problems.is_empty() {
        return Err(problems);
    }
    let raw = toml::from_str::<File>(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let problem = error.message().lines().next().unwrap_or_default().to_owned();
        let fix = "see docs/reference/catalogue.md for what may stand here".to_owned();
        vec![tree.error_at(at, problem, fix)]
    })?;
    match crate::resolve::service(raw, Origin::Own(file.into())) {
        Ok(service) => Ok((service, tree)),
        Err(problems) => {
            let error = |p: crate::resolve::Problem| tree.error(&p.path, p.problem, p.fix);
            let mut errors: Vec<ReadError> = problems.into_iter().map(error).collect();
            errors.sort_by_key(|error| error.line);
            Err(errors)
        }
    }
}
