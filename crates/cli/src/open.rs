//! How the home folder becomes a broker: the one file that knows the library's options.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use indicia_broker::Broker;
use indicia_catalog::Catalogue;

use crate::failure::Failure;
use crate::options::{Options, RootKeySource};

/// Opens it.
pub async fn broker(options: &Options) -> Result<Arc<Broker>, Failure> {
    let _ = (options, RootKeySource::File(PathBuf::new()));
    Err(Failure::failed("internal", "not yet", ""))
}

/// The shipped services and those of the home, which override them.
pub fn catalogue(options: &Options) -> Result<Catalogue, Failure> {
    let files = own_files(&options.home.join("services"))?;
    let files = files
        .iter()
        .map(|(path, text)| (path.as_path(), text.as_str()));
    Catalogue::with_own(files).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let hint = "mend these lines, or move the files out of the home";
        Failure::failed("service_file_refused", lines.join("\n"), hint)
    })
}

fn own_files(folder: &Path) -> Result<Vec<(PathBuf, String)>, Failure> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Failure::file(folder, &error)),
    };
    let mut paths: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "toml")
    });
    paths.sort();
    let read = |path: PathBuf| match std::fs::read_to_string(&path) {
        Ok(text) => Ok((path, text)),
        Err(error) => Err(Failure::file(&path, &error)),
    };
    paths.into_iter().map(read).collect()
}
