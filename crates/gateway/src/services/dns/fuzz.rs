//! The part of [`crate::services::fuzz`] that is DNS.

use super::message::{self, NoQuery, Query, Rcode, flag, flags};
use super::response;
use crate::services::fuzz::test_zone;
use crate::services::zone::Found;

/// A message of a guest, and the same bytes as the answer of a resolver to a question.
///
/// # Panics
/// An answer cannot be read, or is to another question.
pub fn fuzz(data: &[u8]) {
    match Query::parse(data) {
        Ok(query) => answers(&query),
        Err(NoQuery::Wrong(rcode)) => {
            let answer = message::bare(data, rcode);
            assert_eq!(answer.get(..2), data.get(..2));
            assert_eq!(flags(&answer).map(|flags| flags & 15), Some(rcode as u16));
        }
        Err(NoQuery::Runt | NoQuery::Response) => {}
    }
    resolver(data);
}

/// What is made of a question.
fn answers(query: &Query) {
    let asked = query.for_resolver(message::OWN_SIZE);
    let again = Query::parse(&asked).expect("what is passed on is a question");
    assert_eq!((&again.name, again.kind, again.class), (&query.name, query.kind, query.class));
    assert_eq!(again.edns.is_some(), query.edns.is_some());
    let made = [
        query.answer(Rcode::ServFail, false, &[], None),
        query.truncated(flag::RESPONSE),
        match test_zone().find(&query.name, query.kind) {
            Some(Found::Records(records)) => query.answer(Rcode::NoError, true, &records, None),
            Some(Found::NoData(soa)) => query.answer(Rcode::NoError, true, &[], Some(&soa)),
            Some(Found::NoName(soa)) => query.answer(Rcode::NxDomain, true, &[], Some(&soa)),
            None => query.answer(Rcode::Refused, false, &[], None),
        },
    ];
    for answer in made {
        assert!(answer.len() <= 1232, "{}", answer.len());
        assert!(response::check(&answer, query.id, &asked).is_some(), "it answers the question");
        let passed = response::for_guest(&answer, query).expect("it can be read to its end");
        assert_eq!(passed.len(), answer.len());
    }
}

/// The bytes as an answer.
fn resolver(data: &[u8]) {
    let question = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x03www\x07example\x00\
                     \x00\x01\x00\x01\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00";
    let query = Query::parse(question).expect("a question");
    let asked = query.for_resolver(message::OWN_SIZE);
    let Some(id) = data.first_chunk().copied().map(u16::from_be_bytes) else { return };
    if response::check(data, id, &asked).is_none() {
        return;
    }
    if let Some(answer) = response::for_guest(data, &query) {
        assert!(answer.len() <= data.len().max(asked.len()));
        assert_eq!(answer.get(..2), Some([0x12, 0x34].as_slice()));
        assert!(response::check(&answer, 0x1234, &asked).is_some());
    }
}
