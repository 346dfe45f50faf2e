//! The guards of live ports: what they are asked to do, and what they met.

use std::collections::{BTreeMap, BTreeSet};

use engine::bindings::BindingSource;
use engine::{Action, Actions, Check, GuardSpec, PortId, Role};

use super::Served;
use crate::api::message::{Code, Failure, Nothing, Page};
use crate::config::{self, guard};
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
        let checks = Check::ALL.into_iter().map(|check| report::Check {
            number: check.number(),
            name: check.name().to_owned(),
            action: guard::action_name(spec.guard.actions.get(check)).to_owned(),
            reasons: check
                .reasons()
                .map(|reason| report::Refusals {
                    name: reason.name().to_owned(),
                    dropped: counters.dropped(reason),
                    audited: counters.audited(reason),
                })
                .collect(),
        });
        // What no frame can fail has nothing to tell.
        let checks = checks.filter(|check| !check.reasons.is_empty()).collect();
        let first_come = engine
            .bindings()
            .filter(|it| it.port == Some(port) && it.source == BindingSource::FirstUse)
            // One in several VLANs is one.
            .map(|it| it.address)
            .collect::<BTreeSet<_>>()
            .len();
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
            checks,
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
        text: &str,
        action: &str,
    ) -> Result<Nothing, Failure> {
        let bad = |why: String| Failure::new(Code::BadArgument, format!("{why}."));
        let to = guard::action(action).map_err(bad)?;
        let (port, mut spec) = self.guarded(worker, name)?;
        let check = match text {
            "all" => None,
            one => Some(guard::check(one).map_err(bad)?),
        };
        let set = |actions: &mut Actions| match check {
            None => {
                actions.set_all(to);
                Ok(())
            }
            Some(check) => actions.set(check, to).map_err(|why| bad(why.to_string())),
        };
        set(&mut spec.actions)?;
        self.give(worker, port, name, spec)?;
        // What is said now holds, and is not taken back when auditing ends. The other checks go on auditing until then.
        if check.is_none() {
            self.audited.remove(&port);
        } else if let Some(before) = self.audited.get_mut(&port) {
            set(before)?;
        }
        log::info(&format!("The guard of port {name}: check {text} is set to {action}."));
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
            spec.actions = before.auditing();
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
