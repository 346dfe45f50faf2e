//! Where the netherd under test is.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Names the binary to test; `./test` sets it.
pub const NETHERD: &str = "NETHERD";

/// The binary under test, at a path every user can execute.
///
/// Without [`NETHERD`] it is the one cargo built beside the running test. Root's checkout may be where other
/// users cannot look, so root's tests use a copy under `/tmp`, named by the original's identity.
///
/// # Panics
/// When there is none, with what to do.
#[must_use]
pub fn netherd() -> &'static Path {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    PLACE.get_or_init(|| {
        if let Some(named) = std::env::var_os(NETHERD) {
            return PathBuf::from(named);
        }
        let built = built().unwrap_or_else(|place| {
            panic!(
                "there is no netherd at {}: build it first (cargo build -p netherd), or name one in {NETHERD}",
                place.display()
            )
        });
        if crate::user::is_root() { copy(&built) } else { built }
    })
}

/// The helper for network devices, beside [`netherd`]; for root's tests only.
///
/// # Errors
/// A reason for [`skip!`](crate::skip!): it was not built.
pub fn netherd_nic() -> Result<PathBuf, String> {
    let place = netherd().with_file_name(NIC);
    if place.is_file() {
        Ok(place)
    } else {
        Err(format!("there is no {} (cargo build -p nic)", place.display()))
    }
}

const NIC: &str = "netherd-nic";

/// `target/PROFILE/netherd`, beside `target/PROFILE/deps/TEST`.
fn built() -> Result<PathBuf, PathBuf> {
    let test = std::env::current_exe().expect("a running program knows its path");
    let profile = test.parent().and_then(Path::parent).expect("tests lie in target/PROFILE/deps");
    let place = profile.join("netherd");
    if place.is_file() { Ok(place) } else { Err(place) }
}

fn copy(built: &Path) -> PathBuf {
    let about = built.metadata().expect("the built netherd can be looked at");
    let identity = format!("{:x}-{:x}-{:x}", about.ino(), about.mtime(), about.mtime_nsec());
    let folder = PathBuf::from(format!("/tmp/netherd-under-test-{identity}"));
    let place = folder.join("netherd");
    if place.is_file() {
        return place;
    }
    // Tests run side by side: each makes its own copy, and the rename lets one win.
    let own = PathBuf::from(format!("{}.{}", folder.display(), std::process::id()));
    std::fs::create_dir_all(&own).expect("a folder for the binary under /tmp");
    std::fs::copy(built, own.join("netherd")).expect("a copy of the binary under /tmp");
    // Not every test needs the helper, and a build for one that does not has none.
    let _not_built = std::fs::copy(built.with_file_name(NIC), own.join(NIC));
    for path in [own.clone(), own.join("netherd")] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
            .expect("the copy's permissions are ours to set");
    }
    if std::fs::rename(&own, &folder).is_err() {
        let _ = std::fs::remove_dir_all(&own);
    }
    place
}
