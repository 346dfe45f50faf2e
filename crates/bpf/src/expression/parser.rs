//! Tokens to the tree.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;

use super::Error;
use super::lexer::{Sign, Token, What};
use super::names;
use super::syntax::{
    Arith, Binary, Control, Direction, Kind, Node, Primitive, Qualifiers, Relation, Relop, Span,
};

mod value;

/// Deepest nesting of parentheses, brackets and negations.
const DEPTH_MAX: usize = 64;

/// What is said of something that is between two conditions.
const BETWEEN: &str = "\"and\", \"or\" or the end of the expression belongs here";

/// Parses a whole expression; `None` if there is none.
pub(super) fn parse(tokens: &[Token]) -> Result<Option<Node>, Error> {
    let Some(last) = tokens.last() else { return Ok(None) };
    let mut parser = Parser { tokens, next: 0, end: last.at.end, last: None, depth: 0 };
    let tree = parser.expression()?;
    match parser.peek() {
        None => Ok(Some(tree)),
        Some(What::Sign(Sign::Close)) => {
            Err(parser.error("this parenthesis closes nothing: remove it, or open one before"))
        }
        Some(what) => {
            let why = match what {
                What::Sign(Sign::Ampersand | Sign::Bar) => {
                    "this sign is for numbers: conditions are joined with \"and\" and \"or\""
                }
                What::Sign(relop) if relop.compares() => {
                    "a comparison has a number on its left, as in tcp[13] = 2"
                }
                What::Word(word) => match names::in_small_letters(word) {
                    Some(small) => {
                        return Err(parser.error(format!("write {small}, in lower case")));
                    }
                    None => BETWEEN,
                },
                _ => BETWEEN,
            };
            Err(parser.error(why))
        }
    }
}

struct Parser<'a> {
    tokens: &'a [Token],
    next: usize,
    /// Of the last token, in bytes of the text.
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

    /// The place of the next token; the end of the last behind it.
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
            // If it is neither, the reading that came further is what was meant.
            let (next, last) = (self.next, self.last);
            let boolean = self.peek() == Some(&What::Sign(Sign::Open));
            return match self.relation() {
                Err(arithmetic) if boolean => {
                    (self.next, self.last) = (next, last);
                    self.parenthesis().map_err(|error| {
                        let further = arithmetic.at.start > error.at.start;
                        if further { arithmetic } else { error }
                    })
                }
                other => other,
            };
        }
        self.primitive()
    }

    fn parenthesis(&mut self) -> Result<Node, Error> {
        self.next += 1;
        if self.peek() == Some(&What::Sign(Sign::Close)) {
            return Err(self.error("there is nothing in these parentheses"));
        }
        let inner = self.deeper(Self::expression)?;
        self.close("\"and\", \"or\"")?;
        Ok(inner)
    }

    /// The parenthesis that closes what was begun; `other` could stand here too.
    fn close(&mut self, other: &str) -> Result<(), Error> {
        if self.take_sign(Sign::Close) {
            return Ok(());
        }
        Err(match self.peek() {
            None => self.error("a closing parenthesis is missing here"),
            Some(_) => self.error(format!("{other} or a closing parenthesis belongs here")),
        })
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
        let at = self.place();
        self.next += 1;
        let right = self.arith(0)?;
        Ok(Node::Relation(Box::new(Relation { left, relop, at, right })))
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
            self.close("an operator")?;
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
                        "\"{word}\" is neither a number nor a protocol whose bytes can be looked at"
                    )));
                };
                self.next += 1;
                if !self.take_sign(Sign::OpenBracket) {
                    return Err(self.error("\"[\" and an offset belong here, as in ip[8]"));
                }
                let begin = self.next;
                let index = Box::new(self.arith(0)?);
                let index_at = self.since(begin);
                let size = if self.take_sign(Sign::Colon) { self.size()? } else { 1 };
                if !self.take_sign(Sign::CloseBracket) {
                    return Err(self.error("\"]\" belongs here"));
                }
                Ok(Arith::Load { proto, index, size, at: self.since(first), index_at })
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

    /// A number that may be left out, and may stand in parentheses.
    fn optional_number(&mut self, what: &str, most: u32) -> Result<Option<u32>, Error> {
        let mut open = 0;
        while self.take_sign(Sign::Open) {
            open += 1;
        }
        let at = self.place();
        let number = match self.peek() {
            Some(What::Number(number)) => *number,
            Some(What::Sign(Sign::Minus)) => {
                return Err(self.error(format!("{what} is a number from 0 to {most}")));
            }
            Some(What::Word(word)) if word.starts_with(|c: char| c.is_ascii_digit()) => {
                return Err(self.error(format!(
                    "{word} is not a valid {what}: it is one number, and others are joined with \"or\""
                )));
            }
            _ if open == 0 => return Ok(None),
            _ => return Err(self.error(format!("the number of {what} belongs here"))),
        };
        if number > most {
            return Err(Error::new(
                at,
                format!("{number} is not a valid {what}: the largest is {most}"),
            ));
        }
        self.next += 1;
        for _ in 0..open {
            self.close("the end of the number")?;
        }
        Ok(Some(number))
    }

    /// The word behind `llc`, if there is one.
    fn llc_type(&mut self) -> Result<Option<Control>, Error> {
        let Some(word) = self.word_at(0).filter(|word| !matches!(*word, "and" | "or")) else {
            return Ok(None);
        };
        let Some(control) = names::llc_type(word) else {
            return Err(self.error(format!(
                "\"{word}\" is not a type of LLC frame: i, s, u, rr, rnr, rej, ui, ua, disc, dm, sabme, test, xid \
                 or frmr"
            )));
        };
        self.next += 1;
        Ok(Some(control))
    }

    fn primitive(&mut self) -> Result<Node, Error> {
        let first = self.next;
        let word = match self.peek() {
            None => return Err(self.error("the expression ends where a condition belongs")),
            Some(What::Sign(sign)) if sign.compares() => {
                return Err(self.error("a number belongs before this comparison"));
            }
            Some(What::Sign(_)) => return Err(self.error("a condition belongs here")),
            Some(What::Word(word)) => word.clone(),
            Some(_) => return self.identifier(first, self.last.unwrap_or_default()),
        };
        self.next += 1;
        let primitive = match word.as_str() {
            "less" => Primitive::Less(self.number("a number of bytes")?),
            "greater" => Primitive::Greater(self.number("a number of bytes")?),
            "vlan" => Primitive::Vlan(self.optional_number("VLAN", 0xfff)?),
            "mpls" => Primitive::Mpls(self.optional_number("MPLS label", 0xf_ffff)?),
            "pppoed" => Primitive::PppoeDiscovery,
            "pppoes" => Primitive::PppoeSession(self.optional_number("PPPoE session", 0xffff)?),
            "llc" => Primitive::Llc(self.llc_type()?),
            "broadcast" => Primitive::Broadcast(None),
            "multicast" => Primitive::Multicast(None),
            other => match names::isis_types(other) {
                Some(types) => Primitive::Isis(types),
                None => {
                    self.next = first;
                    return match (other, names::refused(other)) {
                        (_, Some(why)) => Err(self.error(why)),
                        ("and" | "or", None) => {
                            Err(self.error(format!("a condition belongs before this \"{other}\"")))
                        }
                        ("mask", None) => Err(self.error(
                            "\"mask\" goes after net and its address, as in net 10.0.0.0 mask 255.0.0.0",
                        )),
                        (_, None) => self.qualified(first),
                    };
                }
            },
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
            return self.list(qualifiers);
        }
        self.identifier(first, qualifiers)
    }

    /// Identifiers in a parenthesis, which is open already.
    fn list(&mut self, qualifiers: Qualifiers) -> Result<Node, Error> {
        let inner = self.deeper(|parser| parser.junctions(|parser| parser.bare(qualifiers)))?;
        self.close("\"and\", \"or\"")?;
        Ok(inner)
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
        if self.take_sign(Sign::Open) {
            return self.list(qualifiers);
        }
        self.identifier(self.next, qualifiers)
    }

    fn identifier(&mut self, first: usize, qualifiers: Qualifiers) -> Result<Node, Error> {
        let value = self.value(qualifiers)?;
        self.last = Some(qualifiers);
        Ok(Node::Primitive(Primitive::Identifier(qualifiers, value), self.since(first)))
    }
}
