//! A user's own service files, `services/*.toml` in the home.
//!
//! What would surprise: a file that belongs to somebody else, or that others may write, is
//! refused: such a file decides where client secrets are sent. The shipped file of that name
//! doesn't take its place then.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use indicia_broker::Error;
use indicia_catalog::Catalogue;
use indicia_catalog::read::{FILE_BYTES_MAX, ReadError};

use crate::own_file::{self, Only};

/// The shipped services, and those of a home, which override them. A shipped file is parsed when it
/// is asked for. A file that is wrong, or that may not be used, takes only its own service away:
/// [`Catalogue::problems`] tells.
///
/// # Errors
/// [`Error::Refused`], `service_file_refused`, when it can't be told which files there are.
pub fn catalogue(home: &Path) -> Result<Catalogue, Error> {
    let folder = home.join(FOLDER);
    let paths = list(&folder).map_err(|error| refused(told(&folder, &error)))?;
    let files: Vec<_> = paths.iter().map(|path| (path, read(path))).collect();
    let files = files.iter().map(|(path, text)| {
        let text = text.as_ref().map(String::as_str);
        (path.as_path(), text.map_err(|error| unusable(path, error)))
    });
    Ok(Catalogue::with_own_or_problems(files))
}

/// A file that is not even read.
fn unusable(path: &Path, error: &io::Error) -> ReadError {
    ReadError {
        file: path.display().to_string(),
        line: 1,
        problem: error.to_string(),
        fix: "mend this, or move the file out of the home".into(),
    }
}

/// Sorted, so that problems are told in the same order each time.
fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    // Who may write to the folder can exchange the files in it.
    own_file::check(folder, &std::fs::metadata(folder)?, Only::WeWrite)?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> io::Result<String> {
    let file = own_file::open(path, Only::WeWrite)?;
    let mut text = String::new();
    // One byte more than is read: the catalogue then says that it is too large.
    file.take(FILE_BYTES_MAX as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

fn told(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}

fn refused(detail: String) -> Error {
    Error::Refused {
        code: "service_file_refused",
        field: FOLDER.into(),
        detail,
        hint: "check the rights of this folder".into(),
    }
}

const FOLDER: &str = "services";
