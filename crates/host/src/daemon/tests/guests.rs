//! Guests: names, addresses and sessions.

use super::*;
use crate::api::message::Ending;

#[test]
fn guests_have_names_addresses_and_sessions() {
    let daemon = Daemon::start("guests", "net=lab").ready();
    let mut web = daemon.client("lab");
    let joined: Joined = web.call(&join(Some("web"), "httpd"), &[]).expect("free").value;
    assert_eq!((joined.network.as_str(), joined.guest.as_str()), ("lab", "web"));
    assert!(joined.ipv4.ends_with("/20") && joined.ipv6.ends_with("/64"));
    assert!(joined.covers.contains(&daemon.root.join("netherd")));
    let (code, message) = refusal(daemon.client("lab").call::<Joined>(&join(Some("web"), ""), &[]));
    assert_eq!(code, Code::NameTaken);
    assert!(message.contains("web"), "{message}");
    let (code, _) = refusal(web.call::<Joined>(&join(Some("db"), ""), &[]));
    assert_eq!(code, Code::WrongState, "a session has one guest");
    let (code, _) = refusal(daemon.client("lab").call::<Joined>(&join(Some("Web"), ""), &[]));
    assert_eq!(code, Code::BadArgument);

    let mut shells: Vec<Client> = (0..3).map(|_| daemon.client("lab")).collect();
    let names: Vec<String> = shells
        .iter_mut()
        .map(|it| it.call::<Joined>(&join(None, "/bin/sh"), &[]).expect("free").value.guest)
        .collect();
    assert_eq!(names, ["sh", "sh-2", "sh-3"]);

    // No tap here: what is no link is refused, and its descriptor does not stay open.
    let link = Call::Link(LinkArgs {
        link: LinkMechanism::Tap,
        vnet_hdr_len: 12,
        offloads: vec!["csum".into()],
        init_pid: None,
        namespaces: vec!["net".into()],
    });
    let file = std::fs::File::open("/dev/null").expect("there");
    let (code, _) = refusal(web.call::<Nothing>(&link, &[file.as_fd()]));
    assert_eq!(code, Code::BadRequest, "two descriptors are needed");
    let (code, _) = refusal(web.call::<Nothing>(&link, &[file.as_fd(), file.as_fd()]));
    assert_eq!(code, Code::BadArgument, "it is not a tap");
    let exec = Call::Exec { guest: "web".into() };
    let (code, _) = refusal(web.call::<Entrance>(&exec, &[]));
    assert_eq!(code, Code::WrongState, "it has no link");
    let (code, _) = refusal(web.call::<Entrance>(&Call::Exec { guest: "x".into() }, &[]));
    assert_eq!(code, Code::NoSuchGuest);

    let mut client = daemon.client("lab");
    let detach = |guest: &str| Call::Detach { guest: guest.into() };
    let detached = client.call::<Nothing>(&detach("web"), &[]).expect("ours");
    assert!(detached.fds.is_empty(), "a guest of run ends with its namespaces");
    let Event::Closed(closed) = web.wait_event().expect("its session is told") else {
        panic!("another event")
    };
    assert_eq!((closed.guest.as_str(), closed.ending), ("web", Ending::GuestEnds));

    // Of a namespace that goes on, who detaches it may wait for the keeper: this process.
    let mut keeper = daemon.client("lab");
    let attached = Call::Join(Join { kind: GuestKind::Attach, ..newcomer(Some("box"), "") });
    let _: Joined = keeper.call(&attached, &[]).expect("free").value;
    let detached = client.call::<Nothing>(&detach("box"), &[]).expect("ours");
    let [process] = detached.fds.as_slice() else { panic!("one descriptor") };
    let number = sys::process::number(process.as_fd()).expect("it is of a process");
    assert_eq!(number, Some(sys::process::own_pid()));
    assert!(!sys::wait::readable(process.as_fd(), Some(Duration::ZERO)).expect("no error"));
    let Event::Closed(closed) = keeper.wait_event().expect("its session is told") else {
        panic!("another event")
    };
    assert_eq!((closed.guest.as_str(), closed.ending), ("box", Ending::Unlinked));

    // It comes back to its addresses, also in a daemon that comes after one that was killed.
    let mut again = daemon.client("lab");
    let back: Joined = again.call(&join(Some("web"), ""), &[]).expect("free again").value;
    assert_eq!((&back.ipv4, &back.ipv6, &back.mac), (&joined.ipv4, &joined.ipv6, &joined.mac));
    let path = daemon.path("lab");
    until(&daemon, "the plan with web in it", || {
        let plan = std::fs::read_to_string(path.join("plan.json")).expect("always whole");
        let web = plan.split("\"web\"").nth(1).and_then(|rest| rest.split('}').next());
        web.is_some_and(|web| web.contains("\"present\": true"))
    });
    let root = daemon.root.clone();
    let mut daemon = daemon;
    daemon.process.kill().expect("ours");
    let _status = daemon.process.wait();
    assert!(matches!(again.wait_event(), Err(ClientError::Gone { .. })));
    assert_eq!(sockets_in(&path).len(), 5, "a killed daemon cleans nothing");
    let second = Daemon::start_in(root, "net=lab").ready();
    // Its name is not for whoever comes first: the guest lives, and its keeper is on the way.
    let mut early = second.client("lab");
    let (code, message) = refusal(early.call::<Joined>(&join(Some("web"), ""), &[]));
    assert_eq!(code, Code::NameTaken);
    assert!(message.contains("wait a minute"), "{message}");
    let other: Joined = early.call(&join(None, "web"), &[]).expect("free").value;
    assert_eq!(other.guest, "web-2");
    let keeper = Call::Join(Join { resume: true, ..newcomer(Some("web"), "") });
    let mut keepers = second.client("lab");
    let resumed: Joined = keepers.call(&keeper, &[]).expect("kept for it").value;
    let (code, _) = refusal(second.client("lab").call::<Joined>(&keeper, &[]));
    assert_eq!(code, Code::NameTaken, "it is back: one guest has a name");
    assert_eq!(
        (&resumed.ipv4, &resumed.ipv6, &resumed.mac),
        (&joined.ipv4, &joined.ipv6, &joined.mac)
    );
}

#[test]
fn a_chosen_mac_takes_nothing_from_a_live_port() {
    let daemon = Daemon::start("mac", "net=lab").ready();
    let mut virtual_machine = Stream::open(&daemon.path("lab").join("stream"));
    virtual_machine.send([0xff; 6], A, b"hello");
    let mut client = daemon.client("lab");
    let learned = |client: &mut Client| {
        let mut macs = show(client).macs;
        macs.retain(|it| it.kind != "static");
        macs
    };
    until(&daemon, "its address", || !learned(&mut client).is_empty());
    let choose = |mac: &str| Call::Join(Join { mac: Some(mac.into()), ..newcomer(None, "sh") });
    let (code, message) = refusal(client.call::<Joined>(&choose("02:00:00:00:00:0a"), &[]));
    assert_eq!(code, Code::BadArgument);
    assert!(message.contains("in use at an open port"), "{message}");
    let macs = learned(&mut client);
    let table: Vec<_> = macs.iter().map(|it| (it.mac.as_str(), it.kind.as_str())).collect();
    assert_eq!(table, [("02:00:00:00:00:0a", "learned")], "it is as it was");
    let joined: Joined = client.call(&choose("02:00:00:00:00:0c"), &[]).expect("free").value;
    assert_eq!(joined.mac, "02:00:00:00:00:0c");
}

/// A daemon that serves `lab` with these lines of configuration.
fn configured(name: &str, lines: &str) -> Daemon {
    let root = Daemon::root(name);
    let config = root.join("lab.toml");
    std::fs::write(&config, format!("[network.lab]\n{lines}\n")).expect("writable");
    Daemon::start_in(root, &format!("config={}", config.display())).ready()
}

#[test]
fn where_frames_are_too_short_for_ipv6_there_is_none() {
    for (mtu, has) in [(1279, false), (1280, true)] {
        let daemon = configured(&format!("mtu{mtu}"), &format!("mtu = {mtu}"));
        let mut client = daemon.client("lab");
        let joined: Joined = client.call(&join(Some("web"), ""), &[]).expect("free").value;
        assert_eq!((joined.mtu, joined.ipv4.is_empty()), (mtu, false));
        assert_eq!(!joined.ipv6.is_empty(), has);
        assert_eq!(joined.gateway6.is_some(), has);
        assert_eq!(joined.resolvers.iter().any(|resolver| resolver.is_ipv6()), has);
        assert_eq!(!show(&mut client).ipv6.is_empty(), has);
    }
}

#[test]
fn a_guest_that_counts_on_another_way_out_is_refused() {
    let daemon = configured("uplink", "uplink = \"none\"");
    let counts_on = |uplink: &str, resume| {
        Call::Join(Join { uplink: Some(uplink.to_owned()), resume, ..newcomer(Some("web"), "sh") })
    };
    for uplink in ["nat", "net:routed", "nic:eth0", "nonsense"] {
        let (code, message) =
            refusal(daemon.client("lab").call::<Joined>(&counts_on(uplink, false), &[]));
        assert_eq!(code, Code::WrongState);
        assert!(message.contains(&format!("its uplink is none, not {uplink}")), "{message}");
    }
    let _same: Joined =
        daemon.client("lab").call(&counts_on("none", false), &[]).expect("the same").value;
    // Who comes back lives on in what there is, and names none; a first try that is made again does.
    let (code, _) = refusal(daemon.client("lab").call::<Joined>(&counts_on("nat", true), &[]));
    assert_eq!(code, Code::WrongState);
    let back = Join { resume: true, ..newcomer(Some("web"), "sh") };
    let _back: Joined =
        daemon.client("lab").call(&Call::Join(back), &[]).expect("it was there").value;
}

/// The configuration says so itself; what is live keeps to the same rule.
#[test]
fn what_has_no_way_out_has_no_way_in() {
    use crate::api::message::Published;
    use crate::report::Publishes;
    let daemon = configured("no-way-in", "uplink = \"none\"");
    let mut client = daemon.client("lab");
    let add = Call::Publish { forward: "18427:web:80".into() };
    let (code, message) = refusal(client.call::<Published>(&add, &[]));
    assert_eq!(code, Code::WrongState);
    let wanted = ["network lab is none", "publish no ports there", "uplink \"nat\""];
    assert!(wanted.iter().all(|it| message.contains(it)), "{message}");
    let guest = Join { publish: vec!["18427:80".into()], ..newcomer(Some("web"), "sh") };
    let (code, again) = refusal(client.call::<Joined>(&Call::Join(guest), &[]));
    assert_eq!((code, &again), (Code::WrongState, &message));
    let open: Publishes = client.call(&Call::Published {}, &[]).expect("a list").value;
    assert_eq!(open.total, 0);
    // The name is free, and nothing of the guest is left.
    let _free: Joined = client.call(&join(Some("web"), "sh"), &[]).expect("free").value;
    std::net::TcpListener::bind("127.0.0.1:18427").expect("nobody has the port");
}

#[test]
fn the_way_out_is_a_route() {
    use crate::api::message::Page;
    use crate::report::Routes;
    let daemon = configured("routes", "[network.far]\nuplink = \"none\"");
    let mut client = daemon.client("lab");
    let routes: Routes = client.call(&Call::Routes(Page::default()), &[]).expect("a table").value;
    let ways: Vec<_> = routes.rows.iter().filter(|route| route.source == "uplink").collect();
    let to: Vec<&str> = ways.iter().map(|route| route.to.as_str()).collect();
    assert!(to.len() == 2 && to.contains(&"0.0.0.0/0") && to.contains(&"::/0"), "{to:?}");
    assert!(ways.iter().all(|way| way.via.starts_with("gateway of network lab")), "{ways:?}");
    assert_eq!(routes.rows.len(), routes.total);
    let page = Page { port: Some("web".to_owned()), ..Page::default() };
    let (code, message) = refusal(client.call::<Routes>(&Call::Routes(page), &[]));
    assert_eq!(code, Code::BadArgument);
    assert!(message.contains("leave out the port"), "{message}");
}

#[test]
fn a_refused_guest_leaves_the_plan_as_it_was() {
    let daemon = configured("refused", "");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("its address").port();
    let mac = Some("02:aa:bb:cc:dd:01".to_owned());
    let publish = vec![format!("{port}:80")];
    let asks = Join { mac: mac.clone(), publish, ..newcomer(Some("x"), "") };
    let (code, message) = refusal(daemon.client("lab").call::<Joined>(&Call::Join(asks), &[]));
    assert_eq!(code, Code::PortTaken, "{message}");
    let mut client = daemon.client("lab");
    assert_eq!(show(&mut client).planned.len(), 0);
    // Nothing keeps its address from another.
    let other = Join { mac: mac.clone(), ..newcomer(Some("y"), "") };
    let joined: Joined = client.call(&Call::Join(other), &[]).expect("nobody's").value;
    assert_eq!(Some(joined.mac), mac);
}
