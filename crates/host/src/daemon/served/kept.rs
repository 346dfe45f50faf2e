//! What outlives the daemon: the plan of addresses in the network's directory, and the leases where its state is kept.

use std::path::PathBuf;
use std::time::Duration;

use engine::Instant;
use sys::dir::Dir;

use super::Served;
use super::write_behind::KeptFile;
use crate::address::leases::Leases;
use crate::address::{Plan, leases};
use crate::config;
use crate::directory;
use crate::log;
use crate::names::Name;
use crate::worker::{NetworkId, Worker};

/// So long after a restart the names of guests that were present are kept for them: their keepers try again within
/// seconds.
const EXPECTED: Duration = Duration::from_secs(60);

/// The files of one network, and what is still to come back from them.
#[derive(Debug)]
pub(in crate::daemon) struct Kept {
    plan_file: KeptFile<Plan>,
    /// Where leases are kept; none where there is no such place.
    state: Option<(PathBuf, Dir)>,
    lease_file: KeptFile<Leases>,
    /// Guests that were present when the last daemon was killed are waited for until then.
    expected_until: Option<Instant>,
}

impl Kept {
    pub(super) fn new(config: &config::Network, plan: &Plan, now: Instant) -> Self {
        Self {
            plan_file: KeptFile::default(),
            state: state_of(config),
            lease_file: KeptFile::default(),
            expected_until: plan.expects_any().then(|| now + EXPECTED),
        }
    }

    /// The plan is to be written.
    pub(in crate::daemon) fn plan_changed(&mut self, now: Instant) {
        self.plan_file.changed(now);
    }
}

impl Served {
    /// What is due by now: changes of the plan go to its file, and guests that have not come back are given up.
    pub(in crate::daemon) fn attend(&mut self, worker: &Worker, now: Instant) {
        if self.kept.expected_until.is_some_and(|until| until <= now) {
            self.kept.expected_until = None;
            self.plan.expect_no_more();
            self.kept.plan_file.changed(now);
        }
        self.kept.plan_file.write(now, self.published.dir(), || self.plan.clone());
        if let Some((_, dir)) = &self.kept.state {
            let leases = || saved_leases(worker, self.id, &self.config.name);
            self.kept.lease_file.write(now, dir, leases);
        }
    }

    /// Leases are to be kept.
    pub(in crate::daemon) fn leases_changed(&mut self, now: Instant) {
        if self.kept.state.is_some() {
            self.kept.lease_file.changed(now);
        }
    }

    /// The gateway is about to end: what it has leased is in the file when this returns.
    pub(in crate::daemon) fn finish_leases(&mut self, worker: &Worker) {
        if let Some((_, dir)) = &self.kept.state {
            let leases = saved_leases(worker, self.id, &self.config.name);
            std::mem::take(&mut self.kept.lease_file).finish(dir, &leases);
        }
    }

    /// Hands the leases that are kept to the gateway.
    pub(in crate::daemon) fn load_leases(&self, worker: &mut Worker) {
        let Some((_, dir)) = &self.kept.state else { return };
        let (saved, complaint) = leases::load(dir, &self.config.name);
        if let Some(sentence) = complaint {
            log::warn(&sentence);
        }
        if !saved.is_empty() {
            worker.with_gateway(self.id, |gateway, now, _| {
                gateway.load_leases(now, unix_seconds(), saved);
            });
        }
    }

    /// The network ends: its plan is in the file when this returns.
    pub(super) fn finish_plan(&mut self, now: Instant) {
        // Whatever the file's state, this is the last word about it.
        self.kept.plan_file.changed(now);
        std::mem::take(&mut self.kept.plan_file).finish(self.published.dir(), &self.plan);
    }

    /// Directories that the network writes to.
    pub(in crate::daemon) fn places(&self) -> impl Iterator<Item = PathBuf> {
        let state = self.kept.state.as_ref().map(|(path, _)| path.clone());
        std::iter::once(self.published.path().to_owned()).chain(state)
    }

    /// When [`Served::attend`] has something to do.
    pub(in crate::daemon) fn attention(&self) -> Option<Instant> {
        let files = self.kept.plan_file.due().into_iter().chain(self.kept.lease_file.due());
        self.kept.expected_until.into_iter().chain(files).chain(self.uplink_deadline()).min()
    }
}

/// The time of day, in seconds since 1970.
fn unix_seconds() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |it| it.as_secs())
}

fn saved_leases(worker: &Worker, id: NetworkId, network: &Name) -> Leases {
    let saved = worker
        .gateway(id)
        .map(|gateway| gateway.saved_leases(worker.now(), unix_seconds()))
        .unwrap_or_default();
    Leases::new(network.clone(), saved)
}

/// Where a network keeps its leases: in the state directory, or in its own directory when that was chosen, as several
/// networks in chosen directories may have one name.
fn state_of(config: &config::Network) -> Option<(PathBuf, Dir)> {
    let path = match &config.dir {
        Some(dir) => dir.clone(),
        None => directory::state_path(config.name.as_str())?,
    };
    match Dir::open(&path) {
        Ok(dir) => Some((path, dir)),
        Err(error) => {
            log::warn(&format!(
                "The leases of network {} will not be saved: {} cannot be opened ({error}).",
                config.name,
                path.display()
            ));
            None
        }
    }
}
