//! The namespaces of `run`, `exec` and `attach`.
//!
//! # Theory of operation
//!
//! `netherd run` is four processes:
//!
//! ```text
//!  run     the caller's namespaces: terminal, job control, the session with the hypervisor
//!   |
//!  init    U1 M1 N1 P1: PID 1; fresh /proc, covers, the outer end of a veth link; reaps, answers
//!   |                   the system-call filter's questions
//!  CMD     U2 M2 N2 (and IPC, UTS): eth0
//!   |
//!  what CMD starts
//! ```
//!
//! *Two levels.* What is mounted in M1 is locked in M2, because M2 belongs to a less privileged user
//! namespace (mount_namespaces(7)): user id 0 of U2 cannot take a cover away. The outer end of a veth
//! link lies in N1, which belongs to U1, so the guest can neither see nor delete it. init and the
//! namespaces U1, M1, N1 are out of the guest's reach: its capabilities are of U2.
//!
//! *No system call reaches outer processes.* They have no number in P1. The calls that reach the
//! caller's process group without a number are filtered ([`sys::notify`], [`group`]). Control groups are
//! read-only, and no namespace of them can be made, in which they could be mounted anew ([`kernel_views`]). Outer
//! descriptors are closed; init is not dumpable, so `/proc/1/fd` gives nothing away. The directory the
//! guest starts in is looked up again after the covers are made.
//!
//! *One owner of each end.* The guest ends with CMD: init kills the rest of P1, stays as long as N2 has something
//! to send ([`unsent`]), and ends. It ends with
//! `run`: init gets SIGKILL (`PR_SET_PDEATHSIG`), and for the moment before that is in place, it reads
//! the end of its channel. `run` ends as CMD did.
//!
//! *The link survives the hypervisor.* `run` keeps a descriptor of the tap (or packet socket). When its
//! session breaks, it joins again under the same name, starting a hypervisor if none serves, and hands
//! the descriptor over again. The guest sees lost frames.
//!
//! *Job control.* CMD is in the caller's process group, so the terminal's keys reach it directly.
//! `run` passes on only signals that a process sent to it (`si_code` <= 0). When CMD stops, so do init
//! and `run`, with the same signal, which is what the caller's shell waits for; SIGCONT starts all.
//!
//! `netherd exec` replaces init by a small relay inside the guest ([`enter`]); `netherd attach` makes
//! only an interface in a namespace of somebody else ([`netns`]), held by a keeper in the background.
//!
//! Every process talks through [`channel`]: datagrams over a socket pair, each a small JSON object, the
//! only place where these processes depend on each other.

pub mod around;
pub mod background;
pub mod bind_files;
pub mod channel;
pub mod command;
pub mod cover;
pub mod directory_copy;
pub mod enter;
pub mod front;
pub mod group;
pub mod guest;
pub mod identity;
pub mod init;
pub mod interface;
pub mod job;
pub mod kernel_views;
pub mod lookup;
pub mod mounts;
pub mod netns;
pub mod refusal;
pub mod rootfs;
pub mod session;
pub mod sysfs;
pub mod unsent;
