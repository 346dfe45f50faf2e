use super::*;
use std::os::fd::AsFd;

fn temporary(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("sys-unix-{}-{name}", std::process::id()));
    drop(std::fs::remove_dir_all(&dir));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

#[test]
fn a_directory_longer_than_a_socket_name_works() {
    let top = temporary("long");
    let deep = top.join("d".repeat(120)).join("e".repeat(120));
    std::fs::create_dir_all(&deep).unwrap();
    let dir = open_directory(&deep).unwrap();
    let listener = listen_at(dir.as_fd(), OsStr::new("stream"), SocketKind::Stream, 4).unwrap();
    let client = connect_path(&deep.join("stream"), SocketKind::Stream).unwrap();
    let (server, cred) = accept(listener.as_fd()).unwrap();
    assert_eq!(cred.pid, i32::try_from(std::process::id()).unwrap());
    assert_eq!(cred.uid, rustix::process::geteuid().as_raw());
    assert_eq!(
        send_vectored(client.as_fd(), &[IoSlice::new(b"ab"), IoSlice::new(b"c")]).unwrap(),
        3
    );
    let mut buffer = [0; 8];
    assert_eq!(receive(server.as_fd(), &mut buffer).unwrap(), 3);
    assert_eq!(&buffer[..3], b"abc");
    unlink_at(dir.as_fd(), OsStr::new("stream")).unwrap();
    unlink_at(dir.as_fd(), OsStr::new("stream")).unwrap();
    std::fs::remove_dir_all(top).unwrap();
}

#[test]
fn accept_without_a_client_says_so() {
    let top = temporary("accept");
    let dir = open_directory(&top).unwrap();
    let l = listen_at(dir.as_fd(), OsStr::new("s"), SocketKind::Seqpacket, 4).unwrap();
    assert_eq!(accept(l.as_fd()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert_eq!(kind_of(l.as_fd()).unwrap(), SocketKind::Seqpacket);
    std::fs::remove_dir_all(top).unwrap();
}

#[test]
fn descriptors_travel_and_a_surplus_is_closed() {
    let (a, b) = pair(SocketKind::Stream, false).unwrap();
    let (c, d) = pair(SocketKind::Stream, true).unwrap();
    send_with_fds(a.as_fd(), b"two", &[c.as_fd(), c.as_fd()]).unwrap();
    let mut buffer = [0; 8];
    let got = receive_with_fds(b.as_fd(), &mut buffer, 2).unwrap();
    assert_eq!((got.len, got.fds.len()), (3, 2));
    for fd in &got.fds {
        let flags = rustix::io::fcntl_getfd(fd).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    }
    drop(got);
    send_with_fds(a.as_fd(), b"two", &[c.as_fd(), c.as_fd()]).unwrap();
    drop(c);
    let refused = receive_with_fds(b.as_fd(), &mut buffer, 1).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
    // All copies of `c` are gone: its peer sees the end.
    assert_eq!(receive(d.as_fd(), &mut buffer).unwrap(), 0);
    let many = vec![d.as_fd(); FDS_MAX + 1];
    assert!(send_with_fds(a.as_fd(), b"x", &many).is_err());
    assert!(send_with_fds(a.as_fd(), b"", &many[..1]).is_err());
}

#[test]
fn more_descriptors_than_wanted_are_refused_and_leak_nothing() {
    let (a, b) = pair(SocketKind::Stream, false).unwrap();
    let (c, d) = pair(SocketKind::Stream, true).unwrap();
    // More than we send ourselves: 100 descriptors, sent by hand.
    let fds = vec![c.as_raw_fd(); 100];
    let mut control = vec![0_u64; 64];
    let mut piece = libc::iovec { iov_base: b"x".as_ptr().cast_mut().cast(), iov_len: 1 };
    // SAFETY: zeroed msghdr is valid; all buffers outlive the call; the control space (512
    // bytes) holds one header with 400 bytes.
    unsafe {
        let mut m: libc::msghdr = std::mem::zeroed();
        m.msg_iov = &raw mut piece;
        m.msg_iovlen = 1;
        m.msg_control = control.as_mut_ptr().cast();
        m.msg_controllen = libc::CMSG_SPACE(400) as _;
        let h = libc::CMSG_FIRSTHDR(&raw const m);
        (*h).cmsg_level = libc::SOL_SOCKET;
        (*h).cmsg_type = libc::SCM_RIGHTS;
        (*h).cmsg_len = libc::CMSG_LEN(400) as _;
        std::ptr::copy_nonoverlapping(fds.as_ptr().cast::<u8>(), libc::CMSG_DATA(h), 400);
        assert_eq!(libc::sendmsg(a.as_raw_fd(), &raw const m, 0), 1);
    }
    drop(c);
    let mut buffer = [0; 8];
    let refused = receive_with_fds(b.as_fd(), &mut buffer, FDS_MAX).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
    assert_eq!(receive(d.as_fd(), &mut buffer).unwrap(), 0, "a descriptor leaked");
}

#[test]
fn modes_are_not_set_through_symbolic_links() {
    use std::os::unix::fs::PermissionsExt;
    let top = std::env::temp_dir().join(format!("set-mode-{}", std::process::id()));
    std::fs::create_dir_all(&top).unwrap();
    std::fs::write(top.join("secret"), "").unwrap();
    let mode =
        |name: &str| std::fs::metadata(top.join(name)).unwrap().permissions().mode() & 0o7777;
    let dir = open_directory(&top).unwrap();
    set_mode_at(dir.as_fd(), "secret".as_ref(), 0o600).unwrap();
    assert_eq!(mode("secret"), 0o600);
    std::os::unix::fs::symlink("secret", top.join("link")).unwrap();
    // Kernels differ in whether this is an error.
    drop(set_mode_at(dir.as_fd(), "link".as_ref(), 0o666));
    assert_eq!(mode("secret"), 0o600);
    std::fs::remove_dir_all(top).unwrap();
}

#[test]
fn a_socket_can_refuse_descriptors_and_so_do_those_it_accepts() {
    let name = Address::from_abstract(format!("rights-{}", std::process::id()).as_bytes()).unwrap();
    let listener = socket(SocketKind::Seqpacket, true).unwrap();
    bind(listener.as_fd(), &name).unwrap();
    listen(listener.as_fd(), 4).unwrap();
    if !refuse_descriptors(listener.as_fd()).unwrap() {
        testkit::skip!("this kernel is older than 6.16 and has no SO_PASSRIGHTS");
    }
    let client = socket(SocketKind::Seqpacket, true).unwrap();
    connect(client.as_fd(), &name).unwrap();
    let (server, _) = accept(listener.as_fd()).unwrap();
    let refused = send_with_fds(client.as_fd(), b"x", &[client.as_fd()]).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
    send_with_fds(client.as_fd(), b"plain", &[]).unwrap();
    assert_eq!(receive(server.as_fd(), &mut [0; 8]).unwrap(), 5, "only what came alone");
}

#[test]
fn addresses_read_back_as_they_were_made() {
    let path = Address::from_path(Path::new("/run/x")).unwrap();
    assert_eq!(path.path(), Some(Path::new("/run/x")));
    assert_eq!(path.abstract_name(), None);
    assert_eq!(path.to_string(), "/run/x");
    let name = Address::from_abstract(b"\0a\xff").unwrap();
    assert_eq!(name.abstract_name(), Some(&b"\0a\xff"[..]));
    assert_eq!(name.path(), None);
    assert_eq!(name.to_string(), "@\\x00a\\xff");
    assert!(Address::unnamed().is_unnamed());
    assert_ne!(path, name);
    let wire = path.to_wire();
    assert_eq!(wire[..2], (libc::AF_UNIX as u16).to_ne_bytes());
    assert_eq!(&wire[2..9], b"/run/x\0");
    let longest = "/".to_owned() + &"x".repeat(106);
    assert!(Address::from_path(Path::new(&longest)).is_ok());
    assert!(Address::from_path(Path::new(&(longest + "x"))).is_err());
    assert!(Address::from_path(Path::new("")).is_err());
    assert!(Address::from_abstract(&[0; 108]).is_err());
}

#[test]
fn a_peer_path_is_pinned_and_checked() {
    let top = temporary("peer");
    let dir = open_directory(&top).unwrap();
    let me = rustix::process::geteuid().as_raw();
    let socket = bind_at(dir.as_fd(), OsStr::new("s"), SocketKind::Datagram, true).unwrap();
    let path = top.join("s");
    assert!(matches!(PeerPath::open(Path::new("s"), me), Err(PeerPathError::Relative)));
    let error = PeerPath::open(&top.join("no"), me).unwrap_err();
    assert!(error.to_string().contains("cannot be opened"), "{error}");
    assert!(matches!(PeerPath::open(&top, me), Err(PeerPathError::NotASocket)));
    assert!(matches!(PeerPath::open(&path, me + 1), Err(PeerPathError::Owner(o)) if o == me));
    std::os::unix::fs::symlink(&path, top.join("link")).unwrap();
    assert!(matches!(PeerPath::open(&top.join("link"), me), Err(PeerPathError::NotASocket)));
    let pinned = PeerPath::open(&path, me).unwrap();
    // Another socket takes the name: the pinned one is still the one that is reached.
    std::fs::remove_file(&path).unwrap();
    let other = bind_at(dir.as_fd(), OsStr::new("s"), SocketKind::Datagram, true).unwrap();
    let sender = crate::unix::socket(SocketKind::Datagram, true).unwrap();
    connect(sender.as_fd(), &pinned.address()).unwrap();
    assert_eq!(send_vectored(sender.as_fd(), &[IoSlice::new(b"hi")]).unwrap(), 2);
    let mut buffer = [0; 4];
    assert_eq!(receive(socket.as_fd(), &mut buffer).unwrap(), 2);
    assert_eq!(receive(other.as_fd(), &mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    std::fs::remove_dir_all(top).unwrap();
}

#[test]
fn a_peer_path_that_is_not_cached_is_not_looked_up() {
    // Nobody has looked into the directory of a thread that was made just now, so the kernel would
    // have to ask the file system.
    let (tell, told) = std::sync::mpsc::channel();
    let (end, wait) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        tell.send(rustix::thread::gettid().as_raw_nonzero()).unwrap();
        let _ended = wait.recv();
    });
    let path = format!("/proc/{}/task/{}/fdinfo", std::process::id(), told.recv().unwrap());
    let error = PeerPath::open(Path::new(&path), 0).unwrap_err();
    assert!(matches!(error, PeerPathError::NotCached), "{error}");
    // Looked up by somebody else, it is in the cache, and is what it is.
    std::fs::metadata(&path).unwrap();
    let error = PeerPath::open(Path::new(&path), 0).unwrap_err();
    assert!(matches!(error, PeerPathError::NotASocket), "{error}");
    drop(end);
    thread.join().unwrap();
}

#[test]
fn names_that_leave_the_directory_are_refused() {
    let dir = open_directory(Path::new("/tmp")).unwrap();
    for name in ["", "..", "a/b", "a\0b", &"x".repeat(81)] {
        assert!(address_at(dir.as_fd(), OsStr::new(name)).is_err(), "{name:?}");
    }
}

#[test]
fn empty_packets_are_told_from_the_end() {
    let (near, far) = pair(SocketKind::Seqpacket, true).unwrap();
    let empty = || send_with_fds(far.as_fd(), &[], &[]).unwrap();
    let read = |wanted: usize| {
        let got = receive_with_fds(near.as_fd(), &mut [0; 16], 0).unwrap();
        assert_eq!(got.len, wanted);
    };
    empty();
    assert!(!has_ended(near.as_fd()));
    read(0);
    assert!(!has_ended(near.as_fd()), "it may send more");
    empty();
    send_with_fds(far.as_fd(), b"last", &[]).unwrap();
    drop(far);
    read(0);
    assert!(!has_ended(near.as_fd()), "there is more");
    read(4);
    assert!(has_ended(near.as_fd()));
    read(0);
    assert!(has_ended(near.as_fd()));
}
