//! Filters of ports: set by a caller, kept by a reload that does not change them, changed by one that does.

use super::*;
use crate::api::message::{Direction, FilterSet};

fn set(direction: Direction, expression: Option<&str>) -> Call {
    let expression = expression.map(str::to_owned);
    Call::FilterSet(FilterSet { port: "stream-1".to_owned(), direction, expression })
}

#[test]
fn a_filter_is_set_and_cleared_while_the_port_is_open() {
    let root = Daemon::root("filters");
    let config = root.join("netherd.toml");
    let write = |keys: &str| {
        let text = format!("[network.a]\nguard.ethertypes = [{EXPERIMENT}]\n{keys}\n");
        std::fs::write(&config, text).expect("writable");
    };
    write("filter = { out = \"not tcp\" }");
    let daemon = Daemon::start_in(root.clone(), &format!("config={}", config.display())).ready();
    let mut client = daemon.client("a");
    let mut port = Stream::open(&daemon.path("a").join("stream"));
    until(&daemon, "the port", || show(&mut client).ports.len() == 1);
    let shown = |client: &mut Client| {
        let filter = show(client).ports[0].filter.clone();
        (filter.r#in, filter.out)
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(shown(&mut client), (None, text("not tcp")));

    let _: Nothing = client.call(&set(Direction::In, Some("arp")), &[]).expect("good").value;
    assert_eq!(shown(&mut client), (text("arp"), text("not tcp")));
    port.send([0xff; 6], [2, 0, 0, 0, 0, 1], b"no arp");
    until(&daemon, "its end", || show(&mut client).ports[0].drops.get("filter-in") == Some(&1));

    let (code, message) =
        refusal(client.call::<Nothing>(&set(Direction::In, Some("tcp port 99999")), &[]));
    assert_eq!(code, Code::BadArgument);
    assert!(message.ends_with("tcp port 99999\n         ^^^^^"), "{message}");
    assert_eq!(shown(&mut client), (text("arp"), text("not tcp")), "nothing has changed");
    let nobody = FilterSet { port: "web".into(), direction: Direction::In, expression: None };
    let (code, _) = refusal(client.call::<Nothing>(&Call::FilterSet(nobody), &[]));
    assert_eq!(code, Code::NoSuchPort);
    // The subnet of the network is known here, and with it its broadcast address.
    let all = set(Direction::Out, Some("not ip broadcast"));
    let _: Nothing = client.call(&all, &[]).expect("good").value;

    let reload = Call::Reload { config: None };
    write("mtu = 9000\nfilter = { out = \"not tcp\" }");
    let _: Reloaded = client.call(&reload, &[]).expect("valid").value;
    assert_eq!(shown(&mut client), (text("arp"), text("not ip broadcast")));
    write("mtu = 9000\nfilter = { out = \"not udp\" }");
    let reloaded: Reloaded = client.call(&reload, &[]).expect("valid").value;
    assert!(reloaded.changes.iter().any(|it| it.contains("changed their filter")), "{reloaded:?}");
    assert_eq!(shown(&mut client), (None, text("not udp")));

    let _: Nothing = client.call(&set(Direction::Out, None), &[]).expect("good").value;
    assert_eq!(shown(&mut client), (None, None));
    assert_eq!(show(&mut client).ports[0].counters["rx_frames"], 1);
}
