//! README and the pages of the book, as a reader has them: what their blocks say is typed word for
//! word into a shell, in the page's order, in a home of the page's own, and what a block shows is
//! compared. A block is fenced, and its language said: an indented one is refused.
//!
//! The services are played by a sandbox. So that not one letter of a page differs for that, the
//! shell finds an `indicia`, a `curl` and a browser that lead there: see [`Stage`]. A page speaks
//! of ports 8917 and 8918; the shell has free ones in their place, so that pages run side by side.
//!
//! In the pages, unseen by readers: `<!-- test: skip, WHY -->` directly before a block, and `<!--
//! test: before` … `-->` with commands that bring about what the page takes for given.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::stage::{INDICIA, Sandbox, end, free_port};

#[test]
fn each_block_of_the_readme_does_what_it_says() {
    check("README.md");
}

#[test]
fn each_block_of_the_book_does_what_it_says() {
    let pages = pages();
    let mut unused = pages.iter().filter(|page| *page != "README.md");
    assert!(unused.clone().count() > 0);
    std::thread::scope(|scope| {
        // A few at once: each has a sandbox.
        let (even, odd): (Vec<_>, Vec<_>) =
            unused.by_ref().enumerate().partition(|(n, _)| n % 2 == 0);
        scope.spawn(move || even.iter().for_each(|(_, page)| check(page)));
        scope.spawn(move || odd.iter().for_each(|(_, page)| check(page)));
    });
}

#[test]
fn few_blocks_are_not_run_and_each_says_why() {
    let mut left_out = Vec::new();
    for page in pages() {
        for block in blocks(&page) {
            if let Does::Nothing(why) = &block.does {
                left_out.push(format!("{page}:{}: {why}", block.line));
                assert!(why.len() > 10, "{page}:{}: say why", block.line);
            }
        }
    }
    assert!(left_out.len() <= LEFT_OUT_MAX, "{left_out:#?}");
}

/// What is to be done with a block.
enum Does {
    /// A script.
    Runs(String),
    /// Commands, each with what it prints.
    Shows(Vec<(String, Vec<String>)>),
    /// Not run, with the reason.
    Nothing(String),
}

/// A block of a page.
struct Block {
    line: usize,
    does: Does,
}

/// Runs a page from its first block to its last.
#[track_caller]
fn check(page: &str) {
    let blocks = blocks(page);
    let stage = Stage::new();
    for block in &blocks {
        let place = format!("{page}:{}", block.line);
        match &block.does {
            Does::Nothing(_) => {}
            Does::Runs(script) => {
                let (status, printed) = stage.run(script);
                assert_eq!(status, 0, "{place}\n{script}\n{printed}");
            }
            Does::Shows(steps) => {
                for (command, shown) in steps {
                    let (_, printed) = stage.run(command);
                    let lines: Vec<&str> = printed.lines().map(str::trim_end).collect();
                    let fits = fits(shown, &lines);
                    assert!(fits, "{place}\n$ {command}\nshown: {shown:#?}\nprinted: {lines:#?}");
                }
            }
        }
    }
}

/// Whether what was printed is what a page shows: `…` stands for anything in a line, and alone for
/// any number of lines.
fn fits(shown: &[String], printed: &[&str]) -> bool {
    match shown.split_first() {
        None => printed.is_empty(),
        Some((any, rest)) if any == "…" => {
            (0..=printed.len()).any(|skipped| fits(rest, &printed[skipped..]))
        }
        Some((line, rest)) => printed
            .split_first()
            .is_some_and(|(first, others)| line_fits(line, first) && fits(rest, others)),
    }
}

fn line_fits(shown: &str, printed: &str) -> bool {
    match shown.split_once('…') {
        None => shown == printed,
        Some((before, after)) => printed.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices()
                .map(|(at, _)| at)
                .chain([rest.len()])
                .any(|at| line_fits(after, &rest[at..]))
        }),
    }
}

#[test]
fn what_is_shown_fits_what_is_printed_and_nothing_else() {
    let shown = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    for (page, printed, expected) in [
        ("a", "a", true),
        ("a", "b", false),
        ("a", "a\nb", false),
        ("a\n…", "a\nb", true),
        ("…\nb", "a\nb", true),
        ("x … z", "x y z", true),
        ("x … z", "x y", false),
        ("", "a", false),
    ] {
        let lines: Vec<&str> = printed.lines().collect();
        assert_eq!(fits(&shown(page), &lines), expected, "{page:?} {printed:?}");
    }
}

/// The blocks of a page that a shell can read, in order.
fn blocks(page: &str) -> Vec<Block> {
    let text = read(page);
    let mut found = Vec::new();
    let mut why = None;
    let mut lines = (1..).zip(text.lines());
    while let Some((line, text)) = lines.next() {
        if let Some(reason) = text.strip_prefix("<!-- test: skip, ") {
            why = Some(reason.trim_end_matches("-->").trim().to_owned());
            continue;
        }
        if text.trim() == "<!-- test: before" {
            let script = inside(&mut lines, "-->");
            found.push(Block { line, does: Does::Runs(script) });
            continue;
        }
        let Some(language) = text.strip_prefix("```") else {
            if !text.trim().is_empty() {
                why = None;
            }
            assert!(!text.starts_with("    "), "{page}:{line}: put a fence around it, not space");
            continue;
        };
        let inner = inside(&mut lines, "```");
        let does = match (language, why.take()) {
            ("sh" | "console" | "bash" | "shell", Some(why)) => Does::Nothing(why),
            ("sh", None) => Does::Runs(inner),
            ("console", None) => Does::Shows(steps(&inner)),
            ("bash" | "shell" | "", None) => panic!("{page}:{line}: say sh, console or text"),
            _ => continue,
        };
        found.push(Block { line, does });
    }
    found
}

fn inside<'a>(lines: &mut impl Iterator<Item = (usize, &'a str)>, end: &str) -> String {
    let inner = lines.map(|(_, line)| line).take_while(|line| *line != end);
    inner.collect::<Vec<_>>().join("\n")
}

fn steps(text: &str) -> Vec<(String, Vec<String>)> {
    let mut steps: Vec<(String, Vec<String>)> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push((command.to_owned(), Vec::new())),
            (None, Some((command, _))) if command.ends_with('\\') => {
                *command += &format!("\n{line}");
            }
            (None, Some((_, shown))) => shown.push(line.trim_end().to_owned()),
            (None, None) => panic!("{line:?} is shown by no command"),
        }
    }
    steps
}

/// The key that the sandbox takes.
fn example_key(service: &str) -> String {
    let file: toml::Table = toml::from_str(&read(&format!("services/{service}.toml"))).unwrap();
    file["api_key"]["example"].as_str().unwrap().to_owned()
}

/// README and each page under docs/, as paths from the root.
fn pages() -> Vec<String> {
    let mut pages = vec!["README.md".to_owned()];
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "md") {
                pages.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    pages.retain(|page| !ELSEWHERE.contains(&page.as_str()) && !blocks(page).is_empty());
    pages.sort();
    pages
}

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn read(page: &str) -> String {
    fs::read_to_string(root().join(page)).unwrap_or_else(|e| panic!("{page}: {e}"))
}

/// A folder to work in, a home, a sandbox, and programs that lead to it.
struct Stage {
    folder: TempDir,
    sandbox: Sandbox,
    port: u16,
}

impl Stage {
    fn new() -> Self {
        let stage = Self {
            folder: tempfile::tempdir().unwrap(),
            sandbox: Sandbox::start(&[]),
            port: free_port(),
        };
        for folder in ["bin", "work", "user"] {
            fs::create_dir(stage.path(folder)).unwrap();
        }
        for (name, text) in
            [("indicia", INDICIA_SCRIPT), ("curl", CURL_SCRIPT), ("owner", OWNER_SCRIPT)]
        {
            let path = stage.path("bin").join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a script; gives its status, and all that it printed, with the ports that pages have.
    fn run(&self, script: &str) -> (i32, String) {
        let port = self.port.to_string();
        let script = script.replace("127.0.0.1:8918", &self.sandbox.address);
        let script = format!("set -e -o pipefail; exec 2>&1\n{}", script.replace("8917", &port));
        let bin = self.path("bin");
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let paths = [bin.clone()].into_iter().chain(std::env::split_paths(&paths));
        let mut bash = Command::new("bash");
        bash.arg("-c").arg(&script).current_dir(self.path("work"));
        for (name, _) in
            std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("INDICIA_"))
        {
            bash.env_remove(name);
        }
        bash.env("PATH", std::env::join_paths(paths).unwrap())
            .env("HOME", self.path("user"))
            .env("XDG_DATA_HOME", self.path("user/.local/share"))
            .env("INDICIA_CALLBACK_PORT", &port)
            .env("BROWSER", bin.join("owner"))
            .env("STAGE_INDICIA", INDICIA)
            .env("STAGE_SANDBOX", &self.sandbox.address)
            .env("STAGE_ROOT", root())
            .env("SENDGRID_KEY", example_key("sendgrid"))
            .env("ACTIVECAMPAIGN_KEY", example_key("activecampaign"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = bash.spawn().unwrap();
        drop(child.stdin.take());
        let ran = end(child);
        let printed = ran.stdout.replace(&self.sandbox.address, "127.0.0.1:8918");
        (ran.status, printed.replace(&port, "8917"))
    }
}

/// The program itself, but that a client is one of the sandbox's even where the page, which speaks
/// of the real service, doesn't say so; what a reader types at a prompt (a secret, a key, a
/// passphrase, the address that a browser ended on) comes by a pipe; somebody enters the code of a
/// device; and the sandbox that a page starts runs already.
const INDICIA_SCRIPT: &str = r#"#!/usr/bin/env bash
owner=$(dirname "$0")/owner
told=$(mktemp)
said() { for _ in {1..400}; do grep -oE "$1" "$told" | head -n 1 | grep . && return; sleep 0.05; done; }
case " $* " in
  ' sandbox ') echo "the sandbox listens on http://$STAGE_SANDBOX" ;;
  ' clients add '*' --sandbox '* | *' --passphrase-'*) exec "$STAGE_INDICIA" "$@" ;;
  ' clients add '*' --secret-'* | ' clients add '*' public '* | ' clients add sendgrid '* | ' clients add activecampaign '*)
    exec "$STAGE_INDICIA" "$@" --sandbox "$STAGE_SANDBOX" ;;
  ' clients add '*)
    exec "$STAGE_INDICIA" "$@" --sandbox "$STAGE_SANDBOX" --secret-stdin <<< typed-at-the-prompt ;;
  ' connect sendgrid ') exec "$STAGE_INDICIA" "$@" <<< "$SENDGRID_KEY" ;;
  ' connect activecampaign '*) exec "$STAGE_INDICIA" "$@" <<< "$ACTIVECAMPAIGN_KEY" ;;
  ' backup '* | ' restore '*)
    exec "$STAGE_INDICIA" "$@" --passphrase-stdin <<< typed-at-the-prompt ;;
  *' --flow device '*)
    "$STAGE_INDICIA" "$@" 2> "$told" &
    "$owner" "$(said 'https?://[^ ]*/verify')?user_code=$(said '^[A-Z0-9]{4}-[A-Z0-9]{4}$')" tells
    wait $! ;;
  *' --no-browser '* | *' --flow implicit '*)
    "$owner" "$(said "https?://[^ ]*response_type=[^ ]*")" tells | BROWSER=false "$STAGE_INDICIA" "$@" 2> "$told" ;;
  *) exec "$STAGE_INDICIA" "$@" ;;
esac
"#;

/// The real one, led to the sandbox: it plays each host under a path of its name.
const CURL_SCRIPT: &str = r#"#!/usr/bin/env bash
args=()
for arg in "$@"; do args+=("${arg/#https:\/\//http://$STAGE_SANDBOX/}"); done
me=$(dirname "$0")
PATH=${PATH#"$me":} exec curl --silent --show-error --fail "${args[@]}"
"#;

/// The account's owner, who clicks on "allow" in the browser; or who only tells on which address it
/// ends.
const OWNER_SCRIPT: &str = r#"#!/usr/bin/env bash
me=$(dirname "$0")
PATH=${PATH#"$me":}
answer=$(curl --silent -H content-type:application/json -d "{\"authorize_url\":\"$1\"}" "http://$STAGE_SANDBOX/_sandbox/approve")
callback=$(sed -E 's/.*"callback_url":"([^"]*)".*/\1/' <<< "$answer")
if [[ $2 == tells ]]; then echo "$callback"; exit; fi
exec curl --silent --output /dev/null "$callback"
"#;

/// A page that can't be tried convinces nobody.
const LEFT_OUT_MAX: usize = 6;

/// Pages with tests of their own.
const ELSEWHERE: &[&str] = &["docs/how-to/add-a-service.md", "docs/tasks.md", "docs/tutorial.md"];
