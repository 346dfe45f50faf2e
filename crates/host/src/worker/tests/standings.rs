//! What stands against a client outlasts its port.

use std::time::Duration;

use engine::{GuardMode, GuardSpec, Quarantine, SourceMode};

use super::*;

fn watched() -> PortSpec {
    PortSpec {
        source: SourceMode::Learn { max_macs: 1 },
        guard: GuardSpec {
            mode: GuardMode::Learn,
            quarantine: Some(Quarantine {
                violations: 3,
                within: Duration::from_secs(60),
                release: Duration::from_secs(300),
            }),
            ..GuardSpec::default()
        },
        ..PortSpec::default()
    }
}

impl Stage {
    fn watched_node(&mut self, declared: Option<&str>) {
        let template = NodeTemplate {
            spec: watched(),
            port_name: declared.map(str::to_owned),
            ..self.template(NodeKind::Stream)
        };
        self.node_as(NodeKind::Stream, template);
    }

    /// Sends frames of a protocol that nobody checks, which is a violation.
    fn violate(&mut self, fd: &OwnedFd, times: u32) {
        for number in 0..times {
            send(fd, &record(&frame(1, 2, 60, number))).unwrap();
        }
        self.turns();
    }

    fn cut_off(&self, name: &str) -> Option<Instant> {
        self.worker.engine(self.net).quarantined_until(self.port(name))
    }

    fn come_again(&mut self, fd: OwnedFd) -> OwnedFd {
        drop(fd);
        self.turns();
        self.connect(NodeKind::Stream)
    }
}

#[test]
fn a_client_that_is_cut_off_stays_so_when_it_comes_again() {
    for (declared, name) in [(None, "stream-1"), (Some("web"), "web")] {
        let mut s = Stage::new("again");
        s.watched_node(declared);
        let mut fd = s.connect(NodeKind::Stream);
        s.violate(&fd, 3);
        let until = s.cut_off(name).expect("it did it three times");
        for _ in 0..2 {
            fd = s.come_again(fd);
            assert_eq!(s.cut_off(name), Some(until));
        }
        s.violate(&fd, 1);
        assert_eq!(s.dropped(s.port(name), Reason::Quarantined), 1);
        // Until somebody lets it.
        let port = s.port(name);
        assert!(s.worker.engine_mut(s.net).release_port(port));
        fd = s.come_again(fd);
        assert_eq!(s.cut_off(name), None);
        drop(fd);
    }
}

#[test]
fn violations_before_that_are_not_forgotten_either() {
    let mut s = Stage::new("counted");
    s.watched_node(None);
    let fd = s.connect(NodeKind::Stream);
    s.violate(&fd, 2);
    let fd = s.come_again(fd);
    assert_eq!(s.cut_off("stream-1"), None);
    s.violate(&fd, 1);
    assert!(s.cut_off("stream-1").is_some());
}

#[test]
fn a_declared_port_is_one_client_and_a_users_programs_are_not() {
    let mut s = Stage::new("besides");
    s.watched_node(Some("web"));
    let fd = s.connect(NodeKind::Stream);
    s.violate(&fd, 3);
    let _other = s.connect(NodeKind::Stream);
    assert_eq!(s.cut_off("web-2"), s.cut_off("web"));
    assert!(s.cut_off("web").is_some());
    let mut s = Stage::new("programs");
    s.watched_node(None);
    let fd = s.connect(NodeKind::Stream);
    s.violate(&fd, 3);
    let _other = s.connect(NodeKind::Stream);
    assert!(s.cut_off("stream-1").is_some() && s.cut_off("stream-2").is_none());
}

#[test]
fn a_guest_is_known_by_its_name() {
    let mut s = Stage::new("named");
    let (_, fd) = s.stream_port("web", watched());
    s.violate(&fd, 3);
    let until = s.cut_off("web");
    assert!(until.is_some());
    drop(fd);
    s.turns();
    let (_, _other) = s.stream_port("mail", watched());
    let (_, _same) = s.stream_port("web", watched());
    assert_eq!((s.cut_off("mail"), s.cut_off("web")), (None, until));
}
