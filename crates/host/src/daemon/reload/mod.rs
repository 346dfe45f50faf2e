//! Taking another configuration while everything runs, as one step or not at all.

mod change;
mod extent;
pub(super) mod rewire;

use std::path::Path;

use sd_notify::NotifyState;

use super::served::{Served, outer_networks};
use super::{Daemon, ServeError, Startup, configuration, startup};
use crate::api::message::{Code, Failure};
use crate::config::{self, Checked};
use crate::log;
use crate::names::Name;
use crate::worker::{NetworkId, Worker};
use change::Change;

impl Daemon {
    /// Reads the configuration again, or takes `text`, and applies what changed.
    ///
    /// # Errors
    /// Where and why it is wrong; nothing was changed.
    pub(in crate::daemon) fn reload(
        &mut self,
        worker: &mut Worker,
        text: Option<&str>,
    ) -> Result<Vec<String>, Failure> {
        let now = std::time::Duration::from_nanos(worker.now().as_nanos());
        let usec = i128::try_from(now.as_micros()).unwrap_or(i128::MAX);
        startup::notify(&[NotifyState::Reloading, NotifyState::MonotonicUsec(usec)]);
        let reloaded = self.take(worker, text);
        startup::notify(&[NotifyState::Ready]);
        reloaded.map_err(|error| Failure::new(Code::BadConfiguration, error.to_string()))
    }

    fn take(&mut self, worker: &mut Worker, text: Option<&str>) -> Result<Vec<String>, ServeError> {
        let checked = match text {
            Some(text) => {
                let checked = config::parse(text, Path::new("the given configuration"))
                    .map_err(|error| ServeError::Config(error.to_string()))?;
                self.within_options(checked)?
            }
            None if self.options.config.is_none() => {
                return Err(ServeError::Config(
                    "This hypervisor was started without a configuration file, so there is nothing to read again: \
                     start it with `netherd up -c FILE`, or send one with the call `reload`."
                        .to_owned(),
                ));
            }
            None => configuration(&self.options)?,
        };
        // First all that can fail, on networks that exist and on new ones; then all that cannot.
        let mut changes = Vec::new();
        let mut opened = Vec::new();
        if let Err(error) = self.change(worker, &checked, &mut changes, &mut opened) {
            for served in opened {
                self.remains.add(served.close(worker));
            }
            for (id, change) in changes.into_iter().rev() {
                if let Some(served) = self.network_mut(id) {
                    served.take_back(worker, change);
                }
            }
            return Err(error);
        }
        log::set_level(checked.level());
        // What one network gives up can be another's: first the old routes go, and the networks that are gone.
        for (id, change) in &changes {
            if let Some(served) = self.network_mut(*id) {
                served.drop_routes(worker, change.config());
            }
        }
        let committed = changes;
        let mut changes = Vec::new();
        let gone: Vec<_> = self
            .networks
            .iter()
            .filter(|it| !checked.networks().iter().any(|config| config.name == it.config.name))
            .map(|it| (it.id, it.config.name.clone()))
            .collect();
        for served in opened {
            changes.push(format!("Network {} is new.", served.config.name));
            self.networks.push(served);
        }
        for (id, name) in gone {
            self.close_network(worker, id, "It is no longer in the configuration.");
            changes.push(format!("Network {name} is gone."));
        }
        for (id, change) in committed {
            if let Some(served) = self.network_mut(id) {
                changes.extend(served.finish(worker, change));
            }
        }
        self.join_networks(worker);
        Ok(changes)
    }

    /// Prepares and commits what is to be another: changes of networks that run, and new networks. After an error all
    /// of it is to be taken back.
    fn change(
        &mut self,
        worker: &mut Worker,
        checked: &Checked,
        changes: &mut Vec<(NetworkId, Change)>,
        opened: &mut Vec<Served>,
    ) -> Result<(), ServeError> {
        for config in checked.networks() {
            let config = outer_networks::settle(config.clone())?;
            match self.networks.iter_mut().find(|served| served.config.name == config.name) {
                Some(served) if served.config == config => {}
                Some(served) => changes.push((served.id, served.prepare(worker, config)?)),
                None => {
                    opened.push(Served::open(worker, config, &mut Startup::default())?);
                }
            }
        }
        let stays = |name: &Name| checked.networks().iter().any(|config| config.name == *name);
        self.check_extents(stays, changes, opened)?;
        for (id, change) in &mut *changes {
            if let Some(served) = self.network_mut(*id) {
                served.release(worker, change);
            }
        }
        for (id, change) in changes {
            if let Some(served) = self.network_mut(*id) {
                served.commit(worker, change)?;
            }
        }
        Ok(())
    }

    /// A configuration that came through `api` obeys the command line as the file does.
    fn within_options(&self, checked: Checked) -> Result<Checked, ServeError> {
        let only = match &self.options.network {
            Some(text) => text.parse().ok(),
            None => None,
        };
        let checked = match only {
            Some(name) => checked.only(&name).ok_or_else(|| {
                ServeError::Config(format!(
                    "The given configuration has no network {name}, which this hypervisor was started to serve: \
                     add a table [network.{name}]."
                ))
            })?,
            None => checked,
        };
        checked.overridden(&self.options.overrides()).ok_or_else(|| {
            ServeError::Config(
                "The given configuration has several networks, and this hypervisor was started with options for \
                 one."
                    .to_owned(),
            )
        })
    }
}
