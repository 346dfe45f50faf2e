//! What guests' links put in place, and that it is taken back; and whom guests ask for names.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use ::nic::protocol::{self, MESSAGE_MAX, ToHelper, Welcome};
use ::nic::slots::Slots;
use engine::Role;
use engine::router::{Route, Via};
use gateway::GatewayPlan;
use sys::unix::SocketKind;
use wire::OffloadSet;

use super::join::asked_by_guests;
use super::*;
use crate::api::message::Join;
use crate::daemon::startup::Startup;
use crate::link::{LinkSetup, PortAbout};
use crate::worker::{WorkerEvent, WorkerLimits};

const HOME: &str = "NETHERD_TEST_SERVED";

/// Runs the test `name` again in a process of its own, whose runtime directory is a temporary one; in that process,
/// `Some` of that directory.
fn alone(name: &str) -> Option<PathBuf> {
    if let Some(home) = std::env::var_os(HOME) {
        return Some(home.into());
    }
    let home = std::env::temp_dir().join(format!("nhg-{}-{name}", std::process::id()));
    std::fs::create_dir(&home).expect("a new directory");
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", &format!("daemon::served::guests::tests::{name}"), "--nocapture"])
        .env(HOME, &home)
        .env("XDG_RUNTIME_DIR", &home)
        .env("XDG_STATE_HOME", home.join("state"))
        .output()
        .expect("this program runs");
    std::fs::remove_dir_all(&home).expect("ours");
    let (out, err) = (&output.stdout, &output.stderr);
    let said = [out, err].map(|it| String::from_utf8_lossy(it)).concat();
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    None
}

/// The network `lab` without a daemon, and an uplink whose helper is the test.
struct Stage {
    worker: Worker,
    lab: Served,
    helper: OwnedFd,
    sessions: Vec<(Token, OwnedFd)>,
}

impl Stage {
    /// The helper's list allows so many addresses.
    fn new(home: &Path, max_macs: u16) -> Self {
        let text = format!(
            "[network.lab]\ndir = {:?}\nsubnet = \"10.7.16.0/20\"\nprefix = \"fd07:16::/64\"\n",
            home.join("lab")
        );
        let checked = config::parse(&text, Path::new("lab.toml")).expect("valid");
        let mut worker = Worker::new(WorkerLimits::default()).expect("a poller");
        let config = checked.networks()[0].clone();
        let lab = Served::open(&mut worker, config, &mut Startup::default()).expect("served");
        let (ours, helper) = sys::unix::pair(SocketKind::Seqpacket, true).expect("a pair");
        let (_, memory) = Slots::create().expect("memory");
        let welcome = Welcome {
            version: protocol::VERSION,
            mtu: 1500,
            offloads: OffloadSet::empty(),
            own: MacAddr([2, 0, 0, 0, 0, 0xff]),
            max_macs,
            ranges: Vec::new(),
        };
        let slots = Slots::map(memory.as_fd()).expect("memory");
        let setup = LinkSetup::Nic { fd: ours, slots, welcome, lent: false };
        let about = PortAbout::new("uplink", setup.kind(), worker.now());
        let source = SourceMode::Learn { max_macs: 16 };
        let spec = PortSpec { role: Role::Uplink, source, ..PortSpec::default() };
        worker.open_link(lab.id, spec, setup, about).expect("an uplink");
        Self { worker, lab, helper, sessions: Vec::new() }
    }

    fn join(&mut self, name: &str, routes: &[&str]) -> Result<Name, Failure> {
        let routes = routes.iter().map(|it| (*it).to_owned()).collect();
        self.ask(&Join { guest: Some(name.to_owned()), routes, ..Join::default() })
    }

    fn ask(&mut self, join: &Join) -> Result<Name, Failure> {
        let (session, _) = sys::unix::pair(SocketKind::Stream, true).expect("a pair");
        let interest = sys::poll::Interest::NONE;
        let token = self.worker.register(session.as_fd(), interest).expect("a token");
        self.sessions.push((token, session));
        let caller = Caller::new(Cred { pid: 1, uid: sys::user::uid(), gid: 0 });
        let behind: Vec<IpNet> =
            self.lab.guests.values().flat_map(|guest| guest.behind().iter().copied()).collect();
        let joined = self.lab.join(&mut self.worker, token, caller, join, &behind)?;
        Ok(joined.guest.parse().expect("a name"))
    }

    /// Brings a link; the guest's end of it, and the address that it is for.
    fn link(&mut self, name: &Name) -> Result<(OwnedFd, MacAddr), Failure> {
        let (ours, theirs) = sys::unix::pair(SocketKind::Seqpacket, true).expect("a pair");
        let setup = LinkSetup::Seqpacket { fd: ours };
        let mac = self.lab.connect(&mut self.worker, name, setup)?;
        Ok((theirs, mac))
    }

    /// A guest's end of its link is gone.
    fn lose(&mut self, name: &Name, end: OwnedFd) {
        drop(end);
        for _ in 0..100 {
            self.worker.turn(Some(self.worker.now())).expect("a turn");
            while let Some(event) = self.worker.poll_event() {
                let WorkerEvent::PortClosed { port, .. } = event else { continue };
                let lost = self.lab.link_lost(&mut self.worker, port);
                assert_eq!(lost.map(|(name, _)| name).as_ref(), Some(name));
                return;
            }
        }
        panic!("the port does not close");
    }

    fn leave(&mut self, name: &Name) {
        self.lab.remove_guest(&mut self.worker, name, CloseReason::SessionEnded);
    }

    /// Addresses that the helper was told of: claimed, or released again.
    fn told(&self) -> Vec<(MacAddr, bool)> {
        let mut told = Vec::new();
        let mut buffer = vec![0; MESSAGE_MAX];
        while let Ok((len, _)) = sys::unix::receive_message(self.helper.as_fd(), &mut buffer) {
            match ToHelper::decode(&buffer[..len]) {
                Ok(ToHelper::Claim(mac)) => told.push((mac, true)),
                Ok(ToHelper::Release(mac)) => told.push((mac, false)),
                _ => {}
            }
        }
        told
    }

    fn is_routed(&self, prefix: &str) -> bool {
        self.worker.router().routes().any(|route| route.prefix.to_string() == prefix)
    }

    fn is_bound(&self, prefix: &str) -> bool {
        let prefix: IpNet = prefix.parse().expect("a prefix");
        self.worker.engine(self.lab.id).owner_of(prefix).is_some()
    }
}

/// One of each version.
const BEHIND: [&str; 2] = ["10.9.0.0/24", "fd09::/48"];

#[test]
fn a_guest_that_lost_its_link_may_bring_another_with_its_routes() {
    let Some(home) = alone("a_guest_that_lost_its_link_may_bring_another_with_its_routes") else {
        return;
    };
    let mut stage = Stage::new(&home, 4);
    let web = stage.join("web", &BEHIND).expect("nobody's");
    let (end, _) = stage.link(&web).expect("the first");
    assert!(BEHIND.iter().all(|it| stage.is_routed(it) && stage.is_bound(it)));
    stage.lose(&web, end);
    assert!(!BEHIND.iter().any(|it| stage.is_routed(it) || stage.is_bound(it)));
    // They are the guest's all the same; of a second one of its name its name is what is wrong.
    let refused = stage.join("web", &BEHIND).expect_err("it is here");
    assert_eq!(refused.code, Code::NameTaken);
    let refused = stage.join("other", &BEHIND[..1]).expect_err("another's");
    assert!(refused.message.contains("overlaps 10.9.0.0/24"), "{refused:?}");
    let (_end, _) = stage.link(&web).expect("the second");
    assert!(BEHIND.iter().all(|it| stage.is_routed(it) && stage.is_bound(it)));
    stage.leave(&web);
    assert!(!BEHIND.iter().any(|it| stage.is_routed(it) || stage.is_bound(it)));
    stage.join("other", &BEHIND).expect("nobody's again");
}

#[test]
fn who_fails_takes_no_route_of_another() {
    let Some(home) = alone("who_fails_takes_no_route_of_another") else { return };
    for prefix in BEHIND {
        let mut stage = Stage::new(&home, 4);
        let first = stage.join("first", &[prefix]).expect("nobody's");
        let refused = stage.join("second", &[prefix]).expect_err("it is the first's");
        assert_eq!(refused.code, Code::BadArgument);
        assert!(refused.message.contains("is routed elsewhere"), "{refused:?}");
        // A route that came in between, whosever it is.
        let prefix: IpNet = prefix.parse().expect("a prefix");
        stage.worker.add_route(Route::new(prefix, Via::Unreachable)).expect("the first there");
        let failure = stage.link(&first).expect_err("it leads elsewhere");
        assert_eq!(failure.code, Code::BadArgument);
        assert!(stage.is_routed(&prefix.to_string()));
        stage.leave(&first);
        assert!(stage.is_routed(&prefix.to_string()), "it was never the guest's");
    }
}

#[test]
fn an_address_is_not_announced_longer_than_its_link_lasts() {
    let Some(home) = alone("an_address_is_not_announced_longer_than_its_link_lasts") else {
        return;
    };
    let mut stage = Stage::new(&home, 1);
    let web = stage.join("web", &[]).expect("free");
    let (end, mac) = stage.link(&web).expect("a link");
    assert_eq!(stage.told(), [(mac, true)]);
    stage.lose(&web, end);
    assert_eq!(stage.told(), [(mac, false)]);
    // It has left its place to another, and takes nothing along when it leaves as well.
    let db = stage.join("db", &[]).expect("free");
    let (_end, other) = stage.link(&db).expect("a link");
    assert_eq!(stage.told(), [(other, true)]);
    stage.leave(&web);
    assert_eq!(stage.told(), []);
    stage.leave(&db);
    assert_eq!(stage.told(), [(other, false)]);

    // A prefix twice is a link that fails after all else is in place.
    let twice = stage.join("twice", &[BEHIND[0], BEHIND[0]]).expect("free");
    let failure = stage.link(&twice).expect_err("one route leads there");
    assert_eq!(failure.code, Code::BadArgument);
    let told: Vec<bool> = stage.told().iter().map(|(_, present)| *present).collect();
    assert_eq!(told, [true, false]);
    assert!(!stage.is_routed(BEHIND[0]) && !stage.is_bound(BEHIND[0]));
    assert!(stage.lab.guests[&twice].live.is_none());
}

#[test]
fn who_may_not_join_leaves_the_forwards_as_they_were() {
    let Some(home) = alone("who_may_not_join_leaves_the_forwards_as_they_were") else { return };
    let mut stage = Stage::new(&home, 4);
    let mut port = 18500;
    let mut asks = |name: &str, mac: Option<MacAddr>| {
        port += 1;
        let publish = vec![format!("udp/{port}:80")];
        let mac = mac.map(|mac| mac.to_string());
        Join { guest: Some(name.to_owned()), publish, mac, ..Join::default() }
    };
    let web = stage.ask(&asks("web", None)).expect("free");
    let mac = stage.lab.plan.guest(&web).expect("planned").mac;
    let forwards = |stage: &Stage| -> Vec<String> {
        stage.lab.forwards.iter().map(|it| it.forward.to_string()).collect()
    };
    let had = forwards(&stage);
    assert_eq!(had.len(), 1);
    let refused = stage.ask(&asks("web", None)).expect_err("it is here");
    assert_eq!((refused.code, forwards(&stage)), (Code::NameTaken, had.clone()));
    let refused = stage.ask(&asks("db", Some(mac))).expect_err("it is web's");
    assert_eq!((refused.code, forwards(&stage)), (Code::BadArgument, had));
    assert_eq!(stage.lab.plan.guests().count(), 1);
    stage.leave(&web);
    assert_eq!(forwards(&stage), [""; 0]);
}

#[test]
fn guests_ask_the_resolvers_that_they_can_ask() {
    let mac = MacAddr([2, 0, 0, 0, 0, 1]);
    let mut plan = GatewayPlan::new("lab", mac, None, None);
    plan.nat = true;
    let resolvers = |texts: &[&str]| -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().expect("a resolver")).collect()
    };
    let all = ["127.0.0.53:53", "192.0.2.53:53", "[fe80::1%2]:53", "[2001:db8::53]:53"];
    let host = || Ok(resolvers(&all));
    let told = |plan: &GatewayPlan| -> Vec<String> {
        asked_by_guests(plan, host).iter().map(ToString::to_string).collect()
    };
    assert_eq!(told(&plan), ["192.0.2.53", "2001:db8::53"]);
    plan.nat = false;
    assert_eq!(told(&plan), [""; 0], "the host's are not reached");
    plan.resolvers = resolvers(&["192.0.2.7:53", "192.0.2.8:5353"]);
    assert_eq!(told(&plan), ["192.0.2.7"]);
    plan.nat = true;
    assert_eq!(told(&plan), ["192.0.2.7"]);
}
