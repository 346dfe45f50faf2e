//! What a guest's kernel has yet to send when the last of its processes has ended.
//!
//! # Theory of operation
//!
//! A program that writes, closes and ends leaves the rest to its kernel, which sends and repeats until all is
//! acknowledged. A guest has its link only as long as init lives. So init first ends the guest's other processes,
//! as the kernel would with init, and then stays for the connections without a process (*orphans*) that have
//! something under way: the states FIN-WAIT-1, CLOSING and LAST-ACK of RFC 9293. All others have nothing to say,
//! or nobody to say it to.
//!
//! Limits: it waits while something moves, for [`STALL`] while nothing does, for [`STALL_OF_ENDS`] when only FINs are
//! missing, and for [`WHOLE`] in all: the other side decides how fast it reads. Whoever waits for `run` may give up at
//! any time. What is no TCP is not waited for: a datagram is
//! in the link's queue, or lost, as soon as it is written.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use sys::ns::Namespaces;
use sys::process::{Patience, Which};
use sys::signal::{SIGCHLD, SIGKILL, SignalFd, SignalSet};

/// For data of which nothing is acknowledged meanwhile: some repetitions of a sender that began with 0.2 s.
const STALL: Duration = Duration::from_secs(5);
/// For ends without data: whoever is gone does not acknowledge, and the gateway ends what a guest has left.
const STALL_OF_ENDS: Duration = Duration::from_secs(1);
/// In all: as long as the gateway keeps what a guest has left to it.
const WHOLE: Duration = Duration::from_secs(60);
/// Processes that were killed are gone, or in the kernel for longer than anybody should wait.
const PROCESSES: Duration = Duration::from_secs(2);
/// Between two looks, in milliseconds: short at first, as most have only a little to send.
const PAUSES: std::ops::RangeInclusive<u32> = 5..=100;

/// Connections without a process that have something under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Orphans {
    /// Bytes and FINs that are not acknowledged.
    bytes: u64,
    count: u64,
}

/// What is left to be sent, and for how long it is waited for.
#[derive(Debug)]
pub struct Unsent {
    orphans: Orphans,
    begun: Instant,
    moved: Instant,
    pause: u32,
}

impl Unsent {
    /// Ends all processes but this, which must be process 1, and looks at what they have left in the network
    /// namespace. This process is in that namespace afterwards. `None` when nothing is left, or nothing can be seen.
    pub fn left_in(network: BorrowedFd<'_>) -> Option<Self> {
        end_all_others();
        sys::ns::enter(network, Namespaces::NETWORK).ok()?;
        Some(Self::new(orphans()?, Instant::now()))
    }

    fn new(orphans: Orphans, now: Instant) -> Self {
        Self { orphans, begun: now, moved: now, pause: *PAUSES.start() }
    }

    /// Bytes, without the FINs.
    pub fn bytes(&self) -> u64 {
        self.orphans.bytes - self.orphans.count
    }

    /// Milliseconds until the next look; longer each time.
    pub fn pause(&mut self) -> u32 {
        let now = self.pause;
        self.pause = (now * 2).min(*PAUSES.end());
        now
    }

    /// Whether it is worth while to wait on.
    pub fn look(&mut self) -> bool {
        match orphans() {
            Some(now) => self.judge(now, Instant::now()),
            None => false,
        }
    }

    fn judge(&mut self, orphans: Orphans, now: Instant) -> bool {
        if orphans != self.orphans {
            self.orphans = orphans;
            self.moved = now;
        }
        let patience = if self.bytes() == 0 { STALL_OF_ENDS } else { STALL };
        now.duration_since(self.moved) < patience && now.duration_since(self.begun) < WHOLE
    }
}

/// Kills them and waits until their descriptors are closed.
fn end_all_others() {
    let Ok(children) = SignalFd::new(&SignalSet::of(&[SIGCHLD])) else { return };
    let deadline = Instant::now() + PROCESSES;
    // ESRCH: there is nobody. A process that was just forked into the namespace is killed the next time.
    while sys::signal::send_to_all_others(SIGKILL).is_ok() {
        while let Ok(Some(_)) = children.read() {}
        while let Ok(Some(_)) = sys::process::wait(Which::Any, Patience::Now) {}
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        // Children of processes that have just ended are ours a moment later, and tell nobody of it.
        let pause = left.min(Duration::from_millis(10)).as_millis().try_into().unwrap_or(1);
        let _ = sys::process::poll(&[std::os::fd::AsFd::as_fd(&children)], Some(pause));
    }
}

/// Of our network namespace; `None` when there are none.
fn orphans() -> Option<Orphans> {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/self/net/{name}")).ok();
    let mut all = Orphans { bytes: 0, count: 0 };
    for (counts, connections) in [("sockstat", "tcp"), ("sockstat6", "tcp6")] {
        // The list costs a walk over the kernel's whole table, and most guests leave none.
        if read(counts).is_some_and(|text| connections_in_use(&text)) {
            let orphans = parse(&read(connections)?);
            all.bytes += orphans.bytes;
            all.count += orphans.count;
        }
    }
    (all.count > 0).then_some(all)
}

/// Of the text of `/proc/net/sockstat` or `sockstat6`.
fn connections_in_use(text: &str) -> bool {
    let line = text.lines().find(|line| line.starts_with("TCP"));
    line.and_then(|line| line.split_whitespace().nth(2)).is_some_and(|in_use| in_use != "0")
}

/// The text of `/proc/net/tcp` or `tcp6` (proc_pid_net(5)): a heading, and a line for each socket with its state
/// (include/net/tcp_states.h) and what is not acknowledged, in hexadecimal, and the inode of the socket, 0 without
/// a process.
fn parse(text: &str) -> Orphans {
    const FIN_WAIT_1: &str = "04";
    const LAST_ACK: &str = "09";
    const CLOSING: &str = "0B";
    let mut orphans = Orphans { bytes: 0, count: 0 };
    for line in text.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (Some(state), Some(queues), Some(inode)) =
            (fields.get(3), fields.get(4), fields.get(9))
        else {
            continue;
        };
        let unsent = queues.split(':').next().and_then(|bytes| u64::from_str_radix(bytes, 16).ok());
        if [FIN_WAIT_1, LAST_ACK, CLOSING].contains(state)
            && *inode == "0"
            && let Some(bytes @ 1..) = unsent
        {
            orphans.bytes += bytes;
            orphans.count += 1;
        }
    }
    orphans
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADING: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

    #[test]
    fn orphans_that_have_something_under_way_are_found() {
        let text = format!(
            "{HEADING}\
             0: 0100000A:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 51 1 0 100 0 0 10 0\n\
             1: 0100000A:A0C4 0200000A:1F90 04 00002711:00000000 01:00000013 00000000     0        0 0 3 0 20 4 30 10 -1\n\
             2: 0100000A:A0C6 0200000A:1F90 09 00000001:00000000 01:00000013 00000000     0        0 0 3 0 20 4 30 10 -1\n\
             3: 0100000A:A0C8 0200000A:1F90 05 00000000:00000000 02:00000013 00000000     0        0 0 3 0\n\
             4: 0100000A:A0CA 0200000A:1F90 04 00000100:00000000 01:00000013 00000000     0        0 52 3 0\n\
             5: 0100000A:A0CC 0200000A:1F90 01 00000100:00000000 01:00000013 00000000     0        0 53 3 0\n\
             6: cut\n"
        );
        assert_eq!(parse(&text), Orphans { bytes: 0x2711 + 1, count: 2 });
        assert_eq!(parse(HEADING), Orphans { bytes: 0, count: 0 });
        assert_eq!(parse(""), Orphans { bytes: 0, count: 0 });
    }

    #[test]
    fn the_list_is_read_only_where_there_are_connections() {
        assert!(connections_in_use("sockets: used 3\nTCP: inuse 1 orphan 1 tw 0 alloc 4 mem 2\n"));
        assert!(connections_in_use("TCP6: inuse 12\nUDP6: inuse 0\n"));
        assert!(!connections_in_use("sockets: used 3\nTCP: inuse 0 orphan 1 tw 0 alloc 4 mem 2\n"));
        assert!(!connections_in_use("UDP: inuse 1 mem 0\n"));
    }

    #[test]
    fn it_waits_while_something_moves() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let first = Orphans { bytes: 1001, count: 1 };
        let mut unsent = Unsent::new(first, start);
        assert_eq!(unsent.bytes(), 1000);
        assert!(unsent.judge(first, at(4)));
        assert!(unsent.judge(Orphans { bytes: 501, count: 1 }, at(4)));
        assert!(unsent.judge(Orphans { bytes: 501, count: 1 }, at(8)));
        assert!(!unsent.judge(Orphans { bytes: 501, count: 1 }, at(9)));
        // A FIN alone is not worth as much.
        assert!(unsent.judge(Orphans { bytes: 1, count: 1 }, at(9)));
        assert!(!unsent.judge(Orphans { bytes: 1, count: 1 }, at(10)));
        // Nor is one byte now and then.
        let mut slow = Unsent::new(first, start);
        for second in 1..60 {
            assert!(slow.judge(Orphans { bytes: 1001 - second, count: 1 }, at(second)));
        }
        assert!(!slow.judge(Orphans { bytes: 900, count: 1 }, at(60)));
        let pauses: Vec<u32> = (0..7).map(|_| unsent.pause()).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 80, 100, 100]);
    }
}
