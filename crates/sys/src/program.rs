//! The file of the running program.
//!
//! A process that enters somebody else's tree of files and executes a program of it is, until then, still of the
//! file that it was started from, and the tree's program may be a script whose interpreter is `/proc/self/exe`: that
//! file again, loaded by the tree's dynamic linker with whatever that adds. There it can have the file's mode changed,
//! if its user owns it. So such a process is started from a copy that belongs to nobody else ([`continue_from_copy`]).

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, MetadataExt};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};

/// Where a process finds its own file.
const OWN: &str = "/proc/self/exe";
/// The copy can be neither written nor made longer or shorter; nor can that be taken back.
const SEALS: SealFlags =
    SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE);

/// Whether this user could change the file of this program: it is his, and no sealed copy.
///
/// # Errors
/// The file cannot be opened, where there is no `/proc`.
pub fn is_shared() -> io::Result<bool> {
    let file = File::open(OWN)?;
    // A file that cannot be sealed answers an error.
    let is_sealed = fcntl_get_seals(&file).is_ok_and(|seals| seals.contains(SEALS));
    Ok(!is_sealed && file.metadata()?.uid() == crate::user::uid())
}

/// Starts this program anew, with the same arguments and environment, from a sealed copy of its file in memory: what
/// is to be loaded of it, without symbols. Returns if there is no need ([`is_shared`]). Descriptors that are closed on
/// exec are closed.
///
/// # Errors
/// The copy cannot be made or executed (EACCES where `vm.memfd_noexec` is 2).
pub fn continue_from_copy() -> io::Result<()> {
    if !is_shared()? {
        return Ok(());
    }
    let copy = sealed_copy(File::open(OWN)?)?;
    let arguments = c_strings(std::env::args_os().map(OsStringExt::into_vec))?;
    let environment = c_strings(std::env::vars_os().map(|(name, value)| {
        let mut both = name.into_vec();
        both.push(b'=');
        both.extend(value.into_vec());
        both
    }))?;
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|it| it.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(&arguments), pointers(&environment));
    // SAFETY: both lists end in a null pointer, and they and their strings live until the call returns, if it does.
    unsafe { libc::fexecve(copy.as_raw_fd(), argv.as_ptr(), envp.as_ptr()) };
    Err(io::Error::last_os_error())
}

fn c_strings(all: impl Iterator<Item = Vec<u8>>) -> io::Result<Vec<CString>> {
    all.map(|bytes| CString::new(bytes).map_err(io::Error::other)).collect()
}

/// What is loaded of a program's file, in a sealed one.
fn sealed_copy(mut file: File) -> io::Result<OwnedFd> {
    let length = loaded_length(&file)?;
    let mut copy = File::from(executable_memory()?);
    file.rewind()?;
    let copied = io::copy(&mut file.take(length), &mut copy)?;
    if copied != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    copy.flush()?;
    fcntl_add_seals(&copy, SEALS)?;
    Ok(copy.into())
}

fn executable_memory() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match memfd_create("netherd", flags | MemfdFlags::EXEC) {
        // Before Linux 6.3 all of them are executable.
        Err(rustix::io::Errno::INVAL) => Ok(memfd_create("netherd", flags)?),
        made => Ok(made?),
    }
}

/// Where the last segment of an ELF file ends (elf(5), `PT_LOAD` and the rest of the program header table); what is
/// behind it is for debuggers.
fn loaded_length(file: &File) -> io::Result<u64> {
    /// `Elf64_Ehdr` and `Elf64_Phdr`.
    const HEADER: usize = 64;
    const SEGMENT: usize = 56;
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "no program of 64 bits");
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, 0)?;
    let long = |bytes: &[u8], at: usize| -> Option<u64> {
        Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
    };
    let short = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
    if header[..5] != *b"\x7fELF\x02" || usize::from(short(54)) != SEGMENT {
        return Err(invalid());
    }
    let table = long(&header, 32).ok_or_else(invalid)?;
    let mut segments = vec![0; usize::from(short(56)) * SEGMENT];
    file.read_exact_at(&mut segments, table)?;
    let mut end = table + segments.len() as u64;
    for segment in segments.chunks_exact(SEGMENT) {
        // `p_offset` and `p_filesz`.
        let last =
            long(segment, 8).zip(long(segment, 32)).and_then(|(at, len)| at.checked_add(len));
        end = end.max(last.ok_or_else(invalid)?);
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_all_that_is_loaded_and_cannot_be_changed() {
        let file = File::open(OWN).expect("this program");
        let whole = file.metadata().expect("its size").len();
        let length = loaded_length(&file).expect("a program");
        assert!(length > 4096 && length < whole, "{length} of {whole}: symbols are left out");
        let copy = File::from(sealed_copy(file).expect("a copy"));
        assert_eq!(copy.metadata().expect("its size").len(), length);
        assert!(copy.write_at(b"x", 0).is_err());
        assert!(copy.set_len(0).is_err());
        let mut word = [0; 4];
        copy.read_exact_at(&mut word, 0).expect("readable");
        assert_eq!(word, *b"\x7fELF");
        assert!(loaded_length(&File::open("/proc/self/maps").expect("a file")).is_err());
    }
}
