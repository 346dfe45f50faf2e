//! Packet filters: small programs that say yes or no to a frame, and how much of it is wanted.
//!
//! Two machines run them. [`Program`] is classic BPF, the language of bpf(4), of libpcap and of
//! Linux' `SO_ATTACH_FILTER`; [`netf::Program`] is the stack machine that Mach's `device_set_filter`
//! had before it. [`mach`] holds what Mach adds to both: the header word that says which of them a
//! filter is and which direction it wants, priorities, and the comparison with keys.
//!
//! # Validated once, run often
//!
//! A program is checked when it is made and cannot be made otherwise. What was checked is kept in a
//! decoded form, so running it decodes nothing and checks nothing again. Every jump goes forward and
//! every path ends in a return: a run takes at most as many steps as the program has instructions.
//!
//! # Panics
//!
//! **Nothing in this crate panics, whatever the program and the packet.** A load behind the end of
//! the packet ends the program with "no", as bpf(4) has it.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;

pub mod expression;
pub mod fuzz;
pub mod instruction;
pub mod mach;
mod machine;
pub mod netf;
mod packet;
mod program;

pub use instruction::Instruction;
pub use packet::{Packet, Pieces};
pub use program::{Dialect, Invalid, PROGRAM_MAX, Program};
