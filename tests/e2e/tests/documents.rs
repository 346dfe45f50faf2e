//! What the documents tell a reader to type works as they say; the manual and the completions are complete.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e::{Lab, User, need};

/// The info string of a fence whose `$ ` lines are executed.
const FENCE: &str = "```console test";

/// Documents that must have such a fence: the folder's pages on clients, and these.
const MUST: &[&str] = &["README.md", "docs/tour.md"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("two folders down").to_owned()
}

/// The Markdown files that readers get, with their text.
fn documents() -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for path in
            std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
        {
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    let mut paths = vec![root().join("README.md")];
    walk(&root().join("docs"), &mut paths);
    paths.sort();
    paths
        .into_iter()
        .filter_map(|path| {
            let text = std::fs::read_to_string(&path).ok()?;
            let name = path.strip_prefix(root()).expect("below the root").display().to_string();
            Some((name, text))
        })
        .collect()
}

/// The commands of a document's fences, with the programs each fence needs.
fn fences(text: &str) -> Vec<(Vec<String>, Vec<String>)> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(rest) = line.strip_prefix(FENCE) else { continue };
        let needs = rest
            .split_whitespace()
            .filter_map(|word| word.strip_prefix("needs="))
            .map(str::to_owned)
            .collect();
        let block = lines.by_ref().take_while(|line| !line.starts_with("```"));
        let mut commands: Vec<String> = Vec::new();
        let mut goes_on = false;
        for line in block {
            if let Some(command) = line.strip_prefix("$ ") {
                commands.push(command.to_owned());
            } else if goes_on && let Some(last) = commands.last_mut() {
                // A command whose line ends in a backslash goes on in the next.
                last.push('\n');
                last.push_str(line.strip_prefix("> ").unwrap_or(line));
            }
            goes_on = line.ends_with('\\');
        }
        found.push((needs, commands));
    }
    found
}

#[test]
fn the_commands_of_the_documents_work() {
    let user = need!(User::first());
    let mut run = 0;
    for (name, text) in documents() {
        let fences = fences(&text);
        let pages_of_clients = name.starts_with("docs/client");
        assert!(
            !fences.is_empty() || !(MUST.contains(&name.as_str()) || pages_of_clients),
            "{name} tells nothing that could be tested: no fence begins with {FENCE}"
        );
        let mut script = String::from("set -eu -o pipefail\n");
        for (needs, commands) in fences {
            let missing = needs.iter().find_map(|program| e2e::skip::program(program).err());
            if let Some(reason) = missing {
                e2e::skip::note(&format!("commands of {name}"), &reason);
                continue;
            }
            for command in commands {
                run += 1;
                // The command is shown before what it says, as a reader would see it.
                script.push_str(&format!("cat <<'COMMAND'\n$ {command}\nCOMMAND\n{command}\n"));
            }
        }
        // The guests that a document leaves behind end with its lab.
        let lab = Lab::new();
        let person = lab.person(user.clone());
        let netherd = e2e::binary::netherd().parent().expect("a folder").display();
        let path =
            format!("{netherd}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        let file = person.home().join("commands.sh");
        std::fs::write(&file, script).expect("the lab is ours");
        let job = person.job("bash").arg(&file).env("PATH", path).limit(Duration::from_secs(60));
        let output = job.run();
        assert!(output.status.success(), "{name}: {}", output.account());
    }
    assert!(run > 0, "no document has a command");
}

#[test]
fn the_manual_has_a_page_for_every_command() {
    need!(e2e::skip::program("man"));
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let pages = person.home().join("man1");
    let _ = person.netherd(["man"]).arg(&pages).run().ok();
    for command in [
        "run", "exec", "attach", "detach", "up", "down", "reload", "ls", "show", "capture", "args",
        "metrics", "doctor",
    ] {
        let page = pages.join(format!("netherd-{command}.1"));
        let said =
            person.job("man").args(["--warnings", "-l"]).arg(&page).env("MANWIDTH", "100").run();
        assert_eq!(said.stderr, "", "{}", page.display());
        assert!(said.ok().contains(&format!("netherd-{command}")), "{}", page.display());
    }
    let said = person.job("man").arg("-l").arg(pages.join("netherd.1")).run().ok();
    assert!(said.contains("XDG_RUNTIME_DIR"), "{said}");
}

#[test]
fn bash_completes_subcommands() {
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let script = person.netherd(["completions", "bash"]).run().ok();
    let file = person.home().join("completion");
    std::fs::write(&file, script).expect("the lab is ours");
    let ask = format!(
        ". {} && COMP_WORDS=(netherd att) COMP_CWORD=1 && _netherd netherd att netherd && echo ${{COMPREPLY[*]}}",
        file.display()
    );
    assert_eq!(person.job("bash").args(["-c", &ask]).run().ok().trim(), "attach");
    for shell in ["zsh", "fish"] {
        assert!(person.netherd(["completions", shell]).run().ok().contains("attach"), "{shell}");
    }
}

/// The checks of the machine that `doctor` makes are about this machine: where `run` works, it says so.
#[test]
fn doctor_agrees_with_run() {
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let runs = person.netherd(["run", "--", "true"]).run().status.success();
    let output = person.netherd(["doctor"]).run();
    assert_eq!(output.status.success(), runs, "{}", output.account());
    let said = person.netherd(["doctor", "--json"]).run().stdout;
    let _: serde_json::Value = serde_json::from_str(&said).expect("doctor --json prints JSON");
}
