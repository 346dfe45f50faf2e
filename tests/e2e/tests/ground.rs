//! The tests' own ground: a job is who, and sees what, the other tests rely on.
#![forbid(unsafe_code)]

use e2e::{Lab, Tun, User, need};

#[test]
fn a_job_runs_as_its_user_with_a_clean_environment() {
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let said = person.job("sh").args(["-c", "id -u; id -g; pwd; env"]).run().ok();
    let mut lines = said.lines();
    assert_eq!(lines.next(), Some(person.user().uid.to_string().as_str()));
    assert_eq!(lines.next(), Some(person.user().gid.to_string().as_str()));
    assert_eq!(lines.next(), person.home().to_str());
    let runtime = format!("XDG_RUNTIME_DIR={}", person.runtime().display());
    assert!(said.contains(&runtime), "{said}");
    assert!(!said.contains("CARGO"), "the build's environment leaks into the jobs: {said}");
}

#[test]
fn a_job_finds_the_tun_node_it_asked_for() {
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let opens = |tun: Tun| {
        person.job("sh").args(["-c", "exec 3<>/dev/net/tun"]).tun(tun).run().status.success()
    };
    need!(Tun::Open.possible());
    assert!(opens(Tun::Open));
    need!(Tun::Closed.possible());
    assert!(!opens(Tun::Closed));
}

#[test]
fn a_lab_ends_what_was_started_in_it_and_nothing_else() {
    let other = Lab::new();
    let person = other.person(need!(User::first()));
    let mut stays = person.job("sleep").arg("60").spawn();
    let left = {
        let lab = Lab::new();
        let person = lab.person(need!(User::first()));
        // Detached from its starter, as a daemon is.
        let said = person.job("sh").args(["-c", "setsid sleep 60 >/dev/null 2>&1 & echo $!"]).run();
        assert!(!said.held);
        said.ok().trim().parse::<i32>().expect("a process id")
    };
    e2e::job::gone(left, e2e::wait::PATIENCE);
    assert!(stays.alive());
}
