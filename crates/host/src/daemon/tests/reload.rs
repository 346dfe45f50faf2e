//! Another configuration while everything runs.

use super::*;

#[test]
fn without_a_file_nothing_is_reloaded() {
    let daemon = Daemon::start("unfiled", "net=lab").ready();
    let reload = Call::Reload { config: None };
    let (code, message) = refusal(daemon.client("lab").call::<Reloaded>(&reload, &[]));
    assert_eq!(code, Code::BadConfiguration);
    assert!(message.contains("without a configuration file"), "{message}");
}

#[test]
fn a_configuration_is_reloaded_as_a_whole_or_not_at_all() {
    let root = Daemon::root("reload");
    let config = root.join("netherd.toml");
    let write = |text: &str| std::fs::write(&config, text).expect("writable");
    write("[network.a]\n[network.a.port.web]\nmac = \"02:00:5e:00:53:01\"\nmode = \"0666\"\n");
    let mut daemon =
        Daemon::start_in(root.clone(), &format!("config={}", config.display())).ready();
    let declared = daemon.path("a").join("ports/web/stream");
    assert!(declared.exists());
    let mut client = daemon.client("a");
    let reload = Call::Reload { config: None };

    write("[network.a]\nmtu = 9000\n[network.b]\nmut = 1\n");
    let (code, message) = refusal(client.call::<Reloaded>(&reload, &[]));
    assert_eq!(code, Code::BadConfiguration);
    assert!(message.contains("netherd.toml:4:1"), "{message}");
    assert_eq!(show(&mut client).mtu, 1500, "nothing has changed");
    assert!(declared.exists() && !daemon.path("b").exists());

    let mut port = Stream::open(&declared);
    port.send([0xff; 6], [2, 0, 0x5e, 0, 0x53, 1], b"x");
    let (code, message) = refusal(client.call::<Joined>(&join(Some("web"), ""), &[]));
    assert_eq!(code, Code::NameTaken, "{message}");
    write("[network.a]\ngroup = \"no-such-group\"\n");
    let (code, message) = refusal(client.call::<Reloaded>(&reload, &[]));
    assert_eq!(code, Code::BadConfiguration);
    assert!(message.contains("no-such-group"), "accounts can still be looked up: {message}");
    assert!(declared.exists());

    write(
        "[network.a]\nmtu = 9000\nnodes = [\"stream\"]\n[network.a.port.web]\nmac = \"02:00:5e:00:53:01\"\n\
         mode = \"0600\"\n[network.b]\nidle_timeout = 3600\n",
    );
    let reloaded: Reloaded = client.call(&reload, &[]).expect("valid").value;
    assert_eq!(show(&mut client).mtu, 9000);
    assert_eq!(sockets_in(&daemon.path("a")), ["api", "stream"]);
    assert!(reloaded.changes.iter().any(|it| it.contains("Network b is new")), "{reloaded:?}");
    let mode = std::os::unix::fs::MetadataExt::mode(&declared.metadata().expect("there"));
    assert_eq!(mode & 0o777, 0o600);
    // The open port lives on.
    let report = show(&mut client);
    assert_eq!(report.ports.len(), 1);
    assert_eq!((report.ports[0].name.as_str(), report.ports[0].counters["rx_frames"]), ("web", 1));
    let again: Reloaded = client.call(&reload, &[]).expect("valid").value;
    assert_eq!(again.changes, [""; 0]);

    let mut b = daemon.client("b");
    assert_eq!(b.hello().expect("it is served").network, "b");
    // A text that comes with the call takes the place of the file's.
    let given = Call::Reload { config: Some("[network.a]\n".to_owned()) };
    let reloaded: Reloaded = client.call(&given, &[]).expect("valid").value;
    assert!(reloaded.changes.iter().any(|it| it == "Network b is gone."), "{reloaded:?}");
    assert!(matches!(b.wait_event(), Err(ClientError::Gone { .. })));
    assert_eq!(show(&mut client).mtu, 1500);
    assert!(!declared.exists());
    let _: Nothing = client.call(&Call::Down {}, &[]).expect("an answer before the end").value;
    assert_eq!(daemon.end(), Some(0), "{}", daemon.log());
    assert_eq!(sockets_in(&daemon.path("a")), [""; 0]);
    assert_eq!(sockets_in(&daemon.path("b")), [""; 0]);
}

#[test]
fn a_reload_that_fails_half_way_is_undone_and_told() {
    use std::os::unix::fs::MetadataExt;
    let root = Daemon::root("undone");
    let config = root.join("netherd.toml");
    let write = |text: &str| std::fs::write(&config, text).expect("writable");
    write(
        "[network.a]\nnodes = [\"stream\"]\n[network.a.port.web]\n\
         [network.z]\nnodes = [\"stream\"]\n",
    );
    let daemon = Daemon::start_in(root.clone(), &format!("config={}", config.display())).ready();
    let (a, z) = (daemon.path("a"), daemon.path("z"));
    let mut client = daemon.client("a");
    let reload = Call::Reload { config: None };
    let state = |path: &Path| {
        let about = path.metadata().expect("there");
        (about.ino(), about.mode())
    };
    let places = [
        a.clone(),
        a.join("api"),
        a.join("stream"),
        a.join("ports/web"),
        a.join("ports/web/stream"),
    ];
    let before = places.each_ref().map(|path| state(path));
    let descriptors =
        || std::fs::read_dir(format!("/proc/{}/fd", daemon.process.id())).expect("ours").count();
    // Answered, so that our own connection is among them.
    assert_eq!(show(&mut client).mtu, 1500);
    let open = descriptors();

    // Everything can be made, but one node cannot take its place: something that is not ours is in it.
    std::fs::write(z.join("dgram"), "").expect("writable");
    let wanted = "[network.a]\nmtu = 9000\nmode = \"0666\"\nnodes = [\"stream\", \"dgram\"]\n\
                  [network.a.port.web]\nnodes = [\"stream\", \"ctl\"]\n\
                  [network.b]\n[network.z]\nnodes = [\"stream\", \"dgram\"]\n";
    write(wanted);
    let (code, message) = refusal(client.call::<Reloaded>(&reload, &[]));
    assert_eq!(code, Code::BadConfiguration);
    assert!(message.contains("z/dgram"), "{message}");
    assert_eq!(places.each_ref().map(|path| state(path)), before, "the same nodes, the same modes");
    assert_eq!(sockets_in(&a), ["api", "stream"]);
    assert_eq!(sockets_in(&a.join("ports/web")), ["stream"]);
    assert_eq!(sockets_in(&z), ["api", "stream"]);
    assert_eq!(sockets_in(&daemon.path("b")), [""; 0]);
    assert_eq!(show(&mut client).mtu, 1500);
    assert_eq!(descriptors(), open, "no node is left open");
    let mut stream = Stream::open(&a.join("stream"));
    stream.send([0xff; 6], A, b"it serves");
    until(&daemon, "its port", || show(&mut client).ports.len() == 1);

    // Nothing was taken for done: the same file is applied once it can be.
    std::fs::remove_file(z.join("dgram")).expect("ours");
    let reloaded: Reloaded = client.call(&reload, &[]).expect("it can be now").value;
    assert!(reloaded.changes.iter().any(|it| it.contains("Network b is new")), "{reloaded:?}");
    assert_eq!(sockets_in(&a), ["api", "dgram", "stream"]);
    assert_eq!(sockets_in(&a.join("ports/web")), ["ctl", "stream"]);
    assert_eq!(state(&a.join("stream")).1 & 0o777, 0o666);
    assert_eq!(state(&a.join("ports/web")).1 & 0o777, 0o755);
    assert_eq!(sockets_in(&z), ["api", "dgram", "stream"]);
    assert_eq!(show(&mut client).mtu, 9000);
    assert_eq!(show(&mut client).ports.len(), 1, "open ports live on");
    let mut second = Stream::open(&a.join("stream"));
    second.send([0xff; 6], B, b"new ones are served");
    until(&daemon, "the second port", || show(&mut client).ports.len() == 2);
}

/// What a guest's interface has is not changed from here, so it is not said to be.
#[test]
fn the_mtu_stays_while_guests_have_it() {
    let root = Daemon::root("mtu");
    let config = root.join("netherd.toml");
    let write = |text: &str| std::fs::write(&config, text).expect("writable");
    write("[network.a]\n");
    let daemon = Daemon::start_in(root.clone(), &format!("config={}", config.display())).ready();
    let mut client = daemon.client("a");
    let reload = Call::Reload { config: None };
    let mut guest = daemon.client("a");
    let joined: Joined = guest.call(&join(Some("web"), ""), &[]).expect("free").value;
    assert_eq!(joined.mtu, 1500);
    for mtu in [1400, 9000] {
        write(&format!("[network.a]\nmtu = {mtu}\nmac_total = 777\n"));
        let (code, message) = refusal(client.call::<Reloaded>(&reload, &[]));
        assert_eq!(code, Code::BadConfiguration);
        assert!(message.contains("MTU") && message.contains("guests"), "{message}");
        assert_eq!(show(&mut client).mtu, 1500);
    }
    write("[network.a]\nmac_total = 777\n");
    let _: Reloaded = client.call(&reload, &[]).expect("the MTU stays").value;
    drop(guest);
    until(&daemon, "the end of the guest", || {
        client.call::<Nothing>(&Call::Detach { guest: "web".into() }, &[]).is_err()
    });
    write("[network.a]\nmtu = 9000\n");
    let _: Reloaded = client.call(&reload, &[]).expect("nobody is there").value;
    assert_eq!(show(&mut client).mtu, 9000);
}

/// The answer of a reload goes out before the caller's own network does, and a prefix goes with its key.
#[test]
fn a_reload_that_ends_the_callers_network_is_answered() {
    let root = Daemon::root("gone");
    let config = root.join("netherd.toml");
    let write = |text: &str| std::fs::write(&config, text).expect("writable");
    write("[network.a]\nprefix = \"fd12:3456:789a:1::/64\"\n[network.b]\n");
    let daemon = Daemon::start_in(root.clone(), &format!("config={}", config.display())).ready();
    let reload = Call::Reload { config: None };
    let mut client = daemon.client("a");
    assert!(show(&mut client).ipv6.starts_with("fd12:3456:789a:1:"));
    write("[network.a]\n");
    let reloaded: Reloaded = daemon.client("b").call(&reload, &[]).expect("it succeeded").value;
    assert!(reloaded.changes.iter().any(|it| it == "Network b is gone."), "{reloaded:?}");
    assert!(!show(&mut client).ipv6.starts_with("fd12:"), "it follows from the name again");
}

/// A subnet that was chosen at the start is in no file, and no route may lead elsewhere all the same.
#[test]
fn a_route_that_collides_is_refused_and_nothing_is_changed() {
    let root = Daemon::root("collide");
    let config = root.join("netherd.toml");
    let write = |text: &str| std::fs::write(&config, text).expect("writable");
    let route = |to: &str| format!("route = [{{ to = \"{to}\", via = \"10.81.0.9\" }}]\n");
    let a = "[network.a]\nsubnet = \"10.81.0.0/20\"\n";
    write(&format!("{a}{}[network.b]\n", route("10.99.0.0/16")));
    let start = format!("config={}", config.display());
    let daemon = Daemon::start_in(root.clone(), &start).ready();
    let mut client = daemon.client("a");
    let router =
        show(&mut daemon.client("b")).outside.expect("a router").router_addresses[0].clone();
    let chosen: std::net::Ipv4Addr = router.parse().expect("an address");
    let chosen = ipnet::Ipv4Net::new(chosen, 20).expect("a length").trunc().to_string();
    let reload = Call::Reload { config: None };
    let routes = |client: &mut Client| -> Vec<String> {
        let page: crate::report::Paged<crate::report::Route> = client
            .call(&Call::Routes(crate::api::message::Page::default()), &[])
            .expect("a table")
            .value;
        page.rows.into_iter().filter(|it| it.source == "static").map(|it| it.to).collect()
    };
    assert_eq!(routes(&mut client), ["10.99.0.0/16"]);
    write(&format!("{a}{}[network.b]\n", route(&chosen)));
    let (code, message) = refusal(client.call::<Reloaded>(&reload, &[]));
    assert_eq!(code, Code::BadConfiguration);
    assert!(
        message.contains(&chosen) && message.contains("belongs to network b itself"),
        "{message}"
    );
    assert_eq!(routes(&mut client), ["10.99.0.0/16"], "nothing has changed");

    // From one network to another, and from one that goes, in one step.
    let nowhere = "route = [{ to = \"10.98.0.0/16\", via = \"prohibit\" }]\n";
    write(&format!("{a}{nowhere}[network.b]\n[network.c]\n"));
    let _: Reloaded = client.call(&reload, &[]).expect("valid").value;
    write(&format!("{a}[network.b]\n{nowhere}"));
    let _: Reloaded = client.call(&reload, &[]).expect("valid").value;
    assert_eq!(routes(&mut client), ["10.98.0.0/16"]);
    write(&format!("{a}{nowhere}"));
    let _: Reloaded = client.call(&reload, &[]).expect("valid").value;
    assert_eq!(routes(&mut client), ["10.98.0.0/16"]);
    write(a);
    let _: Reloaded = client.call(&reload, &[]).expect("valid").value;
    assert_eq!(routes(&mut client), [""; 0]);

    // It is kept with the network, and the start is held to the same.
    drop(client);
    write(&format!("{a}{}[network.b]\n", route(&chosen)));
    let mut daemon = daemon;
    daemon.process.kill().expect("ours");
    let _status = daemon.process.wait();
    let second = Daemon::start_in(root, &start);
    let Some(Readiness::Failed(why)) = &second.readiness else { panic!("{:?}", second.readiness) };
    assert!(why.contains("belongs to network b itself"), "{why}");
}

/// A network that cannot be opened takes back what it has put in the table of all, and nothing of another.
#[test]
fn a_network_that_is_not_opened_takes_no_route_of_another() {
    use crate::api::message::Page;
    use crate::report::Routes;
    let root = Daemon::root("routed");
    let config = root.join("netherd.toml");
    let write = |text: &str| std::fs::write(&config, text).expect("writable");
    let route = |to: &str| format!("{{ to = \"{to}\", via = \"unreachable\" }}");
    let a = format!("[network.a]\nroute = [{}]\n", route("10.9.0.0/16"));
    write(&a);
    let daemon = Daemon::start_in(root.clone(), &format!("config={}", config.display())).ready();
    let mut client = daemon.client("a");
    let routed = |client: &mut Client| {
        let call = Call::Routes(Page::default());
        let table: Routes = client.call(&call, &[]).expect("a table").value;
        let mut to: Vec<String> = table.rows.into_iter().map(|it| it.to).collect();
        to.retain(|to| to.ends_with(".0.0/16"));
        to.sort();
        to
    };
    let reload = Call::Reload { config: None };
    // One route of its own, then one that `a` still has when `b` is opened.
    let both = [route("10.8.0.0/16"), route("10.9.0.0/16")].join(", ");
    write(&format!("[network.a]\n[network.b]\nroute = [{both}]\n"));
    let (code, message) = refusal(client.call::<Reloaded>(&reload, &[]));
    assert_eq!(code, Code::BadConfiguration, "{message}");
    assert_eq!(routed(&mut client), ["10.9.0.0/16"]);
    write(&format!("{a}[network.b]\nroute = [{}]\n", route("10.8.0.0/16")));
    let _: Reloaded = client.call(&reload, &[]).expect("valid").value;
    assert_eq!(routed(&mut client), ["10.8.0.0/16", "10.9.0.0/16"]);
    write(&a);
    let _: Reloaded = client.call(&reload, &[]).expect("valid").value;
    assert_eq!(
        routed(&mut client),
        ["10.9.0.0/16"],
        "a route that led nowhere belongs to no interface"
    );
}
