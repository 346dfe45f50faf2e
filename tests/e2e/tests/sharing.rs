//! A network that its owner publishes for other users: owner, group and mode of the nodes decide who may open.
#![forbid(unsafe_code)]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use e2e::client::frame::{BROADCAST, frame, mac, payload};
use e2e::client::stream::Stream;
use e2e::{Job, Lab, Person, Running, User, need, until};

/// Serves a network in `directory` with the given flags.
fn publish(owner: &Person<'_>, directory: &Path, flags: &[&str]) -> Running {
    let job = owner.netherd(["up", "shared", "--dir"]).arg(directory).args(flags);
    let mut daemon = job.spawn();
    until("an answer of the network", || {
        assert!(daemon.alive(), "the daemon ended: {}", daemon.stderr());
        let answered = owner.netherd(["show", "--dir"]).arg(directory).run().status.success();
        answered.then_some(())
    });
    daemon
}

/// A client that connects to `node` and stays until its input ends.
fn plug(person: &Person<'_>, node: &Path) -> Job {
    person.job("socat").args([
        "-u",
        "FILE:/dev/zero,ignoreeof",
        &format!("UNIX-CONNECT:{}", node.display()),
    ])
}

/// Two users on one network, by group and mode; the records say who is who.
#[test]
fn members_of_the_group_may_connect() {
    let owner = need!(User::first());
    let guest = need!(User::second());
    let group = need!(e2e::user::shared_group());
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let (owner, guest) = (lab.person(owner), lab.person(guest));
    let place = lab.folder("s", owner.user(), 0o755);
    let directory = place.join("net");
    let flags = ["--group", e2e::user::SHARED_GROUP, "--mode", "660"];
    let _daemon = publish(&owner, &directory, &flags);
    for name in ["stream", "ctl", "dgram", "seqpacket"] {
        let node = directory.join(name).metadata().expect("the node is there");
        assert_eq!((node.gid(), node.mode() & 0o777), (group, 0o660), "{name}");
    }
    let folder = directory.metadata().expect("the directory is there");
    assert_eq!((folder.uid(), folder.gid()), (owner.user().uid, group));

    // The other user's guest, and the owner's: one segment.
    let run = |person: &Person<'_>, name: &str| {
        person
            .netherd(["run", "--name", name, "--dir"])
            .arg(&directory)
            .args(["--", "sleep", "60"])
            .spawn()
    };
    let _theirs = run(&guest, "theirs");
    let show = || {
        let said = owner.netherd(["show", "--json", "--dir"]).arg(&directory).run();
        serde_json::from_str(&said.stdout).map(e2e::Report).ok()
    };
    let theirs = until("the other user's port", || show()?.find("theirs"));
    assert_eq!(theirs.0["uid"], guest.user().uid);
    assert_eq!(theirs.0["user"], guest.user().name.as_str());
    for address in [theirs.ipv4(), theirs.ipv6()] {
        let said = owner
            .netherd(["run", "--dir"])
            .arg(&directory)
            .args(["--", "ping", "-c", "2", "-i", "0.2", "-W", "5", &address])
            .run()
            .ok();
        assert!(said.contains(" 2 received"), "{said}");
    }
    // The network is its owner's: who may use it may not stop it.
    let said = guest.netherd(["down", "shared", "--dir"]).arg(&directory).run().refused();
    assert!(said.contains(&owner.user().name) || said.contains("owner"), "{said}");
    assert!(show().is_some(), "it is still up");
}

/// Without group and mode a network is its owner's alone.
#[test]
fn others_may_not_connect() {
    let owner = need!(User::first());
    let other = need!(User::second());
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let (owner, other) = (lab.person(owner), lab.person(other));
    let place = lab.folder("s", owner.user(), 0o755);
    let directory = place.join("net");
    let _daemon = publish(&owner, &directory, &[]);
    let said = plug(&other, &directory.join("stream")).run().refused();
    assert!(said.contains("Permission denied"), "{said}");
    let said = other.netherd(["run", "--dir"]).arg(&directory).args(["--", "true"]).run().refused();
    assert!(said.contains(directory.to_str().expect("text")), "{said}");
    let said = other.netherd(["show", "--dir"]).arg(&directory).run().refused();
    assert!(said.contains(directory.to_str().expect("text")), "{said}");
}

/// No user takes all: his ports are capped, and the cap does not touch the others.
#[test]
fn one_user_cannot_take_all_ports() {
    let owner = need!(User::first());
    let lab = Lab::new();
    let owner = lab.person(owner);
    let config = owner.home().join("netherd.toml");
    std::fs::write(&config, "[network.n]\nports_per_user = 3\nguard.ethertypes = [0x88b5]\n")
        .expect("the lab is ours");
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o644)).expect("ours");
    let _daemon = owner.serving("n", owner.netherd(["up", "n", "-c"]).arg(&config));
    let node = owner.node("n", "stream");
    let mut taken: Vec<Running> = (0..3).map(|_| plug(&owner, &node).spawn()).collect();
    owner.show_until("n", "three ports", |report| (report.ports().count() == 3).then_some(()));
    // The fourth is hung up on.
    let fourth = plug(&owner, &node).run();
    assert!(
        fourth.stderr.contains("Broken pipe") || fourth.stderr.contains("reset"),
        "{}",
        fourth.account()
    );
    assert_eq!(owner.show("n").ports().count(), 3);
    // Another user (or here, root, who runs the test) is not counted against him.
    if User::root().is_ok() {
        let mut other = Stream::connect(&node);
        other.send(&frame(BROADCAST, mac(1), b"I may"));
        owner.show_until("n", "the other's port", |report| report.behind(mac(1)));
        let mut listens = Stream::connect(&node);
        listens.send(&frame(mac(1), mac(2), b"heard"));
        let heard = other.receive_until(|frame| frame[..6] == mac(1));
        assert!(payload(&heard).is_some_and(|p| p.starts_with(b"heard")));
    }
    // One goes, one may come.
    drop(taken.pop());
    owner.show_until("n", "room for one", |report| {
        (report.ports().filter(|port| port.0["uid"] == owner.user().uid).count() == 2).then_some(())
    });
    let mut next = plug(&owner, &node).spawn();
    owner.show_until("n", "the next port", |report| {
        (report.ports().filter(|port| port.0["uid"] == owner.user().uid).count() == 3).then_some(())
    });
    assert!(next.alive());
}

/// Clients of nodes may be anybody's, so a quarter of the ports is kept for guests that have names.
#[test]
fn clients_leave_ports_for_guests() {
    let lab = Lab::new();
    let owner = lab.person(need!(User::first()));
    let config = owner.home().join("netherd.toml");
    std::fs::write(&config, "[network.n]\nports = 4\n").expect("the lab is ours");
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o644)).expect("ours");
    let _daemon = owner.serving("n", owner.netherd(["up", "n", "-c"]).arg(&config));
    let node = owner.node("n", "stream");
    let _clients: Vec<Running> = (0..3).map(|_| plug(&owner, &node).spawn()).collect();
    owner.show_until("n", "three ports", |report| (report.ports().count() == 3).then_some(()));
    // A fourth client is hung up on, and a guest finds room.
    let fourth = plug(&owner, &node).run();
    assert!(
        fourth.stderr.contains("Broken pipe") || fourth.stderr.contains("reset"),
        "{}",
        fourth.account()
    );
    owner.netherd(["run", "--net", "n", "--", "true"]).run().ok();
    assert_eq!(owner.show("n").ports().count(), 3);
}
