//! What a network keeps, on its way to its files: the plan of addresses, and the leases.
//!
//! # Theory of operation
//!
//! Guests come and go at the pace of those who start them, and the directory may be on a slow disk or another machine.
//! So a change only marks the file: [`DELAY`] later a copy of what it keeps goes to a thread that writes it. While that
//! thread is busy, changes gather, and the next copy has them all. Nothing here waits for the disk, except
//! [`KeptFile::finish`] at the end of the network, which leaves the directory with the last state in it.
//!
//! What a killed daemon loses is what changed in its last moment: a guest that joined then is not expected back, and
//! gets what its name gives it.

use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use engine::Instant;
use sys::dir::Dir;

use crate::address::leases::Leases;
use crate::address::{Plan, leases, store};
use crate::log;

/// Changes within this time are written together.
const DELAY: Duration = Duration::from_millis(50);
/// After a failure to start the thread.
const RETRY: Duration = Duration::from_secs(5);

/// Something that is kept in a file of its own.
pub(in crate::daemon) trait Keep: Send + 'static {
    /// Name of the thread that writes it.
    const THREAD: &str;

    /// Replaces the file as a whole.
    fn save(&self, dir: &Dir) -> std::io::Result<()>;

    /// What it means that the file was not written, as a sentence.
    fn complaint(&self, error: &std::io::Error) -> String;
}

impl Keep for Plan {
    const THREAD: &str = "plan";

    fn save(&self, dir: &Dir) -> std::io::Result<()> {
        store::save(dir, self)
    }

    fn complaint(&self, error: &std::io::Error) -> String {
        format!(
            "The address plan of network {} cannot be written: {error}. Guests may get other addresses after a \
             restart.",
            self.network()
        )
    }
}

impl Keep for Leases {
    const THREAD: &str = "leases";

    fn save(&self, dir: &Dir) -> std::io::Result<()> {
        leases::save(dir, self)
    }

    fn complaint(&self, error: &std::io::Error) -> String {
        format!(
            "The leases of network {} cannot be written: {error}. DHCP clients may get other addresses after a \
            restart.",
            self.network
        )
    }
}

/// The thread that writes; it ends when the sender is dropped, after what it has.
#[derive(Debug)]
struct Writer<T> {
    states: SyncSender<T>,
    thread: JoinHandle<()>,
}

/// When something is written, and by whom.
#[derive(Debug)]
pub(in crate::daemon) struct KeptFile<T> {
    /// There are changes, to be written then.
    due: Option<Instant>,
    writer: Option<Writer<T>>,
}

impl<T> Default for KeptFile<T> {
    fn default() -> Self {
        Self { due: None, writer: None }
    }
}

impl<T: Keep> KeptFile<T> {
    /// What is kept has changed.
    pub(in crate::daemon) fn changed(&mut self, now: Instant) {
        self.due.get_or_insert(now + DELAY);
    }

    /// When [`KeptFile::write`] has something to do.
    pub(in crate::daemon) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Hands the state to the thread when it is time.
    pub(in crate::daemon) fn write(&mut self, now: Instant, dir: &Dir, state: impl FnOnce() -> T) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        let state = state();
        // The thread is made here, not at the start: it is to be confined as the daemon is.
        if self.writer.is_none() {
            match Writer::start(dir) {
                Ok(writer) => self.writer = Some(writer),
                Err(error) => {
                    log::error(&state.complaint(&error));
                    self.due = Some(now + RETRY);
                    return;
                }
            }
        }
        let Some(writer) = &self.writer else { return };
        match writer.states.try_send(state) {
            Ok(()) => self.due = None,
            Err(TrySendError::Full(_)) => self.due = Some(now + DELAY),
            Err(TrySendError::Disconnected(_)) => {
                self.writer = None;
                self.due = Some(now + RETRY);
            }
        }
    }

    /// The end: the last state is in the file when this returns, unless the disk refuses it.
    pub(in crate::daemon) fn finish(self, dir: &Dir, state: &T) {
        if let Some(writer) = self.writer {
            drop(writer.states);
            let _panicked = writer.thread.join();
        }
        if self.due.is_some() {
            save(dir, state);
        }
    }
}

impl<T: Keep> Writer<T> {
    fn start(dir: &Dir) -> std::io::Result<Self> {
        let dir = dir.try_clone()?;
        let (states, queue) = sync_channel::<T>(1);
        let thread = std::thread::Builder::new()
            .name(T::THREAD.to_owned())
            .stack_size(256 * 1024)
            .spawn(move || queue.into_iter().for_each(|state| save(&dir, &state)))?;
        Ok(Self { states, thread })
    }
}

/// Writes the state now.
pub(in crate::daemon) fn save<T: Keep>(dir: &Dir, state: &T) {
    if let Err(error) = state.save(dir) {
        log::error(&state.complaint(&error));
    }
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
        let mut file = KeptFile::<Plan>::default();
        let start = Instant::from_nanos(1);
        for number in 0..1000 {
            let guest = Name::from_command(&format!("g-{}", number % 10));
            plan.assign(&guest, 0, None).expect("room");
            plan.leave(&guest);
            file.changed(start);
            file.write(start, &dir, || plan.clone());
        }
        assert_eq!(file.due(), Some(start + DELAY), "a busy client does not put it off");
        assert!(file.writer.is_none(), "nothing was written in a thousand joins");
        assert_eq!(dir.names().expect("readable"), [""; 0]);
        file.write(start + DELAY, &dir, || plan.clone());
        assert_eq!(file.due(), None);
        plan.assign(&Name::from_command("late"), 0, None).expect("room");
        file.changed(start + DELAY);
        file.finish(&dir, &plan);
        let (kept, _) = store::load(&dir, &network);
        assert_eq!(kept.expect("a plan").guests().count(), 11);
        std::fs::remove_dir_all(&path).expect("clean up");
    }
}
