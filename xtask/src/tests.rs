//! What is generated is up to date, and what the documents tell the reader to type exists.

use clap::Parser;
use netherd::cli::Cli;

use super::*;

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

/// README and everything below docs.
fn documents() -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for path in fs::read_dir(folder).expect("docs").flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    let mut found = vec![root().join("README.md")];
    walk(&root().join("docs"), &mut found);
    found.sort();
    found
}

/// Command lines in the fenced blocks of a document that begin with `netherd`, or run it by cargo.
fn command_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut fenced = false;
    let mut language = "";
    let mut continued = String::new();
    for line in text.lines() {
        if let Some(info) = line.trim_start().strip_prefix("```") {
            fenced = !fenced;
            language = info;
            continue;
        }
        if !fenced || !matches!(language, "sh" | "console") {
            continue;
        }
        let line = line.trim_start().trim_start_matches("$ ");
        match line.strip_suffix('\\') {
            Some(start) => continued.push_str(start),
            None => lines.push(std::mem::take(&mut continued) + line),
        }
    }
    lines
        .into_iter()
        .filter_map(|line| {
            line.strip_prefix("cargo run --release -- ")
                .map(|rest| format!("netherd {rest}"))
                .or_else(|| line.starts_with("netherd ").then_some(line))
        })
        .collect()
}

/// Words of a simple command up to what the shell takes for itself.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut started = false;
    for c in line.chars() {
        match quote {
            Some(q) if c == q => quote = None,
            Some(_) => word.push(c),
            None if c == '\'' || c == '"' => (quote, started) = (Some(c), true),
            None if "|&;<>#".contains(c) && !started => break,
            // The number before it is a descriptor's.
            None if "<>".contains(c) && word.bytes().all(|b| b.is_ascii_digit()) => {
                started = false;
                break;
            }
            None if c == ' ' => {
                if started {
                    words.push(std::mem::take(&mut word));
                    started = false;
                }
            }
            None => {
                word.push(c);
                started = true;
            }
        }
    }
    if started {
        words.push(word);
    }
    words
}

#[test]
fn every_documented_command_line_can_be_typed() {
    let mut seen = 0;
    for path in documents() {
        for line in command_lines(&read(&path)) {
            seen += 1;
            // The shell knows the number of a process; any does here.
            let line = line.replace("$!", "1").replace("$pid", "1");
            if let Err(error) = Cli::try_parse_from(words(&line)) {
                assert!(!error.use_stderr(), "{}: `{line}`: {error}", path.display());
            }
        }
    }
    assert!(seen > 20, "the documents show commands where this test looks for them");
}

/// The documents that a document links to.
fn links(path: &Path) -> Vec<PathBuf> {
    let text = read(path);
    let folder = path.parent().expect("a folder");
    let target = |rest: &str| {
        let target = rest.split([')', '#']).next().unwrap_or_default();
        target.ends_with(".md").then(|| folder.join(target))
    };
    let targets = text.split("](").skip(1).filter_map(target);
    targets.map(|path| path.canonicalize().unwrap_or(path)).collect()
}

#[test]
fn every_document_is_found_from_the_readme() {
    let mut found = std::collections::BTreeSet::new();
    let mut next = vec![root().join("README.md").canonicalize().expect("a readme")];
    while let Some(path) = next.pop() {
        if found.insert(path.clone()) {
            next.extend(links(&path));
        }
    }
    for path in documents() {
        let path = path.canonicalize().expect("a file");
        assert!(found.contains(&path), "no document links to {}", path.display());
    }
    for path in &found {
        assert!(path.is_file(), "{} is linked to, and is not there", path.display());
    }
}

#[test]
fn the_page_of_reasons_is_up_to_date() {
    assert_eq!(read(&root().join(reasons::PATH)), reasons::page(), "run `cargo xtask reasons`");
}

#[test]
fn the_checks_of_the_guard_are_up_to_date() {
    let page = read(&root().join(guard::PATH));
    assert_eq!(guard::page(&page).as_ref(), Ok(&page), "run `cargo xtask guard`");
}

#[test]
fn pages_and_completions_are_made_for_every_subcommand() {
    use clap::CommandFactory;
    let directory = std::env::temp_dir().join(format!("netherd-dist-{}", std::process::id()));
    dist(&directory).expect("dist");
    for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
        let name = command.get_name();
        assert!(directory.join(format!("man/netherd-{name}.1")).is_file(), "{name}");
        for (_, file) in SHELLS {
            let script = read(&directory.join("completions").join(file));
            assert!(script.contains(name), "{file} completes {name}");
        }
    }
    fs::remove_dir_all(&directory).expect("clean");
}

#[test]
fn the_architecture_fits_on_one_page() {
    assert!(read(&root().join("docs/ARCHITECTURE.md")).lines().count() <= 150);
}

#[test]
fn links_between_documents_lead_somewhere() {
    for path in documents() {
        let text = read(&path);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.starts_with("http") || target.starts_with('#') {
                continue;
            }
            let file = target.split('#').next().unwrap_or(target);
            let place = path.parent().expect("a folder").join(file);
            assert!(place.exists(), "{}: there is no {target}", path.display());
        }
    }
}

#[test]
fn a_shell_line_is_cut_as_the_shell_would() {
    assert_eq!(words("netherd show --json | jq ."), ["netherd", "show", "--json"]);
    assert_eq!(
        words("netherd run -- sh -c 'a | b' # note"),
        ["netherd", "run", "--", "sh", "-c", "a | b"]
    );
    assert_eq!(words("netherd up lab &"), ["netherd", "up", "lab"]);
}
