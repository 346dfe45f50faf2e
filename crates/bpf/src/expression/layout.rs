//! A tree of tests to instructions.
//!
//! # Theory of operation
//!
//! The tree becomes a graph: each test is a node with a "yes" and a "no" edge. Nodes are made from
//! the end of the expression to its beginning, so an edge always leads to a node that is older, and
//! nodes in the order from the youngest to the oldest are a program whose jumps all go forward. A
//! node is made once: equal tests with equal edges are the same.
//!
//! Then, from the beginning, every node learns what is certain when it is reached: the answers that
//! all ways to it have in common. An edge to a test whose answer is certain leads to what comes after
//! it instead. Such a test's own load was done before on every way, so a frame that is too short for
//! it has been refused already. A test that leads to the same place either way is left out too, and
//! then such a frame is not refused: as in libpcap.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;

use super::generate::{Test, Tests};
use crate::instruction::*;
use crate::program::PROGRAM_MAX;

/// Where an edge leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Accept,
    Reject,
    Node(usize),
}

/// Most passes over the graph.
const PASSES: usize = 8;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    test: usize,
    yes: Target,
    no: Target,
}

/// What is certain: for a test, its answer.
type Facts = BTreeMap<usize, bool>;

#[derive(Default)]
struct Graph {
    nodes: Vec<Node>,
    known: BTreeMap<(usize, Target, Target), usize>,
    tests: Vec<Test>,
    numbers: BTreeMap<Test, usize>,
}

/// The program; `None` if it would be longer than a program may be.
pub(super) fn lay_out(tests: &Tests, snaplen: u32) -> Option<Vec<Instruction>> {
    let mut graph = Graph::default();
    let entry = graph.build(tests, Target::Accept, Target::Reject);
    if graph.nodes.len() > PROGRAM_MAX {
        return None;
    }
    let mut entry = entry;
    // What was skipped can make more of it certain; in practice two or three times.
    for _ in 0..PASSES {
        let before = graph.nodes.clone();
        entry = graph.skip_what_is_certain(entry);
        if graph.nodes == before {
            break;
        }
    }
    graph.emit(entry, snaplen)
}

impl Graph {
    fn build(&mut self, tests: &Tests, yes: Target, no: Target) -> Target {
        match tests {
            Tests::Always(true) => yes,
            Tests::Always(false) => no,
            Tests::Not(inner) => self.build(inner, no, yes),
            Tests::And(..) | Tests::Or(..) => {
                // From the last to the first, without recursion along the chain.
                let (mut yes, mut no, mut rest) = (yes, no, tests);
                loop {
                    match rest {
                        Tests::And(left, right) => {
                            yes = self.build(right, yes, no);
                            rest = left;
                        }
                        Tests::Or(left, right) => {
                            no = self.build(right, yes, no);
                            rest = left;
                        }
                        _ => return self.build(rest, yes, no),
                    }
                }
            }
            Tests::Test(test) => {
                let number = match self.numbers.get(test) {
                    Some(number) => *number,
                    None => {
                        let number = self.tests.len();
                        self.tests.push(test.clone());
                        self.numbers.insert(test.clone(), number);
                        number
                    }
                };
                let key = (number, yes, no);
                let node = *self.known.entry(key).or_insert_with(|| {
                    self.nodes.push(Node { test: number, yes, no });
                    self.nodes.len() - 1
                });
                Target::Node(node)
            }
        }
    }

    fn test(&self, node: &Node) -> Option<&Test> {
        self.tests.get(node.test)
    }

    /// The answer of a test, if the facts settle it.
    fn certain(&self, number: usize, facts: &Facts) -> Option<bool> {
        if let Some(answer) = facts.get(&number) {
            return Some(*answer);
        }
        let test = self.tests.get(number).filter(|test| test.jump & X == 0)?;
        facts.iter().find_map(|(other, answer)| {
            let other = self.tests.get(*other)?;
            let same_value = *answer && other.jump == JEQ | K && other.load == test.load;
            same_value.then_some(match test.jump & 0xf0 {
                JEQ => other.k == test.k,
                JGT => other.k > test.k,
                JGE => other.k >= test.k,
                _ => other.k & test.k != 0,
            })
        })
    }

    /// Leads edges past the tests whose answer is certain or makes no difference; where the program
    /// begins then.
    fn skip_what_is_certain(&mut self, entry: Target) -> Target {
        let entry = self.past(entry, &Facts::new());
        let mut facts: Vec<Option<Facts>> = vec![None; self.nodes.len()];
        if let Target::Node(first) = entry
            && let Some(place) = facts.get_mut(first)
        {
            *place = Some(Facts::new());
        }
        for at in (0..self.nodes.len()).rev() {
            // Not reached.
            let Some(known) = facts.get_mut(at).and_then(Option::take) else { continue };
            let Some(node) = self.nodes.get(at).cloned() else { continue };
            let mut ends = [node.yes, node.no];
            for (end, answer) in ends.iter_mut().zip([true, false]) {
                let mut certain = known.clone();
                certain.insert(node.test, answer);
                *end = self.past(*end, &certain);
                if let Target::Node(next) = *end
                    && let Some(place) = facts.get_mut(next)
                {
                    match place {
                        Some(before) => before.retain(|test, a| certain.get(test) == Some(a)),
                        None => *place = Some(certain),
                    }
                }
            }
            if let Some(node) = self.nodes.get_mut(at) {
                [node.yes, node.no] = ends;
            }
        }
        entry
    }

    fn past(&self, mut end: Target, facts: &Facts) -> Target {
        while let Target::Node(next) = end
            && let Some(next) = self.nodes.get(next)
        {
            end = match self.certain(next.test, facts) {
                Some(true) => next.yes,
                Some(false) => next.no,
                None if next.yes == next.no => next.yes,
                None => break,
            };
        }
        end
    }

    /// The nodes that are reached, in the order of the program.
    fn order(&self, entry: Target) -> Vec<usize> {
        let mut reached = BTreeSet::new();
        let mut waiting = vec![entry];
        while let Some(target) = waiting.pop() {
            if let Target::Node(at) = target
                && reached.insert(at)
                && let Some(node) = self.nodes.get(at)
            {
                waiting.extend([node.yes, node.no]);
            }
        }
        reached.into_iter().rev().collect()
    }

    fn emit(&self, entry: Target, snaplen: u32) -> Option<Vec<Instruction>> {
        let order = self.order(entry);
        let mut pieces = self.pieces(&order)?;
        let uses = |end| entry == end || pieces.iter().any(|p| p.yes == end || p.no == end);
        let (accepts, rejects) = (uses(Target::Accept), uses(Target::Reject));
        loop {
            // Where each piece begins; behind them the returns.
            let mut places = BTreeMap::new();
            let mut end = 0;
            for piece in &pieces {
                places.insert(Target::Node(piece.node), end);
                end += piece.len();
            }
            places.insert(Target::Accept, end);
            places.insert(Target::Reject, end + usize::from(accepts));
            if end + 2 > PROGRAM_MAX {
                return None;
            }
            // A jump of more than 255 goes by way of another; that makes others longer.
            let mut grown = false;
            let mut at = 0;
            for piece in &mut pieces {
                at += piece.len();
                let far = |end: Target| places.get(&end).is_some_and(|to| to - at > 255);
                for (is_far, end) in
                    [(&mut piece.yes_far, piece.yes), (&mut piece.no_far, piece.no)]
                {
                    if !*is_far && far(end) {
                        *is_far = true;
                        grown = true;
                    }
                }
            }
            if !grown {
                let mut program = Vec::with_capacity(end + 2);
                for piece in &pieces {
                    piece.emit(&places, &mut program)?;
                }
                if accepts {
                    program.push(Instruction::new(RET | K, snaplen));
                }
                if rejects {
                    program.push(Instruction::new(RET | K, 0));
                }
                return Some(program);
            }
        }
    }

    /// What of each node's load is not in the registers already.
    fn pieces(&self, order: &[usize]) -> Option<Vec<Piece>> {
        let mut before: BTreeMap<usize, Registers> = BTreeMap::new();
        let mut pieces = Vec::with_capacity(order.len());
        for (nth, at) in order.iter().enumerate() {
            let node = self.nodes.get(*at)?;
            let test = self.test(node)?;
            let has = if nth == 0 { Registers::default() } else { before.remove(at)? };
            let mut load = test.load.as_slice();
            if has.accumulator == Some(load) && test.jump & X == 0 {
                load = &[];
            } else if let Some((first, rest)) = load.split_first()
                && first.code == LDX | B | MSH
                && has.header_length == Some(first.k)
                && !rest.is_empty()
            {
                load = rest;
            }
            let mut after = Registers { accumulator: Some(&test.load), ..has };
            for instruction in &test.load {
                match instruction.code {
                    code if code == LDX | B | MSH => after.header_length = Some(instruction.k),
                    code if code & CLASS == LDX || code == MISC | TAX => {
                        after.header_length = None;
                    }
                    _ => {}
                }
            }
            for end in [node.yes, node.no] {
                if let Target::Node(next) = end {
                    before.entry(next).and_modify(|has| has.meet(after)).or_insert(after);
                }
            }
            pieces.push(Piece {
                node: *at,
                load: load.to_vec(),
                jump: Instruction::new(JMP | test.jump, test.k),
                yes: node.yes,
                no: node.no,
                yes_far: false,
                no_far: false,
            });
        }
        Some(pieces)
    }
}

/// What the registers hold.
#[derive(Clone, Copy, Default)]
struct Registers<'a> {
    /// The value that this load leaves.
    accumulator: Option<&'a [Instruction]>,
    /// The index register: the length of the IPv4 header here.
    header_length: Option<u32>,
}

impl Registers<'_> {
    /// Keeps what holds on both ways.
    fn meet(&mut self, other: Self) {
        if self.accumulator != other.accumulator {
            self.accumulator = None;
        }
        if self.header_length != other.header_length {
            self.header_length = None;
        }
    }
}

/// A node as it will be written.
struct Piece {
    node: usize,
    load: Vec<Instruction>,
    jump: Instruction,
    yes: Target,
    no: Target,
    yes_far: bool,
    no_far: bool,
}

impl Piece {
    fn len(&self) -> usize {
        self.load.len() + 1 + usize::from(self.yes_far) + usize::from(self.no_far)
    }

    fn emit(&self, places: &BTreeMap<Target, usize>, program: &mut Vec<Instruction>) -> Option<()> {
        program.extend_from_slice(&self.load);
        let next = program.len() + 1;
        let mut far = Vec::new();
        let mut reach = |is_far: bool, end: Target| {
            let to = *places.get(&end)?;
            if is_far {
                let here = next + far.len();
                far.push(Instruction::new(JMP | JA, u32::try_from(to - here - 1).ok()?));
                u8::try_from(far.len() - 1).ok()
            } else {
                u8::try_from(to - next).ok()
            }
        };
        let jt = reach(self.yes_far, self.yes)?;
        let jf = reach(self.no_far, self.no)?;
        program.push(Instruction { jt, jf, ..self.jump });
        program.extend(far);
        Some(())
    }
}
