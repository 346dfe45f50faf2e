//! Asking the kernel about AF_UNIX sockets of others (sock_diag(7), include/uapi/linux/unix_diag.h).
//!
//! Two questions that nothing else answers: who owns the socket behind an abstract name, and has
//! a datagram socket read everything that was sent to it. Only sockets of our network namespace
//! are seen. Needs no privilege; a kernel may lack the `unix_diag` module.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::unix::{Address, PeerPath};

/// `SOCK_DIAG_BY_FAMILY` (linux/sock_diag.h).
const SOCK_DIAG_BY_FAMILY: u16 = 20;

/// `UDIAG_SHOW_*`.
const SHOW_NAME: u32 = 1;
const SHOW_VFS: u32 = 1 << 1;
const SHOW_PEER: u32 = 1 << 2;
const SHOW_RQLEN: u32 = 1 << 4;
const SHOW_UID: u32 = 1 << 6;

/// `UNIX_DIAG_*`.
const ATTRIBUTE_NAME: u16 = 0;
const ATTRIBUTE_VFS: u16 = 1;
const ATTRIBUTE_PEER: u16 = 2;
const ATTRIBUTE_RQLEN: u16 = 4;
const ATTRIBUTE_UID: u16 = 7;

/// struct nlmsghdr, struct unix_diag_req, struct unix_diag_msg, struct nlattr.
const HEADER_LEN: usize = 16;
const REQUEST_LEN: usize = 24;
const MESSAGE_LEN: usize = 16;
const ATTRIBUTE_LEN: usize = 4;

/// One socket, named so that another which gets its inode number later is not meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketId {
    inode: u32,
    cookie: [u32; 2],
}

/// What [`Diag::find`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub id: SocketId,
    /// Who made the socket; `None` on kernels before 5.3.
    pub uid: Option<u32>,
}

/// A socket to ask with.
#[derive(Debug)]
pub struct Diag {
    fd: OwnedFd,
    buffer: Box<[u8]>,
}

impl Diag {
    /// # Errors
    /// As socket(2): EPROTONOSUPPORT without sock_diag, EMFILE.
    pub fn open() -> io::Result<Diag> {
        // SAFETY: no pointers; the result is checked.
        let fd = unsafe {
            libc::socket(
                libc::AF_NETLINK,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
                libc::NETLINK_SOCK_DIAG,
            )
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: socket(2) has just returned this descriptor.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Diag { fd, buffer: vec![0; 32 * 1024].into_boxed_slice() })
    }

    /// The datagram socket that has an abstract name. Costs a walk over all sockets.
    ///
    /// # Errors
    /// As the netlink socket; ENOENT without the `unix_diag` module.
    pub fn find_abstract(&mut self, name: &Address) -> io::Result<Option<Found>> {
        let Some(wanted) = name.abstract_name() else { return Ok(None) };
        self.find(SHOW_NAME | SHOW_UID, |attribute, payload| {
            // The leading NUL marks the name as abstract.
            attribute == ATTRIBUTE_NAME && payload.split_first() == Some((&0, wanted))
        })
    }

    /// The datagram socket that is bound to a pinned inode. Costs a walk over all sockets.
    ///
    /// # Errors
    /// As [`Diag::find_abstract`].
    pub fn find_pinned(&mut self, path: &PeerPath) -> io::Result<Option<Found>> {
        let (inode, device) = path.inode_and_device();
        let wanted: Vec<u8> = [inode.to_ne_bytes(), device.to_ne_bytes()].concat();
        self.find(SHOW_VFS | SHOW_UID, |attribute, payload| {
            attribute == ATTRIBUTE_VFS && payload == wanted
        })
    }

    fn find(
        &mut self,
        show: u32,
        matches: impl Fn(u16, &[u8]) -> bool,
    ) -> io::Result<Option<Found>> {
        let any = SocketId { inode: 0, cookie: [u32::MAX; 2] };
        let mut found = None;
        self.ask(any, show, true, |message| {
            let mut hit = false;
            let mut uid = None;
            for (attribute, payload) in attributes(message) {
                hit |= matches(attribute, payload);
                if attribute == ATTRIBUTE_UID {
                    uid = first_u32(payload);
                }
            }
            if hit && i32::from(message[1]) == libc::SOCK_DGRAM && found.is_none() {
                found = socket_id(message).map(|id| Found { id, uid });
            }
        })?;
        Ok(found)
    }

    /// Who made the socket that `fd` is connected to. Unlike a look-up by name, this is the very
    /// socket that will be sent to. `None` when it is not connected, its peer is in another
    /// network namespace, or the kernel is older than 5.3.
    ///
    /// # Errors
    /// As [`Diag::find_abstract`].
    pub fn peer_owner(&mut self, fd: BorrowedFd<'_>) -> io::Result<Option<u32>> {
        let inode = rustix::fs::fstat(fd)?.st_ino;
        // Socket inode numbers have 32 bits.
        let ours = SocketId { inode: (inode & 0xffff_ffff) as u32, cookie: [u32::MAX; 2] };
        let mut peer = None;
        self.ask(ours, SHOW_PEER, false, |message| {
            peer = attributes(message)
                .find(|(attribute, _)| *attribute == ATTRIBUTE_PEER)
                .and_then(|(_, payload)| first_u32(payload));
        })?;
        let Some(inode) = peer else { return Ok(None) };
        let mut uid = None;
        let theirs = SocketId { inode, cookie: [u32::MAX; 2] };
        let answer = self.ask(theirs, SHOW_UID, false, |message| {
            uid = attributes(message)
                .find(|(attribute, _)| *attribute == ATTRIBUTE_UID)
                .and_then(|(_, payload)| first_u32(payload));
        });
        match answer {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(|()| uid),
        }
    }

    /// Whether nothing waits in this socket's receive queue. (A datagram of no bytes in front
    /// looks like nothing.)
    ///
    /// # Errors
    /// ENOENT or ESTALE when the socket is gone.
    pub fn has_read_everything(&mut self, id: SocketId) -> io::Result<bool> {
        let mut waiting = None;
        self.ask(id, SHOW_RQLEN, false, |message| {
            for (attribute, payload) in attributes(message) {
                if attribute == ATTRIBUTE_RQLEN {
                    waiting = first_u32(payload);
                }
            }
        })?;
        Ok(waiting == Some(0))
    }

    /// One request, and every `unix_diag_msg` (with its attributes) that answers it.
    fn ask(
        &mut self,
        id: SocketId,
        show: u32,
        dump: bool,
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        let flags = if dump { libc::NLM_F_REQUEST | libc::NLM_F_DUMP } else { libc::NLM_F_REQUEST };
        let mut request = Vec::with_capacity(HEADER_LEN + REQUEST_LEN);
        request.extend(((HEADER_LEN + REQUEST_LEN) as u32).to_ne_bytes());
        request.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        request.extend((flags as u16).to_ne_bytes());
        request.extend([0; 8]);
        request.extend([libc::AF_UNIX as u8, 0, 0, 0]);
        // All states.
        request.extend(u32::MAX.to_ne_bytes());
        request.extend(id.inode.to_ne_bytes());
        request.extend(show.to_ne_bytes());
        request.extend(id.cookie[0].to_ne_bytes());
        request.extend(id.cookie[1].to_ne_bytes());
        // SAFETY: the request is readable for its length; an unbound netlink socket without a
        // name in the call sends to the kernel.
        let sent =
            unsafe { libc::send(self.fd.as_raw_fd(), request.as_ptr().cast(), request.len(), 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        loop {
            // SAFETY: the buffer is writable for its length. The kernel answers in the send call
            // (and continues a dump in each receive), so there is always something to receive.
            let n = unsafe {
                libc::recv(
                    self.fd.as_raw_fd(),
                    self.buffer.as_mut_ptr().cast(),
                    self.buffer.len(),
                    0,
                )
            };
            let n = usize::try_from(n).map_err(|_| io::Error::last_os_error())?;
            let mut rest = &self.buffer[..n];
            while let Some((kind, body, tail)) = next_message(rest) {
                rest = tail;
                if kind == libc::NLMSG_DONE as u16 {
                    return Ok(());
                }
                if kind == libc::NLMSG_ERROR as u16 {
                    let code = first_u32(body).unwrap_or(0).cast_signed();
                    return if code == 0 {
                        Ok(())
                    } else {
                        Err(io::Error::from_raw_os_error(-code))
                    };
                }
                if body.len() >= MESSAGE_LEN {
                    each(body);
                }
            }
            if !dump {
                return Ok(());
            }
        }
    }
}

/// Splits the first netlink message off: its type, its body, and what follows.
fn next_message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let len = first_u32(bytes)? as usize;
    let kind = u16::from_ne_bytes([*bytes.get(4)?, *bytes.get(5)?]);
    let body = bytes.get(HEADER_LEN..len)?;
    Some((kind, body, bytes.get(len.next_multiple_of(4)..).unwrap_or_default()))
}

/// The attributes behind a `unix_diag_msg`.
fn attributes(message: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = message.get(MESSAGE_LEN..).unwrap_or_default();
    std::iter::from_fn(move || {
        let len = usize::from(u16::from_ne_bytes([*rest.first()?, *rest.get(1)?]));
        let kind = u16::from_ne_bytes([*rest.get(2)?, *rest.get(3)?]);
        let payload = rest.get(ATTRIBUTE_LEN..len)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, payload))
    })
}

fn socket_id(message: &[u8]) -> Option<SocketId> {
    Some(SocketId {
        inode: first_u32(message.get(4..)?)?,
        cookie: [first_u32(message.get(8..)?)?, first_u32(message.get(12..)?)?],
    })
}

fn first_u32(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|word| u32::from_ne_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unix::{self, SocketKind};
    use std::io::IoSlice;
    use std::os::fd::AsFd;

    #[test]
    fn an_abstract_name_is_found_with_its_owner_and_its_queue() {
        let name = format!("diag-{}", std::process::id());
        let name = Address::from_abstract(name.as_bytes()).unwrap();
        let mut diag = Diag::open().unwrap();
        let found = match diag.find_abstract(&name) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                testkit::skip!("this kernel has no unix_diag ({e})");
            }
            other => other.unwrap(),
        };
        assert_eq!(found, None);
        let socket = unix::socket(SocketKind::Datagram, true).unwrap();
        unix::bind(socket.as_fd(), &name).unwrap();
        let found = diag.find_abstract(&name).unwrap().unwrap();
        assert_eq!(found.uid, Some(unix::effective_uid()));
        assert!(diag.has_read_everything(found.id).unwrap());
        let sender = unix::socket(SocketKind::Datagram, true).unwrap();
        assert_eq!(diag.peer_owner(sender.as_fd()).unwrap(), None);
        unix::connect(sender.as_fd(), &name).unwrap();
        assert_eq!(diag.peer_owner(sender.as_fd()).unwrap(), Some(unix::effective_uid()));
        unix::send_vectored(sender.as_fd(), &[IoSlice::new(b"x")]).unwrap();
        assert!(!diag.has_read_everything(found.id).unwrap());
        unix::receive(socket.as_fd(), &mut [0; 4]).unwrap();
        assert!(diag.has_read_everything(found.id).unwrap());
        drop(socket);
        assert_eq!(diag.has_read_everything(found.id).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_pinned_file_finds_its_own_socket_not_its_names_next_one() {
        let path = std::env::temp_dir().join(format!("diag-{}", std::process::id()));
        drop(std::fs::remove_file(&path));
        let address = Address::from_path(&path).unwrap();
        let first = unix::socket(SocketKind::Datagram, true).unwrap();
        unix::bind(first.as_fd(), &address).unwrap();
        let pinned = PeerPath::open(&path, unix::effective_uid()).unwrap();
        std::fs::remove_file(&path).unwrap();
        let second = unix::socket(SocketKind::Datagram, true).unwrap();
        unix::bind(second.as_fd(), &address).unwrap();
        let mut diag = Diag::open().unwrap();
        let found = match diag.find_pinned(&pinned) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                testkit::skip!("this kernel has no unix_diag ({e})");
            }
            other => other.unwrap().unwrap(),
        };
        let sender = unix::socket(SocketKind::Datagram, true).unwrap();
        unix::connect(sender.as_fd(), &pinned.address()).unwrap();
        unix::send_vectored(sender.as_fd(), &[IoSlice::new(b"x")]).unwrap();
        assert!(!diag.has_read_everything(found.id).unwrap());
        unix::receive(first.as_fd(), &mut [0; 4]).unwrap();
        assert!(diag.has_read_everything(found.id).unwrap());
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn cut_messages_end_the_walk() {
        assert!(next_message(&[0; 3]).is_none());
        assert!(next_message(&[255; 40]).is_none());
        assert_eq!(attributes(&[0; MESSAGE_LEN + 8]).count(), 0);
        assert_eq!(attributes(&[0xff; MESSAGE_LEN + 8]).count(), 0);
    }
}
