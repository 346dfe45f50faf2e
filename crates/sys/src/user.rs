//! Users and groups: who we are, and names of others.

use std::ffi::{CStr, CString};
use std::io;
use std::path::PathBuf;

/// A buffer for the strings of one entry; getpwnam_r(3) asks for more by ERANGE.
const ENTRY_START: usize = 1024;
const ENTRY_MAX: usize = 1 << 20;

/// Our effective user id.
#[must_use]
pub fn uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Our effective group id.
#[must_use]
pub fn gid() -> u32 {
    rustix::process::getegid().as_raw()
}

/// Our effective group id and the supplementary ones; only the first where the kernel does not tell.
#[must_use]
pub fn groups() -> Vec<u32> {
    let more = rustix::process::getgroups().unwrap_or_default();
    std::iter::once(gid()).chain(more.into_iter().map(rustix::process::Gid::as_raw)).collect()
}

/// One entry of the user database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub home: PathBuf,
}

fn entry<T>(
    mut call: impl FnMut(*mut T, *mut libc::c_char, usize, *mut *mut T) -> libc::c_int,
    read: impl Fn(&T) -> User,
) -> io::Result<Option<User>> {
    let mut buffer = vec![0; ENTRY_START];
    loop {
        let mut slot = std::mem::MaybeUninit::<T>::uninit();
        let mut found = std::ptr::null_mut();
        let code = call(slot.as_mut_ptr(), buffer.as_mut_ptr(), buffer.len(), &raw mut found);
        match code {
            0 if found.is_null() => return Ok(None),
            // SAFETY: the call returned 0 and a non-null result: it has filled `slot`, and the pointers in it
            // lead into `buffer`, which lives until after `read`.
            0 => return Ok(Some(read(unsafe { slot.assume_init_ref() }))),
            libc::ERANGE if buffer.len() < ENTRY_MAX => buffer.resize(buffer.len() * 4, 0),
            libc::ENOENT | libc::ESRCH => return Ok(None),
            code => return Err(io::Error::from_raw_os_error(code)),
        }
    }
}

fn text(pointer: *const libc::c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: the C library's entries hold NUL-terminated strings in the caller's buffer.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

fn user(entry: &libc::passwd) -> User {
    User {
        name: text(entry.pw_name),
        uid: entry.pw_uid,
        gid: entry.pw_gid,
        home: PathBuf::from(text(entry.pw_dir)),
    }
}

fn group(entry: &libc::group) -> User {
    User { name: text(entry.gr_name), uid: 0, gid: entry.gr_gid, home: PathBuf::new() }
}

/// The user of that number, `None` when the database has none.
///
/// # Errors
/// When the database cannot be read.
pub fn by_uid(uid: u32) -> io::Result<Option<User>> {
    entry(
        // SAFETY: all pointers are valid for the call; the length is the buffer's.
        |slot, buffer, length, found| unsafe { libc::getpwuid_r(uid, slot, buffer, length, found) },
        user,
    )
}

/// Becomes another user, of one group, with the capabilities of now (until they are reduced). For a
/// process of root's with one thread; there is no way back once they are.
///
/// # Errors
/// EPERM for who is not root.
pub fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    use rustix::process::{Gid, Uid};
    rustix::thread::set_keep_capabilities(true)?;
    rustix::thread::set_thread_groups(&[])?;
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    Ok(rustix::thread::set_keep_capabilities(false)?)
}

/// The user of that name or number.
///
/// # Errors
/// When the database cannot be read.
pub fn by_name(name: &str) -> io::Result<Option<User>> {
    if let Ok(uid) = name.parse() {
        let unnamed = User { name: name.to_owned(), uid, gid: uid, home: PathBuf::new() };
        return Ok(Some(by_uid(uid)?.unwrap_or(unnamed)));
    }
    let Ok(name) = CString::new(name) else { return Ok(None) };
    entry(
        // SAFETY: as above, and `name` is NUL-terminated.
        |slot, buffer, length, found| unsafe {
            libc::getpwnam_r(name.as_ptr(), slot, buffer, length, found)
        },
        user,
    )
}

/// The number of the group of that name or number.
///
/// # Errors
/// When the database cannot be read.
pub fn group_by_name(name: &str) -> io::Result<Option<u32>> {
    if let Ok(gid) = name.parse() {
        return Ok(Some(gid));
    }
    let Ok(name) = CString::new(name) else { return Ok(None) };
    let found = entry(
        // SAFETY: all pointers are valid for the call; the length is the buffer's; `name` is NUL-terminated.
        |slot, buffer, length, found| unsafe {
            libc::getgrnam_r(name.as_ptr(), slot, buffer, length, found)
        },
        group,
    )?;
    Ok(found.map(|entry| entry.gid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_found_by_name_and_by_number() {
        let root = by_uid(0).expect("readable").expect("root exists");
        assert_eq!((root.name.as_str(), root.uid, root.gid), ("root", 0, 0));
        assert_eq!(by_name("root").expect("readable"), Some(root.clone()));
        assert_eq!(by_name("0").expect("readable"), Some(root));
        assert_eq!(group_by_name("root").expect("readable"), Some(0));
        assert_eq!(group_by_name("12345").expect("readable"), Some(12345));
        assert_eq!(group_by_name("no such group").expect("readable"), None);
        assert_eq!(by_name("no\0such").expect("readable"), None);
    }
}
