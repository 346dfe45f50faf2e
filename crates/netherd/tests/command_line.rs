//! The definition of the command line, and what is generated from it.
#![forbid(unsafe_code)]

use std::fs;

use clap::CommandFactory;
use netherd::cli::Cli;

/// Subcommands that users see.
fn visible() -> Vec<String> {
    Cli::command()
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .map(|command| command.get_name().to_owned())
        .collect()
}

#[test]
fn every_visible_subcommand_and_option_has_a_description() {
    for command in Cli::command().get_subcommands() {
        assert!(command.get_about().is_some(), "{}", command.get_name());
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
        }
    }
}

#[test]
fn there_is_a_manual_page_for_every_visible_subcommand() {
    let directory = tempdir("man");
    netherd::command::man::write_pages(&directory).expect("pages");
    let main = fs::read_to_string(directory.join("netherd.1")).expect("netherd.1");
    assert!(main.contains("XDG_RUNTIME_DIR") && main.contains("Exit status"), "{main}");
    for name in visible() {
        let page = fs::read_to_string(directory.join(format!("netherd-{name}.1"))).expect(&name);
        assert!(page.contains(&format!("netherd\\-{name}")), "{name}: {page}");
        let synopsis = page.split(".SH").find(|part| part.trim_start().starts_with("SYNOPSIS"));
        let synopsis = synopsis.expect("every page has one").replace('\\', "");
        let bare = synopsis.contains("[--net]") || synopsis.contains("[--dir]");
        assert!(!bare, "{name} does not say what its options take: {synopsis}");
        if name == "run" || name == "exec" {
            assert!(
                synopsis.contains("[--net NET]") && synopsis.contains("[CMD]..."),
                "{synopsis}"
            );
        }
        // mandoc and groff want a heading first.
        assert!(page.contains(".TH"), "{name}");
        assert!(main.contains(&format!("netherd\\-{name}(1)")), "netherd.1 refers to {name}");
    }
    fs::remove_dir_all(&directory).expect("clean");
}

#[test]
fn completions_know_every_visible_subcommand() {
    for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish]
    {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "netherd", &mut script);
        let script = String::from_utf8(script).expect("text");
        for name in visible() {
            assert!(script.contains(&name), "{shell} completes {name}");
        }
    }
}

fn tempdir(what: &str) -> std::path::PathBuf {
    let directory = std::env::temp_dir().join(format!("netherd-{what}-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a temporary directory");
    directory
}
