//! Every Linux system call netherd makes, and all its `unsafe`.
//!
//! | module | its noun |
//! |---|---|
//! | [`caps`] | capabilities of this process |
//! | [`clock`] | the monotonic clock |
//! | [`confine`] | what a started daemon gives up |
//! | [`detach`] | the caller that a daemon leaves |
//! | [`device`] | a network device, as its socket knows it |
//! | [`diag`] | local sockets of others |
//! | [`dir`] | a directory that is held open |
//! | [`errno`] | what an error means to a link |
//! | [`ethtool`] | features of a device |
//! | [`filter`] | programs of classic BPF in the kernel |
//! | [`inet`] | datagram sockets: UDP and ICMP echo |
//! | [`lock`] | the one holder of a directory |
//! | [`mmsg`] | many datagrams in one call |
//! | [`mount`] | mounts |
//! | [`netlink`] | interfaces, addresses and routes of a namespace |
//! | [`notify`] | calls of a guest that wait for a decision |
//! | [`ns`] | namespaces |
//! | [`packet`] | packet sockets |
//! | [`packet_filter`] | the sieve in front of a packet socket |
//! | [`peer`] | the PID namespace at the other end of a socket |
//! | [`poll`] | the poller |
//! | [`process`] | processes |
//! | [`program`] | the file of the running program |
//! | [`random`] | randomness |
//! | [`route`] | the kernel's answer where an address is |
//! | [`signal`] | signals |
//! | [`tap`] | tap devices |
//! | [`tcp`] | stream sockets of the translation |
//! | [`terminal`] | the controlling terminal |
//! | [`unix`] | local sockets |
//! | [`user`] | users and groups |
//! | [`wait`] | waiting for one descriptor |

pub mod caps;
pub mod ethtool;
pub mod filter;
pub mod mount;
pub mod netlink;
pub mod notify;
pub mod ns;
pub mod process;
pub mod signal;
pub mod terminal;

pub mod clock;
pub mod device;
pub mod diag;
pub mod errno;
pub mod inet;
pub mod mmsg;
pub mod packet;
pub mod packet_filter;
pub mod poll;
pub mod program;
pub mod random;
pub mod route;
pub mod service;
pub mod shared;
pub mod tap;
pub mod tcp;
pub mod unix;

pub use unix::Cred;

pub mod confine;
pub mod detach;
pub mod dir;
pub mod lock;
pub mod peer;
pub mod user;
pub mod wait;
