//! Tokens to the tree.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use core::net::{Ipv4Addr, Ipv6Addr};

use super::Error;
use super::lexer::{Sign, Token, What};
use super::names;
use super::syntax::{
    Arith, Binary, Direction, Kind, Node, Primitive, Qualifiers, Relation, Relop, Span, Value,
};

/// Deepest nesting of parentheses, brackets and negations.
const DEPTH_MAX: usize = 64;

/// Parses a whole expression; `None` if there is none. `end` is the length of the text.
pub(super) fn parse(tokens: &[Token], end: usize) -> Result<Option<Node>, Error> {
    if tokens.is_empty() {
        return Ok(None);
    }
    let mut parser = Parser { tokens, next: 0, end, last: None, depth: 0 };
    let tree = parser.expression()?;
    match parser.peek() {
        None => Ok(Some(tree)),
        Some(What::Sign(Sign::Close)) => {
            Err(parser.error("this parenthesis closes nothing: remove it, or open one before"))
        }
        Some(_) => Err(parser.error("\"and\", \"or\" or the end of the expression belongs here")),
    }
}

struct Parser<'a> {
    tokens: &'a [Token],
    next: usize,
    end: usize,
    /// The qualifiers of the last identifier.
    last: Option<Qualifiers>,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&What> {
        self.peek_at(0)
    }

    fn peek_at(&self, ahead: usize) -> Option<&What> {
        self.tokens.get(self.next + ahead).map(|token| &token.what)
    }

    fn word_at(&self, ahead: usize) -> Option<&str> {
        match self.peek_at(ahead) {
            Some(What::Word(word)) => Some(word),
            _ => None,
        }
    }

    /// The place of the next token; the end of the text behind the last.
    fn place(&self) -> Span {
        self.tokens.get(self.next).map_or(self.end..self.end, |token| token.at.clone())
    }

    /// From a token to the last one that was taken.
    fn since(&self, first: usize) -> Span {
        let start = self.tokens.get(first).map_or(self.end, |token| token.at.start);
        let last = self.next.checked_sub(1).and_then(|last| self.tokens.get(last));
        start..last.map_or(self.end, |token| token.at.end).max(start)
    }

    fn error(&self, why: impl Into<String>) -> Error {
        Error::new(self.place(), why)
    }

    fn take_sign(&mut self, sign: Sign) -> bool {
        let there = self.peek() == Some(&What::Sign(sign));
        self.next += usize::from(there);
        there
    }

    fn take_word(&mut self, word: &str) -> bool {
        let there = self.word_at(0) == Some(word);
        self.next += usize::from(there);
        there
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.depth == DEPTH_MAX {
            return Err(self.error(format!("the expression is nested deeper than {DEPTH_MAX}")));
        }
        self.depth += 1;
        let result = parse(self);
        self.depth -= 1;
        result
    }

    fn take_not(&mut self) -> bool {
        self.take_word("not") || self.take_sign(Sign::Not)
    }

    /// `Some(true)` for "and", `Some(false)` for "or".
    fn take_junction(&mut self) -> Option<bool> {
        if self.take_word("and") || self.take_sign(Sign::And) {
            Some(true)
        } else if self.take_word("or") || self.take_sign(Sign::Or) {
            Some(false)
        } else {
            None
        }
    }

    fn expression(&mut self) -> Result<Node, Error> {
        self.junctions(Self::term)
    }

    fn junctions(
        &mut self,
        part: impl Fn(&mut Self) -> Result<Node, Error>,
    ) -> Result<Node, Error> {
        let mut left = part(self)?;
        while let Some(and) = self.take_junction() {
            let (first, second) = (Box::new(left), Box::new(part(self)?));
            left = if and { Node::And(first, second) } else { Node::Or(first, second) };
        }
        Ok(left)
    }

    fn term(&mut self) -> Result<Node, Error> {
        if self.take_not() {
            return self.deeper(|parser| Ok(Node::Not(Box::new(parser.term()?))));
        }
        if self.arithmetic_begins() {
            // What begins with a parenthesis may be either; what cannot be arithmetic is read again.
            let (next, last) = (self.next, self.last);
            let relation = self.relation();
            let boolean = self.tokens.get(next).map(|t| &t.what) == Some(&What::Sign(Sign::Open));
            match relation {
                Err(_) if boolean => (self.next, self.last) = (next, last),
                other => return other,
            }
        }
        if self.take_sign(Sign::Open) {
            let inner = self.deeper(Self::expression)?;
            if !self.take_sign(Sign::Close) {
                return Err(self.error("a closing parenthesis is missing here"));
            }
            return Ok(inner);
        }
        self.primitive()
    }

    // --- arithmetic ---

    fn arithmetic_begins(&self) -> bool {
        match self.peek() {
            Some(What::Sign(Sign::Open | Sign::Minus)) => true,
            Some(What::Number(_)) => matches!(
                self.peek_at(1),
                Some(What::Sign(
                    Sign::Eq
                        | Sign::Ne
                        | Sign::Lt
                        | Sign::Le
                        | Sign::Gt
                        | Sign::Ge
                        | Sign::Plus
                        | Sign::Minus
                        | Sign::Times
                        | Sign::Slash
                        | Sign::Percent
                        | Sign::Ampersand
                        | Sign::Bar
                        | Sign::Caret
                        | Sign::ShiftLeft
                        | Sign::ShiftRight
                ))
            ),
            Some(What::Word(word)) => {
                word == "len"
                    || names::constant(word).is_some()
                    || (names::proto(word).is_some()
                        && self.peek_at(1) == Some(&What::Sign(Sign::OpenBracket)))
            }
            _ => false,
        }
    }

    fn relation(&mut self) -> Result<Node, Error> {
        let left = self.arith(0)?;
        let relop = match self.peek() {
            Some(What::Sign(Sign::Eq)) => Relop::Eq,
            Some(What::Sign(Sign::Ne)) => Relop::Ne,
            Some(What::Sign(Sign::Gt)) => Relop::Gt,
            Some(What::Sign(Sign::Ge)) => Relop::Ge,
            Some(What::Sign(Sign::Lt)) => Relop::Lt,
            Some(What::Sign(Sign::Le)) => Relop::Le,
            _ => return Err(self.error("a comparison belongs here: = != < <= > >=")),
        };
        self.next += 1;
        let right = self.arith(0)?;
        Ok(Node::Relation(Box::new(Relation { left, relop, right })))
    }

    fn operator(&self) -> Option<(Binary, u8)> {
        let Some(What::Sign(sign)) = self.peek() else { return None };
        Some(match sign {
            Sign::Bar => (Binary::Or, 1),
            Sign::Caret => (Binary::Xor, 1),
            Sign::Ampersand => (Binary::And, 1),
            Sign::ShiftLeft => (Binary::Lsh, 2),
            Sign::ShiftRight => (Binary::Rsh, 2),
            Sign::Plus => (Binary::Add, 3),
            Sign::Minus => (Binary::Sub, 3),
            Sign::Times => (Binary::Mul, 4),
            Sign::Slash => (Binary::Div, 4),
            Sign::Percent => (Binary::Mod, 4),
            _ => return None,
        })
    }

    /// Operators that bind closer than `above`, all of them to the left.
    fn arith(&mut self, above: u8) -> Result<Arith, Error> {
        let mut left = self.deeper(Self::operand)?;
        while let Some((how, binds)) = self.operator().filter(|(_, binds)| *binds > above) {
            let at = self.place();
            self.next += 1;
            let right = self.deeper(|parser| parser.arith(binds))?;
            left = Arith::Binary { how, left: Box::new(left), right: Box::new(right), at };
        }
        Ok(left)
    }

    fn operand(&mut self) -> Result<Arith, Error> {
        let first = self.next;
        if self.take_sign(Sign::Minus) {
            return Ok(Arith::Negate(Box::new(self.deeper(Self::operand)?)));
        }
        if self.take_sign(Sign::Open) {
            let inner = self.arith(0)?;
            if !self.take_sign(Sign::Close) {
                return Err(self.error("a closing parenthesis is missing here"));
            }
            return Ok(inner);
        }
        match self.peek() {
            Some(What::Number(number)) => {
                let number = *number;
                self.next += 1;
                Ok(Arith::Number(number))
            }
            Some(What::Word(word)) => {
                if word == "len" {
                    self.next += 1;
                    return Ok(Arith::Length);
                }
                if let Some(number) = names::constant(word) {
                    self.next += 1;
                    return Ok(Arith::Number(number));
                }
                let Some(proto) = names::proto(word) else {
                    return Err(self.error(format!(
                        "\"{word}\" is no number and no protocol whose bytes can be looked at"
                    )));
                };
                self.next += 1;
                if !self.take_sign(Sign::OpenBracket) {
                    return Err(self.error("\"[\" and an offset belong here, as in ip[8]"));
                }
                let index = self.arith(0)?;
                let size = if self.take_sign(Sign::Colon) { self.size()? } else { 1 };
                if !self.take_sign(Sign::CloseBracket) {
                    return Err(self.error("\"]\" belongs here"));
                }
                Ok(Arith::Load { proto, index: Box::new(index), size, at: self.since(first) })
            }
            _ => Err(self.error("a number belongs here")),
        }
    }

    fn size(&mut self) -> Result<u8, Error> {
        match self.peek() {
            Some(What::Number(size @ (1 | 2 | 4))) => {
                let size = *size as u8;
                self.next += 1;
                Ok(size)
            }
            _ => Err(self.error("1, 2 or 4 bytes can be looked at at a time")),
        }
    }

    // --- primitives ---

    fn number(&mut self, what: &str) -> Result<u32, Error> {
        match self.peek() {
            Some(What::Number(number)) => {
                let number = *number;
                self.next += 1;
                Ok(number)
            }
            _ => Err(self.error(format!("{what} belongs here"))),
        }
    }

    fn optional_number(&mut self) -> Option<u32> {
        let Some(What::Number(number)) = self.peek() else { return None };
        let number = *number;
        self.next += 1;
        Some(number)
    }

    fn primitive(&mut self) -> Result<Node, Error> {
        let first = self.next;
        let word = self.word_at(0).map(String::from);
        let Some(word) = word else {
            return self.identifier(first, self.last.unwrap_or_default());
        };
        self.next += 1;
        let primitive = match word.as_str() {
            "less" => Primitive::Less(self.number("a number of bytes")?),
            "greater" => Primitive::Greater(self.number("a number of bytes")?),
            "vlan" => Primitive::Vlan(self.optional_number()),
            "mpls" => Primitive::Mpls(self.optional_number()),
            "pppoed" => Primitive::PppoeDiscovery,
            "pppoes" => Primitive::PppoeSession(self.optional_number()),
            "llc" => Primitive::Llc,
            "broadcast" => Primitive::Broadcast(None),
            "multicast" => Primitive::Multicast(None),
            other => {
                if let Some(why) = names::refused(other) {
                    self.next = first;
                    return Err(self.error(why));
                }
                self.next = first;
                return self.qualified(first);
            }
        };
        Ok(Node::Primitive(primitive, self.since(first)))
    }

    /// `[PROTO] [DIRECTION] [KIND] IDENTIFIER`, or a protocol alone.
    fn qualified(&mut self, first: usize) -> Result<Node, Error> {
        let proto = self.word_at(0).and_then(names::proto);
        self.next += usize::from(proto.is_some());
        if proto.is_some() {
            for (word, primitive) in [
                ("broadcast", Primitive::Broadcast(proto)),
                ("multicast", Primitive::Multicast(proto)),
            ] {
                if self.take_word(word) {
                    return Ok(Node::Primitive(primitive, self.since(first)));
                }
            }
            if self.word_at(0).is_some_and(|word| names::refused(word).is_some()) {
                let why = self.word_at(0).and_then(names::refused).unwrap_or_default();
                return Err(self.error(why));
            }
        }
        let direction = self.direction();
        let kind = match self.word_at(0) {
            Some("host") => Some(Kind::Host),
            Some("net") => Some(Kind::Net),
            Some("port") => Some(Kind::Port),
            Some("portrange") => Some(Kind::PortRange),
            Some("proto") => Some(Kind::Protocol),
            _ => None,
        };
        self.next += usize::from(kind.is_some());
        let qualifiers = Qualifiers { proto, direction, kind };
        if direction.is_none() && kind.is_none() {
            if let Some(proto) = proto {
                return Ok(Node::Primitive(Primitive::Proto(proto), self.since(first)));
            }
            // A name, which has the qualifiers of the identifier before it.
            return self.identifier(first, self.last.unwrap_or_default());
        }
        self.last = Some(qualifiers);
        if self.take_sign(Sign::Open) {
            let inner = self.deeper(|parser| parser.junctions(|parser| parser.bare(qualifiers)))?;
            if !self.take_sign(Sign::Close) {
                return Err(self.error("a closing parenthesis is missing here"));
            }
            return Ok(inner);
        }
        self.identifier(first, qualifiers)
    }

    fn direction(&mut self) -> Option<Direction> {
        let (one, other) = match self.word_at(0) {
            Some("src") => (Direction::Source, "dst"),
            Some("dst") => (Direction::Destination, "src"),
            _ => return None,
        };
        self.next += 1;
        if self.word_at(1) == Some(other) {
            let both = match self.peek() {
                Some(What::Word(word)) if word == "or" => Some(Direction::Either),
                Some(What::Sign(Sign::Or)) => Some(Direction::Either),
                Some(What::Word(word)) if word == "and" => Some(Direction::Both),
                Some(What::Sign(Sign::And)) => Some(Direction::Both),
                _ => None,
            };
            if both.is_some() {
                self.next += 2;
                return both;
            }
        }
        Some(one)
    }

    /// An identifier in a list in parentheses.
    fn bare(&mut self, qualifiers: Qualifiers) -> Result<Node, Error> {
        if self.take_not() {
            return self.deeper(|parser| Ok(Node::Not(Box::new(parser.bare(qualifiers)?))));
        }
        self.identifier(self.next, qualifiers)
    }

    fn identifier(&mut self, first: usize, qualifiers: Qualifiers) -> Result<Node, Error> {
        let value = self.value()?;
        self.last = Some(qualifiers);
        Ok(Node::Primitive(Primitive::Identifier(qualifiers, value), self.since(first)))
    }

    fn value(&mut self) -> Result<Value, Error> {
        let Some(what) = self.peek().cloned() else {
            return Err(
                self.error("the expression ends where an address, a number or a name belongs")
            );
        };
        let at = self.place();
        self.next += 1;
        Ok(match what {
            What::Number(number) => match self.masked(Ipv4Addr::from(number), None)? {
                Some(value) => value,
                None => Value::Number(number),
            },
            What::V4(address, octets) => match self.masked(address, Some(octets))? {
                Some(value) => value,
                None => Value::V4 { address, octets },
            },
            What::V6(address) => Value::V6 { address, length: self.v6_length(address)? },
            What::Mac(mac) => Value::Mac(mac),
            What::Escaped(name) => Value::Name(name),
            What::Word(name) if names::is_reserved(&name) => {
                let why = format!(
                    "\"{name}\" is a word of the language where an address, a number or a name \
                     belongs; a name that is one is written \\{name}"
                );
                return Err(Error::new(at, why));
            }
            What::Word(name) => Value::Name(name),
            What::Sign(_) => {
                return Err(Error::new(at, "an address, a number or a name belongs here"));
            }
        })
    }

    /// `/LENGTH` or `mask MASK` behind an IPv4 address or a number that is the beginning of one.
    fn masked(&mut self, address: Ipv4Addr, octets: Option<u8>) -> Result<Option<Value>, Error> {
        let place = self.place();
        let mask = if self.take_sign(Sign::Slash) {
            let length = self.number("the length of a prefix, 0 to 32,")?;
            if length > 32 {
                return Err(Error::new(
                    place.start..self.since(0).end,
                    "an IPv4 prefix has at most 32 bits",
                ));
            }
            u32::MAX.checked_shl(32 - length).unwrap_or(0)
        } else if self.take_word("mask") {
            match self.peek() {
                Some(What::V4(mask, 4)) => {
                    let mask = u32::from(*mask);
                    self.next += 1;
                    mask
                }
                _ => return Err(self.error("a netmask such as 255.255.255.0 belongs here")),
            }
        } else {
            return Ok(None);
        };
        let address = match octets {
            Some(_) => address,
            None => promoted(u32::from(address)).0.into(),
        };
        if u32::from(address) & !mask != 0 {
            let at = place.start..self.since(0).end;
            return Err(Error::new(at, format!("{address} has bits outside of its netmask")));
        }
        Ok(Some(Value::V4Mask { address, mask: mask.into() }))
    }

    fn v6_length(&mut self, address: Ipv6Addr) -> Result<u8, Error> {
        let place = self.place();
        if !self.take_sign(Sign::Slash) {
            return Ok(128);
        }
        let length = match self.number("the length of a prefix, 0 to 128,")? {
            length @ 0..=128 => length as u8,
            _ => {
                return Err(Error::new(
                    place.start..self.since(0).end,
                    "an IPv6 prefix has at most 128 bits",
                ));
            }
        };
        let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
        if u128::from(address) & !mask != 0 {
            let why = format!("{address} has bits outside of its prefix");
            return Err(Error::new(place.start..self.since(0).end, why));
        }
        Ok(length)
    }
}

/// A number as the first octets of an IPv4 network, and the mask of what was written.
pub(super) fn promoted(mut number: u32) -> (u32, u32) {
    let mut mask = u32::MAX;
    while number != 0 && number & 0xff00_0000 == 0 {
        number <<= 8;
        mask <<= 8;
    }
    (number, mask)
}
