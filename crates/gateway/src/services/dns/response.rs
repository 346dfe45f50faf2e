//! Answers of resolvers: are they what was asked, and what must change for the guest.

use super::message::{
    HEADER_LEN, OWN_SIZE, Query, Rcode, counts, flag, flags, kind, record, skip_name,
};

/// An answer of a resolver that belongs to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checked {
    pub(crate) rcode: u16,
    pub(crate) truncated: bool,
    /// It repeats the question. Some errors come without.
    pub(crate) complete: bool,
}

/// Whether `message` answers the question `asked` (as it was sent, without its identifier) under
/// this identifier (RFC 5452, 9.1). Case is not compared: some servers change it.
pub(crate) fn check(message: &[u8], id: u16, asked: &[u8]) -> Option<Checked> {
    let flags = flags(message)?;
    if message.first_chunk() != Some(&id.to_be_bytes()) || flags & flag::RESPONSE == 0 {
        return None;
    }
    if flags & flag::OPCODE != 0 {
        return None;
    }
    let rcode = flags & flag::RCODE;
    let truncated = flags & flag::TRUNCATED != 0;
    let complete = match counts(message)? {
        [1, ..] => {
            let end = skip_name(asked, HEADER_LEN)? + 4;
            let question = message.get(HEADER_LEN..end)?;
            let (name, rest) = question.split_at_checked(question.len().checked_sub(4)?)?;
            let (asked_name, asked_rest) =
                asked.get(HEADER_LEN..end)?.split_at_checked(question.len() - 4)?;
            if !name.eq_ignore_ascii_case(asked_name) || rest != asked_rest {
                return None;
            }
            true
        }
        [0, 0, 0, _] if rcode != 0 => false,
        _ => return None,
    };
    Some(Checked { rcode, truncated, complete })
}

/// The answer as the guest gets it: its identifier, its spelling, our word about datagram sizes,
/// and no EDNS where it did not use it. `None` if the message cannot be read to its end.
pub(crate) fn for_guest(message: &[u8], query: &Query) -> Option<Vec<u8>> {
    let [questions, answers, authorities, more] = counts(message)?;
    if questions != 1 {
        // An error without a question; say it with ours.
        let rcode = match flags(message)? & flag::RCODE {
            1 => Rcode::FormErr,
            4 => Rcode::NotImp,
            5 => Rcode::Refused,
            _ => Rcode::ServFail,
        };
        return Some(query.answer(rcode, false, &[], None));
    }
    let mut at = skip_name(message, HEADER_LEN)? + 4;
    let mut opt = None;
    let total = u32::from(answers) + u32::from(authorities) + u32::from(more);
    for index in 0..total {
        let found = record(message, at)?;
        if found.kind == kind::OPT && index >= u32::from(answers) + u32::from(authorities) {
            opt = Some((at, found, index + 1 == total));
        }
        at = found.end;
    }
    let mut answer = message.get(..at)?.to_vec();
    match (opt, query.edns) {
        (Some((_, found, _)), Some(_)) => {
            answer.get_mut(found.at + 2..found.at + 4)?.copy_from_slice(&OWN_SIZE.to_be_bytes());
        }
        // Pointers only point backwards, so that the last record can go without harm.
        (Some((at, _, true)), None) => {
            answer.truncate(at);
            answer.get_mut(10..12)?.copy_from_slice(&(more - 1).to_be_bytes());
        }
        _ => {}
    }
    answer.get_mut(..2)?.copy_from_slice(&query.id.to_be_bytes());
    answer.get_mut(HEADER_LEN..HEADER_LEN + query.spelling.len())?.copy_from_slice(&query.spelling);
    Some(answer)
}
