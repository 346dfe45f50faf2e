//! The register of directories that `--dir` published, so that sandboxes can cover them all.
//!
//! In the default place, `.directories/` holds one file for each, named by a hash of the path and holding the
//! path. A killed daemon leaves its entry; entries of directories that are gone are skipped and removed. An
//! entry too many only covers a directory too many.

use std::path::{Path, PathBuf};

use siphasher::sip::SipHasher24;
use sys::dir::Dir;

use super::Environment;

const REGISTER: &str = ".directories";
/// Entries beyond this are not read: nobody publishes more, and a join must stay fast.
const ENTRIES_MAX: usize = 256;
const PATH_MAX: usize = 4096;

fn entry_name(path: &Path) -> String {
    format!("{:016x}", SipHasher24::new().hash(path.as_os_str().as_encoded_bytes()))
}

fn register(base: &Path) -> std::io::Result<Dir> {
    Dir::open(base)?.open_in(REGISTER)
}

/// Adds a directory. A register that cannot be written is no reason not to serve.
pub(super) fn add(base: &Path, path: &Path) {
    use std::os::unix::fs::DirBuilderExt;
    let _exists = std::fs::DirBuilder::new().mode(0o700).create(base);
    let added =
        Dir::open(base).and_then(|base| base.make_in(REGISTER, 0o700)).and_then(|register| {
            register.write_atomic(&entry_name(path), path.as_os_str().as_encoded_bytes(), 0o600)
        });
    if let Err(error) = added {
        crate::log::warn(&format!(
            "The directory {} could not be noted in {}: {error}. It will not be covered in guests of `netherd \
            run`.",
            path.display(),
            base.join(REGISTER).display()
        ));
    }
}

/// Removes a directory.
pub(super) fn remove(base: &Path, path: &Path) {
    if let Ok(register) = register(base) {
        let _left = register.remove(&entry_name(path));
    }
}

/// The directories that are registered and exist.
pub(super) fn directories(base: &Path) -> Vec<PathBuf> {
    let Ok(register) = register(base) else { return Vec::new() };
    let mut found = Vec::new();
    for name in register.names().unwrap_or_default().into_iter().take(ENTRIES_MAX) {
        let Ok(Some(bytes)) = register.read(&name, PATH_MAX) else { continue };
        let Ok(text) = String::from_utf8(bytes) else { continue };
        let path = PathBuf::from(text);
        if path.is_absolute() && path.symlink_metadata().is_ok() {
            found.push(path);
        } else {
            let _left = register.remove(&name);
        }
    }
    found.sort();
    found
}

/// Directories that a guest's sandbox has to cover so that it reaches no hypervisor of this user: the default
/// places and all directories published with `--dir`. They need not all exist.
#[must_use]
pub fn covers() -> Vec<PathBuf> {
    covers_in(&Environment::of_process())
}

pub(crate) fn covers_in(environment: &Environment) -> Vec<PathBuf> {
    let bases = environment.bases();
    let mut covers = bases.clone();
    for base in &bases {
        covers.extend(directories(base));
    }
    covers.sort();
    covers.dedup();
    covers
}
