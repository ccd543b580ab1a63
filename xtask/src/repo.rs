//! The checkout: where it is, and which files of it are ours.
//!
//! Files are found by walking, not by asking git: an unpacked source archive is checked alike, and
//! a new file is looked at before it is added.

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Folders that hold nothing of ours, wherever they stand.
const FOREIGN_FOLDERS: [&str; 7] =
    [".git", ".cache", ".venv", "target", "node_modules", "corpus", "__pycache__"];

/// The checkout.
pub struct Repo {
    /// Absolute path of the root.
    pub root: PathBuf,
}

/// A text file of ours.
pub struct File {
    /// Path from the root, with `/`.
    pub path: String,
    /// Its text.
    pub text: String,
}

impl Repo {
    /// The checkout that cargo runs this program from: checkouts may share a target folder, and
    /// with it this program.
    pub fn find() -> Result<Self> {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR").context("run it by `cargo xtask`")?;
        let manifest = Path::new(&manifest);
        let root = manifest.parent().context("xtask stands in the root of the checkout")?;
        Ok(Self { root: root.to_path_buf() })
    }

    /// The absolute path of something in the checkout.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// The text of one file.
    pub fn read(&self, relative: &str) -> Result<String> {
        fs::read_to_string(self.path(relative)).with_context(|| format!("reading {relative}"))
    }

    /// All text files of ours, sorted by path. What isn't UTF-8 is no text.
    pub fn files(&self) -> Result<Vec<File>> {
        let mut found = Vec::new();
        self.walk(&self.root, &mut found)?;
        found.sort_by(|a: &File, b: &File| a.path.cmp(&b.path));
        Ok(found)
    }

    fn walk(&self, folder: &Path, found: &mut Vec<File>) -> Result<()> {
        let entries =
            fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let kind = entry.file_type()?;
            if kind.is_dir() && !FOREIGN_FOLDERS.iter().any(|foreign| name == *foreign) {
                self.walk(&entry.path(), found)?;
            }
            if !kind.is_file() {
                continue;
            }
            let path = entry.path().strip_prefix(&self.root)?.to_string_lossy().replace('\\', "/");
            if let Ok(text) = fs::read_to_string(entry.path()) {
                found.push(File { path, text });
            }
        }
        Ok(())
    }
}

impl File {
    /// What follows the last dot of the name, or nothing.
    pub fn extension(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        name.rsplit_once('.').map_or("", |(_, extension)| extension)
    }

    /// The number of the first line that belongs to tests, from 1; past the end where none does.
    ///
    /// Tests stand at the bottom of a file, so all that follows `#[cfg(test)] mod … {` is test.
    pub fn tests_from(&self) -> usize {
        let in_test_folder = self.path.split('/').any(|part| {
            matches!(part, "tests" | "benches" | "samples" | "tests.rs" | "conformance.rs")
        });
        if in_test_folder {
            return 1;
        }
        let lines: Vec<&str> = self.text.lines().collect();
        let module = |index: usize| {
            let next = lines[index + 1..].iter().find(|line| !line.starts_with("#["));
            next.is_some_and(|line| line.starts_with("mod ") && line.ends_with('{'))
        };
        let found = (0..lines.len()).find(|&i| lines[i].trim() == "#[cfg(test)]" && module(i));
        found.map_or(lines.len() + 1, |index| index + 1)
    }
}
