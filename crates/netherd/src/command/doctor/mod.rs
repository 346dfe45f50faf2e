//! `netherd doctor`: what this machine allows, and what to do about what it does not.
//!
//! [`check`] judges, [`machine`] looks, [`trial`] tries.

use std::process::ExitCode;

use serde::Serialize;

use self::check::{Finding, Status};
use self::machine::ThisMachine;
use crate::cli::DoctorArgs;
use crate::output::style::{Accent, Style};
use crate::output::{self, failure};

pub mod check;
pub mod machine;
mod outside;
pub mod trial;

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    /// Whether `netherd run` can work here.
    run: bool,
    checks: Vec<Finding>,
}

pub fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    if let Some(level) = args.trial {
        trial::run(level);
        return Ok(ExitCode::SUCCESS);
    }
    let checks = check::all(&ThisMachine::look());
    let run = check::run_can_work(&checks);
    if args.json {
        output::print_json(&Report { run, checks })?;
    } else {
        output::print(&text(&checks, run, Style::of_stdout()))?;
    }
    Ok(if run { ExitCode::SUCCESS } else { ExitCode::from(failure::FAILED) })
}

/// The report: a line for each check, a second where there is something to do, and the verdict.
fn text(checks: &[Finding], run: bool, style: Style) -> String {
    let width = checks.iter().map(|finding| finding.check.len()).max().unwrap_or_default();
    let mut text = String::new();
    for finding in checks {
        let (word, accent) = match finding.status {
            Status::Ok => ("ok     ", Accent::Good),
            Status::Limited => ("limited", Accent::Warning),
            Status::No => ("no     ", Accent::Bad),
        };
        let word = style.paint(accent, word);
        text.push_str(&format!("{word}  {:<width$}  {}\n", finding.check, finding.found));
        if let Some(remedy) = &finding.remedy {
            text.push_str(&format!(
                "           {}\n",
                style.paint(Accent::Dim, &format!("-> {remedy}"))
            ));
        }
    }
    text.push_str(match run {
        true => "\n`netherd run` can work here.\n",
        false => "\n`netherd run` cannot work here, until what is marked `no` is fixed.\n",
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_is_for_reading() {
        let finding = |check, status, remedy: Option<&str>, needed| Finding {
            check,
            status,
            found: "found".to_owned(),
            remedy: remedy.map(str::to_owned),
            needed,
        };
        let checks = [
            finding("one", Status::Ok, None, true),
            finding("longer", Status::Limited, Some("do this"), false),
        ];
        assert_eq!(
            text(&checks, true, Style::PLAIN),
            "\
ok       one     found
limited  longer  found
           -> do this

`netherd run` can work here.
"
        );
        let checks = [finding("x", Status::No, Some("do that"), true)];
        assert!(text(&checks, false, Style::PLAIN).contains("no       x  found\n"));
        assert!(text(&checks, false, Style::PLAIN).contains("cannot work"));
    }
}
