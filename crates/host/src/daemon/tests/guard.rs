//! Guards of ports, changed by callers.

use super::*;
use crate::api::message::Page;
use crate::report::{Bindings, Guards};

fn set(check: &str, action: &str) -> Call {
    let (check, action) = (check.to_owned(), action.to_owned());
    Call::GuardSet { port: "stream-1".to_owned(), check, action }
}

#[test]
fn a_check_that_is_set_while_all_audit_is_changed_alone() {
    let daemon = Daemon::start("guard", "").ready();
    let mut client = daemon.client("default");
    let _port = Stream::open(&daemon.path("default").join("stream"));
    until(&daemon, "the port", || show(&mut client).ports.len() == 1);
    let action = |client: &mut Client, number| {
        let page = Page { port: Some("stream-1".to_owned()), ..Page::default() };
        let guards: Guards = client.call(&Call::Guard(page), &[]).expect("a report").value;
        let guard = &guards.rows[0];
        let check = guard.checks.iter().find(|check| check.number == number);
        (guard.audits, check.expect("every check").action.clone())
    };
    let audit = |on| Call::GuardAudit { port: "stream-1".to_owned(), on };
    let is = |audits, action: &str| (audits, action.to_owned());
    let _: Nothing = client.call(&set("21", "reject"), &[]).expect("good").value;
    let _: Nothing = client.call(&audit(true), &[]).expect("good").value;
    assert_eq!(action(&mut client, 21), is(true, "audit"));
    let _: Nothing = client.call(&set("14", "drop"), &[]).expect("good").value;
    assert_eq!(action(&mut client, 14), is(true, "drop"));
    assert_eq!(action(&mut client, 21), is(true, "audit"));
    let _: Nothing = client.call(&audit(false), &[]).expect("it audited").value;
    assert_eq!(action(&mut client, 14), is(false, "drop"));
    assert_eq!(action(&mut client, 21), is(false, "reject"));
    let (code, message) = refusal(client.call::<Nothing>(&set("48", "reject"), &[]));
    assert_eq!(code, Code::BadArgument);
    assert!(message.contains("nobody can be told"), "{message}");
}

/// The further connections of a declared port have names of their own, and are its connections all the same.
#[test]
fn every_connection_of_a_declared_port_is_changed_with_it() {
    let root = Daemon::root("connections");
    let config = root.join("netherd.toml");
    let write = |network: &str, port: &str| {
        let text =
            format!("[network.a]\n{network}\n[network.a.port.web]\nconnections = 2\n{port}\n");
        std::fs::write(&config, text).expect("writable");
    };
    write("", "");
    let daemon = Daemon::start_in(root.clone(), &format!("config={}", config.display())).ready();
    let mut client = daemon.client("a");
    let path = daemon.path("a").join("ports/web/stream");
    let _ports = [Stream::open(&path), Stream::open(&path)];
    until(&daemon, "the ports", || show(&mut client).ports.len() == 2);
    let both = |client: &mut Client| {
        ["web", "web-2"].map(|name| {
            let page = Page { port: Some(name.to_owned()), ..Page::default() };
            let guards: Guards = client.call(&Call::Guard(page), &[]).expect("a report").value;
            let guard = &guards.rows[0];
            let check = guard.checks.iter().find(|check| check.number == 21).expect("every check");
            let ports = show(client).ports;
            let port = ports.iter().find(|port| port.name == name).expect("it is open");
            (guard.audits, check.action.clone(), port.filter.out.clone())
        })
    };
    let are = |audits, action: &str, filter: Option<&str>| {
        [(); 2].map(|()| (audits, action.to_owned(), filter.map(str::to_owned)))
    };
    assert_eq!(both(&mut client), are(false, "drop", None));
    for name in ["web", "web-2"] {
        let call = Call::GuardAudit { port: name.to_owned(), on: true };
        let _: Nothing = client.call(&call, &[]).expect("it is open").value;
    }
    assert_eq!(both(&mut client), are(true, "audit", None));

    // Another filter is no other guard.
    let reload = Call::Reload { config: None };
    write("", "filter = { out = \"not tcp\" }");
    let _: Reloaded = client.call(&reload, &[]).expect("valid").value;
    assert_eq!(both(&mut client), are(true, "audit", Some("not tcp")));
    write("", "filter = { out = \"not tcp\" }\nguard.actions = { 21 = \"reject\" }");
    let reloaded: Reloaded = client.call(&reload, &[]).expect("valid").value;
    assert_eq!(both(&mut client), are(false, "reject", Some("not tcp")));
    for name in ["web", "web-2"] {
        let changed = format!("The open port {name} has changed.");
        assert!(reloaded.changes.contains(&changed), "{reloaded:?}");
        let call = Call::GuardAudit { port: name.to_owned(), on: false };
        let (code, _) = refusal(client.call::<Nothing>(&call, &[]));
        assert_eq!(code, Code::WrongState, "its new guard does not audit");
    }
    // What is for the clients of other nodes is not for them.
    write(
        "guard.actions = { 21 = \"allow\" }\nfilter = { out = \"not udp\" }",
        "filter = { out = \"not tcp\" }\nguard.actions = { 21 = \"reject\" }",
    );
    let _: Reloaded = client.call(&reload, &[]).expect("valid").value;
    assert_eq!(both(&mut client), are(false, "reject", Some("not tcp")));
}

/// Who, what and why: as much as one needs to act on it.
#[test]
fn the_log_tells_who_sent_what_and_which_check_it_failed() {
    let daemon = Daemon::start("told", "").ready();
    let mut client = daemon.client("default");
    let mut port = Stream::open(&daemon.path("default").join("stream"));
    until(&daemon, "the port", || show(&mut client).ports.len() == 1);
    let line = |with: &str| {
        let log = daemon.log();
        log.lines().find(|line| line.contains(with)).map(str::to_owned)
    };
    let who =
        format!("port stream-1 (stream, uid {}, pid {})", sys::user::uid(), std::process::id());
    // A protocol that nobody checks.
    port.send([0xff; 6], A, &[7; 46]);
    until(&daemon, "a line", || line("failed the guard").is_some());
    let told = line("failed the guard").expect("just now");
    let frame = "02:00:00:00:00:0a > ff:ff:ff:ff:ff:ff, VLAN 1, EtherType 88b5, 60 bytes";
    for part in [who.as_str(), "(check 8): ethertype: ", frame, " 1 violations of this port"] {
        assert!(told.contains(part), "{part:?} is missing: {told}");
    }
    // One Ethernet address more than the port may have.
    port.send([0xff; 6], B, &[7; 46]);
    until(&daemon, "a line", || line("beyond those").is_some());
    let told = line("beyond those").expect("just now");
    let frame = "02:00:00:00:00:0b > ff:ff:ff:ff:ff:ff, VLAN 1, EtherType 88b5, 60 bytes";
    for part in [who.as_str(), "(check 10)", frame] {
        assert!(told.contains(part), "{part:?} is missing: {told}");
    }
}

#[test]
fn a_port_that_was_cut_off_is_released_by_hand() {
    let root = Daemon::root("release");
    let config = root.join("netherd.toml");
    let text =
        "[network.a]\nguard.quarantine = { violations = 2, within = 3600, release = 3600 }\n";
    std::fs::write(&config, text).expect("writable");
    let daemon = Daemon::start_in(root.clone(), &format!("config={}", config.display())).ready();
    let mut client = daemon.client("a");
    let mut port = Stream::open(&daemon.path("a").join("stream"));
    until(&daemon, "the port", || show(&mut client).ports.len() == 1);
    let release = |port: &str| Call::GuardRelease { port: port.to_owned() };
    let cut_off = |client: &mut Client| {
        let page = Page { port: Some("stream-1".to_owned()), ..Page::default() };
        let guards: Guards = client.call(&Call::Guard(page), &[]).expect("a report").value;
        guards.rows[0].quarantined.is_some()
    };
    let dropped = |client: &mut Client, reason: &str| {
        show(client).ports[0].drops.get(reason).copied().unwrap_or_default()
    };
    let (code, _) = refusal(client.call::<Nothing>(&release("stream-1"), &[]));
    assert_eq!(code, Code::WrongState, "it is not cut off");
    for count in 1..=2 {
        assert!(!cut_off(&mut client));
        port.send([0xff; 6], A, &[7; 46]);
        until(&daemon, "the end", || dropped(&mut client, "ethertype") == count);
    }
    assert!(cut_off(&mut client));
    port.send([0xff; 6], A, &[7; 46]);
    until(&daemon, "another end", || dropped(&mut client, "quarantined") == 1);
    let (code, _) = refusal(client.call::<Nothing>(&release("nobody"), &[]));
    assert_eq!(code, Code::NoSuchPort);
    assert!(cut_off(&mut client));
    let _: Nothing = client.call(&release("stream-1"), &[]).expect("it is cut off").value;
    assert!(!cut_off(&mut client));
    port.send([0xff; 6], A, &[7; 46]);
    until(&daemon, "the check itself", || dropped(&mut client, "ethertype") == 3);
    assert_eq!(dropped(&mut client, "quarantined"), 1);
    until(&daemon, "a line", || daemon.log().contains("port stream-1 is no longer cut off"));
}

/// One address in two VLANs is two rows, each with its VLAN, however short the pages are, and one address of its
/// port.
#[test]
fn an_address_in_two_vlans_has_two_rows() {
    let root = Daemon::root("rows");
    let config = root.join("netherd.toml");
    let ports = "guard.mode = \"learn\"\n[network.a.port.one]\nvlan = 1\n[network.a.port.two]\n\
                 vlan = 2\n[network.a.port.both]\nmax_macs = 2\ntrunk = { allowed = [3, 4] }\n";
    std::fs::write(&config, format!("[network.a]\n{ports}")).expect("writable");
    let daemon = Daemon::start_in(root.clone(), &format!("config={}", config.display())).ready();
    let mut client = daemon.client("a");
    let names = ["one", "two", "both"];
    let mut open =
        names.map(|name| Stream::open(&daemon.path("a").join(format!("ports/{name}/stream"))));
    until(&daemon, "the ports", || show(&mut client).ports.len() == 3);
    let sends = |port: &mut Stream, number: u8, vid: Option<u8>| {
        let mac = [2, 0, 0, 0, 0, number];
        let announcement = wire::parse::Arp {
            operation: wire::arp::operation::REQUEST,
            sender_mac: wire::MacAddr(mac),
            sender_ip: [192, 168, 77, 7].into(),
            target_mac: wire::MacAddr::ZERO,
            target_ip: [192, 168, 77, 7].into(),
        };
        let mut frame = vec![0; 100];
        let builder = wire::build::Builder::new(&mut frame)
            .ethernet(wire::MacAddr::BROADCAST, wire::MacAddr(mac));
        let len = builder.arp(&announcement).finish().expect("fits");
        frame.truncate(len);
        if let Some(vid) = vid {
            frame.splice(12..12, [0x81, 0, 0, vid]);
        }
        port.write(&frame);
    };
    let [one, two, both] = &mut open;
    sends(one, 1, None);
    sends(two, 2, None);
    sends(both, 3, Some(3));
    sends(both, 3, Some(4));
    let rows = |client: &mut Client| {
        let (mut rows, mut after) = (Vec::new(), None);
        loop {
            let page = Page { limit: Some(1), after, ..Page::default() };
            let table: Bindings = client.call(&Call::Bindings(page), &[]).expect("a page").value;
            rows.extend(table.rows);
            after = table.next;
            if after.is_none() {
                return rows;
            }
        }
    };
    let its = |client: &mut Client| {
        let all = rows(client).into_iter().filter(|it| it.address == "192.168.77.7");
        let mut its: Vec<_> = all.map(|it| (it.vlan, it.port)).collect();
        its.sort();
        its
    };
    until(&daemon, "the bindings", || its(&mut client).len() == 4);
    let port = |vlan, name: &str| (Some(vlan), Some(name.to_owned()));
    assert_eq!(
        its(&mut client),
        [port(1, "one"), port(2, "two"), port(3, "both"), port(4, "both")]
    );
    let page = Page { port: Some("both".to_owned()), ..Page::default() };
    let guards: Guards = client.call(&Call::Guard(page), &[]).expect("a report").value;
    assert_eq!(guards.rows[0].first_come, 1);
}
