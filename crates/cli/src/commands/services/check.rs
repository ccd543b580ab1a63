//! `indicia services check FILE`: what is wrong in a service file, and what to write instead.

use std::path::Path;

use indicia_catalog::read::ReadError;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::home::Cx;
use crate::words::shown;

/// Checks it.
pub fn run(cx: &Cx, path: &Path) -> Result<(), Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
    let problems = indicia_catalog::check::check(&path.display().to_string(), &text);
    if cx.out.json {
        let problems: Vec<Value> = problems.iter().map(document).collect();
        cx.out.document(&json!({ "file": path.display().to_string(), "problems": problems }))?;
    } else {
        for problem in &problems {
            cx.out.line(&shown(&problem.to_string()))?;
        }
    }
    match problems.len() {
        0 if cx.out.json => Ok(()),
        0 => cx.out.line(&format!("{}: nothing is wrong", path.display())),
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

fn document(error: &ReadError) -> Value {
    json!({ "line": error.line, "problem": error.problem, "fix": error.fix })
}
