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
    /// Another process sent than the one that has the name's port: refused with this while that one runs. Otherwise
    /// the name is looked at again.
    Other(Refusal),
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
    /// Descriptors came with it.
    Descriptors,
    /// The name's port belongs to another user.
    OtherUser { owner: u32, sender: u32 },
    /// The name's port belongs to another process of the same user, which still runs.
    OtherProcess { owner: i32, sender: i32 },
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
            Refusal::Descriptors => {
                f.write_str("a client sent descriptors, and a frame has none; send frames alone")
            }
            Refusal::OtherUser { owner, sender } => write!(
                f,
                "user {sender} sent from a socket name whose port belongs to user {owner}; bind \
                 another name"
            ),
            Refusal::OtherProcess { owner, sender } => write!(
                f,
                "process {sender} sent from a socket name whose port belongs to process {owner}, which still runs; \
                 bind another name, or have the process that is meant to send do so first"
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
    port_owner: Option<Cred>,
    body: &'a [u8],
) -> Contact<'a> {
    if !named {
        return Contact::Refused(Refusal::Unnamed);
    }
    let Some(cred) = cred else { return Contact::Refused(Refusal::NoCredentials) };
    match port_owner {
        Some(owner) if owner.uid != cred.uid => {
            Contact::Refused(Refusal::OtherUser { owner: owner.uid, sender: cred.uid })
        }
        // The kernel tells a sender's name and process, not its socket. Elsewhere (another mount or network
        // namespace) the same user can bind the same name again.
        Some(owner) if owner.pid != cred.pid => {
            Contact::Other(Refusal::OtherProcess { owner: owner.pid, sender: cred.pid })
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
        assert_eq!(judge(true, me, me, b"VFKT"), Contact::Greeting);
        assert_eq!(judge(true, me, me, &frame), Contact::Frame(&frame));
        assert_eq!(judge(true, me, None, b"VFKTx"), Contact::Frame(b"VFKTx"));
        assert_eq!(judge(true, me, None, b""), Contact::Frame(b""));
        assert_eq!(judge(false, me, None, &frame), Contact::Refused(Refusal::Unnamed));
        assert_eq!(judge(true, None, None, &frame), Contact::Refused(Refusal::NoCredentials));
        let root = Some(Cred { pid: 1, uid: 0, gid: 0 });
        assert_eq!(
            judge(true, me, root, &frame),
            Contact::Refused(Refusal::OtherUser { owner: 0, sender: 1000 })
        );
        let sibling = Some(Cred { pid: 2, uid: 1000, gid: 1000 });
        for body in [&frame[..], b"VFKT"] {
            assert_eq!(
                judge(true, sibling, me, body),
                Contact::Other(Refusal::OtherProcess { owner: 1, sender: 2 })
            );
        }
    }
}
