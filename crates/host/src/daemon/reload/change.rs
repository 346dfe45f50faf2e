//! Another configuration for a network that runs: prepared, committed, and finished or taken back.
//!
//! # Theory of operation
//!
//! A reload is one step over all networks: [`Served::prepare`] for each, then [`Served::commit`] for each, then
//! [`Served::finish`] for each. All that can fail is in the first two, and whatever fails there is undone everywhere by
//! [`Served::take_back`]; nothing in the last one fails.
//!
//! * Preparing opens the new and changed nodes under temporary names and in the worker, so that owners, groups, names,
//!   descriptors and disk space are known to do.
//! * Committing is renames, the group and mode of the directory, and ports of the host for new forwards. Those that
//!   are no longer wanted are given up first ([`Served::release`]), by all networks, so that a port can go from one to
//!   another.
//! * Finishing closes what was replaced, and tells the engine, the router and the gateway.

use engine::{PortId, PortSpec};

use super::rewire;
use crate::address::{Plan, subnet};
use crate::config::{self, Forward};
use crate::daemon::ServeError;
use crate::daemon::served::outside::{self, Publisher};
use crate::daemon::served::{
    Node, Served, WantedNode, reserve_declared, serve_node, unreserve_declared, wanted_nodes,
};
use crate::directory::{Access, Staged};
use crate::log;
use crate::worker::{NodeId, Worker};

/// A change of one network that is on its way.
#[derive(Debug)]
pub(in crate::daemon) struct Change {
    config: config::Network,
    access: Access,
    /// The plan of addresses, if it is another: in another subnet, or with other declared ports.
    plan: Option<Plan>,
    /// Forwards that were given up, and those that were opened.
    released: Vec<Forward>,
    published: Vec<Forward>,
    /// Paths of nodes that stay as they are.
    keep: Vec<String>,
    fresh: Vec<FreshNode>,
    /// The directory and `api` have the new group and mode, or some of it.
    access_given: bool,
}

impl Change {
    /// What the network is to be.
    pub(super) fn config(&self) -> &config::Network {
        &self.config
    }

    /// The plan of addresses, if it is another.
    pub(super) fn plan(&self) -> Option<&Plan> {
        self.plan.as_ref()
    }
}

/// A node that is open and not yet in its place.
#[derive(Debug)]
struct FreshNode {
    wanted: WantedNode,
    id: NodeId,
    staged: Staged,
}

impl Served {
    /// What would change if the network were as `config` says, made ready to be applied.
    ///
    /// # Errors
    /// A sentence; nothing was changed.
    pub(in crate::daemon) fn prepare(
        &mut self,
        worker: &mut Worker,
        config: config::Network,
    ) -> Result<Change, ServeError> {
        let refuse = |what: &str| {
            ServeError::Config(format!(
                "The {what} of network {} cannot change while it runs: end it with `netherd down` and start \
                 it again.",
                self.config.name
            ))
        };
        if config.dir != self.config.dir {
            return Err(refuse("directory"));
        }
        if config.outside.uplink != self.config.outside.uplink {
            return Err(refuse("uplink"));
        }
        if config.plan.spec().mtu != self.config.plan.spec().mtu && !self.guests.is_empty() {
            // Their eth0 has the old one: what is longer would be dropped, and nobody would be told.
            return Err(ServeError::Config(format!(
                "The MTU of network {} cannot change while guests are in it, whose interfaces have the present \
                one: end the guests first.",
                self.config.name
            )));
        }
        let mut plan = if config.subnet != self.config.subnet || config.prefix != self.config.prefix
        {
            let net = config.subnet.unwrap_or(self.plan.subnet());
            let by_name =
                || subnet::keep_prefix(&config.name, self.plan.prefix(), self.around.reached());
            let prefix = config.prefix.unwrap_or_else(by_name);
            let present = || {
                ServeError::Config(format!(
                    "Subnet and prefix of network {} cannot change while guests are in it: end them first.",
                    self.config.name
                ))
            };
            self.plan.moved(net, prefix).ok_or_else(present)?
        } else {
            self.plan.clone()
        };
        let declared = outside::declared(&config);
        let moved = plan.subnet() != self.plan.subnet() || plan.prefix() != self.plan.prefix();
        if moved || declared != outside::declared(&self.config) {
            plan.declare(&declared).map_err(|error| ServeError::Config(error.to_string()))?;
        }
        let plan = (plan != self.plan).then_some(plan);
        rewire::check(&config, plan.as_ref().unwrap_or(&self.plan))?;
        let access = Access::named(None, config.group.as_deref(), config.mode)?;
        let wanted = wanted_nodes(&config, &access, self.published.path())?;
        let keep: Vec<String> = wanted
            .iter()
            .filter(|node| self.nodes.get(&node.path).is_some_and(|had| had.wanted == **node))
            .map(|node| node.path.clone())
            .collect();
        let fresh = wanted.into_iter().filter(|node| !keep.contains(&node.path));
        let fresh: Vec<WantedNode> = fresh.collect();
        let mut change = Change {
            config,
            access,
            plan,
            released: Vec::new(),
            published: Vec::new(),
            keep,
            fresh: Vec::new(),
            access_given: false,
        };
        for wanted in fresh {
            match self.open_fresh(worker, wanted) {
                Ok(node) => change.fresh.push(node),
                Err(error) => {
                    self.take_back(worker, change);
                    return Err(error);
                }
            }
        }
        Ok(change)
    }

    fn open_fresh(
        &mut self,
        worker: &mut Worker,
        wanted: WantedNode,
    ) -> Result<FreshNode, ServeError> {
        let kind = wanted.kind.socket_kind();
        let (socket, staged) = self.published.stage(&wanted.path, kind, &wanted.access)?;
        match serve_node(worker, self.id, &self.published, &wanted, socket) {
            Ok(id) => Ok(FreshNode { wanted, id, staged }),
            Err(source) => {
                self.published.take_back(staged);
                Err(ServeError::Io { what: "Serving a new node", source })
            }
        }
    }

    /// Gives up the ports of the host that are not wanted any more.
    pub(in crate::daemon) fn release(&mut self, worker: &mut Worker, change: &mut Change) {
        let wanted = &change.config.outside.publish;
        let gone = |it: &outside::OpenForward| {
            it.by == Publisher::Configuration && !wanted.contains(&it.forward)
        };
        let released = self.forwards.iter().filter(|it| gone(it)).map(|it| it.forward.clone());
        change.released = released.collect();
        self.unpublish(worker, gone);
    }

    /// Makes the change visible to clients.
    ///
    /// # Errors
    /// A sentence; [`Served::take_back`] is to be called then.
    pub(in crate::daemon) fn commit(
        &mut self,
        worker: &mut Worker,
        change: &mut Change,
    ) -> Result<(), ServeError> {
        for forward in change.config.outside.publish.clone() {
            if self.config.outside.publish.contains(&forward) {
                continue;
            }
            self.publish(worker, forward.clone(), Publisher::Configuration).map_err(|failure| {
                ServeError::Config(format!("Network {}: {}", self.config.name, failure.message))
            })?;
            change.published.push(forward);
        }
        if change.access != self.access {
            change.access_given = true;
            self.published.set_directory_access(&change.access)?;
            self.published.set_access("api", &change.access)?;
        }
        for node in &mut change.fresh {
            self.published.put(&mut node.staged)?;
        }
        Ok(())
    }

    /// Undoes what was prepared and committed.
    pub(in crate::daemon) fn take_back(&mut self, worker: &mut Worker, change: Change) {
        self.unpublish(worker, |it| change.published.contains(&it.forward));
        for forward in change.released {
            if let Err(failure) = self.publish(worker, forward, Publisher::Configuration) {
                log::error(&failure.message);
            }
        }
        for node in change.fresh.into_iter().rev() {
            worker.close_node(node.id);
            self.published.take_back(node.staged);
        }
        if change.access_given {
            let back = self
                .published
                .set_directory_access(&self.access)
                .and_then(|()| self.published.set_access("api", &self.access));
            if let Err(error) = back {
                log::error(&error.to_string());
            }
        }
    }

    /// What is left to do of a committed change; a sentence for each thing that is another now.
    pub(in crate::daemon) fn finish(&mut self, worker: &mut Worker, change: Change) -> Vec<String> {
        let Change { config, access, plan, keep, fresh, released, published, .. } = change;
        let name = config.name.clone();
        let mut changes = Vec::new();
        if config.plan != self.config.plan {
            changes.push(format!("Network {name} has changed its MTU, mode, guard or limits."));
        }
        for forward in released {
            changes.push(format!("Network {name} no longer forwards {forward}."));
        }
        for forward in published {
            changes.push(format!("Network {name} now forwards {forward}."));
        }
        changes.extend(self.change_outside(worker, &config, plan));
        if access != self.access {
            changes.push(format!("Network {name} has changed its group or mode."));
            self.access = access;
        }
        let replaced = |path: &String| fresh.iter().any(|node| node.wanted.path == *path);
        let gone: Vec<String> =
            self.nodes.keys().filter(|path| !keep.contains(path)).cloned().collect();
        for path in gone {
            if let Some(node) = self.nodes.remove(&path) {
                worker.close_node(node.id);
                if !replaced(&path) {
                    self.published.unbind(&path);
                    changes.push(format!("Network {name} no longer has a node {path}."));
                }
            }
        }
        for FreshNode { wanted, id, staged } in fresh {
            self.published.settle(staged);
            changes.push(format!("Network {name} has a new or changed node {}.", wanted.path));
            self.nodes.insert(wanted.path.clone(), Node { id, wanted });
        }
        unreserve_declared(worker, self.id, &self.config);
        reserve_declared(worker, self.id, &config);
        changes.extend(self.change_ports(worker, &config));
        changes.extend(self.change_filters(worker, &config));
        changes.extend(self.change_guards(worker, &config));
        self.settle_routes(worker, &config);
        if config.idle != self.config.idle {
            changes.push(format!("Network {name} has changed its idle time."));
        }
        self.life.configure(config.idle);
        self.config = config;
        changes
    }

    /// Applies changed declarations to the ports that are open: to every connection of each.
    fn change_ports(&mut self, worker: &mut Worker, config: &config::Network) -> Vec<String> {
        let mut changes = Vec::new();
        for port in &config.ports {
            let had = self.config.ports.iter().find(|had| had.name == port.name);
            let Some(had) = had.filter(|had| had.spec != port.spec).map(|had| had.spec.clone())
            else {
                continue;
            };
            let is_its = |id: &PortId| {
                let about = worker.port_about(self.id, *id);
                about.is_some_and(|it| it.declared.as_deref() == Some(port.name.as_str()))
            };
            let open: Vec<PortId> = worker.ports(self.id).filter(is_its).collect();
            for id in open {
                changes.push(self.change_port(worker, id, &had, &port.spec));
            }
        }
        changes
    }

    /// Another declaration for one connection; what came of it.
    fn change_port(
        &mut self,
        worker: &mut Worker,
        id: PortId,
        had: &PortSpec,
        wanted: &PortSpec,
    ) -> String {
        let name = worker.port_about(self.id, id).map_or_else(String::new, |it| it.name.clone());
        // Another filter alone makes the port forget nothing.
        let filter = wanted.filter.clone();
        if (PortSpec { filter: filter.clone(), ..had.clone() }) == *wanted {
            let _ = worker.engine_mut(self.id).set_filter(id, filter);
            return format!("The open port {name} has changed its filter.");
        }
        let mut spec = wanted.clone();
        if had.filter == spec.filter
            && let Some(live) = worker.engine(self.id).port(id)
        {
            // A caller may have set another one.
            spec.filter = live.filter.clone();
        }
        match worker.change_port(self.id, id, spec) {
            Ok(()) => {
                // Its guard is another one now, which does not audit.
                self.audited.remove(&id);
                format!("The open port {name} has changed.")
            }
            Err(error) => format!("The open port {name} stays as it is: {error}."),
        }
    }
}
