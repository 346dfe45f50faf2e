//! The leases of a network in their file, `leases.json` in its state directory.
//!
//! As with the plan, the file is replaced as a whole, and one that cannot be understood is set aside: DHCP then begins
//! anew, and clients that renew get what they ask for where it is free.

use gateway::services::leases::SavedLease;
use serde::{Deserialize, Serialize};
use sys::dir::Dir;

use crate::names::Name;

const VERSION: u32 = 1;
const FILE: &str = "leases.json";
/// Where leases that are not understood go.
const SET_ASIDE: &str = ".leases.json.bad";
/// More than a network of the largest size has room for, in bytes.
const FILE_MAX: usize = 16 << 20;

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leases {
    version: u32,
    pub network: Name,
    pub leases: Vec<SavedLease>,
}

impl Leases {
    /// Leases of a network.
    #[must_use]
    pub fn new(network: Name, leases: Vec<SavedLease>) -> Self {
        Self { version: VERSION, network, leases }
    }
}

/// Reads the leases of `network`; none when there is no file, or it was set aside. The sentence in the second place is
/// for the log.
#[must_use]
pub fn load(dir: &Dir, network: &Name) -> (Vec<SavedLease>, Option<String>) {
    let why = match dir.read(FILE, FILE_MAX) {
        Ok(None) => return (Vec::new(), None),
        Ok(Some(bytes)) => match decode(&bytes, network) {
            Ok(leases) => return (leases.leases, None),
            Err(why) => {
                let _kept = dir.write_atomic(SET_ASIDE, &bytes, 0o600);
                why
            }
        },
        Err(error) => error.to_string(),
    };
    let sentence = format!(
        "The leases {FILE} of network {network} cannot be used ({why}); DHCP clients may get new addresses."
    );
    (Vec::new(), Some(sentence))
}

fn decode(bytes: &[u8], network: &Name) -> Result<Leases, String> {
    let leases: Leases = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if leases.version != VERSION {
        return Err(format!("it has version {}, not {VERSION}", leases.version));
    }
    if leases.network != *network {
        return Err(format!("they belong to network {}", leases.network));
    }
    Ok(leases)
}

/// Writes the leases.
///
/// # Errors
/// When the file cannot be written; the old one is untouched.
pub fn save(dir: &Dir, leases: &Leases) -> std::io::Result<()> {
    // Plain values always have a JSON form.
    dir.write_atomic(FILE, &serde_json::to_vec_pretty(leases).unwrap_or_default(), 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_survive_a_restart_and_others_are_set_aside() {
        let path = std::env::temp_dir().join(format!("netherd-leases-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        let dir = Dir::open(&path).expect("the directory");
        let lab: Name = "lab".parse().expect("a name");
        assert_eq!(load(&dir, &lab), (Vec::new(), None));
        let lease = SavedLease {
            address: "10.7.24.1".parse().expect("one"),
            mac: [2, 0, 0, 0, 0, 1],
            client_id: vec![1, 2, 0, 0, 0, 0, 1],
            host_name: Some("vm".to_owned()),
            until: 1_800_000_000,
        };
        save(&dir, &Leases::new(lab.clone(), vec![lease.clone()])).expect("writable");
        assert_eq!(load(&dir, &lab), (vec![lease], None));
        let other: Name = "other".parse().expect("a name");
        let (none, why) = load(&dir, &other);
        assert_eq!(none, []);
        assert!(why.expect("a sentence").contains("network lab"));
        assert!(path.join(SET_ASIDE).exists());
        std::fs::remove_dir_all(&path).expect("clean up");
    }
}
