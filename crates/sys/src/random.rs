//! Randomness from the kernel (getrandom(2)).

use std::io;

/// Sixteen bytes nobody can guess: the key of a hash table whose keys guests choose.
///
/// # Errors
/// As getrandom(2): ENOSYS, or a system call filter.
pub fn key() -> io::Result<[u8; 16]> {
    let mut key = [0; 16];
    let mut filled = 0;
    while filled < key.len() {
        match rustix::rand::getrandom(&mut key[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(n) => filled += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    #[test]
    fn two_keys_differ() {
        assert_ne!(super::key().unwrap(), super::key().unwrap());
    }
}
