//! The commands that the documentation shows, run as they stand there. A comment before a block
//! says what is special about it: `<!-- test: skip, WHY -->`, or
//! `<!-- test: a person allows it -->`.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::peers::root;
use crate::stage::{Connecting, Home, INDICIA, Sandbox};

/// One block of commands.
struct Block {
    how: How,
    commands: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    AsItIs,
    APersonAllowsIt,
    Skipped,
}

/// The blocks between two lines of a page.
fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let (mut how, mut open) = (How::AsItIs, None::<String>);
    for line in page.lines() {
        match (&mut open, line) {
            (None, "```sh") => open = Some(String::new()),
            (Some(commands), "```") => {
                blocks.push(Block { how, commands: std::mem::take(commands) });
                (how, open) = (How::AsItIs, None);
            }
            (Some(commands), line) => *commands += &format!("{line}\n"),
            (None, line) if line.starts_with("<!-- test: skip, ") => how = How::Skipped,
            (None, "<!-- test: a person allows it -->") => how = How::APersonAllowsIt,
            (None, _) => {}
        }
    }
    assert!(open.is_none(), "a block isn't closed");
    blocks
}

/// A shell in a folder of its own, in which `indicia` is this one.
struct Reader<'a> {
    home: &'a Home,
    sandbox: &'a Sandbox,
    folder: tempfile::TempDir,
}

impl<'a> Reader<'a> {
    fn new(home: &'a Home, sandbox: &'a Sandbox) -> Self {
        Self { home, sandbox, folder: tempfile::tempdir().unwrap() }
    }

    fn shell(&self, commands: &str) -> Command {
        let commands = commands.replace("127.0.0.1:8918", &self.sandbox.address);
        let bin = Path::new(INDICIA).parent().unwrap();
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("sh");
        shell.args(["-eu", "-c", &commands]).current_dir(self.folder.path());
        shell.env("PATH", path).env("INDICIA_HOME", self.home.path());
        for name in ["INDICIA_ROOT_KEY", "DISPLAY", "WAYLAND_DISPLAY", "BROWSER"] {
            shell.env_remove(name);
        }
        shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        shell
    }

    fn run(&self, block: &Block) {
        match block.how {
            How::Skipped => {}
            How::AsItIs => {
                let output = self.shell(&block.commands).output().unwrap();
                assert!(output.status.success(), "{}\n{output:?}", block.commands);
            }
            How::APersonAllowsIt => {
                let commands = block.commands.trim_end().replace('\n', " --no-browser\n");
                let commands = format!("{commands} --no-browser --json");
                let mut shell = self.shell(&commands);
                let connecting = Connecting::of(shell.stdin(Stdio::piped()).spawn().unwrap());
                let callback = self.sandbox.approve(&connecting.address);
                connecting.paste(&callback).ok();
            }
        }
    }
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join("docs").join(name)).unwrap()
}

#[test]
fn the_tutorial_works_from_its_first_line_to_its_last() {
    let (home, sandbox) = (Home::new(), Sandbox::start(&[]));
    let reader = Reader::new(&home, &sandbox);
    let blocks = blocks(&read("tutorial.md"));
    assert!(blocks.len() >= 7);
    assert_eq!(blocks.iter().filter(|block| block.how == How::Skipped).count(), 1);
    blocks.iter().for_each(|block| reader.run(block));
    home.run(&["token", "klaviyo"]).fails(4, "revoked");
}

#[test]
fn each_likely_task_takes_five_commands_or_fewer() {
    let (home, sandbox) = (Home::new(), Sandbox::start(&[]));
    let reader = Reader::new(&home, &sandbox);
    let page = read("tasks.md");
    let tasks: Vec<&str> = page.split("\n## ").skip(1).collect();
    assert_eq!(tasks.len(), 8);
    for task in tasks {
        let blocks = blocks(task);
        let lines = blocks.iter().flat_map(|block| block.commands.lines());
        let count = lines.filter(|line| !line.trim().is_empty()).count();
        let title = task.lines().next().unwrap();
        assert!((1..=5).contains(&count), "{title}: {count} commands");
        assert!(blocks.iter().all(|block| block.how != How::Skipped), "{title}");
        if title.contains("new client secret") {
            // As its portal has them after that.
            let secrets = json!({ "service": "klaviyo", "client_id": "my-app",
                "secrets": ["my-secret", "the-new-secret"] });
            let url = format!("http://{}/_sandbox/secrets", sandbox.address);
            assert_eq!(crate::http::post(&url, &secrets).status, 200);
        }
        blocks.iter().for_each(|block| reader.run(block));
    }
}

/// Once with the guide's own example, once with a service that is there and isn't shipped.
#[test]
fn the_guide_to_a_service_of_ones_own_ends_with_a_tested_file() {
    let page = read("how-to/add-a-service.md");
    let shown = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let real = read("examples/resend.toml");
    for (id, file, can) in
        [("postbird", shown, "contacts.read"), ("resend", &*real, "campaigns.send")]
    {
        let home = Home::new();
        let nothing = Sandbox::start(&[]);
        let reader = Reader::new(&home, &nothing);
        fs::write(reader.folder.path().join(format!("{id}.toml")), file).unwrap();
        let blocks = blocks(&page.replace("postbird", id));
        assert_eq!(blocks.len(), 3);
        blocks.iter().for_each(|block| reader.run(block));
        // And a connection of it, which a simulated service made from the file gives.
        let sandbox = Sandbox::start_in(&home, &[]);
        if file.contains("client_kinds = [\"public\"]") {
            let add = ["clients", "add", id, "--client-id", "app", "--sandbox", &sandbox.address];
            home.run(&add).ok();
        } else {
            home.add_client(&sandbox, id, &[]);
        }
        home.connect(&sandbox, &[id, "--can", can]);
        home.run(&["token", id]).ok();
        home.run(&["refresh", id]).ok();
        home.run(&["revoke", id]).ok();
    }
}

/// Every command that any page names is one of this program, with options that it has.
#[test]
fn no_page_shows_a_command_that_is_not_there() {
    let home = Home::new();
    let (mut seen, mut known) = (0, std::collections::BTreeSet::new());
    let mut pages: Vec<_> = crate::stage::files(&root().join("docs"));
    pages.push(root().join("README.md"));
    for path in pages.iter().filter(|path| path.extension().is_some_and(|e| e == "md")) {
        let text = fs::read_to_string(path).unwrap();
        for line in text.lines() {
            let line = line.trim_start_matches([' ', '$']);
            let Some(rest) = line.strip_prefix("indicia ") else { continue };
            let mut words = rest.split_whitespace().take_while(|word| !word.starts_with('#'));
            let Some(command) = words
                .next()
                .filter(|word| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
            else {
                continue;
            };
            if command.starts_with('-') {
                continue;
            }
            seen += 1;
            if known.insert(command.to_owned()) {
                let help = home.run(&[command, "--help"]);
                assert_eq!(help.status, 0, "{}: {line}", path.display());
            }
        }
    }
    assert!(seen > 60, "{seen}");
}
