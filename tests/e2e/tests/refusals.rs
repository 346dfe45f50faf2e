//! Bad input gets a sentence that says what, where and what to do; the status is not 0; nothing has changed.
#![forbid(unsafe_code)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use e2e::{Job, Lab, User, need};

const NET: &str = "n";

/// Runs it, and expects a refusal that contains every one of `words`.
#[track_caller]
fn refused(job: Job, words: &[&str]) {
    let said = job.run().refused();
    for word in words {
        assert!(said.contains(word), "\"{word}\" is not in: {said}");
    }
    let lines = said.lines().count();
    assert!(lines <= 12, "a sentence, not {lines} lines: {said}");
}

/// Every file below `folder`, for comparing before with after.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return found };
    for path in entries.flatten().map(|entry| entry.path()) {
        found.push(path.display().to_string());
        if path.is_dir() {
            found.extend(files(&path));
        }
    }
    found.sort();
    found
}

#[test]
fn an_unknown_network_is_named() {
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    for command in [
        &["show", "--net", "nowhere"][..],
        &["capture", "--net", "nowhere"],
        &["metrics", "--net", "nowhere"],
        &["down", "nowhere"],
        &["reload", "nowhere"],
        &["exec", "guest", "--net", "nowhere", "--", "true"],
        &["detach", "guest", "--net", "nowhere"],
    ] {
        refused(person.netherd(command), &["nowhere"]);
        assert!(!person.network("nowhere").exists(), "{command:?} made the network it asked for");
    }
}

#[test]
fn an_unknown_guest_or_port_is_named() {
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let _daemon = person.up(NET);
    refused(person.netherd(["show", "ghost", "--net", NET]), &["ghost"]);
    refused(person.netherd(["exec", "ghost", "--net", NET, "--", "true"]), &["ghost"]);
    refused(person.netherd(["detach", "ghost", "--net", NET]), &["ghost"]);
    refused(person.netherd(["capture", "ghost", "--net", NET]), &["ghost"]);
}

#[test]
fn another_way_out_than_the_networks_is_refused() {
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let _daemon = person.up(NET);
    let run = |uplink| person.netherd(["run", "--net", NET, "--uplink", uplink, "--", "true"]);
    refused(run("none"), &["uplink is nat, not none", "netherd down n"]);
    run("nat").run().ok();
}

#[test]
fn a_name_that_is_taken_is_refused() {
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let mut first = person.guest(
        NET,
        "web",
        person.netherd(["run", "--net", NET, "--name", "web", "--", "sleep", "60"]),
    );
    let before = person.port(NET, "web");
    refused(person.netherd(["run", "--net", NET, "--name", "web", "--", "true"]), &["web"]);
    assert!(first.alive());
    assert_eq!(person.port(NET, "web").0["pid"], before.0["pid"]);
}

#[test]
fn names_are_short_and_plain() {
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let long = "n".repeat(33);
    for name in ["", "-x", "x-", "a/b", "..", "a b", "gäst", long.as_str()] {
        // As one word: clap would take a hyphen for a flag.
        refused(person.netherd(["run", &format!("--net={name}"), "--", "true"]), &[]);
        refused(person.netherd(["run", &format!("--name={name}"), "--", "true"]), &[]);
    }
    assert_eq!(
        files(&person.runtime().join("netherd")).iter().filter(|f| f.contains("nn")).count(),
        0
    );
}

#[test]
fn a_bad_mac_is_refused() {
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    for mac in
        ["02:00:5e", "not-a-mac", "01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"]
    {
        refused(person.netherd(["run", "--net", NET, "--mac", mac, "--", "true"]), &[]);
    }
    assert!(!person.network(NET).exists(), "no network was started for it");
    // One that another guest has.
    let _guest = person.guest(
        NET,
        "a",
        person.netherd(["run", "--net", NET, "--name", "a", "--", "sleep", "60"]),
    );
    let taken = e2e::report::mac_text(person.port(NET, "a").mac());
    refused(person.netherd(["run", "--net", NET, "--mac", &taken, "--", "true"]), &[&taken]);
}

#[test]
fn a_path_too_long_for_a_socket_is_refused() {
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let deep = (0..5).fold(person.home().to_owned(), |path, _| path.join("f".repeat(30)));
    std::fs::create_dir_all(&deep).expect("the lab is ours");
    for folder in deep.ancestors().take(5) {
        std::os::unix::fs::chown(folder, Some(person.user().uid), Some(person.user().gid))
            .expect("ours");
    }
    // All of it works but VDE, whose clients are told the path in 108 bytes: that node is refused with a sentence.
    let directory = deep.join("net");
    let mut daemon = person.netherd(["up", NET, "--dir"]).arg(&directory).spawn();
    e2e::until("the nodes that can be", || {
        assert!(daemon.alive(), "{}", daemon.stderr());
        directory.join("stream").exists().then_some(())
    });
    e2e::until("the sentence about ctl", || {
        let said = daemon.stderr();
        (said.contains("ctl")
            && (said.contains("107") || said.contains("long") || said.contains("short")))
        .then_some(())
    });
    assert!(!directory.join("ctl").exists());
}

#[test]
fn a_directory_of_somebody_else_is_refused() {
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let other = need!(User::second());
    let theirs = lab.folder("theirs", &other, 0o777);
    let theirs = theirs.to_str().expect("text");
    refused(person.netherd(["up", NET, "--dir", theirs]), &[theirs]);
    refused(person.netherd(["run", "--dir", theirs, "--", "true"]), &[theirs]);
    assert_eq!(files(Path::new(theirs)), Vec::<String>::new(), "nothing was left in it");
}

/// Nodes for others: what cannot be given is said with its place, before anything is made.
#[test]
fn owners_and_groups_that_cannot_be_given_are_refused() {
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let config = person.home().join("c.toml");
    for (text, words) in [
        (
            "[network.n]\n[network.n.port.a]\nowner = \"root\"\n",
            ["c.toml:3:9", "Only root can give"],
        ),
        ("[network.n]\n[network.n.port.a]\ngroup = \"root\"\n", ["c.toml:3:9", "not in the group"]),
        ("[network.n]\ngroup = \"root\"\n", ["c.toml:2:9", "not in the group"]),
        ("[network.n]\ngroup = \"no-such-group\"\n", ["c.toml:2:9", "no-such-group"]),
    ] {
        write_readable(&config, text);
        refused(person.netherd(["up", "-c"]).arg(&config), &words);
        assert_eq!(files(&person.network(NET)), [""; 0], "{text}");
    }
    refused(person.netherd(["up", "--group", "root", NET]), &["not in the group"]);
    assert_eq!(files(&person.network(NET)), [""; 0]);
}

/// A directory has one network, whatever one calls it.
#[test]
fn another_network_than_the_directorys_is_refused() {
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let directory = person.home().join("d");
    let dir = directory.to_str().expect("text");
    let up = person.netherd(["up", "lab", "--dir", dir]).spawn();
    e2e::until("the network", || directory.join("api").exists().then_some(()));
    e2e::until("its answer", || {
        person.netherd(["show", "--dir", dir]).run().status.success().then_some(())
    });
    for line in [
        &["run", "--net", "wrong", "--dir", dir, "--", "true"][..],
        &["show", "--net", "wrong", "--dir", dir],
    ] {
        refused(person.netherd(line), &["network lab", "wrong"]);
    }
    for line in [
        &["run", "--dir", dir, "--", "true"][..],
        &["run", "--net", "lab", "--dir", dir, "--", "true"],
    ] {
        let _ = person.netherd(line).run().ok();
    }
    // MAC addresses follow from the network's own name.
    let mac = |line: &[&str]| {
        let said = person.netherd(line).run().ok();
        let value: serde_json::Value = serde_json::from_str(&said).expect("JSON");
        (value["network"].as_str().map(str::to_owned), value["mac"].as_str().map(str::to_owned))
    };
    let without = mac(&["args", "vde", "--json", "--dir", dir]);
    assert_eq!(without.0.as_deref(), Some("lab"));
    assert_eq!(without, mac(&["args", "vde", "--json", "--net", "lab", "--dir", dir]));
    drop(up);
}

/// A runtime directory of somebody else (after `su`, say) is not used: the fallback is, and nothing is left there.
#[test]
fn a_runtime_directory_of_somebody_else_is_not_used() {
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let other = need!(User::second());
    let runtime = lab.folder("r", &other, 0o777);
    // The fallback is one place for all tests of this user: the name is this test's own.
    let net = format!("t{}", std::process::id());
    let job = |line: &[&str]| person.netherd(line).env("XDG_RUNTIME_DIR", &runtime);
    let _ = job(&["run", "--net", &net, "--", "true"]).run().ok();
    let listed = job(&["ls", "--json"]).run().ok();
    let fallback = format!("netherd-{}/{net}", person.user().uid);
    assert!(listed.contains(&fallback) || listed.contains("/run/user"), "{listed}");
    assert_eq!(files(&runtime), Vec::<String>::new(), "something was left in it");
    let _ = job(&["down", &net]).run().ok();
}

/// Writes a file that the lab's persons may read.
fn write_readable(path: &Path, text: &str) {
    std::fs::write(path, text).expect("the lab is ours");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).expect("ours");
}

#[test]
fn an_invalid_configuration_names_its_place() {
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let config = person.home().join("c.toml");
    let write = |text: &str| write_readable(&config, text);
    for (text, words) in [
        ("[network.n]\nmtuu = 1500\n", &["mtuu", "2"][..]),
        ("[network.n]\nmtu = \"big\"\n", &["mtu", "2"]),
        ("[network.n]\nmtu = 40\n", &["mtu"]),
        ("[network.n\n", &["1"]),
        ("[netwrk.n]\n", &["netwrk", "1"]),
        ("[network.\"a b\"]\n", &["a b"]),
        ("[network.n]\nsubnet = \"10.0.0.0/33\"\n", &["10.0.0.0/33"]),
    ] {
        write(text);
        refused(person.netherd(["up", "-c"]).arg(&config), words);
        assert!(!person.network(NET).join("api").exists(), "{text}: nothing is served");
    }
    refused(person.netherd(["up", "-c", "/nonexistent/c.toml"]), &["/nonexistent/c.toml"]);
    std::fs::write(&config, b"[network.n]\n# \xff\n").expect("the lab is ours");
    refused(person.netherd(["up", "-c"]).arg(&config), &["not UTF-8 text"]);
}

/// A reload takes the new configuration as a whole, or not at all.
#[test]
fn an_invalid_reload_changes_nothing() {
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let config = person.home().join("c.toml");
    let write = |text: &str| write_readable(&config, text);
    write("[network.n]\nmtu = 9000\n");
    let daemon = person.serving(NET, person.netherd(["up", "-c"]).arg(&config));
    assert_eq!(person.show(NET).0["mtu"], 9000);
    write("[network.n]\nmtu = 1400\nforwarding = \"hub\"\nnonsense = true\n");
    refused(person.netherd(["reload", NET]), &["nonsense", "4"]);
    let report = person.show(NET);
    assert_eq!((report.0["mtu"].as_u64(), report.0["mode"].as_str()), (Some(9000), Some("switch")));
    daemon.signal(rustix::process::Signal::HUP);
    e2e::until("the complaint in the log", || daemon.stderr().contains("nonsense").then_some(()));
    assert_eq!(person.show(NET).0["mtu"], 9000);
    write("[network.n]\nmtu = 9000\nforwarding = \"hub\"\n");
    let _ = person.netherd(["reload", NET]).run().ok();
    assert_eq!(person.show(NET).0["mode"], "hub");
}

/// Where no user namespace may be made, the sentence has the remedy, and `doctor` says the same.
#[test]
fn without_user_namespaces_there_is_a_remedy() {
    need!(e2e::skip::root());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    // Inside a user namespace of its own limit 0: what sysctl user.max_user_namespaces=0 does to a whole machine.
    let nested = |command: &str| {
        let script = format!(
            "echo 0 > /proc/sys/user/max_user_namespaces && exec {} {command}",
            e2e::binary::netherd().display()
        );
        person.job("unshare").args([
            "--user",
            "--map-root-user",
            "--mount",
            "--",
            "sh",
            "-c",
            &script,
        ])
    };
    refused(
        nested(&format!("run --net {NET} -- true")),
        &["user namespace", "max_user_namespaces"],
    );
    let said = nested("doctor").run();
    assert!(!said.status.success(), "{}", said.account());
    assert!(said.stdout.contains("max_user_namespaces"), "{}", said.account());
}

/// What cannot be started has the shell's own status, and the sentence of the one who tried.
#[test]
fn a_command_that_cannot_start_is_told_from_one_that_failed() {
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let plain = person.home().join("plain");
    std::fs::write(&plain, "no program").expect("the lab is ours");
    for (command, status) in
        [("/nonexistent", 127), (plain.to_str().expect("text"), 126), ("false", 1), ("true", 0)]
    {
        let output = person.netherd(["run", "--net", NET, "--", command]).run();
        assert_eq!(output.status.code(), Some(status), "{}", output.account());
    }
}

/// The command line's own errors, and help on standard output.
#[test]
fn the_command_line_explains_itself() {
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    for line in [&["fly"][..], &["show", "--jsno"], &["attach"], &["up", "--mode", "rwx"]] {
        let output = person.netherd(line).run();
        assert_eq!(output.status.code(), Some(2), "{}", output.account());
        assert!(!output.stderr.contains("panicked"));
    }
    let help = person.netherd(["--help"]).run().ok();
    for command in ["run", "exec", "attach", "up", "down", "show", "capture", "doctor"] {
        assert!(help.contains(command), "{command}: {help}");
    }
}

/// What cannot be written is said, by whatever is to be printed; whom nobody reads says nothing.
#[test]
fn output_that_cannot_be_written_is_a_failure() {
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let _daemon = person.up(NET);
    let show = format!("show --net {NET}");
    let json = format!("show --json --net {NET}");
    let metrics = format!("metrics --net {NET}");
    let args = format!("args vde --net {NET}");
    let run = format!("run -d --net {NET} -- sleep 600");
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    for line in [
        "--help",
        "--version",
        "run --help",
        "help",
        "ls",
        "ls --json",
        "doctor --json",
        "completions bash",
        &args,
        &show,
        &json,
        &metrics,
        &run,
    ] {
        let job = |script: &str| {
            let mut all = vec!["-c".to_owned(), script.to_owned()];
            all.push(e2e::binary::netherd().display().to_string());
            all.extend(words(line));
            person.job("sh").args(all)
        };
        let full = job("exec \"$0\" \"$@\" > /dev/full").run();
        assert!(full.status.code().is_some_and(|it| it != 0), "{line}: {}", full.account());
        assert!(full.refused().contains("No space left on device"), "{line}");
        let unread = job("\"$0\" \"$@\" | true").run();
        assert!(!unread.stderr.contains("cannot be written"), "{line}: {}", unread.account());
        assert!(!unread.stderr.contains("panicked"), "{line}: {}", unread.account());
    }
}

/// Things in the way, and values that are none: each has its sentence.
#[test]
fn what_is_in_the_way_is_named() {
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    refused(person.netherd(["attach", "--netns", "/no/such"]), &["/no/such", "/run/netns/NAME"]);
    refused(person.netherd(["run", "--rootfs", "/no/such", "--", "true"]), &["/no/such", "tree"]);
    let daemon = person.up(NET);
    refused(
        person.netherd(["capture", "--net", NET, "-w", "/etc/x"]),
        &["/etc/x", "a directory of yours"],
    );
    drop(daemon);
    // A file where a directory belongs, and one where a socket does.
    let file = person.home().join("file");
    write_readable(&file, "");
    refused(person.netherd(["run", "--dir"]).arg(&file).args(["--", "true"]), &["or no directory"]);
    let busy = lab.folder("busy", person.user(), 0o700);
    write_readable(&busy.join("api"), "");
    refused(person.netherd(["up", NET, "--dir"]).arg(&busy), &["api", "in its place"]);
}
