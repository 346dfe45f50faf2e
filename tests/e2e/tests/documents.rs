//! The tour and the pages of the clients do what they say.
//!
//! Every block of a page that is marked `sh` is run, in order, in one shell, as an ordinary user in an empty
//! folder; every command must succeed. A block marked `text` shows what the block before it prints. Numbers
//! and addresses differ from run to run, so a line is compared by its words: those with a digit or with `...`
//! stand for anything, `alice` for the user, and the others must stand in one line of the output, in this
//! order.
//!
//! And the manual and the completions are complete.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e::{Lab, Tun, User, need};

/// Longer than any page takes, on a busy machine.
const LIMIT: Duration = Duration::from_secs(180);

/// A fenced block.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    language: String,
    /// The first line inside, counted from 1.
    line: usize,
    text: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in page.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(language), None) => {
                open = Some(Block {
                    language: language.to_owned(),
                    line: number + 2,
                    text: String::new(),
                });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

/// Ends what one block prints: the page's blocks run in one shell.
fn end_mark(index: usize) -> String {
    format!("@@@ end of block {index} @@@")
}

/// The words of an expected line that are to be found: those that are the same in every run.
fn fixed_words(line: &str) -> Vec<&str> {
    let varies = |word: &str| word.contains("...") || word.chars().any(|c| c.is_ascii_digit());
    line.split_whitespace().filter(|word| !varies(word)).collect()
}

/// Whether `line` has these words, in this order.
fn has_words(line: &str, words: &[&str]) -> bool {
    let mut have = line.split_whitespace();
    words.iter().all(|wanted| have.any(|word| word == *wanted))
}

fn page(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(PathBuf::from);
    let path = root.expect("tests/e2e lies two folders down").join("docs").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

/// What is shown where guests have packet sockets: another link, and a veth device, which knows its state.
fn without_taps(line: &str) -> String {
    let line = line.replace(" tap ", " packet ");
    if line.starts_with("eth0") { line.replace(" UNKNOWN ", " UP ") } else { line }
}

/// Runs a page.
fn follow(name: &str) -> Result<(), String> {
    e2e::skip::namespaces()?;
    let lab = Lab::new();
    let person = lab.person(User::first()?);
    let blocks = blocks(&page(name));
    let mut script = "exec 2>&1\nset -o pipefail\n".to_owned();
    for (index, block) in blocks.iter().enumerate().filter(|(_, b)| b.language == "sh") {
        script.push_str(&format!("{}echo '{}'\n", block.text, end_mark(index)));
    }
    let binary = e2e::binary::netherd();
    let path = format!(
        "{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        binary.parent().expect("a folder").display()
    );
    let done = person.job("bash").args(["-e", "-c", &script]).env("PATH", path).limit(LIMIT).run();

    let mut rest = done.stdout.as_str();
    let mut printed = "";
    for (index, block) in blocks.iter().enumerate() {
        let place = format!("docs/{name}:{}", block.line);
        match block.language.as_str() {
            "sh" => match rest.split_once(&end_mark(index)) {
                Some((before, after)) => (printed, rest) = (before, after),
                None => panic!("{place}: a command of this block failed:\n{}\n{rest}", block.text),
            },
            "text" => {
                for line in block.text.lines() {
                    let mut line = line.replace("alice", &person.user().name);
                    if Tun::Open.possible().is_err() {
                        line = without_taps(&line);
                    }
                    let words = fixed_words(&line);
                    assert!(
                        words.is_empty() || printed.lines().any(|have| has_words(have, &words)),
                        "{place}: no line of the output has the words {words:?}:\n{printed}"
                    );
                }
            }
            _ => {}
        }
    }
    assert!(done.status.success(), "docs/{name}: the shell ended with {}:\n{rest}", done.status);
    Ok(())
}

/// What README.md says to type, with the program that was built in place of what builds it, and without the world.
#[test]
fn readme() {
    for program in ["ping", "curl"] {
        need!(e2e::skip::program(program));
    }
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let commands: Vec<String> = blocks(&page("../README.md"))
        .iter()
        .filter(|block| block.language == "sh")
        .flat_map(|block| block.text.lines())
        .filter_map(|line| line.strip_prefix("cargo run --release -- ").map(str::to_owned))
        .collect();
    let [shell, second] = commands.as_slice() else { panic!("two commands: {commands:?}") };
    // A shell that reads no terminal ends at once, so the first guest is one that stays.
    let stays = format!("{shell} -- sleep 100").replacen("run ", "run -d ", 1);
    let second = second.replace("curl -I https://www.debian.org", "curl --version");
    assert!(second.contains("curl --version"), "{second}");
    let netherd = e2e::binary::netherd();
    for line in [shell.clone(), stays, second] {
        let line = format!("{} {line}", netherd.display());
        let _ = person.job("bash").args(["-e", "-c", &line]).run().ok();
    }
}

#[test]
fn tour() {
    for program in ["python3", "curl", "ping", "tcpdump", "ip"] {
        need!(e2e::skip::program(program));
    }
    need!(follow("tour.md"));
}

#[test]
fn filters() {
    for program in ["python3", "curl", "ping", "timeout"] {
        need!(e2e::skip::program(program));
    }
    need!(follow("filters.md"));
}

#[test]
fn guard() {
    need!(follow("guard.md"));
}

#[test]
fn routing() {
    need!(follow("routing.md"));
}

#[test]
fn gateway() {
    for program in ["python3", "curl", "ping", "getent", "ip"] {
        need!(e2e::skip::program(program));
    }
    need!(follow("gateway.md"));
}

#[test]
fn nesting() {
    for program in ["python3", "curl", "ip", "busybox"] {
        need!(e2e::skip::program(program));
    }
    need!(follow("nesting.md"));
}

#[test]
fn qemu() {
    need!(e2e::skip::program("qemu-system-x86_64"));
    need!(follow("clients/qemu.md"));
}

#[test]
fn vde() {
    need!(e2e::skip::program("vde_plug2tap"));
    need!(Tun::Open.possible());
    need!(follow("clients/vde.md"));
}

#[test]
fn socat() {
    need!(e2e::skip::program("socat"));
    need!(Tun::Open.possible());
    need!(follow("clients/socat.md"));
}

#[test]
fn containers() {
    for program in ["bwrap", "nsenter", "ping"] {
        need!(e2e::skip::program(program));
    }
    need!(e2e::skip::namespaces());
    need!(follow("clients/containers.md"));
}

#[test]
fn uml() {
    need!(e2e::skip::user_mode_linux());
    // Of the init system, which is not for the tests to install.
    need!(e2e::skip::program("poweroff"));
    need!(follow("clients/uml.md"));
}

#[test]
fn vfkit() {
    need!(follow("clients/vfkit.md"));
}

#[test]
fn libkrun() {
    need!(follow("clients/libkrun.md"));
}

#[test]
fn blocks_and_words_are_read_as_described() {
    let page = "a\n```sh\none\n```\n```text\nx 1\n```\n";
    let found = blocks(page);
    assert_eq!(found.len(), 2);
    assert_eq!((found[0].language.as_str(), found[0].line), ("sh", 3));
    assert_eq!(found[1].text, "x 1\n");
    assert_eq!(fixed_words("web  tap 0a:9e x... up"), ["web", "tap", "up"]);
    assert!(has_words("a 1 b c", &["a", "c"]) && !has_words("a b", &["b", "a"]));
}

#[test]
fn the_manual_has_a_page_for_every_command() {
    need!(e2e::skip::program("man"));
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let pages = person.home().join("man1");
    let _ = person.netherd(["man"]).arg(&pages).run().ok();
    let help = person.netherd(["--help"]).run().ok();
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands: Vec<&str> = listed
        .map_while(|line| line.strip_prefix("  "))
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|command| *command != "help")
        .collect();
    assert!(commands.len() >= 16 && commands.contains(&"guard"), "{commands:?} in {help}");
    for command in commands {
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
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let runs = person.netherd(["run", "--", "true"]).run().status.success();
    let output = person.netherd(["doctor"]).run();
    assert_eq!(output.status.success(), runs, "{}", output.account());
    let said = person.netherd(["doctor", "--json"]).run().stdout;
    let _: serde_json::Value = serde_json::from_str(&said).expect("doctor --json prints JSON");
}
