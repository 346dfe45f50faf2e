//! TCP of guests on stream sockets of the host.
//!
//! # Theory of operation
//!
//! A guest's connection to the outside is one connection of the host's kernel, seen from two sides:
//! the outside talks to the kernel's socket, the guest to us, and we translate. There is no second
//! TCP in the middle: no buffer of our own between the two, no second opinion on congestion. Bytes
//! lie in the kernel's socket buffers, where the kernel's own window closes when nobody takes them.
//!
//! ```text
//!   guest                        this module                          host's socket
//!   segment --------> Inbox: frames as they came ----- sendmsg -----> send buffer
//!   <-- acknowledge what is here in order, window = free send buffer
//!   <-- one large frame <-- MSG_PEEK at an offset <------------------ receive buffer
//!   acknowledges ------------------------------------- MSG_TRUNC ---> bytes are taken away
//! ```
//!
//! **Towards the guest** the receive buffer is the retransmission buffer. Data is read by peeking
//! at an offset (`SO_PEEK_OFF`; TCP has it since Linux 6.9, before that the front is skipped at the
//! cost of copying it), straight into a leased buffer of the worker's pool behind room for the
//! headers, up to 64 KiB by one call, and leaves as one frame that says how it is to be cut. It is
//! taken away when the guest acknowledges it. To send something again is to peek at a smaller
//! offset. So we keep numbers only: what is acknowledged, what was sent, and what the guest reported
//! as received behind gaps. Repair is that of RFC 6675 with selective acknowledgements and RFC 6582
//! without, with RFC 8985's tail probe and reordering window, and RFC 6298's clock.
//!
//! **Towards the outside** payload stays in the guest's frames until the socket takes it: at once,
//! with everything that came in the same batch, or later when something before it is missing
//! (the inbox). We acknowledge what is here in order and announce the room in the socket's
//! send buffer, so that the guest's stack is slowed down by the outside and by nothing else. The
//! guest's end is acknowledged only when the outside has acknowledged it.
//!
//! **Turns.** [`Table::segment`] and [`Table::host_ready`] note what happened and put the
//! connection on a list. [`Table::turn`] serves the list: takes away, writes, sends one frame,
//! acknowledges, and goes to the next. A batch of segments is so acknowledged once, data carries
//! acknowledgements, and connections take turns frame by frame. Nothing is read for which the
//! guest's queue has no room.
//!
//! **Readiness** is reported by edges, since bytes stay in the socket that were seen already. Each
//! connection remembers whether there may be more.
//!
//! **Time.** Each connection has one timer in a wheel, set to the earliest of what it waits for and
//! only moved when it must fire earlier.
//!
//! # Goals
//!
//! A guest cannot tell this from a router, as far as its own stack's behaviour goes: half-closed
//! connections, resets, zero windows, signs of life, path MTU work from end to end. An MTU of 1500
//! costs nothing, because nothing here is done per segment.
//!
//! # Limits
//!
//! * Urgent data is passed on in the stream, without its mark.
//! * Timestamps, ECN and fast open are not negotiated with the guest. The host's kernel does as it
//!   likes towards the outside.
//! * Data of a guest that the kernel has accepted is acknowledged; if the outside then dies, the
//!   guest learns it by a reset, as a program on the host would.
//!
//! # Invariants
//!
//! * `head <= una <= max`: bytes before `head` were taken away, those before `una` are acknowledged,
//!   those before `max` were sent. Peeks begin at `head` or behind it.
//! * What is announced as window is never taken back, and what is acknowledged is in an inbox or in
//!   the socket.
//! * A connection is in the table, in the index, and counted for its guest, or in none of them. One whose
//!   guest is gone, and whose stream has not taken everything, is in the table only.
//! * Frames held by all inboxes are counted, and bounded for all and for each guest by its share of what
//!   is free; only what is next in order and can be written is accepted beyond.

mod emit;
mod flow;
#[doc(hidden)]
pub mod harness;
mod inbox;
mod input;
mod interface;
mod key;
mod options;
mod output;
mod pace;
mod scoreboard;
mod seq;
mod table;
mod timers;
mod wheel;

pub use interface::{
    IcmpError, Incoming, Kept, NoDescriptor, Segment, Target, TcpLimits, Unreachable,
};
pub use table::Table;

#[cfg(test)]
mod tests;
