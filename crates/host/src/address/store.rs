//! The plan in its file, `plan.json` in the network's directory.
//!
//! The file is replaced as a whole (a new file, renamed), so it is the old plan or the new one, whenever the
//! daemon is killed. A file that cannot be understood is set aside, never overwritten, and the network begins
//! with a new plan: it must always be possible to start.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use sys::dir::Dir;

use super::{Assignment, GUESTS_MAX, PREFIX_MAX, PREFIX_MIN, Plan, Presence, Use};
use crate::directory::PLAN;
use crate::names::{self, Name};

const VERSION: u32 = 1;
/// Bytes of a file with [`GUESTS_MAX`] guests, with room to spare.
const FILE_MAX: usize = 1 << 20;
/// Where a plan that is not understood goes.
const SET_ASIDE: &str = ".plan.json.bad";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    network: Name,
    subnet: Ipv4Net,
    prefix: Ipv6Addr,
    uses: u64,
    guests: BTreeMap<Name, Guest>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Guest {
    ipv4: Ipv4Addr,
    /// Only when it is not the one that follows from the names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mac: Option<String>,
    uid: u32,
    used: u64,
    /// It is in the network, or was when the daemon that wrote this was killed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    present: bool,
}

/// Reads the plan of `network` from its directory; `None` when there is none yet, or it was set aside. The
/// sentence in the second place is for the log.
pub fn load(dir: &Dir, network: &Name) -> (Option<Plan>, Option<String>) {
    let why = match dir.read(PLAN, FILE_MAX) {
        Ok(None) => return (None, None),
        Ok(Some(bytes)) => match decode(&bytes, network) {
            Ok(plan) => return (Some(plan), None),
            Err(why) => {
                let _kept = dir.write_atomic(SET_ASIDE, &bytes, 0o600);
                why
            }
        },
        Err(error) => error.to_string(),
    };
    let sentence = format!(
        "The address plan {PLAN} of network {network} cannot be used ({why}); it is kept as {SET_ASIDE}, and \
         guests may get new addresses."
    );
    (None, Some(sentence))
}

/// Reads the plan of another network, to know its subnet; nothing is set aside.
#[must_use]
pub fn peek(dir: &Dir, network: &Name) -> Option<Plan> {
    decode(&dir.read(PLAN, FILE_MAX).ok()??, network).ok()
}

/// Writes the plan.
///
/// # Errors
/// When the file cannot be written; the old one is untouched.
pub fn save(dir: &Dir, plan: &Plan) -> std::io::Result<()> {
    dir.write_atomic(PLAN, &encode(plan), 0o600)
}

fn encode(plan: &Plan) -> Vec<u8> {
    let guest = |(name, it): (&Name, &Assignment)| {
        let derived = names::mac(&plan.network, name);
        let mac = (it.mac != derived).then(|| it.mac.to_string());
        let present = matches!(it.presence, Presence::Present | Presence::Expected);
        (name.clone(), Guest { ipv4: it.ipv4, mac, uid: it.uid, used: it.used, present })
    };
    // Addresses that the configuration says need no memory.
    let kept = plan.guests.iter().filter(|(_, it)| plan.use_of(it.ipv4) == Some(Use::Guest));
    let file = File {
        version: VERSION,
        network: plan.network.clone(),
        subnet: plan.subnet,
        prefix: plan.prefix,
        uses: plan.uses,
        guests: kept.map(guest).collect(),
    };
    // Maps with text keys and plain values always have a JSON form.
    serde_json::to_vec_pretty(&file).unwrap_or_default()
}

/// Reads a plan; everything the plan promises is checked, because the file is the user's to edit.
fn decode(bytes: &[u8], network: &Name) -> Result<Plan, String> {
    let file: File = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if file.version != VERSION {
        return Err(format!("it has version {}, not {VERSION}", file.version));
    }
    if file.network != *network {
        return Err(format!("it is the plan of network {}", file.network));
    }
    if !(PREFIX_MIN..=PREFIX_MAX).contains(&file.subnet.prefix_len()) {
        return Err(format!("the subnet {} is not a /{PREFIX_MIN} to /{PREFIX_MAX}", file.subnet));
    }
    if file.guests.len() > GUESTS_MAX {
        return Err(format!("it has {} guests, more than {GUESTS_MAX}", file.guests.len()));
    }
    let mut plan = Plan::new(file.network, file.subnet, file.prefix);
    plan.uses = file.uses;
    for (name, guest) in file.guests {
        let mac = match guest.mac {
            Some(text) => text.parse().map_err(|_| format!("{text:?} is not a MAC address"))?,
            None => names::mac(&plan.network, &name),
        };
        if plan.use_of(guest.ipv4) != Some(Use::Guest) {
            return Err(format!("{} of guest {name} is not in the guests' range", guest.ipv4));
        }
        let twice = plan.guests.values().any(|it| it.ipv4 == guest.ipv4 || it.mac == mac);
        if twice || mac.is_multicast() {
            return Err(format!("the addresses of guest {name} are another guest's"));
        }
        let assignment = Assignment {
            ipv4: guest.ipv4,
            mac,
            ipv6: names::ipv6_address(plan.prefix, mac),
            uid: guest.uid,
            used: guest.used.min(plan.uses),
            presence: if guest.present { Presence::Expected } else { Presence::Away },
        };
        plan.guests.insert(name, assignment);
    }
    Ok(plan)
}

/// For fuzzing: any bytes are a plan or an error, and a plan survives encoding.
pub fn fuzz_plan(data: &[u8]) {
    let network = Name::from_command("default");
    if let Ok(plan) = decode(data, &network) {
        assert_eq!(decode(&encode(&plan), &network).as_ref(), Ok(&plan));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::AssignError;

    fn name(text: &str) -> Name {
        text.parse().expect("a good name")
    }

    fn plan() -> Plan {
        let subnet = "10.7.16.0/20".parse().expect("a subnet");
        let mut plan = Plan::new(name("default"), subnet, names::ipv6_prefix(&name("default")));
        plan.assign(&name("web"), 1000, None).expect("room");
        let mac = "02:00:5e:00:53:01".parse().expect("a MAC");
        plan.assign(&name("db"), 1001, Some(mac)).expect("room");
        plan.leave(&name("web"));
        plan.leave(&name("db"));
        plan
    }

    #[test]
    fn a_plan_survives_a_restart() {
        let path = std::env::temp_dir().join(format!("netherd-plan-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        let dir = Dir::open(&path).expect("the directory");
        assert_eq!(load(&dir, &name("default")), (None, None));
        save(&dir, &plan()).expect("writable");
        assert_eq!(load(&dir, &name("default")), (Some(plan()), None));
        // A guest that was present when the daemon was killed lives on, and comes back.
        let mut present = plan();
        present.assign(&name("web"), 1000, None).expect("it was away");
        save(&dir, &present).expect("writable");
        let (loaded, _) = load(&dir, &name("default"));
        let mut loaded = loaded.expect("a plan");
        assert!(!loaded.guest(&name("web")).expect("kept").is_present());
        assert!(loaded.expects_any());
        assert_eq!(
            loaded.assign(&name("web"), 1000, None),
            Err(AssignError::Expected(name("web")))
        );
        assert_eq!(loaded.free_name(&name("web"), 1000, |_| false), Some(name("web-2")));
        let other = loaded.resume(&name("web"), 1001, None);
        assert!(matches!(other, Err(AssignError::OtherUser { .. })), "another user's keeper");
        // The name is still kept when that daemon is killed too, before the guest is back.
        save(&dir, &loaded).expect("writable");
        let mut again = load(&dir, &name("default")).0.expect("a plan");
        assert!(again.expects_any());
        again.expect_no_more();
        again.assign(&name("web"), 1000, None).expect("it did not come");
        let web = loaded.resume(&name("web"), 1000, None).expect("it comes back").assignment;
        assert_eq!(web.ipv4, present.guest(&name("web")).expect("there").ipv4);
        assert!(!loaded.expects_any());
        std::fs::write(path.join(PLAN), "{\"version\":1").expect("writable");
        let (none, why) = load(&dir, &name("default"));
        assert_eq!(none, None);
        assert!(why.expect("a sentence").contains(".plan.json.bad"));
        assert_eq!(std::fs::read(path.join(SET_ASIDE)).expect("kept"), b"{\"version\":1");
        std::fs::remove_dir_all(&path).expect("clean up");
    }

    #[test]
    fn a_plan_that_breaks_its_promises_is_refused() {
        let good = String::from_utf8(encode(&plan())).expect("text");
        let network = name("default");
        assert_eq!(decode(good.as_bytes(), &network), Ok(plan()));
        let web = plan().guest(&name("web")).expect("there").ipv4.to_string();
        let db = plan().guest(&name("db")).expect("there").ipv4.to_string();
        for (from, to) in [
            ("\"version\": 1", "\"version\": 2"),
            ("\"network\": \"default\"", "\"network\": \"other\""),
            ("10.7.16.0/20", "10.7.16.0/24"),
            (web.as_str(), db.as_str()),
            (web.as_str(), "10.7.16.1"),
            (web.as_str(), "10.8.16.99"),
            ("02:00:5e:00:53:01", "03:00:5e:00:53:01"),
            ("\"web\"", "\"Web\""),
            ("\"uses\"", "\"used\""),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good, "{from} is in the file");
            assert!(decode(bad.as_bytes(), &network).is_err(), "{from} -> {to} was accepted");
        }
        fuzz_plan(good.as_bytes());
        fuzz_plan(b"\xff{}");
    }
}
