//! Who has claimed what, and the line on which a relay asks.
//!
//! The broker answers each question at once, so a relay waits for the answer. A relay that ends
//! gives back everything: the end of its line says so.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use sys::device::is_name;
use wire::MacAddr;

/// How long a relay waits for an answer. The broker does nothing that takes long.
const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes of the longest question.
pub(crate) const QUESTION_MAX: usize = 32;

const OPEN: u8 = 1;
const CLAIM: u8 = 2;
const RELEASE: u8 = 3;

/// A question of a relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// It wants a device of which its user may have so many connections.
    Open {
        device: String,
        connections: u16,
    },
    Claim(MacAddr),
    Release(MacAddr),
}

impl Question {
    fn encode(&self) -> Vec<u8> {
        match self {
            Question::Open { device, connections } => {
                let mut bytes = vec![OPEN];
                bytes.extend_from_slice(&connections.to_ne_bytes());
                bytes.extend_from_slice(device.as_bytes());
                bytes
            }
            Question::Claim(mac) => [&[CLAIM][..], &mac.0].concat(),
            Question::Release(mac) => [&[RELEASE][..], &mac.0].concat(),
        }
    }

    /// `None`: a relay that sends this is not ours any more.
    #[must_use]
    pub(crate) fn decode(bytes: &[u8]) -> Option<Question> {
        let (&kind, body) = bytes.split_first()?;
        match kind {
            OPEN => {
                let (connections, device) = body.split_first_chunk()?;
                let device = std::str::from_utf8(device).ok().filter(|it| is_name(it))?.to_owned();
                Some(Question::Open { device, connections: u16::from_ne_bytes(*connections) })
            }
            CLAIM => Some(Question::Claim(MacAddr(body.try_into().ok()?))),
            RELEASE => Some(Question::Release(MacAddr(body.try_into().ok()?))),
            _ => None,
        }
    }
}

/// A relay's end of its line.
#[derive(Debug)]
pub(crate) struct Line(OwnedFd);

impl Line {
    #[must_use]
    pub(crate) fn new(fd: OwnedFd) -> Line {
        Line(fd)
    }

    /// Whether the broker agrees.
    ///
    /// # Errors
    /// When the broker is gone: there is nobody any more who keeps users apart.
    pub(crate) fn ask(&self, question: &Question) -> io::Result<bool> {
        sys::unix::send_vectored(self.0.as_fd(), &[io::IoSlice::new(&question.encode())])?;
        if !sys::wait::readable(self.0.as_fd(), Some(PATIENCE))? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut answer = [0];
        match sys::unix::receive(self.0.as_fd(), &mut answer)? {
            1 => Ok(answer[0] != 0),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Which relay, by a number that is never used twice.
pub(crate) type RelayId = u64;

/// The broker's memory.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Device and user of each relay that has one.
    open: HashMap<RelayId, (String, u32)>,
    claims: HashMap<(String, MacAddr), RelayId>,
}

impl Ledger {
    /// Answers a question of a relay, whose user is `uid`.
    pub(crate) fn answer(&mut self, relay: RelayId, uid: u32, question: Question) -> bool {
        match question {
            Question::Open { device, connections } => {
                let same = |it: &&(String, u32)| it.0 == device && it.1 == uid;
                let allowed = !self.open.contains_key(&relay)
                    && self.open.values().filter(same).count() < usize::from(connections);
                if allowed {
                    self.open.insert(relay, (device, uid));
                }
                allowed
            }
            Question::Claim(mac) => {
                let Some((device, _)) = self.open.get(&relay) else { return false };
                *self.claims.entry((device.clone(), mac)).or_insert(relay) == relay
            }
            Question::Release(mac) => {
                let Some((device, _)) = self.open.get(&relay) else { return false };
                let key = (device.clone(), mac);
                let own = self.claims.get(&key) == Some(&relay);
                if own {
                    self.claims.remove(&key);
                }
                own
            }
        }
    }

    /// A relay ended.
    pub(crate) fn forget(&mut self, relay: RelayId) {
        self.open.remove(&relay);
        self.claims.retain(|_, owner| *owner != relay);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    fn open(connections: u16) -> Question {
        Question::Open { device: "eth0".into(), connections }
    }

    #[test]
    fn questions_are_understood() {
        for question in [open(7), Question::Claim(MAC), Question::Release(MAC)] {
            let bytes = question.encode();
            assert!(bytes.len() <= QUESTION_MAX);
            assert_eq!(Question::decode(&bytes), Some(question));
        }
        for bytes in [&b""[..], &[9], &[CLAIM, 1, 2], &[OPEN, 1, 0], &[OPEN, 1, 0, b'/']] {
            assert_eq!(Question::decode(bytes), None);
        }
    }

    #[test]
    fn an_address_of_a_device_has_one_owner() {
        let mut ledger = Ledger::default();
        assert!(!ledger.answer(1, 1000, Question::Claim(MAC)), "no device yet");
        assert!(ledger.answer(1, 1000, open(4)));
        assert!(ledger.answer(2, 1001, open(4)));
        let other = Question::Open { device: "eth1".into(), connections: 4 };
        assert!(ledger.answer(3, 1001, other));
        assert!(ledger.answer(1, 1000, Question::Claim(MAC)));
        assert!(ledger.answer(1, 1000, Question::Claim(MAC)), "its own already");
        assert!(!ledger.answer(2, 1001, Question::Claim(MAC)));
        assert!(!ledger.answer(2, 1001, Question::Release(MAC)));
        assert!(ledger.answer(3, 1001, Question::Claim(MAC)), "another device");
        assert!(ledger.answer(1, 1000, Question::Release(MAC)));
        assert!(ledger.answer(2, 1001, Question::Claim(MAC)));
        ledger.forget(2);
        assert!(ledger.answer(1, 1000, Question::Claim(MAC)));
    }

    #[test]
    fn connections_are_counted_for_user_and_device() {
        let mut ledger = Ledger::default();
        assert!(ledger.answer(1, 1000, open(2)));
        assert!(!ledger.answer(1, 1000, open(2)), "a relay has one device");
        assert!(ledger.answer(2, 1000, open(2)));
        assert!(!ledger.answer(3, 1000, open(2)));
        assert!(ledger.answer(3, 1001, open(2)));
        ledger.forget(1);
        assert!(ledger.answer(4, 1000, open(2)));
    }

    #[test]
    fn a_line_without_a_broker_is_an_error() {
        let (a, b) = sys::unix::pair(sys::unix::SocketKind::Seqpacket, true).unwrap();
        drop(b);
        assert!(Line::new(a).ask(&open(1)).is_err());
    }
}
