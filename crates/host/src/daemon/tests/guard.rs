//! Guards of ports, changed by callers.

use super::*;
use crate::api::message::Page;
use crate::report::Guards;

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
