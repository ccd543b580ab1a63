//! A user's own service files, `services/*.toml` in the home.
//!
//! What would surprise: a file that belongs to somebody else, or that everybody may write, is
//! refused, and so is all: such a file decides where client secrets are sent.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use indicia_broker::Error;
use indicia_catalog::Catalogue;
use indicia_catalog::read::FILE_BYTES_MAX;

/// The shipped services, and those of a home, which override them. A shipped file is parsed when it
/// is asked for.
///
/// # Errors
/// [`Error::Refused`], `service_file_refused`, with all problems of all files.
pub fn catalogue(home: &Path) -> Result<Catalogue, Error> {
    let folder = home.join(FOLDER);
    let paths = list(&folder).map_err(|error| refused(vec![told(&folder, &error)]))?;
    let (mut texts, mut problems) = (Vec::new(), Vec::new());
    for path in paths {
        match read(&path) {
            Ok(text) => texts.push((path, text)),
            Err(error) => problems.push(told(&path, &error)),
        }
    }
    if !problems.is_empty() {
        return Err(refused(problems));
    }
    let files = texts.iter().map(|(path, text)| (path.as_path(), text.as_str()));
    Catalogue::with_own(files)
        .map_err(|errors| refused(errors.iter().map(ToString::to_string).collect()))
}

/// Sorted, so that problems are told in the same order each time.
fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
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

/// Looks at the file that was opened, not at its name, so that nobody swaps it in between.
fn read(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let us = rustix::process::geteuid().as_raw();
    if metadata.uid() != us {
        let owner = metadata.uid();
        let problem = format!("belongs to user {owner}, not to you ({us}); type: chown {us}");
        return Err(io::Error::other(problem));
    }
    if metadata.mode() & 0o002 != 0 {
        return Err(io::Error::other("can be written by everybody; type: chmod o-w"));
    }
    let mut text = String::new();
    // One byte more than is read: the catalogue then says that it is too large.
    file.take(FILE_BYTES_MAX as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

fn told(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}

fn refused(problems: Vec<String>) -> Error {
    Error::Refused {
        code: "service_file_refused",
        field: FOLDER.into(),
        detail: problems.join("\n"),
        hint: "mend these files, or move them out of the home".into(),
    }
}

const FOLDER: &str = "services";
