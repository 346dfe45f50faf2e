//! What the gateway, the services and the router of a network counted, with what each counter means.

use std::collections::BTreeMap;

use engine::router::{RouterCounters, RouterReason};
use gateway::services::ServiceReason;
use host::report::Outside;
use serde::Serialize;

use super::style::Style;
use super::table::{Align, Table};

/// The three lists, as the report has them.
#[derive(Debug, Serialize)]
pub struct Json<'a> {
    gateway: &'a BTreeMap<String, u64>,
    services: &'a BTreeMap<String, u64>,
    router: &'a BTreeMap<String, u64>,
}

/// The lists as one value.
pub fn json(outside: &Outside) -> Json<'_> {
    Json {
        gateway: &outside.counters,
        services: &outside.service_counters,
        router: &outside.router,
    }
}

/// A line for each counter that is not zero.
pub fn table(outside: &Outside, style: Style) -> String {
    let mut table = Table::new(&[
        ("AT", Align::Left),
        ("COUNTER", Align::Left),
        ("COUNT", Align::Right),
        ("WHAT HAPPENED", Align::Left),
    ]);
    let lists: [(&str, &BTreeMap<String, u64>, Meaning); 3] = [
        ("gateway", &outside.counters, of_gateway),
        ("services", &outside.service_counters, of_services),
        ("router", &outside.router, of_router),
    ];
    for (at, list, meaning) in lists {
        for (name, count) in list.iter().filter(|(_, count)| **count > 0) {
            // A hypervisor that is newer than this program counts what has no sentence here.
            let sentence = meaning(name).unwrap_or_default().to_owned();
            table.row([at.to_owned(), name.clone(), count.to_string(), sentence]);
        }
    }
    if table.is_empty() { "nothing has been counted yet\n".to_owned() } else { table.render(style) }
}

/// The sentence of a counter.
type Meaning = fn(&str) -> Option<&'static str>;

fn of_gateway(name: &str) -> Option<&'static str> {
    let reason = gateway::Reason::ALL.iter().find(|reason| reason.name() == name)?;
    Some(reason.describe())
}

fn of_services(name: &str) -> Option<&'static str> {
    let reason = ServiceReason::ALL.iter().find(|reason| reason.name() == name)?;
    Some(reason.describe())
}

fn of_router(name: &str) -> Option<&'static str> {
    let field = RouterCounters::DESCRIPTIONS.iter().find(|(field, _)| *field == name);
    let reason = || RouterReason::ALL.into_iter().find(|reason| reason.counter() == name);
    field.map(|(_, sentence)| *sentence).or_else(|| reason().map(RouterReason::describe))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_its_sentence() {
        for (name, _) in RouterCounters::default().iter() {
            assert!(of_router(name).is_some_and(|it| it.ends_with('.')), "{name}");
        }
        for reason in gateway::Reason::ALL {
            assert_eq!(of_gateway(reason.name()), Some(reason.describe()));
        }
        for reason in ServiceReason::ALL {
            assert_eq!(of_services(reason.name()), Some(reason.describe()));
        }
    }

    #[test]
    fn what_is_not_zero_is_shown_once_where_it_was_counted() {
        let mut outside = Outside::default();
        assert_eq!(table(&outside, Style::PLAIN), "nothing has been counted yet\n");
        outside.counters = [("malformed".to_owned(), 1), ("udp-in".to_owned(), 0)].into();
        outside.service_counters =
            [("dns-busy".to_owned(), 22), ("of-tomorrow".to_owned(), 3)].into();
        outside.router = [("drop.malformed".to_owned(), 4), ("forwarded".to_owned(), 5)].into();
        let text = table(&outside, Style::PLAIN);
        let lines: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().take(4).collect()).collect();
        assert_eq!(
            lines,
            [
                ["AT", "COUNTER", "COUNT", "WHAT"],
                ["gateway", "malformed", "1", "The"],
                ["services", "dns-busy", "22", "Questions"],
                ["services", "of-tomorrow", "3", "-"],
                ["router", "drop.malformed", "4", "An"],
                ["router", "forwarded", "5", "Packets"],
            ]
        );
    }
}
