//! The plan on its way to its file.
//!
//! # Theory of operation
//!
//! Guests come and go at the pace of those who start them, and the directory may be on a slow disk or another machine.
//! So a change only marks the plan: [`DELAY`] later a copy of it goes to a thread that writes it. While that thread is
//! busy, changes gather, and the next copy has them all. Nothing here waits for the disk, except [`PlanFile::finish`] at
//! the end of the network, which leaves the directory with the last plan in it.
//!
//! What a killed daemon loses is what changed in its last moment: a guest that joined then is not expected back, and
//! gets what its name gives it.

use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use engine::Instant;
use sys::dir::Dir;

use crate::address::{Plan, store};
use crate::log;

/// Changes within this time are written together.
const DELAY: Duration = Duration::from_millis(50);
/// After a failure to start the thread.
const RETRY: Duration = Duration::from_secs(5);

/// The thread that writes; it ends when the sender is dropped, after what it has.
#[derive(Debug)]
struct Writer {
    plans: SyncSender<Plan>,
    thread: JoinHandle<()>,
}

/// When the plan of one network is written, and by whom.
#[derive(Debug, Default)]
pub(super) struct PlanFile {
    /// There are changes, to be written then.
    due: Option<Instant>,
    writer: Option<Writer>,
}

impl PlanFile {
    /// The plan has changed.
    pub(super) fn changed(&mut self, now: Instant) {
        self.due.get_or_insert(now + DELAY);
    }

    /// When [`PlanFile::write`] has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Hands the plan to the thread when it is time.
    pub(super) fn write(&mut self, now: Instant, dir: &Dir, plan: &Plan) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        // The thread is made here, not at the start: it is to be confined as the daemon is.
        if self.writer.is_none() {
            match Writer::start(dir) {
                Ok(writer) => self.writer = Some(writer),
                Err(error) => {
                    complain(plan, &error);
                    self.due = Some(now + RETRY);
                    return;
                }
            }
        }
        let Some(writer) = &self.writer else { return };
        match writer.plans.try_send(plan.clone()) {
            Ok(()) => self.due = None,
            Err(TrySendError::Full(_)) => self.due = Some(now + DELAY),
            Err(TrySendError::Disconnected(_)) => {
                self.writer = None;
                self.due = Some(now + RETRY);
            }
        }
    }

    /// The end: the last plan is in the file when this returns, unless the disk refuses it.
    pub(super) fn finish(self, dir: &Dir, plan: &Plan) {
        if let Some(writer) = self.writer {
            drop(writer.plans);
            let _panicked = writer.thread.join();
        }
        if self.due.is_some() {
            save(dir, plan);
        }
    }
}

impl Writer {
    fn start(dir: &Dir) -> std::io::Result<Self> {
        let dir = dir.try_clone()?;
        let (plans, queue) = sync_channel::<Plan>(1);
        let thread = std::thread::Builder::new()
            .name("plan".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || queue.into_iter().for_each(|plan| save(&dir, &plan)))?;
        Ok(Self { plans, thread })
    }
}

/// Writes the plan now.
pub(super) fn save(dir: &Dir, plan: &Plan) {
    if let Err(error) = store::save(dir, plan) {
        complain(plan, &error);
    }
}

fn complain(plan: &Plan, error: &std::io::Error) {
    log::error(&format!(
        "The address plan of network {} cannot be written: {error}. Guests may get other addresses after a restart.",
        plan.network()
    ));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{self, Name};

    #[test]
    fn changes_are_gathered_and_the_last_plan_is_written() {
        let path = std::env::temp_dir().join(format!("netherd-plan-file-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        let dir = Dir::open(&path).expect("the directory");
        let network = Name::from_command("lab");
        let subnet = "10.7.16.0/20".parse().expect("a subnet");
        let mut plan = Plan::new(network.clone(), subnet, names::ipv6_prefix(&network));
        let mut file = PlanFile::default();
        let start = Instant::from_nanos(1);
        for number in 0..1000 {
            let guest = Name::from_command(&format!("g-{}", number % 10));
            plan.assign(&guest, 0, None).expect("room");
            plan.leave(&guest);
            file.changed(start);
            file.write(start, &dir, &plan);
        }
        assert_eq!(file.due(), Some(start + DELAY), "a busy client does not put it off");
        assert!(file.writer.is_none(), "nothing was written in a thousand joins");
        assert_eq!(dir.names().expect("readable"), [""; 0]);
        file.write(start + DELAY, &dir, &plan);
        assert_eq!(file.due(), None);
        plan.assign(&Name::from_command("late"), 0, None).expect("room");
        file.changed(start + DELAY);
        file.finish(&dir, &plan);
        let (kept, _) = store::load(&dir, &network);
        assert_eq!(kept.expect("a plan").guests().count(), 11);
        std::fs::remove_dir_all(&path).expect("clean up");
    }
}
