//! `netherd man`: the manual pages, one for each subcommand, from the definition of the command
//! line.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::{Arg, ArgAction, ArgGroup, Command, CommandFactory, Id};

use crate::cli::{Cli, ManArgs};

pub fn run(args: &ManArgs) -> anyhow::Result<ExitCode> {
    write_pages(&args.directory)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes `netherd.1` and a `netherd-SUBCOMMAND.1` for each visible subcommand into `directory`,
/// which is made if it is missing.
pub fn write_pages(directory: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(directory).map_err(|error| {
        anyhow!(
            "the directory {} cannot be made: {error}; name one that you may create",
            directory.display()
        )
    })?;
    let mut definition = Cli::command();
    let names: Vec<String> =
        definition.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    for name in names {
        definition = definition.mut_subcommand(&name, |command| {
            let synopsis = synopsis(&name, &command);
            command.override_usage(synopsis)
        });
    }
    clap_mangen::generate_to(definition, directory)
        .with_context(|| format!("cannot write manual pages into {}", directory.display()))
}

/// A command with its options and words as one gives them, with what an option takes and what may be repeated, which
/// the usual synopsis leaves out.
fn synopsis(name: &str, command: &Command) -> String {
    let shown = || command.get_arguments().filter(|argument| !argument.is_hide_set());
    let required: Vec<&Id> = command
        .get_groups()
        .filter(|it| it.is_required_set())
        .flat_map(ArgGroup::get_args)
        .collect();
    let is_one_of = |argument: &&Arg| required.contains(&argument.get_id());
    let mut line = format!("netherd {name}");
    for option in shown().filter(|it| !it.is_positional() && !is_one_of(it)) {
        line.push_str(&format!(" [{}]", option_words(option)));
        if matches!(option.get_action(), ArgAction::Append) {
            line.push_str("...");
        }
    }
    let one_of: Vec<String> = shown().filter(is_one_of).map(option_words).collect();
    if !one_of.is_empty() {
        line.push_str(&format!(" {{{}}}", one_of.join(" | ")));
    }
    for word in shown().filter(|it| it.is_positional()) {
        let name = value_name(word);
        let name = if word.is_required_set() { name } else { format!("[{name}]") };
        line.push_str(&format!(" {name}"));
        if matches!(word.get_action(), ArgAction::Append) {
            line.push_str("...");
        }
    }
    if command.has_subcommands() {
        line.push_str(" COMMAND");
    }
    line
}

fn option_words(option: &Arg) -> String {
    let short = option.get_short().map(|short| format!("-{short}"));
    let long = option.get_long().map(|long| format!("--{long}"));
    let mut words = short.into_iter().chain(long).collect::<Vec<_>>().join("|");
    if option.get_action().takes_values() {
        words.push_str(&format!(" {}", value_name(option)));
    }
    words
}

fn value_name(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" ")
}
