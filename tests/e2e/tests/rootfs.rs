//! A distribution in `--rootfs`, with the ids of `--map-auto`: its services work unmodified.
#![forbid(unsafe_code)]

use std::path::Path;
use std::time::Duration;

use e2e::{Lab, User, need, until};

const GIVE_TREE: &str = include_str!("programs/give_tree.py");
const SERVICES: &str = include_str!("programs/services.sh");

/// The first subordinate id of `name`.
fn first_id(file: &str, name: &str) -> Result<String, String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let first = line.and_then(|line| line.split(':').next());
    first.map(str::to_owned).ok_or_else(|| format!("{name} has no line in {file}"))
}

fn release() -> Result<String, String> {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let is_debian = text.lines().any(|line| line == "ID=debian");
    let name = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    name.filter(|_| is_debian).map(str::to_owned).ok_or_else(|| "this is not Debian".to_owned())
}

#[test]
fn the_services_of_a_distribution_work_unmodified() {
    need!(e2e::skip::root());
    need!(e2e::skip::namespaces());
    for program in ["mmdebstrap", "newuidmap", "python3"] {
        need!(e2e::skip::program(program));
    }
    let release = need!(release());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let user = person.user();
    let ids = [
        user.uid.to_string(),
        user.gid.to_string(),
        need!(first_id("/etc/subuid", &user.name)),
        need!(first_id("/etc/subgid", &user.name)),
    ];
    let tree = lab.folder("tree", user, 0o755);
    let include = "--include=nginx-light,openssh-server,openssh-client,curl,procps";
    let sources = ["/etc/apt/sources.list", "/etc/apt/sources.list.d/debian.sources"];
    let sources = sources.into_iter().filter(|file| Path::new(file).is_file());
    let mut make = person.job("mmdebstrap").user(need!(User::root()));
    for name in ["http_proxy", "https_proxy", "no_proxy", "APT_CONFIG"] {
        if let Some(value) = std::env::var_os(name) {
            make = make.env(name, value);
        }
    }
    let quick = ["--aptopt=Acquire::Languages \"none\"", "--dpkgopt=force-unsafe-io"];
    let make = make.args(["--mode=root", "--variant=apt", include]).args(quick).arg(&release);
    let made = make.arg(&tree).args(sources).limit(Duration::from_secs(180)).run();
    if !made.status.success() {
        e2e::skip!("no tree can be made from this machine's sources of packages: {}", made.stderr);
    }
    let give = person.job("python3").user(need!(User::root())).args(["-c", GIVE_TREE]);
    give.arg(&tree).args(&ids).run().ok();

    let run = person.netherd(["run", "--map-auto", "--rootfs"]).arg(&tree);
    let output = run.args(["--", "/bin/bash", "-c", SERVICES]).limit(Duration::from_secs(90)).run();
    let account = output.account();
    let said: Vec<&str> = output.stdout.lines().collect();
    let expected = [
        "nginx serves",
        "root www-data own nginx",
        "nginx serves after a reload",
        "root by ssh",
        "with a terminal",
        "bob by ssh",
        "installed by apt",
        "and removed",
    ];
    assert_eq!(said, expected, "{account}");
}

/// A program of the tree could be a script whose interpreter is `/proc/self/exe`, that is netherd, which it then could
/// change. So what executes it is not of netherd's own file.
#[test]
fn what_enters_a_tree_is_not_of_netherds_file() {
    need!(e2e::skip::namespaces());
    let busybox = need!(e2e::skip::program("busybox"));
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let user = person.user();
    let tree = lab.folder("tree", user, 0o755);
    for part in ["bin", "proc", "dev"] {
        let _ = lab.folder(&format!("tree/{part}"), user, 0o755);
    }
    let program = tree.join("bin/busybox");
    std::fs::copy(busybox, &program).expect("a copy");
    // The user's own, so that he could change it.
    let own = person.home().join("netherd");
    let copy = person.job("cp").arg(e2e::binary::netherd()).arg(&own);
    copy.run().ok();
    let file = |pid: i32| {
        let link = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        link.to_string_lossy().into_owned()
    };
    let run = person.job(&own).args(["run", "--root", "--name", "tree", "--rootfs"]).arg(&tree);
    let run = run.args(["--", "/bin/busybox", "sleep", "600"]);
    let guest = person.guest("default", "tree", run);
    assert_eq!(file(guest.pid()), "/memfd:netherd (deleted)");
    // The hypervisor that it started is to outlive the copy.
    assert_eq!(file(person.show("default").pid()), own.to_string_lossy());
    let exec = person.job(&own).args(["exec", "tree", "--", "/bin/busybox", "sleep", "600"]);
    let exec = exec.spawn();
    until("the copy", || (file(exec.pid()) == "/memfd:netherd (deleted)").then_some(()));
    // Without a tree there is nothing to keep from it that is not the user's already.
    let plain = person.job(&own).args(["run", "--name", "plain", "--", "sleep", "600"]);
    let plain = person.guest("default", "plain", plain);
    assert_eq!(file(plain.pid()), own.to_string_lossy());
}
