//! The guards of live ports: what they are asked to do, and what they met.

use std::collections::BTreeMap;

use engine::bindings::BindingSource;
use engine::{Action, Actions, GuardSpec, PortId, Reason, Role};

use super::Served;
use crate::api::message::{Code, Failure, Nothing, Page};
use crate::config;
use crate::config::guard::{self, Check};
use crate::daemon::reports::tables::{number, page};
use crate::log;
use crate::report::{self, Paged};
use crate::worker::Worker;

/// The actions of ports that only audit for a while, as they were before.
pub(in crate::daemon) type Audited = BTreeMap<PortId, Actions>;

/// Whether frames failed for this reason.
fn met(refusals: &report::Refusals) -> bool {
    refusals.dropped + refusals.audited > 0
}

impl Served {
    /// The call `guard`.
    pub(in crate::daemon) fn guards(
        &self,
        worker: &Worker,
        asked: &Page,
    ) -> Result<report::Guards, Failure> {
        let wanted = self.port_of(worker, asked.port.as_deref(), None)?;
        let ports = worker
            .ports(self.id)
            .filter(|port| wanted.is_none_or(|wanted| wanted == *port))
            .map(|port| (number(port), port));
        let (rows, next, total) = page(asked, ports);
        let mut rows: Vec<_> =
            rows.into_iter().filter_map(|port| self.guard(worker, port)).collect();
        if wanted.is_none() {
            for row in &mut rows {
                row.checks.iter_mut().for_each(|check| check.reasons.retain(met));
                row.checks.retain(|check| {
                    !check.reasons.is_empty() || check.action != guard::action_name(Action::Drop)
                });
            }
        }
        Ok(Paged { rows, next, total })
    }

    fn guard(&self, worker: &Worker, port: PortId) -> Option<report::Guard> {
        let engine = worker.engine(self.id);
        let spec = engine.port(port)?;
        let counters = engine.port_counters(port)?;
        let mut checks: BTreeMap<u8, report::Check> = BTreeMap::new();
        for reason in Reason::ALL {
            let Some(number) = reason.check() else { continue };
            let (dropped, audited) = (counters.dropped(reason), counters.audited(reason));
            let action = match spec.guard.actions.get(number) {
                action if Check::has_action(number) => action,
                _ => Action::Drop,
            };
            let action = guard::action_name(action);
            let check = checks.entry(number).or_insert_with(|| report::Check {
                number,
                action: action.to_owned(),
                reasons: Vec::new(),
            });
            let name = reason.name().to_owned();
            check.reasons.push(report::Refusals { name, dropped, audited });
        }
        let first_come = engine
            .bindings()
            .filter(|it| it.port == Some(port) && it.source == BindingSource::FirstUse)
            .count();
        let now = worker.now();
        let left = engine.quarantined_until(port).map(|until| until.saturating_since(now));
        Some(report::Guard {
            port: worker.port_about(self.id, port)?.name.clone(),
            role: match spec.role {
                Role::Guest => "guest",
                Role::Uplink => "uplink",
                Role::Router => "router",
            }
            .to_owned(),
            mode: guard::mode_name(spec.guard.mode).to_owned(),
            first_come,
            quarantined: left.map(|left| left.as_secs_f64()),
            audits: self.audited.contains_key(&port),
            checks: checks.into_values().collect(),
        })
    }

    /// The port of this name, and what its guard is asked to do.
    fn guarded(&self, worker: &Worker, name: &str) -> Result<(PortId, GuardSpec), Failure> {
        let port = self.port_of(worker, Some(name), None)?;
        let found = port.and_then(|port| {
            let spec = worker.engine(self.id).port(port)?;
            Some((port, spec.guard.clone()))
        });
        found.ok_or_else(|| {
            let message = format!("There is no port {name:?}: `netherd show` lists them.");
            Failure::new(Code::NoSuchPort, message)
        })
    }

    fn give(
        &self,
        worker: &mut Worker,
        port: PortId,
        name: &str,
        guard: GuardSpec,
    ) -> Result<Nothing, Failure> {
        worker.set_guard(self.id, port, guard).map_err(|why| {
            Failure::new(Code::WrongState, format!("The guard of {name} stays as it is: {why}."))
        })?;
        Ok(Nothing {})
    }

    /// The call `guard-set`: for all checks with the name `all`.
    pub(in crate::daemon) fn guard_set(
        &mut self,
        worker: &mut Worker,
        name: &str,
        check: &str,
        action: &str,
    ) -> Result<Nothing, Failure> {
        let bad = |why: String| Failure::new(Code::BadArgument, format!("{why}."));
        let to = guard::action(action).map_err(bad)?;
        let (port, mut spec) = self.guarded(worker, name)?;
        let checks: Vec<Check> = match check {
            "all" => Check::all().collect(),
            one => vec![one.parse().map_err(bad)?],
        };
        if let [check] = checks[..] {
            check.check_action(to).map_err(bad)?;
        }
        for check in &checks {
            check.set(&mut spec.actions, to);
        }
        self.give(worker, port, name, spec)?;
        // What is said now holds, and is not taken back when auditing ends. The other checks go on auditing until then.
        if check == "all" {
            self.audited.remove(&port);
        } else if let Some(before) = self.audited.get_mut(&port) {
            for check in checks {
                check.set(before, to);
            }
        }
        log::info(&format!("The guard of port {name}: check {check} is set to {action}."));
        Ok(Nothing {})
    }

    /// The call `guard-audit`: every check only counts, until that ends.
    pub(in crate::daemon) fn guard_audit(
        &mut self,
        worker: &mut Worker,
        name: &str,
        on: bool,
    ) -> Result<Nothing, Failure> {
        let (port, mut spec) = self.guarded(worker, name)?;
        if on {
            // Asked for once more, it is about what was set meanwhile, too.
            let before = self.audited.get(&port).copied().unwrap_or(spec.actions);
            // What is not made at all is not made now either.
            for check in Check::all().filter(|it| before.get(it.number()) != Action::Allow) {
                spec.actions.set(check.number(), Action::Audit);
            }
            self.give(worker, port, name, spec)?;
            self.audited.insert(port, before);
            log::warn(&format!(
                "The guard of port {name} only audits: nothing is refused there except by the checks that hold the \
                 network itself together."
            ));
        } else {
            let Some(before) = self.audited.get(&port) else {
                let message = format!("The guard of {name} does not audit all checks.");
                return Err(Failure::new(Code::WrongState, message));
            };
            spec.actions = *before;
            self.give(worker, port, name, spec)?;
            self.audited.remove(&port);
            log::info(&format!("The guard of port {name} is as it was before it audited."));
        }
        Ok(Nothing {})
    }

    /// Gives the ports of guests and of other clients the guards of another configuration; a sentence if these are
    /// others. What was changed by calls is over then. Declared ports change as a whole.
    pub(in crate::daemon) fn change_guards(
        &mut self,
        worker: &mut Worker,
        config: &config::Network,
    ) -> Option<String> {
        let same = config.guest.guard == self.config.guest.guard
            && config.anonymous.guard == self.config.anonymous.guard;
        if same {
            return None;
        }
        let ports: Vec<PortId> = worker.ports(self.id).collect();
        for port in ports {
            let Some(about) = worker.port_about(self.id, port) else { continue };
            let name = about.name.clone();
            if self.is_uplink(port) || about.declared.is_some() {
                continue;
            }
            let guest = self.guests.values().find(|guest| guest.port() == Some(port));
            let guard = match guest.map(|guest| (guest, self.plan.guest(&guest.name))) {
                Some((guest, Some(planned))) => guest.spec(config, planned).guard,
                Some((_, None)) => continue,
                None => config.anonymous.guard.clone(),
            };
            self.audited.remove(&port);
            if let Err(failure) = self.give(worker, port, &name, guard) {
                log::warn(&failure.message);
            }
        }
        Some(format!("Network {} has changed its guards.", config.name))
    }

    /// The call `guard-release`.
    pub(in crate::daemon) fn guard_release(
        &self,
        worker: &mut Worker,
        name: &str,
    ) -> Result<Nothing, Failure> {
        let (port, _) = self.guarded(worker, name)?;
        if worker.engine_mut(self.id).release_port(port) {
            return Ok(Nothing {});
        }
        let message = format!("Port {name} is not cut off: there is nothing to release.");
        Err(Failure::new(Code::WrongState, message))
    }
}
