//! Chores of the project: what is generated from the code, and does not lie in the repository
//! unless a reader wants to find it there.
//!
//! ```text
//! cargo xtask dist [DIR]     manual pages, shell completions and units, by default in target/dist
//! cargo xtask reasons        writes docs/reasons.md from the engine's table
//! cargo xtask guard          writes the checks into docs/guard.md from the engine's table
//! ```
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

mod guard;
mod reasons;

const USAGE: &str = "usage: cargo xtask dist [DIR] | reasons | guard";

/// Shells and the names their completions are looked for by.
const SHELLS: [(&str, &str); 3] =
    [("bash", "netherd.bash"), ("zsh", "_netherd"), ("fish", "netherd.fish")];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["dist"] => dist(&root().join("target/dist")),
        ["dist", directory] => dist(Path::new(directory)),
        ["reasons"] => write(&root().join(reasons::PATH), &reasons::page()),
        ["guard"] => checks(&root().join(guard::PATH)),
        _ => {
            eprintln!("xtask: {USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the repository.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Writes the checks of the guard into their page.
fn checks(path: &Path) -> Result<(), String> {
    let old =
        fs::read_to_string(path).map_err(|why| format!("cannot read {}: {why}", path.display()))?;
    write(path, &guard::page(&old)?)
}

/// What systemd needs, below `pkg/systemd`, and whose units they are.
const UNITS: [(&str, &str); 4] = [
    ("user", "netherd@.service"),
    ("user", "netherd@.socket"),
    ("system", "netherd-nic.service"),
    ("system", "netherd-nic.socket"),
];

/// Writes `man/*.1`, `completions/*`, `systemd/user/*` and `systemd/system/*` into `directory`.
fn dist(directory: &Path) -> Result<(), String> {
    netherd::command::man::write_pages(&directory.join("man")).map_err(|why| format!("{why:#}"))?;
    for (shell, file) in SHELLS {
        let script = netherd::command::completions::script(shell)
            .ok_or_else(|| format!("clap knows no shell {shell}"))?;
        write(&directory.join("completions").join(file), &script)?;
    }
    for (whose, unit) in UNITS {
        let source = root().join("pkg/systemd").join(unit);
        let text = fs::read_to_string(&source)
            .map_err(|why| format!("cannot read {}: {why}", source.display()))?;
        write(&directory.join("systemd").join(whose).join(unit), &text)?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    let cannot = |why| format!("cannot write {}: {why}", path.display());
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(cannot)?;
    }
    fs::write(path, text).map_err(cannot)
}

#[cfg(test)]
mod tests;
