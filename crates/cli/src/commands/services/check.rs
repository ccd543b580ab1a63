//! `indicia services check FILE`: what is wrong in a service file, and what to write instead.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use indicia_catalog::read::{FILE_BYTES_MAX, ReadError};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::home::Cx;
use crate::words::shown;

/// Checks one file, or all those of the home.
pub fn run(cx: &Cx, path: Option<&Path>) -> Result<(), Failure> {
    let Some(path) = path else {
        let folder = cx.options.home.join("services");
        return report(cx, &folder, &cx.catalogue()?.problems());
    };
    let text = text(path).map_err(|error| Failure::file(path, &error))?;
    let problems = indicia_catalog::check::check(&path.display().to_string(), &text);
    report(cx, path, &problems)
}

/// A service file's text. Of one that is too large no more than shows it.
pub fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

fn report(cx: &Cx, path: &Path, problems: &[ReadError]) -> Result<(), Failure> {
    if cx.out.json {
        let problems: Vec<Value> = problems.iter().map(document).collect();
        cx.out.document(&json!({ "file": path.display().to_string(), "problems": problems }))?;
    } else {
        for problem in problems {
            cx.out.line(&shown(&problem.to_string()))?;
        }
    }
    match problems.len() {
        0 if cx.out.json => Ok(()),
        0 => cx.out.line(&format!("{}: nothing is wrong", shown(&path.display().to_string()))),
        n => Err(failed(path, n)),
    }
}

/// So many problems in a file.
pub fn failed(path: &Path, problems: usize) -> Failure {
    let what =
        if problems == 1 { "one problem".to_owned() } else { format!("{problems} problems") };
    let hint = "mend the lines named; docs/reference/catalogue.md tells what may stand there";
    Failure::failed("service_file_refused", format!("{what} in {}", path.display()), hint)
}

/// A problem as JSON.
pub fn document(error: &ReadError) -> Value {
    json!({ "file": error.file, "line": error.line, "problem": error.problem, "fix": error.fix })
}
