use proptest::prelude::*;

use super::*;

fn decoded(text: &str) -> Result<Request, (u64, Failure)> {
    Request::decode(text.as_bytes())
}

fn every_call() -> Vec<Call> {
    let join = Join {
        guest: Some("web".to_owned()),
        command: "/bin/sh".to_owned(),
        mac: None,
        kind: GuestKind::Attach,
        resume: true,
        publish: vec!["8080:80".to_owned()],
        allow_host: vec!["tcp/5432".to_owned()],
        macs: 4,
        routes: vec!["10.9.0.0/16".to_owned()],
        uplink: Some("none".to_owned()),
    };
    let page = Page { after: Some(7), limit: Some(10), port: Some("web".to_owned()) };
    let forward = "8080:web:80".to_owned();
    let link = LinkArgs {
        link: LinkMechanism::Packet,
        vnet_hdr_len: 10,
        offloads: vec!["csum".to_owned()],
        init_pid: Some(7),
        namespaces: vec!["net".to_owned()],
    };
    vec![
        Call::Hello {},
        Call::Networks {},
        Call::Show { port: Some("web".to_owned()) },
        Call::Join(join),
        Call::Link(link),
        Call::Detach { guest: "web".to_owned() },
        Call::Exec { guest: "web".to_owned() },
        Call::Capture(CaptureArgs { port: None, snaplen: 64, filter: Some("tcp".to_owned()) }),
        Call::Metrics {},
        Call::Reload { config: Some("[network.a]\n".to_owned()) },
        Call::Down {},
        Call::Stay { stay: true },
        Call::Publish { forward: forward.clone() },
        Call::Unpublish { forward },
        Call::Published {},
        Call::AllowHost { port: "tcp/80".to_owned(), guest: Some("web".to_owned()) },
        Call::Flows(page.clone()),
        Call::Leases(page.clone()),
        Call::Routes(page.clone()),
        Call::Neighbours(page.clone()),
        Call::Bindings(page.clone()),
        Call::FilterSet(FilterSet {
            port: "web".to_owned(),
            direction: Direction::Out,
            expression: Some("tcp port 80".to_owned()),
        }),
        Call::Guard(page),
        Call::GuardSet {
            port: "web".to_owned(),
            check: "arp-sender-ip".to_owned(),
            action: "audit".to_owned(),
        },
        Call::GuardAudit { port: "web".to_owned(), on: true },
        Call::GuardRelease { port: "web".to_owned() },
    ]
}

#[test]
fn every_call_survives_its_line() {
    let calls = every_call();
    let names: Vec<&str> = calls.iter().map(|call| call.about().name).collect();
    assert_eq!(names, Call::NAMES, "the list of names is that of the calls");
    for call in calls.clone() {
        let request = Request { id: 9, call };
        let line = request.encode();
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(Request::decode(&line), Ok(request));
    }
    // What is not said of a call here is not for everybody.
    let anybodys = calls.iter().filter(|call| call.about().audience == Audience::Anybody);
    let anybodys: Vec<&str> = anybodys.map(|call| call.about().name).collect();
    assert_eq!(anybodys, ["hello", "networks", "show", "join", "link", "detach", "exec"]);
    // The page names them all.
    let page = include_str!("../../../../../docs/api.md");
    for name in Call::NAMES {
        assert!(page.contains(&format!("| `{name}` |")), "{name} is not documented");
    }
}

/// The members of a value and of what is in it; those of a table by name are its rows, not members.
fn members(value: &Value, found: &mut std::collections::BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                found.insert(key.clone());
                members(value, found);
            }
        }
        Value::Array(array) => array.iter().for_each(|value| members(value, found)),
        _ => {}
    }
}

#[test]
fn an_ending_is_two_words_in_its_line() {
    for (ending, words) in [
        (Ending::LinkLost, "\"wanted\":false,\"end\":false"),
        (Ending::Unlinked, "\"wanted\":true,\"end\":false"),
        (Ending::GuestEnds, "\"wanted\":true,\"end\":true"),
    ] {
        let closed = Closed { guest: "web".to_owned(), why: "Why.".to_owned(), ending };
        let line = serde_json::to_string(&closed).expect("plain data");
        assert_eq!(line, format!("{{\"guest\":\"web\",\"why\":\"Why.\",{words}}}"));
        assert_eq!(serde_json::from_str::<Closed>(&line).ok(), Some(closed));
    }
    // One that says nothing of the guest's end.
    let older = "{\"guest\":\"web\",\"why\":\"Why.\",\"wanted\":true}";
    let closed: Closed = serde_json::from_str(older).expect("complete");
    assert_eq!(closed.ending, Ending::Unlinked);
}

#[test]
fn the_page_has_every_member_of_every_answer() {
    use crate::report::{
        Binding, Check, Declared, Flow, Guard, Lease, Mac, Neighbour, Network, NetworkSummary,
        Networks, Outside, Paged, Planned, Port, Publish, Refusals, Route,
    };
    fn of(value: impl Serialize) -> Value {
        serde_json::to_value(value).expect("plain data")
    }
    let restart = || Some(Restart::default());
    let page = |row: Value| of(Paged { rows: vec![row], next: Some(1), total: 1 });
    let check = Check { reasons: vec![Refusals::default()], ..Check::default() };
    let network = Network {
        ports: vec![Port::default()],
        macs: vec![Mac::default()],
        planned: vec![Planned::default()],
        declared: vec![Declared::default()],
        outside: Some(Outside::default()),
        ..Network::default()
    };
    let hello = Hello {
        server: String::new(),
        version: String::new(),
        api: VERSION,
        network: String::new(),
        directory: PathBuf::new(),
        pid: 1,
        control: true,
        restart: restart(),
    };
    let entrance = Entrance {
        guest: String::new(),
        kind: GuestKind::Run,
        init_pid: None,
        namespaces: Vec::new(),
    };
    let closed = Closed { guest: String::new(), why: String::new(), ending: Ending::GuestEnds };
    let answers = [
        of(hello),
        of(Networks { networks: vec![NetworkSummary::default()] }),
        of(network),
        of(Joined { restart: restart(), ..Joined::default() }),
        of(Linked { port: String::new(), note: None }),
        of(entrance),
        of(Capturing { snaplen: 0 }),
        of(Metrics { content_type: String::new(), text: String::new() }),
        of(Reloaded { changes: Vec::new() }),
        of(Published { forward: String::new() }),
        of(closed),
        page(of(Flow::default())),
        page(of(Lease::default())),
        page(of(Route::default())),
        page(of(Neighbour::default())),
        page(of(Binding::default())),
        page(of(Publish::default())),
        page(of(Guard { checks: vec![check], ..Guard::default() })),
    ];
    let text = include_str!("../../../../../docs/api.md");
    let mut found = std::collections::BTreeSet::new();
    answers.iter().for_each(|answer| members(answer, &mut found));
    assert!(found.len() > 80, "{found:?}");
    let missing: Vec<_> = found.iter().filter(|key| !text.contains(&format!("`{key}`"))).collect();
    assert!(missing.is_empty(), "docs/api.md does not name {missing:?}");
}

#[test]
fn arguments_may_be_left_out_where_they_have_defaults() {
    let show = decoded(r#"{"v":1,"id":1,"call":"show"}"#).expect("no arguments are needed");
    assert_eq!(show.call, Call::Show { port: None });
    let capture = decoded(r#"{"v":1,"id":1,"call":"capture","args":{}}"#).expect("defaults");
    assert_eq!(capture.call, Call::Capture(CaptureArgs::default()));
    let join = decoded(r#"{"v":1,"id":1,"call":"join","args":{"kind":"run"}}"#).expect("defaults");
    assert!(matches!(join.call, Call::Join(Join { guest: None, resume: false, .. })));
}

#[test]
fn what_is_no_request_is_refused_with_its_reason() {
    for (line, id, code, what) in [
        ("", 0, Code::BadRequest, "not a JSON"),
        ("[]", 0, Code::BadRequest, "no version"),
        (r#"{"id":4}"#, 4, Code::BadRequest, "no version"),
        (r#"{"v":2,"id":4,"call":"hello"}"#, 4, Code::BadVersion, "version 2"),
        (r#"{"v":1,"call":"hello"}"#, 0, Code::BadRequest, "id"),
        (r#"{"v":1,"id":4,"call":"fly"}"#, 4, Code::BadRequest, "no call \"fly\""),
        (r#"{"v":1,"id":4,"call":"hello","more":1}"#, 4, Code::BadRequest, "more"),
        (r#"{"v":1,"id":4,"call":"hello","args":{"more":1}}"#, 4, Code::BadRequest, "more"),
        (r#"{"v":1,"id":4,"call":"show","args":{"prot":"x"}}"#, 4, Code::BadRequest, "prot"),
        (r#"{"v":1,"id":4,"call":"stay","args":{"stay":1}}"#, 4, Code::BadRequest, "stay"),
        (r#"{"v":1,"id":4,"call":"detach"}"#, 4, Code::BadRequest, "guest"),
        (r#"{"v":1,"id":4,"call":"join","args":{"kind":"fly"}}"#, 4, Code::BadRequest, "fly"),
    ] {
        let (got, failure) = decoded(line).expect_err(line);
        assert_eq!((got, failure.code), (id, code), "{line}");
        assert!(failure.message.contains(what), "{line}: {}", failure.message);
    }
    // Nesting is bounded by the parser.
    let deep = format!("{{\"v\":1,\"id\":1,\"call\":\"hello\",\"args\":{}", "[".repeat(60_000));
    assert!(decoded(&deep).is_err());
}

#[test]
fn replies_survive_their_line_and_new_ones_are_tolerated() {
    let closed =
        Closed { guest: "web".into(), why: "A\nsentence.".into(), ending: Ending::GuestEnds };
    for reply in [
        Reply::Answer { id: 1, result: Ok(json!({ "a": [1, 2] })) },
        Reply::Answer { id: 2, result: Err(Failure::new(Code::Limit, "A \"sentence\".")) },
        Reply::Event(Event::Closed(closed)),
    ] {
        let line = reply.encode();
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(Reply::decode(&line).expect("ours"), reply);
    }
    let newer = br#"{"v":1,"event":"moved","args":{"x":1}}"#;
    assert_eq!(Reply::decode(newer).expect("tolerated"), Reply::Event(Event::Other));
    let code = br#"{"v":1,"id":1,"error":{"code":"too-new","message":"m"}}"#;
    let Reply::Answer { result: Err(failure), .. } = Reply::decode(code).expect("tolerated") else {
        panic!("an answer")
    };
    assert_eq!(failure.code, Code::Other);
    assert!(matches!(Reply::decode(br#"{"v":3,"id":1,"ok":{}}"#), Err(ReplyError::Version(3))));
    assert!(matches!(Reply::decode(br#"{"v":1}"#), Err(ReplyError::Shape)));
}

proptest! {
    #[test]
    fn no_bytes_panic(data in proptest::collection::vec(any::<u8>(), 0..300)) {
        fuzz_decode(&data);
        crate::api::line::fuzz_lines(&data);
    }

    /// Lines that are nearly requests.
    #[test]
    fn no_near_request_panics(
        v in 0..3_u32,
        call in prop::sample::select(Call::NAMES.to_vec()),
        key in "(port|guest|kind|stay|config|snaplen|link|mac)",
        value in "(true|[0-9]{1,20}|\"[a-z]{0,8}\"|\\[\\]|\\{\\}|null|-1e400)",
    ) {
        let line = format!("{{\"v\":{v},\"id\":1,\"call\":\"{call}\",\"args\":{{\"{key}\":{value}}}}}");
        fuzz_decode(line.as_bytes());
    }
}
