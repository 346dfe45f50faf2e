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
