//! The rules of the house: who may depend on whom, where `unsafe` lives, how long a file may be, and that what
//! the documents list is what the code has.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What each crate may build on. Whatever stands beside the crates (measurements, tests, chores) may use them
/// all, and nothing may use it.
const MAY_USE: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("bpf", &[]),
    ("engine", &["bpf", "wire"]),
    ("sys", &[]),
    ("gateway", &["engine", "sys", "wire"]),
    ("nic", &["sys", "wire"]),
    ("host", &["bpf", "engine", "gateway", "nic", "sys", "wire"]),
    ("netherd", &["bpf", "engine", "gateway", "host", "nic", "sys", "wire"]),
    ("testkit", &["engine", "wire"]),
    ("bench", &["bpf", "engine", "gateway", "host", "sys", "testkit", "wire"]),
    ("e2e", &["testkit"]),
    ("xtask", &["engine", "gateway", "netherd"]),
];

/// What a folder of sources may use of its own crate.
const FOLDER_MAY_USE: &[(&str, &[&str])] =
    &[("crates/netherd/src/sandbox", &["output", "sandbox", "subordinate"])];

/// What each module of the engine may use of the others. What is new here makes the modules harder to
/// understand one by one: it should be worth that.
const ENGINE_MAY_USE: &[(&str, &str)] = &[
    ("batch", "frame pool verdict"),
    ("bindings", "engine event keyed_slab port prefix_map role time vlan"),
    ("capture", "engine filter frame guard origin pool port time verdict"),
    ("classify", "engine frame guard keyed plan pool port reason role vlan"),
    ("counters", "reason"),
    (
        "engine",
        "batch bindings capture classify counters event filter guard mac_table plan pool port \
         ports ready reason role time",
    ),
    ("event", "bindings guard port reason time"),
    ("filter", "frame plan pool vlan"),
    ("frame", ""),
    (
        "guard",
        "bindings classify engine event frame keyed named origin plan pool port rate reason \
         role time vlan",
    ),
    (
        "ingress",
        "batch bindings classify engine event filter frame guard mac_table origin plan pool \
         port ports ready reason time verdict",
    ),
    ("keyed", ""),
    ("keyed_slab", ""),
    ("mac_table", "classify guard keyed plan port reason role time"),
    ("named", ""),
    ("origin", "engine guard plan port role"),
    ("plan", "filter frame guard port role vlan"),
    ("pool", "batch frame"),
    ("port", "counters filter frame guard plan queue rate ready vlan"),
    ("ports", "plan port"),
    ("prefix_map", ""),
    ("queue", "frame pool reason ring"),
    ("rate", "time"),
    ("ready", ""),
    ("reason", "guard named"),
    ("ring", "frame"),
    ("role", ""),
    ("router", "batch frame keyed_slab named plan pool port prefix_map rate time"),
    ("time", ""),
    ("transmit", "batch counters engine filter frame pool port reason"),
    ("verdict", "port reason"),
    ("vlan", ""),
];

/// Only tests may link these, whoever's tests they are.
const FOR_TESTS: &[&str] = &["bpf", "e2e", "engine", "gateway", "host", "sys", "testkit", "wire"];

/// One crate makes all system calls, so one crate may be unsafe.
const MAY_BE_UNSAFE: &str = "sys";

/// One file says what was skipped, so that `./test` hears of it.
const TELLS_SKIPS: &str = "crates/testkit/src/skip.rs";

/// Two rooms are easier to live in than one of more lines.
const LONGEST_FILE: usize = 700;

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("tests/e2e lies two folders down").to_owned()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `cargo metadata` of the workspace's own packages.
fn packages() -> Vec<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let said = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let all: Value = serde_json::from_slice(&said.stdout).expect("cargo speaks JSON");
    all["packages"].as_array().expect("a list of packages").clone()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// Every Rust file under the source folders, generated ones excepted.
fn sources() -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                if path.file_name().is_none_or(|name| name != "target" && name != "corpus") {
                    walk(&path, found);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    for folder in ["crates", "bench", "tests", "xtask", "fuzz", "nostd-check"] {
        walk(&root().join(folder), &mut found);
    }
    assert!(found.len() > 50, "the sources are where this test looks for them");
    found.sort();
    found
}

/// Fails with all complaints at once.
fn judge(rule: &str, complaints: &[String]) {
    assert!(complaints.is_empty(), "{rule}:\n  {}", complaints.join("\n  "));
}

#[test]
fn dependencies_point_downwards() {
    let packages = packages();
    let ours: BTreeSet<&str> = packages.iter().map(|package| text(package, "name")).collect();
    let known: BTreeSet<&str> = MAY_USE.iter().map(|(name, _)| *name).collect();
    assert_eq!(ours, known, "MAY_USE must name the crates of the workspace");

    let mut complaints = Vec::new();
    for package in &packages {
        let name = text(package, "name");
        let (_, allowed) = MAY_USE.iter().find(|(have, _)| *have == name).expect("checked above");
        for dependency in list(package, "dependencies") {
            let on = text(dependency, "name");
            let for_tests = text(dependency, "kind") == "dev";
            let fine = allowed.contains(&on) || (for_tests && FOR_TESTS.contains(&on));
            if ours.contains(on) && !fine {
                complaints.push(format!("{name} uses {on}"));
            }
        }
    }
    judge("a crate uses one that is not below it", &complaints);
}

/// What a source uses of its own crate: modules, and what the crate's root has.
fn used(source: &str) -> impl Iterator<Item = &str> {
    source.split("crate::").skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
        &rest[..end.unwrap_or(rest.len())]
    })
}

#[test]
fn modules_of_the_engine_use_only_what_they_may() {
    let within = root().join("crates/engine/src");
    let (mut complaints, mut seen) = (Vec::new(), BTreeSet::new());
    for path in sources().into_iter().filter(|path| path.starts_with(&within)) {
        let inside = path.strip_prefix(&within).expect("filtered");
        let module = inside.iter().next().and_then(|first| Path::new(first).file_stem());
        let module = module.and_then(|stem| stem.to_str()).expect("a name of Rust");
        if module == "lib" {
            continue;
        }
        seen.insert(module.to_owned());
        let row = ENGINE_MAY_USE.iter().find(|(name, _)| *name == module);
        let allowed = row.map_or("", |(_, allowed)| *allowed);
        let allowed: Vec<&str> = allowed.split(' ').collect();
        let source = read(&path);
        let modules = used(&source).filter(|name| name.starts_with(|c: char| c.is_lowercase()));
        let wrong = modules.filter(|name| *name != module && !allowed.contains(name));
        complaints.extend(wrong.map(|name| format!("{}: {name}", path.display())));
    }
    judge("a module uses one that it may not", &complaints);
    let known: BTreeSet<String> = ENGINE_MAY_USE.iter().map(|(name, _)| (*name).into()).collect();
    assert_eq!(seen, known, "ENGINE_MAY_USE must name the modules of the engine");
}

#[test]
fn folders_use_only_what_is_below_them() {
    let mut complaints = Vec::new();
    for (folder, allowed) in FOLDER_MAY_USE {
        let within = root().join(folder);
        let sources: Vec<PathBuf> =
            sources().into_iter().filter(|path| path.starts_with(&within)).collect();
        assert!(!sources.is_empty(), "{folder} is where this test looks for it");
        for path in sources {
            let source = read(&path);
            let wrong = used(&source).filter(|module| !allowed.contains(module));
            complaints.extend(wrong.map(|module| format!("{}: {module}", path.display())));
        }
    }
    judge("a folder uses a module that is not below it", &complaints);
}

#[test]
fn unsafe_code_is_forbidden_outside_sys() {
    let mut complaints = Vec::new();
    for package in packages() {
        if text(&package, "name") == MAY_BE_UNSAFE {
            continue;
        }
        for target in list(&package, "targets") {
            let path = Path::new(text(target, "src_path"));
            if !read(path).contains("#![forbid(unsafe_code)]") {
                complaints.push(path.display().to_string());
            }
        }
    }
    judge("#![forbid(unsafe_code)] is missing in", &complaints);
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    let complaints: Vec<String> = packages()
        .iter()
        .map(|package| text(package, "manifest_path").to_owned())
        .filter(|path| !read(Path::new(path)).contains("[lints]\nworkspace = true"))
        .collect();
    judge("[lints] workspace = true is missing in", &complaints);
}

#[test]
fn files_are_short() {
    let complaints: Vec<String> = sources()
        .iter()
        .map(|path| (path, read(path).lines().count()))
        .filter(|(_, lines)| *lines > LONGEST_FILE)
        .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
        .collect();
    judge(&format!("longer than {LONGEST_FILE} lines"), &complaints);
}

#[test]
fn nothing_is_left_undone() {
    // Put together here, so that this file is not its own first finding.
    let marks = [["to", "do!("], ["unimplemented", "!("], ["FIX", "ME"], ["#[ig", "nore"]];
    let mut complaints = Vec::new();
    for path in sources() {
        let source = read(&path);
        for mark in &marks {
            let mark = mark.concat();
            if source.contains(&mark) {
                complaints.push(format!("{}: {mark}", path.display()));
            }
        }
    }
    judge("unfinished, or a test switched off", &complaints);
}

#[test]
fn no_skip_is_silent() {
    let complaints: Vec<String> = sources()
        .iter()
        .filter(|path| !path.ends_with(TELLS_SKIPS))
        // Put together here, so that this file is not its own first finding.
        .filter(|path| read(path).contains(&["\"SKI", "PPED"].concat()))
        .map(|path| path.display().to_string())
        .collect();
    judge("skips that ./test does not hear of; testkit::skip! is for that", &complaints);
}

#[test]
fn every_dependency_has_its_reason() {
    let packages = packages();
    let ours: BTreeSet<&str> = packages.iter().map(|package| text(package, "name")).collect();
    let used: BTreeSet<&str> = packages
        .iter()
        .flat_map(|package| list(package, "dependencies"))
        .map(|dependency| text(dependency, "name"))
        .filter(|name| !ours.contains(name))
        .collect();
    let document = read(&root().join("docs/dependencies.md"));
    let explained: BTreeSet<&str> =
        document.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let missing: Vec<&&str> = used.difference(&explained).collect();
    assert!(missing.is_empty(), "docs/dependencies.md has no line for {missing:?}");
    let stale: Vec<&&str> = explained.difference(&used).collect();
    assert!(stale.is_empty(), "docs/dependencies.md explains what nothing uses: {stale:?}");
}
