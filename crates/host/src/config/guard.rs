//! The guard in the configuration: `guard` of a network and of a declared port.
//!
//! A network's table is about all of its ports but uplinks and the router; a declared port's table changes what is
//! said there. Who has chosen no mode gets one by what is known about a port: `static` where its addresses are the
//! network's own to give, `learn` elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

use engine::{
    Action, ActionError, Actions, Check, FIRST_COME_MAX, FirstCome, GuardMode, GuardSpec, Kind,
    MdnsPolicy, NetworkGuard, Quarantine, Rate, Reason,
};
use toml::Spanned;

use super::check::{Fault, fault};
use super::file;

/// A check by its number, its name or one of its reasons, as people write it: `14`, `arp-sender-ip`.
///
/// # Errors
/// A sentence without its end: there is no such check, or none that has an action.
pub fn check(text: &str) -> Result<Check, String> {
    let all = Check::COUNT;
    let check = match text.parse::<u8>() {
        Ok(number) => Check::from_number(number)
            .ok_or_else(|| format!("there is no check {text}: they are 1 to {all}"))?,
        Err(_) => {
            let named = Check::ALL.into_iter().find(|check| check.name() == text);
            let reason = Reason::ALL.into_iter().find(|reason| reason.name() == text);
            named.or_else(|| reason?.check()).ok_or_else(|| {
                format!(
                    "{text:?} is not a check: give a number, 1 to {all}, or its name or a reason of one, such as \
                     \"arp-sender-ip\""
                )
            })?
        }
    };
    match check.kind() {
        Kind::Fixed => Err(ActionError::Fixed(check).to_string()),
        Kind::Built => Err(ActionError::Built(check).to_string()),
        Kind::Settable { .. } => Ok(check),
    }
}

/// An action by its name.
///
/// # Errors
/// A sentence without its end.
pub fn action(text: &str) -> Result<Action, String> {
    Ok(match text {
        "drop" => Action::Drop,
        "reject" => Action::Reject,
        "audit" => Action::Audit,
        "allow" => Action::Allow,
        _ => {
            return Err(format!(
                "{text:?} is not an action: choose \"drop\", \"reject\", \"audit\" or \"allow\""
            ));
        }
    })
}

/// The name of an action.
#[must_use]
pub fn action_name(action: Action) -> &'static str {
    match action {
        Action::Drop => "drop",
        Action::Reject => "reject",
        Action::Audit => "audit",
        Action::Allow => "allow",
    }
}

/// The name of a mode.
#[must_use]
pub fn mode_name(mode: GuardMode) -> &'static str {
    match mode {
        GuardMode::Off => "off",
        GuardMode::Learn => "learn",
        GuardMode::Dhcp => "dhcp",
        GuardMode::Static => "static",
    }
}

fn mode(said: file::GuardMode) -> GuardMode {
    match said {
        file::GuardMode::Off => GuardMode::Off,
        file::GuardMode::Learn => GuardMode::Learn,
        file::GuardMode::Dhcp => GuardMode::Dhcp,
        file::GuardMode::Static => GuardMode::Static,
    }
}

/// What a network's table says about the network as a whole.
pub(super) fn network(file: Option<&Spanned<file::Guard>>) -> NetworkGuard {
    let Some(table) = file.map(|it| &it.get_ref().0) else {
        return NetworkGuard { snooping: true, ..NetworkGuard::default() };
    };
    NetworkGuard {
        snooping: table.snooping.as_ref().is_none_or(|it| *it.get_ref()),
        mdns: match table.mdns.as_ref().map(|it| *it.get_ref()) {
            None | Some(file::Mdns::Flood) => MdnsPolicy::Flood,
            Some(file::Mdns::Off) => MdnsPolicy::Off,
            Some(file::Mdns::Proxy) => MdnsPolicy::Proxy,
            Some(file::Mdns::Reflect) => MdnsPolicy::Reflect,
        },
        routed: table.only_router.as_ref().is_some_and(|it| *it.get_ref()),
        ..NetworkGuard::default()
    }
}

/// Changes a guard by what a table says.
pub(super) fn change(
    guard: &mut GuardSpec,
    file: Option<&Spanned<file::Guard>>,
) -> Result<(), Fault> {
    let Some(table) = file.map(|it| &it.get_ref().0) else { return Ok(()) };
    if let Some(said) = table.mode {
        guard.mode = mode(said);
    }
    if let Some(said) = &table.actions {
        change_actions(&mut guard.actions, said)?;
    }
    if let Some(said) = &table.first_come {
        let addresses = *said.get_ref();
        if addresses > FIRST_COME_MAX {
            return Err(fault(
                said,
                format!("at most {FIRST_COME_MAX} addresses can be first-come"),
            ));
        }
        guard.first_come = FirstCome { v4: addresses, v6: addresses };
    }
    if let Some(types) = &table.ethertypes {
        guard.ethertypes = check_ethertypes(types)?;
    }
    guard.link_local_v4 = table.link_local_v4.unwrap_or(guard.link_local_v4);
    guard.delegated_prefixes = table.delegated_prefixes.unwrap_or(guard.delegated_prefixes);
    if let Some(segments) = &table.segments {
        guard.segments = *segments.get_ref();
        if guard.segments == 0 {
            return Err(fault(segments, "a frame has at least one segment"));
        }
    }
    guard.segment_min = table.segment_min.unwrap_or(guard.segment_min);
    guard.groups = table.groups.unwrap_or(guard.groups);
    for (rate, said) in [
        (&mut guard.rates.arp, &table.rates.arp),
        (&mut guard.rates.unknown, &table.rates.unknown),
        (&mut guard.rates.dhcp, &table.rates.dhcp),
        (&mut guard.rates.nd, &table.rates.nd),
        (&mut guard.rates.solicitations, &table.rates.solicitations),
        (&mut guard.rates.duplicates, &table.rates.duplicates),
        (&mut guard.rates.groups, &table.rates.groups),
        (&mut guard.rates.errors, &table.rates.errors),
    ] {
        if let Some(said) = said {
            *rate = Rate::new(said.per_second, said.burst.unwrap_or(said.per_second));
        }
    }
    for (limit, said) in [
        (&mut guard.storm.broadcast, table.storm.broadcast),
        (&mut guard.storm.multicast, table.storm.multicast),
        (&mut guard.storm.unknown, table.storm.unknown),
    ] {
        match said {
            None => {}
            Some(file::Limit::Off(file::Off::Off)) => *limit = None,
            Some(file::Limit::Number(frames)) => *limit = Some(Rate::new(frames, frames)),
        }
    }
    match table.storm.bytes_per_second {
        None => {}
        Some(file::Limit::Off(file::Off::Off)) => guard.storm.bytes_per_second = None,
        Some(file::Limit::Number(bytes)) => guard.storm.bytes_per_second = Some(bytes),
    }
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    guard.storm.shutdown = table.storm.shutdown.map(seconds).or(guard.storm.shutdown);
    guard.bpdu_shutdown = table.bpdu_shutdown.map(seconds).or(guard.bpdu_shutdown);
    if let Some(quarantine) = &table.quarantine {
        let file::Quarantine { violations, within, release } = *quarantine.get_ref();
        if violations == 0 || within == 0 || release == 0 {
            return Err(fault(quarantine, "violations, within and release must be at least 1"));
        }
        guard.quarantine =
            Some(Quarantine { violations, within: seconds(within), release: seconds(release) });
    }
    Ok(())
}

fn change_actions(
    actions: &mut Actions,
    said: &BTreeMap<Spanned<String>, Spanned<String>>,
) -> Result<(), Fault> {
    // In the order of the file, so that of two that are about the same check the second is pointed at.
    let mut said: Vec<_> = said.iter().collect();
    said.sort_by_key(|(name, _)| name.span().start);
    for (_, to) in said.iter().filter(|(name, _)| name.get_ref() == "all") {
        let to = action(to.get_ref()).map_err(|why| fault(to, why))?;
        actions.set_all(to);
    }
    // What is said of one goes before what is said of all.
    let mut before: BTreeMap<Check, &str> = BTreeMap::new();
    for (name, to) in said.into_iter().filter(|(name, _)| name.get_ref() != "all") {
        let check = check(name.get_ref()).map_err(|why| fault(name, why))?;
        let action = action(to.get_ref()).map_err(|why| fault(to, why))?;
        actions.set(check, action).map_err(|why| fault(to, why.to_string()))?;
        if let Some(other) = before.insert(check, name.get_ref()) {
            return Err(fault(name, format!("check {check} has an action already, as {other:?}")));
        }
    }
    Ok(())
}

/// Most EtherTypes that a port may send beside those of IP.
const ETHERTYPES_MAX: usize = 16;

fn check_ethertypes(types: &Spanned<Vec<u16>>) -> Result<Vec<u16>, Fault> {
    if types.get_ref().len() > ETHERTYPES_MAX {
        return Err(fault(types, format!("at most {ETHERTYPES_MAX} EtherTypes are allowed")));
    }
    match types.get_ref().iter().find(|number| **number < 0x600) {
        Some(number) => {
            let why =
                format!("{number:#06x} is not an EtherType but a length; they begin at 0x0600");
            Err(fault(types, why))
        }
        None => Ok(types.get_ref().clone()),
    }
}

/// What is of the network alone is refused in a port's table.
pub(super) fn check_port(file: Option<&Spanned<file::Guard>>) -> Result<(), Fault> {
    let Some(table) = file.map(|it| &it.get_ref().0) else { return Ok(()) };
    let spans = [
        table.snooping.as_ref().map(Spanned::span),
        table.mdns.as_ref().map(Spanned::span),
        table.only_router.as_ref().map(Spanned::span),
    ];
    match spans.into_iter().flatten().next() {
        Some(span) => {
            let why = "this applies to the whole network: set it in the network's `guard`";
            Err(Fault { span: Some(span), why: why.to_owned() })
        }
        None => Ok(()),
    }
}
