//! Every Linux system call netherd makes.

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
pub mod random;
pub mod route;
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
