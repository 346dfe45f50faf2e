//! Subordinate ids: the ranges of /etc/subuid and /etc/subgid (subuid(5), subgid(5)).

/// The file with the subordinate user ids, and the one with the group ids.
pub const FILES: [&str; 2] = ["/etc/subuid", "/etc/subgid"];

/// Where useradd(8) begins, and how many ids it gives each user (`SUB_UID_MIN`, `SUB_UID_COUNT` in login.defs(5)).
const FIRST: u32 = 100_000;
const COUNT: u32 = 65_536;

/// Lines of a file in subuid(5) format, `name:first:count` or `uid:first:count`: whose they are, and the range.
fn lines(text: &str) -> impl Iterator<Item = (&str, u32, u32)> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let who = fields.next()?;
        let first: u32 = fields.next()?.parse().ok()?;
        let count: u32 = fields.next()?.parse().ok()?;
        (count > 0 && first.checked_add(count).is_some()).then_some((who, first, count))
    })
}

/// The ranges of one user: first ids and lengths.
#[must_use]
pub fn of_user(text: &str, name: &str, uid: u32) -> Vec<(u32, u32)> {
    let uid = uid.to_string();
    lines(text)
        .filter(|(who, _, _)| (*who == name && !name.is_empty()) || *who == uid)
        .map(|(_, first, count)| (first, count))
        .collect()
}

/// The first range of the usual length that belongs to nobody in any of these files: two users with one range could
/// act with each other's ids.
fn free(texts: [&str; 2]) -> Option<(u32, u32)> {
    let mut first = FIRST;
    loop {
        let last = first.checked_add(COUNT - 1)?;
        let taken = texts
            .into_iter()
            .flat_map(lines)
            .filter(|(_, start, count)| *start <= last && start + (count - 1) >= first)
            .map(|(_, start, count)| start + (count - 1))
            .max();
        match taken {
            None => return Some((first, last)),
            Some(end) => first = end.checked_add(1)?,
        }
    }
}

/// The command by which the administrator gives `user` what is missing, of a range that is nobody's yet; `None` if no
/// range is free. `texts` are the contents of [`FILES`].
#[must_use]
pub fn remedy(user: &str, uid: u32, texts: [&str; 2]) -> Option<String> {
    let (first, last) = free(texts)?;
    let options: String = ["--add-subuids", "--add-subgids"]
        .iter()
        .zip(texts)
        .filter(|(_, text)| of_user(text, user, uid).is_empty())
        .map(|(option, _)| format!("{option} {first}-{last} "))
        .collect();
    Some(format!("sudo usermod {options}{user}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_a_users_by_name_or_by_number() {
        let text = "# x\nana:100000:65536\n1000:300000:10\nbob:200000:5\nana:9:0\nana:x:y\n";
        assert_eq!(of_user(text, "ana", 1000), [(100_000, 65_536), (300_000, 10)]);
        assert_eq!(of_user(text, "", 1), []);
        assert_eq!(of_user("ana:4294967295:2\n", "ana", 1), []);
    }

    #[test]
    fn the_remedy_gives_what_is_nobodys() {
        assert_eq!(
            remedy("ana", 1000, ["", ""]).expect("all are free"),
            "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ana"
        );
        // One file has a range of another user that the other file has not, and a long one with a gap before it.
        let users = "bob:100000:65536\neve:300000:100000\n";
        let groups = "carol:170000:1\n";
        assert_eq!(
            remedy("ana", 1000, [users, groups]).expect("there is room between"),
            "sudo usermod --add-subuids 170001-235536 --add-subgids 170001-235536 ana"
        );
        let users = "1000:500000:65536\n";
        assert_eq!(
            remedy("ana", 1000, [users, "bob:100000:65536\n"]).expect("there is room behind"),
            "sudo usermod --add-subgids 165536-231071 ana",
            "only what is missing"
        );
        assert_eq!(remedy("ana", 1000, ["bob:100000:4294867295\n", ""]), None);
    }
}
