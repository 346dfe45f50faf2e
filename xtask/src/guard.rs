//! What docs/guard.md says of each check, from the engine's table.

use std::fmt::Write;

use engine::{Check, Kind};

/// Where the page is, from the root of the repository.
pub(crate) const PATH: &str = "docs/guard.md";

/// What a part that is written here begins with, and what each ends with.
const FIXED: &str = "<!-- fixed checks -->\n";
const TABLE: &str = "<!-- checks -->\n";
const END: &str = "<!-- end -->\n";

/// The page with its parts written anew.
pub(crate) fn page(old: &str) -> Result<String, String> {
    put(&put(old, FIXED, &fixed())?, TABLE, &table())
}

/// Puts a text between a mark and the end that follows it.
fn put(page: &str, mark: &str, text: &str) -> Result<String, String> {
    let parts = page.split_once(mark).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some(format!("{before}{mark}{text}{END}{after}"))
    });
    parts.ok_or_else(|| {
        format!("{PATH} has no {}, or none with an {} behind it", mark.trim_end(), END.trim_end())
    })
}

fn fixed() -> String {
    let numbers: Vec<String> = Check::ALL
        .into_iter()
        .filter(|check| check.kind() == Kind::Fixed)
        .map(|check| check.to_string())
        .collect();
    let numbers = match numbers.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} and {last}", others.join(", ")),
        _ => numbers.concat(),
    };
    format!(
        "Checks {numbers} hold the switch itself together. They are made for every port, whatever its\n\
         mode, and their action is always `drop`.\n"
    )
}

fn table() -> String {
    let mut table = "| check | name | attack or mistake | standard | default | change |\n\
                     |---:|---|---|---|---|---|\n"
        .to_owned();
    for check in Check::ALL {
        let (number, name) = (check.number(), check.name());
        let _ = write!(table, "| {number} | `{name}` |");
        for cell in [check.describe(), check.standard(), check.default_text(), check.change()] {
            let space = if cell.is_empty() { "" } else { " " };
            let _ = write!(table, "{space}{cell} |");
        }
        table.push('\n');
    }
    table
}
