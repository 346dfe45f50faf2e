//! What a datagram on a `dgram` node is, without I/O.
//!
//! The protocol is one frame per datagram (libkrun and QEMU call it unixgram and dgram). vfkit's
//! old handshake sends the four bytes `VFKT` first, which is no frame; it is swallowed whenever it
//! comes, since four bytes can never be one.

use sys::Cred;

/// vfkit's greeting.
pub const GREETING: &[u8; 4] = b"VFKT";

/// What to do with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contact<'a> {
    /// A frame for the sender's port.
    Frame(&'a [u8]),
    /// It opens the sender's port and carries nothing.
    Greeting,
    /// Nobody can be answered.
    Refused(Refusal),
}

/// Why a datagram's sender has no port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The sender's socket has no name.
    Unnamed,
    /// The kernel gave no credentials.
    NoCredentials,
    /// The name's port belongs to another user.
    OtherUser { owner: u32, sender: u32 },
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refusal::Unnamed => f.write_str(
                "a client sent from a socket without a name and cannot be answered; bind the \
                 client's socket (libkrun and vfkit do, QEMU does with local.path)",
            ),
            Refusal::NoCredentials => {
                f.write_str("a client's credentials did not come with its datagram; try again")
            }
            Refusal::OtherUser { owner, sender } => write!(
                f,
                "user {sender} sent from a socket name whose port belongs to user {owner}; bind \
                 another name"
            ),
        }
    }
}

/// Judges a datagram: its sender's name (or none), credentials, and the owner of the port that
/// this name already has.
#[must_use]
pub fn judge<'a>(
    named: bool,
    cred: Option<Cred>,
    port_owner: Option<u32>,
    body: &'a [u8],
) -> Contact<'a> {
    if !named {
        return Contact::Refused(Refusal::Unnamed);
    }
    let Some(cred) = cred else { return Contact::Refused(Refusal::NoCredentials) };
    match port_owner {
        Some(owner) if owner != cred.uid => {
            Contact::Refused(Refusal::OtherUser { owner, sender: cred.uid })
        }
        _ if body == GREETING => Contact::Greeting,
        _ => Contact::Frame(body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greetings_are_swallowed_and_strangers_refused() {
        let me = Some(Cred { pid: 1, uid: 1000, gid: 1000 });
        let frame = [0; 60];
        assert_eq!(judge(true, me, None, b"VFKT"), Contact::Greeting);
        assert_eq!(judge(true, me, Some(1000), b"VFKT"), Contact::Greeting);
        assert_eq!(judge(true, me, Some(1000), &frame), Contact::Frame(&frame));
        assert_eq!(judge(true, me, None, b"VFKTx"), Contact::Frame(b"VFKTx"));
        assert_eq!(judge(true, me, None, b""), Contact::Frame(b""));
        assert_eq!(judge(false, me, None, &frame), Contact::Refused(Refusal::Unnamed));
        assert_eq!(judge(true, None, None, &frame), Contact::Refused(Refusal::NoCredentials));
        assert_eq!(
            judge(true, me, Some(0), &frame),
            Contact::Refused(Refusal::OtherUser { owner: 0, sender: 1000 })
        );
    }
}
