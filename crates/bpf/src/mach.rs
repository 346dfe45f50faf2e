//! Filters as `device_set_filter` brings them (routine 2812 of Mach's `device.defs`), and the order
//! in which several of one device are asked.
//!
//! # A filter
//!
//! Its words are of 16 bits. The first is a header: `NETF_IN` and `NETF_OUT` say which frames it is
//! asked about, bits 10 to 15 which machine runs the rest. For BPF the header is an instruction of
//! its own, eight bytes, which no machine runs.
//!
//! # Several filters
//!
//! They are asked by priority, highest first, and among equals in the order they were set. One whose
//! priority is at least [`HIGH_PRIORITY`] and that wants a frame keeps it from those after it.
//! (Mach's documentation says so. Its code forgets the place it looked for and appends; a client
//! cannot tell unless it depends on being asked before one that is more important.)
//!
//! A receiver has one filter: setting another replaces it, and the new one is the last of its
//! priority.

use alloc::vec::Vec;

use crate::instruction::Instruction;
use crate::netf::{self, WordOrder};
use crate::packet::Packet;
use crate::program::{self, Dialect, Program};

/// `NETF_IN`: frames that arrive.
pub const IN: u16 = 1;
/// `NETF_OUT`: frames that were sent.
pub const OUT: u16 = 2;
/// `NETF_BPF`: the rest is a program of classic BPF.
pub const BPF: u16 = 1 << 10;
/// The bits of the header that say which machine it is for.
const TYPE: u16 = 0xfc00;

/// `NET_HI_PRI`: a filter so important that those after it are not asked.
pub const HIGH_PRIORITY: i32 = 100;

/// Words of a BPF instruction.
const INSTRUCTION: usize = 4;
/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

/// Most filters of one device.
pub const FILTERS_MAX: usize = 256;

/// Why words are no filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// See the text.
    #[error("a filter has at least its header word")]
    Empty,
    /// See the text.
    #[error("the header word names neither direction: NETF_IN, NETF_OUT or both are needed")]
    NoDirection,
    /// See the text.
    #[error("the header word names the machine {0}, which does not exist")]
    UnknownMachine(u16),
    /// See the text.
    #[error("{0} words are not a whole number of BPF instructions")]
    NotInstructions(usize),
    /// See the text.
    #[error(transparent)]
    Bpf(#[from] program::Invalid),
    /// See the text.
    #[error(transparent)]
    Native(#[from] netf::Invalid),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Machine {
    Bpf(Program),
    Native(netf::Program),
}

/// A valid filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    machine: Machine,
    directions: u16,
}

/// Which way a frame goes, seen from the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the client.
    In,
    /// From a client, this or another.
    Out,
}

impl Filter {
    /// Checks the words of a filter, which are those of a machine of this `order`.
    ///
    /// # Errors
    /// What is wrong with them. Mach answers all of it with `D_INVALID_OPERATION`.
    pub fn new(words: &[u16], order: WordOrder) -> Result<Self, Invalid> {
        let (&header, rest) = words.split_first().ok_or(Invalid::Empty)?;
        let directions = header & (IN | OUT);
        if directions == 0 {
            return Err(Invalid::NoDirection);
        }
        let machine = match header & TYPE {
            0 => Machine::Native(netf::Program::new(rest, order)?),
            BPF => Machine::Bpf(Program::of(Dialect::Mach, &instructions(words, order)?)?),
            other => return Err(Invalid::UnknownMachine(other >> 10)),
        };
        Ok(Self { machine, directions })
    }

    /// Whether it is asked about frames that go this way.
    #[must_use]
    pub fn asks_about(&self, direction: Direction) -> bool {
        self.directions
            & match direction {
                Direction::In => IN,
                Direction::Out => OUT,
            }
            != 0
    }

    /// How many bytes of the payload, which begins behind the Ethernet header, the filter wants:
    /// `None` if it does not want the frame at all. What BPF returns counts payload bytes, as in
    /// Mach.
    #[must_use]
    pub fn wants<P: Packet + ?Sized>(&self, frame: &P) -> Option<usize> {
        let payload = frame.len().checked_sub(ETHERNET)?;
        match &self.machine {
            Machine::Native(program) => program.accepts(frame).then_some(payload),
            Machine::Bpf(program) => match program.run(frame) {
                0 => None,
                count => Some(payload.min(count as usize)),
            },
        }
    }
}

/// The instructions behind the header, which takes the place of one.
fn instructions(words: &[u16], order: WordOrder) -> Result<Vec<Instruction>, Invalid> {
    let (whole, rest) = words.as_chunks::<INSTRUCTION>();
    if !rest.is_empty() || whole.is_empty() {
        return Err(Invalid::NotInstructions(words.len()));
    }
    Ok(whole
        .iter()
        .skip(1)
        .map(|&[code, jumps, first, second]| {
            // In memory: two bytes of code, a byte each of jt and jf, four bytes of k.
            let ([jt, jf], low, high) = match order {
                WordOrder::Little => (jumps.to_le_bytes(), first, second),
                WordOrder::Big => (jumps.to_be_bytes(), second, first),
            };
            Instruction { code, jt, jf, k: u32::from(high) << 16 | u32::from(low) }
        })
        .collect())
}

/// The filters of one device, and who receives what they want.
#[derive(Clone, Debug, Default)]
pub struct Filters<R> {
    list: Vec<(i32, R, Filter)>,
}

/// The device has [`FILTERS_MAX`] filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the device has {FILTERS_MAX} filters, the maximum: remove one")]
pub struct Full;

impl<R: PartialEq> Filters<R> {
    /// No filters.
    #[must_use]
    pub const fn new() -> Self {
        Self { list: Vec::new() }
    }

    /// Sets a receiver's filter, in place of the one it had.
    ///
    /// # Errors
    /// [`Full`]; nothing is changed.
    pub fn set(&mut self, receiver: R, priority: i32, filter: Filter) -> Result<(), Full> {
        let had = self.list.iter().position(|(_, other, _)| *other == receiver);
        match had {
            Some(place) => drop(self.list.remove(place)),
            None if self.list.len() >= FILTERS_MAX => return Err(Full),
            None => {}
        }
        let place = self.list.partition_point(|(other, ..)| *other >= priority);
        self.list.insert(place, (priority, receiver, filter));
        Ok(())
    }

    /// Removes the filter of a receiver; whether it had one.
    pub fn remove(&mut self, receiver: &R) -> bool {
        let had = self.list.len();
        self.list.retain(|(_, other, _)| other != receiver);
        self.list.len() < had
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Who wants the frame, and how many bytes of its payload, in the order they are to have it.
    pub fn receivers<'a, P: Packet + ?Sized>(
        &'a self,
        direction: Direction,
        frame: &'a P,
    ) -> impl Iterator<Item = (&'a R, usize)> + 'a {
        let mut taken = false;
        self.list
            .iter()
            .filter(move |(.., filter)| filter.asks_about(direction))
            .map_while(move |(priority, receiver, filter)| {
                if taken {
                    return None;
                }
                let wants = filter.wants(frame);
                taken = wants.is_some() && *priority >= HIGH_PRIORITY;
                Some(wants.map(|count| (receiver, count)))
            })
            .flatten()
    }
}

#[cfg(test)]
mod tests;
