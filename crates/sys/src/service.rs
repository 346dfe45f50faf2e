//! Telling the service manager how we are (sd_notify(3)).

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The way to the service manager.
#[derive(Debug)]
pub struct Manager(UnixDatagram);

impl Manager {
    /// The one that `NOTIFY_SOCKET` names; none where there is none, or it cannot be reached.
    #[must_use]
    pub fn of_process() -> Option<Self> {
        Self::at(&std::env::var_os("NOTIFY_SOCKET")?).ok()
    }

    /// The socket at a path, or after `@` of an abstract name.
    fn at(name: &OsStr) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        match name.as_bytes().strip_prefix(b"@") {
            Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
            None => socket.connect(name)?,
        }
        Ok(Self(socket))
    }

    /// Sends assignments, a line each, such as `READY=1`. Nobody may be listening any more.
    pub fn tell(&self, words: &str) {
        let _gone = self.0.send(words.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_has_a_path_or_an_abstract_name() {
        let name = format!("netherd-manager-{}", std::process::id());
        let heard = |listener: &UnixDatagram| {
            let mut words = [0; 64];
            let length = listener.recv(&mut words).unwrap();
            String::from_utf8(words[..length].to_vec()).unwrap()
        };
        let listener =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        Manager::at(OsStr::new(&format!("@{name}"))).unwrap().tell("READY=1\n");
        assert_eq!(heard(&listener), "READY=1\n");
        let path = std::env::temp_dir().join(&name);
        let listener = UnixDatagram::bind(&path).unwrap();
        Manager::at(path.as_os_str()).unwrap().tell("STOPPING=1\n");
        assert_eq!(heard(&listener), "STOPPING=1\n");
        std::fs::remove_file(&path).unwrap();
        assert!(Manager::at(path.as_os_str()).is_err());
    }
}
