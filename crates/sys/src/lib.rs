//! Every Linux system call netherd makes.

pub mod netlink;
pub mod signal;

pub mod clock;
pub mod mmsg;
pub mod packet;
pub mod poll;
pub mod tap;
pub mod unix;

pub use unix::Cred;

pub mod detach;
pub mod dir;
pub mod lock;
pub mod user;
pub mod wait;
