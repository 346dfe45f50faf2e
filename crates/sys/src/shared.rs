//! Memory that two processes map which do not trust each other: a memfd whose size is sealed.
//!
//! There are two kinds: memory to which both write ([`Memory::create`], [`Memory::map`]), and memory that one lends and
//! the other can only read ([`lend`], [`Memory::map_lent`]).
//!
//! # Theory of operation
//!
//! The other process may write at any moment, also while we read. So no reference to these bytes is
//! ever made: they are loaded and stored as relaxed atomics, a machine word at a time, which costs
//! no more than a copy, and what was loaded is the reader's own from then on. Bytes that are only to
//! be moved on are moved by the kernel, which takes them from, or puts them into, this memory itself
//! ([`send_packet`], [`receive_packet`]).
//!
//! The seals keep the file from shrinking below the mapping, which would end us with SIGBUS.
//!
//! What is lent is ordinary memory to its owner: no other process can map it to write, which is sealed as well, so
//! references to it are as good as to any other.
//!
//! *Order.* A frame is announced by a message on a socket, and its place is given back by
//! [`Memory::set_word`]; both order what was written before them for who sees them.

use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering};

use crate::packet;

/// What keeps the file as long as it is, for ever.
const SEALS: libc::c_int = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;

/// The same for memory that is lent: nobody maps it to write but who has done so before.
const LENT_SEALS: libc::c_int = SEALS | libc::F_SEAL_FUTURE_WRITE;

/// Bytes of a machine word.
const WORD: usize = size_of::<usize>();

/// A mapping of shared memory. All places are in bytes from its start; places outside of it are
/// refused with EFAULT, as by the kernel.
#[derive(Debug)]
pub struct Memory {
    start: NonNull<u8>,
    len: usize,
    writable: bool,
}

// SAFETY: the mapping belongs to the value and is reached through atomics and the kernel only.
unsafe impl Send for Memory {}

impl Memory {
    /// Makes `len` bytes of zeros, and the descriptor by which another process maps them. They count
    /// as this process's memory when they are first touched.
    ///
    /// # Errors
    /// EMFILE, ENOMEM.
    pub fn create(len: usize) -> io::Result<(Memory, OwnedFd)> {
        let fd = memfd(len)?;
        seal(fd.as_fd(), SEALS)?;
        Ok((Memory::map(fd.as_fd(), len)?, fd))
    }

    /// Maps what another process made; its descriptor may be closed afterwards.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] when it is not `len` bytes of sealed memory; ENOMEM.
    pub fn map(fd: BorrowedFd<'_>, len: usize) -> io::Result<Memory> {
        if sealed_len(fd, SEALS)? != len {
            return Err(invalid("of another size"));
        }
        Ok(Memory { start: map_shared(fd, len, true)?, len, writable: true })
    }

    /// Maps what another process has lent, at most `most` bytes, to read it; its descriptor may be closed afterwards.
    /// Pages that its owner has not touched count as this process's memory when they are read.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] when it is not such memory, or too much; ENOMEM.
    pub fn map_lent(fd: BorrowedFd<'_>, most: usize) -> io::Result<Memory> {
        let len = sealed_len(fd, LENT_SEALS)?;
        if len > most {
            return Err(invalid("too long"));
        }
        Ok(Memory { start: map_shared(fd, len, false)?, len, writable: false })
    }

    /// Whether a range is inside.
    #[must_use]
    pub fn holds(&self, range: &Range<usize>) -> bool {
        range.start <= range.end && range.end <= self.len
    }

    /// The address of `len` bytes at `at`, all of them inside.
    fn place(&self, at: usize, len: usize) -> io::Result<*mut u8> {
        if at.checked_add(len).is_none_or(|end| end > self.len) {
            return Err(io::Error::from_raw_os_error(libc::EFAULT));
        }
        // SAFETY: `at` is within the mapping.
        Ok(unsafe { self.start.as_ptr().add(at) })
    }

    /// The same, to write there.
    fn place_to_write(&self, at: usize, len: usize) -> io::Result<*mut u8> {
        if self.writable {
            self.place(at, len)
        } else {
            Err(io::Error::from_raw_os_error(libc::EFAULT))
        }
    }

    /// Copies what is at `at` now into `to`.
    ///
    /// # Errors
    /// EFAULT when that is not inside.
    pub fn read(&self, at: usize, to: &mut [u8]) -> io::Result<()> {
        let from = self.place(at, to.len())?;
        let (first, words) = split(from, to.len());
        let (head, rest) = to.split_at_mut(first);
        let (middle, tail) = rest.split_at_mut(words * WORD);
        load_bytes(from, head);
        for (i, word) in middle.chunks_exact_mut(WORD).enumerate() {
            // SAFETY: `first` bytes on the address is aligned, and `words` words lie inside; the
            // mapping lives as long as `self`, and atomics may be shared with anybody.
            let shared = unsafe { &*from.add(first + i * WORD).cast::<AtomicUsize>() };
            word.copy_from_slice(&shared.load(Ordering::Relaxed).to_ne_bytes());
        }
        load_bytes(from.wrapping_add(first + words * WORD), tail);
        Ok(())
    }

    /// Copies `from` to `at`.
    ///
    /// # Errors
    /// EFAULT when that is not inside, or can only be read.
    pub fn write(&self, at: usize, from: &[u8]) -> io::Result<()> {
        let to = self.place_to_write(at, from.len())?;
        let (first, words) = split(to, from.len());
        let (head, rest) = from.split_at(first);
        let (middle, tail) = rest.split_at(words * WORD);
        store_bytes(to, head);
        for (i, word) in middle.as_chunks::<WORD>().0.iter().enumerate() {
            // SAFETY: as in `read`.
            let shared = unsafe { &*to.add(first + i * WORD).cast::<AtomicUsize>() };
            shared.store(usize::from_ne_bytes(*word), Ordering::Relaxed);
        }
        store_bytes(to.wrapping_add(first + words * WORD), tail);
        Ok(())
    }

    fn word_at(&self, at: usize) -> io::Result<&AtomicU32> {
        let place = self.place(at, size_of::<u32>())?;
        if !at.is_multiple_of(size_of::<u32>()) {
            return Err(io::Error::from_raw_os_error(libc::EFAULT));
        }
        // SAFETY: inside, aligned (the mapping begins at a page), alive as long as `self`.
        Ok(unsafe { &*place.cast::<AtomicU32>() })
    }

    /// The word of four bytes at `at`, with everything that was written before it was set.
    ///
    /// # Errors
    /// EFAULT when it is not inside, or not aligned.
    pub fn word(&self, at: usize) -> io::Result<u32> {
        Ok(self.word_at(at)?.load(Ordering::Acquire))
    }

    /// Sets the word of four bytes at `at`, after everything that was read and written before.
    ///
    /// # Errors
    /// As [`Memory::word`].
    pub fn set_word(&self, at: usize, value: u32) -> io::Result<()> {
        self.place_to_write(at, size_of::<u32>())?;
        self.word_at(at)?.store(value, Ordering::Release);
        Ok(())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nothing that points into it outlives the value.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// `len` bytes of zeros that are this process's for ever, and the descriptor by which others map them to read. They are
/// taken when they are first touched, and a process that is forked has them not.
///
/// # Errors
/// EMFILE, ENOMEM; EINVAL before Linux 5.1, which cannot seal such memory.
pub fn lend(len: usize) -> io::Result<(&'static mut [u8], OwnedFd)> {
    let fd = memfd(len)?;
    let start = map_shared(fd.as_fd(), len, true)?;
    // SAFETY: the mapping was made just now; no memory but its own is concerned.
    unsafe { libc::madvise(start.as_ptr().cast(), len, libc::MADV_DONTFORK) };
    if let Err(e) = seal(fd.as_fd(), LENT_SEALS) {
        // SAFETY: nothing points into the mapping yet.
        unsafe { libc::munmap(start.as_ptr().cast(), len) };
        return Err(e);
    }
    // SAFETY: `len` bytes that are mapped for ever, of which this is the only reference; no other process can write to
    // them, now that the file is sealed and its descriptor was nowhere before.
    Ok((unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), len) }, fd))
}

/// A file of `len` zeros in memory, to be sealed.
fn memfd(len: usize) -> io::Result<OwnedFd> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: the name is a C string; the result is checked.
    let fd = unsafe { libc::memfd_create(c"netherd".as_ptr(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: memfd_create(2) has just returned this descriptor.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let size = libc::off_t::try_from(len).map_err(|_| invalid("too long"))?;
    // SAFETY: no pointers.
    if unsafe { libc::ftruncate(fd.as_raw_fd(), size) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(fd)
}

fn seal(fd: BorrowedFd<'_>, seals: libc::c_int) -> io::Result<()> {
    // SAFETY: no pointers.
    let r = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, seals) };
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The size of a memfd that has these seals.
fn sealed_len(fd: BorrowedFd<'_>, wanted: libc::c_int) -> io::Result<usize> {
    // SAFETY: no pointers.
    let seals = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GET_SEALS) };
    if seals < 0 || seals & wanted != wanted {
        return Err(invalid("not sealed"));
    }
    // SAFETY: an all-zero statfs is valid plain data.
    let mut system: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `system` is writable.
    if unsafe { libc::fstatfs(fd.as_raw_fd(), &raw mut system) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // Reading huge pages can end a process when there are none left.
    if system.f_type != libc::TMPFS_MAGIC {
        return Err(invalid("not ordinary memory"));
    }
    // SAFETY: an all-zero stat is valid plain data.
    let mut about: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `about` is writable.
    if unsafe { libc::fstat(fd.as_raw_fd(), &raw mut about) } < 0 {
        return Err(io::Error::last_os_error());
    }
    usize::try_from(about.st_size).ok().filter(|len| *len > 0).ok_or_else(|| invalid("empty"))
}

fn map_shared(fd: BorrowedFd<'_>, len: usize, writable: bool) -> io::Result<NonNull<u8>> {
    let access = libc::PROT_READ | if writable { libc::PROT_WRITE } else { 0 };
    let (anywhere, file) = (std::ptr::null_mut(), fd.as_raw_fd());
    // SAFETY: a new mapping at a place of the kernel's choice touches no memory of ours.
    let start = unsafe { libc::mmap(anywhere, len, access, libc::MAP_SHARED, file, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(start.cast()).ok_or_else(|| invalid("at no address"))
}

/// Bytes before the first aligned word from `place` on, and the whole words behind them.
fn split(place: *mut u8, len: usize) -> (usize, usize) {
    let first = place.addr().wrapping_neg() % WORD;
    if first > len { (len, 0) } else { (first, (len - first) / WORD) }
}

/// The few bytes before and behind the words.
fn load_bytes(from: *mut u8, to: &mut [u8]) {
    for (i, byte) in to.iter_mut().enumerate() {
        // SAFETY: the caller has looked that `to.len()` bytes lie inside of a mapping.
        *byte = unsafe { &*from.add(i).cast::<AtomicU8>() }.load(Ordering::Relaxed);
    }
}

fn store_bytes(to: *mut u8, from: &[u8]) {
    for (i, byte) in from.iter().enumerate() {
        // SAFETY: as in `load_bytes`.
        unsafe { &*to.add(i).cast::<AtomicU8>() }.store(*byte, Ordering::Relaxed);
    }
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("the shared memory is {why}"))
}

/// Sends one frame without blocking: a vnet header and the front of the frame, which are ours, and
/// behind them what is at `rest`, of which the kernel takes its own copy.
///
/// # Errors
/// EFAULT when `rest` is not inside; as sendmsg(2) on a packet socket.
pub fn send_packet(
    fd: BorrowedFd<'_>,
    header: &[u8],
    front: &[u8],
    memory: &Memory,
    rest: Range<usize>,
) -> io::Result<()> {
    let rest_len = rest.len();
    let place = memory.place(rest.start, rest_len)?;
    let mut pieces = [
        libc::iovec { iov_base: header.as_ptr().cast_mut().cast(), iov_len: header.len() },
        libc::iovec { iov_base: front.as_ptr().cast_mut().cast(), iov_len: front.len() },
        libc::iovec { iov_base: place.cast(), iov_len: rest_len },
    ];
    // SAFETY: an all-zero msghdr is valid.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = pieces.as_mut_ptr();
    message.msg_iovlen = if rest_len == 0 { 2 } else { 3 };
    // SAFETY: all pieces are readable and outlive the call; the kernel only reads them.
    let n = unsafe {
        libc::sendmsg(fd.as_raw_fd(), &raw const message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
    };
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Writes one frame to a tap without waiting: a vnet header and the front of the frame, which are ours, and behind
/// them what is at `rest`, of which the kernel takes its own copy.
///
/// # Errors
/// EFAULT when `rest` is not inside; as [`crate::tap::write_frame`].
pub fn write_frame(
    fd: BorrowedFd<'_>,
    header: &[u8],
    front: &[u8],
    memory: &Memory,
    rest: Range<usize>,
) -> io::Result<()> {
    let rest_len = rest.len();
    let place = memory.place(rest.start, rest_len)?;
    let pieces = [
        libc::iovec { iov_base: header.as_ptr().cast_mut().cast(), iov_len: header.len() },
        libc::iovec { iov_base: front.as_ptr().cast_mut().cast(), iov_len: front.len() },
        libc::iovec { iov_base: place.cast(), iov_len: rest_len },
    ];
    // The offset that makes pwritev2(2) a writev(2), in two halves.
    let none: libc::c_long = -1;
    let (fd, nowait) = (fd.as_raw_fd(), libc::RWF_NOWAIT);
    // SAFETY: all pieces are readable and outlive the call; the kernel only reads them.
    let n = unsafe {
        libc::syscall(libc::SYS_pwritev2, fd, pieces.as_ptr(), pieces.len(), none, none, nowait)
    };
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A frame whose front is ours and whose rest lies in shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes of the frame, without its VLAN tag.
    pub len: usize,
    /// It had a VLAN tag, which the kernel took out.
    pub tagged: bool,
    /// It was longer than the places for it, and its tail is lost.
    pub truncated: bool,
}

/// Receives one frame of a packet socket without blocking: its vnet header, its front, and what is
/// behind that into the shared memory at `rest`.
///
/// # Errors
/// EFAULT when `rest` is not inside; EAGAIN when there is none; ENETDOWN once after the interface went
/// down.
pub fn receive_packet(
    fd: BorrowedFd<'_>,
    header: &mut [u8],
    front: &mut [u8],
    memory: &Memory,
    rest: Range<usize>,
) -> io::Result<Received> {
    let rest_len = rest.len();
    let place = memory.place(rest.start, rest_len)?;
    let header_len = header.len();
    let mut pieces = [
        libc::iovec { iov_base: header.as_mut_ptr().cast(), iov_len: header_len },
        libc::iovec { iov_base: front.as_mut_ptr().cast(), iov_len: front.len() },
        libc::iovec { iov_base: place.cast(), iov_len: rest_len },
    ];
    // SAFETY: the first two are ours and outlive the call; the third is inside the mapping, which lives
    // as long as `memory`, and to which only the kernel writes here.
    let taken = unsafe { packet::receive_pieces(fd, &mut pieces) }?;
    Ok(Received {
        len: taken.len.saturating_sub(header_len),
        tagged: taken.tag.is_some(),
        truncated: taken.truncated,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unix::{self, SocketKind};

    const LEN: usize = 64 * 1024;

    #[test]
    fn what_one_writes_the_other_reads_wherever_it_lies() {
        let (ours, fd) = Memory::create(LEN).unwrap();
        let theirs = Memory::map(fd.as_fd(), LEN).unwrap();
        drop(fd);
        let bytes: Vec<u8> = (0..200_u8).collect();
        for at in 0..2 * WORD {
            for len in (0..3 * WORD).chain([100, 199]) {
                ours.write(at, &[0xee; 256]).unwrap();
                ours.write(at, &bytes[..len]).unwrap();
                let mut read = vec![0; len + 1];
                theirs.read(at, &mut read).unwrap();
                assert_eq!(read[..len], bytes[..len]);
                assert_eq!(read[len], 0xee, "nothing is written behind it");
            }
        }
        theirs.set_word(LEN - 4, 7).unwrap();
        assert_eq!(ours.word(LEN - 4).unwrap(), 7);
    }

    #[test]
    fn nothing_outside_is_touched() {
        let (memory, _fd) = Memory::create(LEN).unwrap();
        let mut bytes = [0; 16];
        for at in [LEN - 15, LEN, usize::MAX - 3, usize::MAX] {
            let fault = Some(libc::EFAULT);
            assert_eq!(memory.read(at, &mut bytes).unwrap_err().raw_os_error(), fault);
            assert_eq!(memory.write(at, &bytes).unwrap_err().raw_os_error(), fault);
        }
        for at in [LEN - 3, LEN, 2, usize::MAX] {
            assert!(memory.word(at).is_err() && memory.set_word(at, 1).is_err());
        }
        let (a, _b) = unix::pair(SocketKind::Seqpacket, true).unwrap();
        assert!(send_packet(a.as_fd(), &[], &[1], &memory, LEN - 1..LEN + 1).is_err());
        assert!(write_frame(a.as_fd(), &[], &[1], &memory, LEN - 1..LEN + 1).is_err());
        assert!(receive_packet(a.as_fd(), &mut [], &mut [], &memory, LEN..LEN + 1).is_err());
    }

    #[test]
    fn the_kernel_moves_what_lies_there() {
        let (memory, _fd) = Memory::create(LEN).unwrap();
        let (a, b) = unix::pair(SocketKind::Seqpacket, true).unwrap();
        memory.write(100, b"rest").unwrap();
        send_packet(a.as_fd(), b"head", b"front", &memory, 100..104).unwrap();
        write_frame(a.as_fd(), b"HEAD", b"FRONT", &memory, 100..104).unwrap();
        let (mut header, mut front) = ([0; 4], [0; 3]);
        let received =
            receive_packet(b.as_fd(), &mut header, &mut front, &memory, 201..300).unwrap();
        assert_eq!(received, Received { len: 9, tagged: false, truncated: false });
        let mut rest = [0; 6];
        memory.read(201, &mut rest).unwrap();
        assert_eq!((&header, &front, &rest), (b"head", b"fro", b"ntrest"));
        receive_packet(b.as_fd(), &mut header, &mut front, &memory, 201..300).unwrap();
        memory.read(201, &mut rest).unwrap();
        assert_eq!((&header, &front, &rest), (b"HEAD", b"FRO", b"NTrest"));
    }

    #[test]
    fn memory_that_could_shrink_is_not_mapped() {
        let (_memory, fd) = Memory::create(LEN).unwrap();
        assert!(Memory::map(fd.as_fd(), LEN / 2).is_err(), "of another size");
        // SAFETY: no pointers.
        assert_eq!(unsafe { libc::ftruncate(fd.as_raw_fd(), 0) }, -1, "sealed");
        let open = rustix::fs::memfd_create("open", rustix::fs::MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::ftruncate(&open, LEN as u64).unwrap();
        assert!(Memory::map(open.as_fd(), LEN).is_err(), "not sealed");
    }

    #[test]
    fn what_is_lent_is_read_and_nothing_else() {
        let (ours, fd) = lend(LEN).unwrap();
        let theirs = Memory::map_lent(fd.as_fd(), LEN).unwrap();
        ours[100..104].copy_from_slice(b"rest");
        let mut read = [0; 4];
        theirs.read(100, &mut read).unwrap();
        assert_eq!(&read, b"rest");
        assert!(theirs.holds(&(0..LEN)) && !theirs.holds(&(1..LEN + 1)));
        assert!(theirs.write(0, &[1]).is_err() && theirs.set_word(0, 1).is_err());
        assert!(Memory::map_lent(fd.as_fd(), LEN - 1).is_err(), "more than is wanted");
        assert!(Memory::map(fd.as_fd(), LEN).is_err(), "nobody else maps it to write");
        let write = rustix::fs::fallocate(&fd, rustix::fs::FallocateFlags::empty(), 0, 1);
        assert!(write.is_err() || rustix::io::write(&fd, b"x").is_err());
        let (a, b) = unix::pair(SocketKind::Seqpacket, true).unwrap();
        send_packet(a.as_fd(), &[], &[], &theirs, 100..104).unwrap();
        let refused = receive_packet(b.as_fd(), &mut [], &mut [], &theirs, 0..4);
        assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EFAULT));
        let (_both, fd) = Memory::create(LEN).unwrap();
        assert!(Memory::map_lent(fd.as_fd(), LEN).is_err(), "it can be written to");
    }
}
