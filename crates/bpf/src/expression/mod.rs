//! The compiler of filter expressions: the language of pcap-filter(7), to classic BPF.
//!
//! # Theory of operation
//!
//! Four steps, each a file:
//!
//! 1. [`lexer`]: text to words, numbers, addresses and signs, each with its place in the text.
//! 2. [`parser`]: to a tree ([`syntax`]). "and" and "or" bind equally and to the left, "not" binds
//!    closest, and an identifier without qualifiers has those of the one before it.
//! 3. [`generate`]: to a tree of *tests*. A test is a few instructions without a jump that leave a
//!    value in the accumulator, and a comparison. It loads all that it looks at by itself, so tests
//!    can be moved, shared and skipped. `vlan`, `mpls` and `pppoes` move the offsets of everything
//!    that stands behind them in the text, in whatever branch.
//! 4. [`layout`]: to instructions. Tests become the nodes of a graph whose edges are "yes" and "no";
//!    equal nodes are one node, a test whose answer is known on the way to it is skipped, and a load
//!    of what is in the register already is left out.
//!
//! A frame that ends before what a filter looks at is refused. Which loads come first is libpcap's
//! order, so a filter says the same of a frame as tcpdump's. There are two differences. Of a frame
//! that is cut short it may say otherwise where one of the two compilers has seen that a load makes no
//! difference. And bytes of a protocol are looked at only in frames of that protocol, wherever they
//! stand in a calculation; libpcap asks for the protocol of the left operand alone.
//!
//! # What is not there
//!
//! Names of hosts and networks are not looked up: a filter that depends on what a name server says
//! today is no filter. `gateway` needs them, `protochain` needs jumps backward, `geneve` offsets that
//! only the frame knows; `inbound`, `ifname` and the like ask for what is not in a frame; the words of
//! 802.11, ATM, SS7 and firewall logs have no meaning on Ethernet. Each is refused with a sentence.
//! The name of a port is its number, with whatever protocol is asked for; libpcap asks for those
//! protocols that the machine's list of services has the name for.

mod generate;
mod layout;
mod lexer;
mod names;
mod offsets;
mod parser;
mod relation;
mod syntax;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use crate::instruction::Instruction;
use crate::program::Program;

/// Bytes that an accepted frame is wanted with: all of them (tcpdump's own number).
pub const WHOLE_FRAME: u32 = 262_144;

/// Longest expression, in bytes.
pub const EXPRESSION_MAX: usize = 16 * 1024;

/// What a compilation may depend on beside the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// What the program returns for a frame it accepts.
    pub snaplen: u32,
    /// The IPv4 netmask of the network, for `ip broadcast`.
    pub netmask: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self { snaplen: WHOLE_FRAME, netmask: None }
    }
}

/// Characters of an expression that an excerpt shows, and what it has for the others.
const SHOWN: usize = 160;
const DOTS: &str = "... ";

/// Why an expression makes no sense, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    at: Range<usize>,
    why: String,
}

impl Error {
    fn new(at: Range<usize>, why: impl Into<String>) -> Self {
        Self { at, why: why.into() }
    }

    /// The bytes of the expression that the error is about; empty at its end.
    #[must_use]
    pub fn place(&self) -> Range<usize> {
        self.at.clone()
    }

    /// The expression on a line, and carets under the place on the next; of a long one the part around the
    /// place, with dots for what is left out.
    #[must_use]
    pub fn excerpt(&self, expression: &str) -> String {
        let before = expression.get(..self.at.start).unwrap_or(expression).chars().count();
        let place = expression.get(self.at.clone()).unwrap_or_default().chars().count().max(1);
        let all = expression.chars().count();
        let first = if all > SHOWN { before.saturating_sub(SHOWN / 2).min(all - SHOWN) } else { 0 };
        let last = first + SHOWN;
        let dots = |left_out: bool| if left_out { DOTS } else { "" };
        let mut text = String::from(dots(first > 0));
        let shown = expression.chars().skip(first).take(SHOWN);
        text.extend(shown.map(|c| if c.is_control() { ' ' } else { c }));
        text.push_str(dots(last < all));
        text.push('\n');
        let indent = dots(first > 0).len() + before.min(last) - first;
        text.extend((0..indent).map(|_| ' '));
        text.extend((0..place.min(last.saturating_sub(before)).max(1)).map(|_| '^'));
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl core::error::Error for Error {}

/// Compiles an expression. An empty one wants every frame. The program remembers the expression.
///
/// # Errors
/// What makes no sense in it, and where.
pub fn compile(expression: &str, options: &Options) -> Result<Program, Error> {
    let instructions = instructions(expression, options)?;
    match Program::new(&instructions) {
        Ok(program) => Ok(program.with_source(expression)),
        Err(e) => {
            let why = alloc::format!("the expression is too complex: {e}");
            Err(Error::new(0..expression.len(), why))
        }
    }
}

fn instructions(expression: &str, options: &Options) -> Result<Vec<Instruction>, Error> {
    if expression.len() > EXPRESSION_MAX {
        let why = alloc::format!("an expression has at most {EXPRESSION_MAX} bytes");
        return Err(Error::new(EXPRESSION_MAX..expression.len(), why));
    }
    let tokens = lexer::tokens(expression)?;
    let Some(tree) = parser::parse(&tokens)? else {
        return Ok(alloc::vec![Instruction::new(crate::instruction::RET, options.snaplen)]);
    };
    let tests = generate::generate(&tree, options)?;
    layout::lay_out(&tests, options.snaplen)
        .ok_or_else(|| Error::new(0..expression.len(), "the expression is too complex"))
}

#[cfg(test)]
mod tests;
