//! Filters of ports: set by callers, changed by a reload, shown.

use std::sync::Arc;

use bpf::Program;
use engine::{PortFilter, PortId, Role};

use super::Served;
use crate::api::message::{Code, Direction, Failure, FilterSet, Nothing};
use crate::config::{self, filter};
use crate::log;
use crate::report;
use crate::worker::Worker;

impl Served {
    /// The program of an expression of a caller; none without one.
    pub(in crate::daemon) fn filter(
        &self,
        text: Option<&str>,
    ) -> Result<Option<Arc<Program>>, Failure> {
        let Some(text) = text else { return Ok(None) };
        filter::compile(text, Some(self.plan.subnet())).map_err(|error| {
            let message =
                format!("The filter expression is not valid: {error}.\n{}", error.excerpt(text));
            Failure::new(Code::BadArgument, message)
        })
    }

    /// The call `filter-set`.
    pub(in crate::daemon) fn set_filter(
        &mut self,
        worker: &mut Worker,
        args: &FilterSet,
    ) -> Result<Nothing, Failure> {
        let gone = || Failure::new(Code::NoSuchPort, format!("Port {} is gone.", args.port));
        let port = self.port_of(worker, Some(&args.port), None)?.ok_or_else(gone)?;
        let program = self.filter(args.expression.as_deref())?;
        let engine = worker.engine_mut(self.id);
        let spec = engine.port(port).ok_or_else(gone)?;
        if spec.role == Role::Router {
            let message = "The router's port cannot have a filter: set one on the ports of guests.";
            return Err(Failure::new(Code::BadArgument, message));
        }
        let mut filter = spec.filter.clone();
        match args.direction {
            Direction::In => filter.from_guest = program,
            Direction::Out => filter.to_guest = program,
        }
        engine.set_filter(port, filter).map_err(|_| gone())?;
        log::info(&format!(
            "The filter of port {} of network {} has changed.",
            args.port, self.config.name
        ));
        Ok(Nothing {})
    }

    /// Gives the open ports of guests and anonymous clients the network's filter, where another configuration has
    /// another one.
    pub(in crate::daemon) fn change_filters(
        &self,
        worker: &mut Worker,
        config: &config::Network,
    ) -> Option<String> {
        if config.guest.filter == self.config.guest.filter {
            return None;
        }
        let declared = |worker: &Worker, id: PortId| {
            let name = worker.port_about(self.id, id).and_then(|about| about.declared.as_deref());
            name.is_some_and(|name| config.ports.iter().any(|port| port.name.as_str() == name))
        };
        let is_guest = |worker: &Worker, id: PortId| {
            worker.engine(self.id).port(id).is_some_and(|spec| spec.role == Role::Guest)
        };
        let ids: Vec<PortId> = worker
            .ports(self.id)
            .filter(|id| is_guest(worker, *id) && !declared(worker, *id))
            .collect();
        for id in ids {
            // It is here: the list is a moment old.
            let _ = worker.engine_mut(self.id).set_filter(id, config.guest.filter.clone());
        }
        Some(format!(
            "Guests and anonymous ports of network {} have changed their filter.",
            config.name
        ))
    }
}

/// What `show` tells of a filter.
pub(in crate::daemon) fn filter_report(filter: &PortFilter) -> report::Filter {
    let text = |program: &Option<Arc<Program>>| {
        program.as_ref().map(|it| it.source().unwrap_or_default().to_owned())
    };
    report::Filter { r#in: text(&filter.from_guest), out: text(&filter.to_guest) }
}
