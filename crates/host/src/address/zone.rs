//! The domain of a network's names: `NET.internal`, or one like it that nobody around us uses.
//!
//! A network inside a guest of another often has the same name, `default`. Were its zone the same as well, it would
//! claim names that are the outer one's. The guest of the outer network has the outer zone in its search list, and
//! that is where it is seen.

use std::path::Path;

use crate::names::Name;

/// The top-level domain for private use.
pub const TOP: &str = "internal";

/// Numbers that are tried after the name itself.
const TRIES: u32 = 64;

/// The label under [`TOP`] for a network: its name, or the first of `NAME-2`, `NAME-3`, ... that no domain of `search`
/// has.
#[must_use]
pub fn choose(network: &Name, search: &[String]) -> Name {
    let taken = |name: &Name| {
        let zone = format!("{name}.{TOP}");
        search.iter().any(|domain| {
            let domain = domain.trim_end_matches('.').to_ascii_lowercase();
            domain == zone || domain.ends_with(&format!(".{zone}"))
        })
    };
    std::iter::once(network.clone())
        .chain((2..TRIES).map(|number| network.numbered(number)))
        .find(|name| !taken(name))
        .unwrap_or_else(|| network.clone())
}

/// The domains that programs of this machine search (resolv.conf(5)); none where the file cannot be read.
#[must_use]
pub fn searched(resolv_conf: &Path) -> Vec<String> {
    let Ok(text) = std::fs::read_to_string(resolv_conf) else { return Vec::new() };
    let mut domains = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if let Some("search" | "domain") = words.next() {
            // The last such line counts.
            domains = words.map(str::to_owned).collect();
        }
    }
    domains
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inner_network_has_another_zone_than_the_outer_one() {
        let lab: Name = "lab".parse().expect("a name");
        let choose = |search: &[&str]| {
            let search: Vec<String> = search.iter().map(|it| (*it).to_owned()).collect();
            choose(&lab, &search).as_str().to_owned()
        };
        assert_eq!(choose(&[]), "lab");
        assert_eq!(choose(&["example.org", "other.internal"]), "lab");
        assert_eq!(choose(&["lab.internal"]), "lab-2");
        assert_eq!(choose(&["LAB.internal.", "sub.lab-2.internal"]), "lab-3");
    }

    #[test]
    fn the_last_list_counts() {
        let path = std::env::temp_dir().join(format!("netherd-resolv-{}", std::process::id()));
        std::fs::write(&path, "domain a\nnameserver 192.0.2.1\nsearch b.internal c\n# search d\n")
            .expect("writable");
        assert_eq!(searched(&path), ["b.internal", "c"]);
        std::fs::remove_file(&path).expect("ours");
        assert_eq!(searched(&path), [""; 0]);
    }
}
