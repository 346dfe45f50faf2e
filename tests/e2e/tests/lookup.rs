//! A guest's look-ups are its own: whatever the machine's `/etc/resolv.conf` and `/etc/hosts` are, and whoever
//! looks names up for others there.
#![forbid(unsafe_code)]

use e2e::{Lab, Person, User, need};

const MACHINE: &str = include_str!("programs/machine.sh");
const FIND_GUEST: &str = include_str!("programs/find_guest.py");

/// What the guest sees is netherd's, readable, and without what the machine says.
const OWN: &str = r#"
set -e
grep -q '^# netherd wrote this for guest own of network default' /etc/resolv.conf
grep -q '^# netherd wrote this for guest own of network default' /etc/hosts
! grep -E '192.0.2.99|192.0.2.98 web' /etc/resolv.conf /etc/hosts
test "$(getent ahostsv4 localhost | awk 'NR == 1 { print $1 }')" = 127.0.0.1
test "$(getent hosts own | wc -l)" -ge 1
"#;

/// Runs `script` in a guest on a machine of this variant.
fn on(person: &Person<'_>, folder: &std::path::Path, variant: &str, script: &str) -> String {
    let root = User::root().expect("the test is for root");
    let user = person.user();
    person
        .job("unshare")
        .user(root)
        .args(["--mount", "--propagation", "private", "sh", "-c", MACHINE, "machine"])
        .arg(folder)
        .args([variant, &user.uid.to_string(), &user.gid.to_string()])
        .arg(e2e::binary::netherd())
        .args(["run", "--name", "own", "--", "sh", "-c", script])
        .run()
        .ok()
}

fn needs() -> Result<(), String> {
    e2e::skip::root()?;
    e2e::skip::namespaces()?;
    for program in ["unshare", "setpriv", "python3"] {
        e2e::skip::program(program)?;
    }
    Ok(())
}

#[test]
fn a_guest_has_its_own_files_whatever_the_machines_are() {
    need!(needs());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let root = need!(User::root());
    for variant in
        ["file", "dangling", "link", "missing", "nothing", "read-only", "nothing-read-only"]
    {
        let folder = lab.folder(variant, &root, 0o755);
        let said = on(&person, &folder, variant, &format!("{OWN}\necho its own"));
        assert_eq!(said, "its own\n", "{variant}");
        // Nothing of it is on the machine.
        let kept = std::fs::read_to_string(folder.join("etc/resolv.conf")).unwrap_or_default();
        assert!(!kept.contains("netherd"), "{variant}: {kept}");
    }
}

#[test]
fn who_looks_names_up_for_others_is_out_of_reach() {
    need!(needs());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let folder = lab.folder("services", &need!(User::root()), 0o755);
    let ask = r#"
for path in /run/systemd/resolve/io.systemd.Resolve /run/nscd/socket /run/nslcd/socket \
        /run/avahi-daemon/socket /run/dbus/system_bus_socket /var/run/nscd/socket; do
    python3 -c '
import socket, sys
try:
    socket.socket(socket.AF_UNIX).connect(sys.argv[1])
    print("reached", sys.argv[1])
except OSError:
    pass' $path
done
test -d /run/nscd && echo done"#;
    assert_eq!(on(&person, &folder, "services", &format!("{OWN}{ask}")), "done\n");
}

/// The network answers for its guests: they do not hear each other's questions.
#[test]
fn a_guest_is_found_by_multicast_dns() {
    need!(e2e::skip::namespaces());
    need!(e2e::skip::program("python3").map(drop));
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let config = person.home().join("netherd.toml");
    std::fs::write(&config, "[network.n]\nguard.mdns = \"proxy\"\n").expect("the lab is ours");
    let program = person.home().join("find_guest.py");
    std::fs::write(&program, FIND_GUEST).expect("the lab is ours");
    let up = person.netherd(["up", "-c", e2e::outside::path(&config)]);
    let _daemon = person.serving("n", up);
    let run = ["run", "--net", "n", "--name", "web", "--", "sleep", "600"];
    let _web = person.guest("n", "web", person.netherd(run));
    let ask = ["run", "--net", "n", "--", "python3", e2e::outside::path(&program), "web"];
    let said = person.netherd(ask).run().ok();
    let web = person.port("n", "web");
    let (v4, v6) = (web.ipv4(), web.ipv6());
    assert_eq!(said, format!("{v4}\n{v4}\n{v6}\n{v6}\n"));
    let answered = &person.show("n").0["outside"]["service_counters"]["mdns-answered"];
    assert!(answered.as_u64() >= Some(4), "{answered}");
}

/// Network managers replace the file when the machine changes networks.
#[test]
fn the_files_stay_when_the_machines_are_replaced() {
    need!(needs());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let folder = lab.folder("replaced", &need!(User::root()), 0o755);
    let meeting = lab.folder("replaced/guest", person.user(), 0o755);
    let meet = format!(
        "{OWN}
cd {}
echo 'options edns0' >> /etc/resolv.conf
touch ready
until test -e replaced; do sleep 0.05; done
tries=0
until grep -q '^# netherd wrote this' /etc/resolv.conf && grep -q edns0 /etc/resolv.conf; do
    tries=$((tries + 1)); test $tries -lt 200; sleep 0.05
done
{OWN}
echo still its own",
        meeting.display()
    );
    assert_eq!(on(&person, &folder, "replaced", &meet), "still its own\n");
}
