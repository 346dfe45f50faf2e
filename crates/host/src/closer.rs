//! Closing what others sent, where waiting for it delays nobody else.
//!
//! # Theory of operation
//!
//! A descriptor that a client passed to us is closed when the client likes: close(2) of a file asks its server (FUSE,
//! NFS), the last close of a TCP socket waits for the far host (SO_LINGER), and a UNIX socket takes with it whatever
//! descriptors still wait in it unread. So the thread that moves frames closes none of them. It hands them over here,
//! which never waits.
//!
//! Each user's descriptors are closed in order by a thread of that user's own, which lives while there is work and
//! [`IDLE`] longer: whoever sends a descriptor that takes for ever waits for himself. There are at most [`THREADS_MAX`]
//! threads; users beyond share the last one.
//!
//! Nothing is dropped and nothing is closed elsewhere when there is much to do. Instead no more is taken in: a user
//! whose closing [`is_stuck`] gets no new connection, and when everything is full ([`is_full`]) nobody gets one.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Threads that close, each for one user.
const THREADS_MAX: usize = 32;
/// A user is stuck who has this many descriptors waiting, the first of them for longer than [`PATIENCE`].
const PER_USER: usize = 64;
const PATIENCE: Duration = Duration::from_secs(1);
/// Descriptors of all users that wait before no connection is accepted any more.
const WAITING_MAX: usize = 1024;
/// So long a thread waits for more work.
const IDLE: Duration = Duration::from_secs(2);
/// Closing needs no stack to speak of.
const STACK: usize = 64 * 1024;

/// Whatever is closed by being dropped: a descriptor, or a whole connection.
type Thing = Box<dyn Send>;

#[derive(Default)]
struct User {
    things: VecDeque<Thing>,
    /// Since when the thread has been at the thing that it is at.
    since: Option<Instant>,
}

#[derive(Default)]
struct Users {
    users: HashMap<u32, User>,
    waiting: usize,
}

/// The descriptors that are to be closed.
#[derive(Default)]
struct Closer {
    users: Mutex<Users>,
    work: Condvar,
}

static CLOSER: Mutex<Option<Arc<Closer>>> = Mutex::new(None);

fn closer() -> Arc<Closer> {
    Arc::clone(CLOSER.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

/// Closes what a user sent, in time.
pub fn close(uid: u32, things: impl IntoIterator<Item = impl Send + 'static>) {
    closer().close(uid, things);
}

/// Whether so much of a user's waits, for so long, that no more is to be taken from him.
#[must_use]
pub fn is_stuck(uid: u32) -> bool {
    closer().is_stuck(uid, Instant::now())
}

/// Whether nothing more is to be taken from anybody.
#[must_use]
pub fn is_full() -> bool {
    closer().lock().waiting >= WAITING_MAX
}

impl Closer {
    fn lock(&self) -> MutexGuard<'_, Users> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(self: &Arc<Self>, uid: u32, things: impl IntoIterator<Item = impl Send + 'static>) {
        let mut things =
            things.into_iter().map(|thing| Box::new(thing) as Thing).collect::<VecDeque<_>>();
        if things.is_empty() {
            return;
        }
        let mut guard = self.lock();
        let users = &mut *guard;
        let alone = users.users.contains_key(&uid) || users.users.len() < THREADS_MAX;
        let uid = if alone { uid } else { users.users.keys().copied().max().unwrap_or(uid) };
        users.waiting += things.len();
        let is_new = !users.users.contains_key(&uid);
        users.users.entry(uid).or_default().things.append(&mut things);
        drop(guard);
        if is_new {
            let own = Arc::clone(self);
            let thread = std::thread::Builder::new().name("closer".to_owned()).stack_size(STACK);
            if thread.spawn(move || own.serve(uid)).is_err() {
                // Tried again with the next one; until then they wait, and count.
                self.give_up(uid);
            }
        } else {
            self.work.notify_all();
        }
    }

    /// No thread can be made for a user: what there is goes to another's, if there is one.
    fn give_up(&self, uid: u32) {
        let mut users = self.lock();
        let Some(mut user) = users.users.remove(&uid) else { return };
        let Some(other) = users.users.values_mut().next() else {
            // Without any thread this is all that can be done, short of losing descriptors for good.
            users.waiting = 0;
            drop(users);
            return user.things.clear();
        };
        other.things.append(&mut user.things);
        self.work.notify_all();
    }

    /// A thread's life.
    fn serve(&self, uid: u32) {
        let mut users = self.lock();
        loop {
            let Some(user) = users.users.get_mut(&uid) else { return };
            if let Some(thing) = user.things.pop_front() {
                user.since = Some(Instant::now());
                drop(users);
                drop(thing);
                users = self.lock();
                users.waiting = users.waiting.saturating_sub(1);
                if let Some(user) = users.users.get_mut(&uid) {
                    user.since = None;
                }
                continue;
            }
            let waited =
                self.work.wait_timeout(users, IDLE).unwrap_or_else(PoisonError::into_inner);
            users = waited.0;
            let is_idle = users.users.get(&uid).is_none_or(|user| user.things.is_empty());
            if waited.1.timed_out() && is_idle {
                users.users.remove(&uid);
                return;
            }
        }
    }

    fn is_stuck(&self, uid: u32, now: Instant) -> bool {
        let users = self.lock();
        users.users.get(&uid).is_some_and(|user| {
            let since = user.since.unwrap_or(now);
            user.things.len() >= PER_USER && now.saturating_duration_since(since) > PATIENCE
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Says that its closing has begun, and waits until it may end.
    struct Slow(Sender<()>, Receiver<()>);

    impl Drop for Slow {
        fn drop(&mut self) {
            let _nobody = self.0.send(());
            let _nobody = self.1.recv();
        }
    }

    /// Says that it was closed.
    struct Quick(Sender<()>);

    impl Drop for Quick {
        fn drop(&mut self) {
            let _nobody = self.0.send(());
        }
    }

    #[test]
    fn who_sends_what_takes_for_ever_waits_for_himself() {
        let closer = Arc::new(Closer::default());
        let (begun, begins) = channel();
        let (end, may_end) = channel();
        closer.close(1, [Slow(begun, may_end)]);
        begins.recv().expect("it is being closed");
        let (closed, closings) = channel();
        closer.close(1, (0..PER_USER).map(|_| Quick(closed.clone())));
        let start = Instant::now();
        assert!(!closer.is_stuck(1, start), "a moment is nothing");
        let later = start + PATIENCE + Duration::from_millis(1);
        assert!(closer.is_stuck(1, later));
        assert_eq!(closer.lock().waiting, PER_USER + 1);
        // Another user's are closed meanwhile.
        let (other, others) = channel();
        closer.close(2, [Quick(other)]);
        others.recv().expect("closed");
        assert!(!closer.is_stuck(2, later));
        assert!(closings.try_recv().is_err(), "in order: the first one is not closed yet");
        end.send(()).expect("it waits for this");
        for _ in 0..PER_USER {
            closings.recv().expect("closed");
        }
        assert!(!closer.is_stuck(1, later));
    }

    #[test]
    fn users_beyond_the_threads_share_one() {
        let closer = Arc::new(Closer::default());
        let (begun, begins) = channel();
        let mut ends = Vec::new();
        for uid in 0..THREADS_MAX {
            let (end, may_end) = channel();
            ends.push(end);
            closer.close(uid as u32, [Slow(begun.clone(), may_end)]);
        }
        for _ in 0..THREADS_MAX {
            begins.recv().expect("each has a thread");
        }
        let (closed, closings) = channel();
        closer.close(1000, [Quick(closed)]);
        assert_eq!(closer.lock().users.len(), THREADS_MAX);
        assert!(closings.try_recv().is_err());
        drop(ends);
        closings.recv().expect("closed");
    }
}
