//! One helper serves a socket: as a process of its own, whoever runs it.
#![forbid(unsafe_code)]
#![allow(missing_docs, reason = "tests")]

use std::fs::Permissions;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sys::unix::SocketKind;

struct Helper(Child);

impl Helper {
    fn command(place: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netherd-nic"));
        command.arg("--listen").arg(place.join("nic.sock"));
        command.arg("--list").arg(place.join("nic.toml")).stderr(Stdio::piped());
        command
    }

    /// One that serves.
    fn start(place: &Path) -> Helper {
        let ready = place.join("ready");
        let _none = std::fs::remove_file(&ready);
        let told = UnixDatagram::bind(&ready).expect("free");
        // Started by root it is somebody else by the time it tells.
        std::fs::set_permissions(&ready, Permissions::from_mode(0o777)).expect("ours");
        told.set_read_timeout(Some(Duration::from_secs(20))).expect("ours");
        let mut command = Helper::command(place);
        let helper = Helper(command.env("NOTIFY_SOCKET", &ready).spawn().expect("it starts"));
        let mut word = [0; 64];
        let len = told.recv(&mut word).expect("a word before the patience ends");
        assert_eq!(&word[..len], b"READY=1\n");
        helper
    }

    fn kill(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.kill();
    }
}

fn place() -> PathBuf {
    let place = std::env::temp_dir().join(format!("nns{}", std::process::id()));
    let _none = std::fs::remove_dir_all(&place);
    std::fs::create_dir_all(&place).expect("a folder");
    place
}

#[test]
fn a_second_helper_is_refused_and_a_dead_ones_socket_is_taken() {
    let place = place();
    let socket = place.join("nic.sock");
    let mut first = Helper::start(&place);
    let connected = sys::unix::connect_path(&socket, SocketKind::Seqpacket).expect("served");
    let mut second = Helper(Helper::command(&place).spawn().expect("it starts"));
    assert_eq!(second.0.wait().expect("our child").code(), Some(1));
    let mut said = String::new();
    let stderr = second.0.stderr.as_mut().expect("piped");
    stderr.read_to_string(&mut said).expect("text");
    let whose = format!("Another netherd-nic (process {}) serves the socket", first.0.id());
    assert!(said.contains(&whose) && said.contains(&*socket.to_string_lossy()), "{said}");
    // The first serves on.
    drop(sys::unix::connect_path(&socket, SocketKind::Seqpacket).expect("served"));
    // A relay may outlive it for a moment, and has not the lock.
    first.kill();
    let _third = Helper::start(&place);
    drop(connected);
    drop(sys::unix::connect_path(&socket, SocketKind::Seqpacket).expect("served again"));
    std::fs::remove_dir_all(place).expect("ours");
}
