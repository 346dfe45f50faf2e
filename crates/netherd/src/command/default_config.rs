//! The configuration that is read without being named.

use std::env;
use std::path::PathBuf;

use host::names::Name;

/// `$XDG_CONFIG_HOME/netherd/netherd.toml`, by default below `~/.config` (XDG Base Directory
/// Specification: a path that is not absolute is ignored).
pub fn path() -> Option<PathBuf> {
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .and_then(absolute)
        .or_else(|| {
            let home = env::var_os("HOME").map(PathBuf::from).and_then(absolute)?;
            Some(home.join(".config"))
        })
        .map(|base| base.join("netherd/netherd.toml"))
}

/// Where the default configuration is, if it has this network.
#[must_use]
pub fn with_network(network: &str) -> Option<PathBuf> {
    let path = path().filter(|path| path.exists())?;
    let name: Name = network.parse().ok()?;
    host::config::read(&path).ok()?.only(&name).map(|_| path)
}
