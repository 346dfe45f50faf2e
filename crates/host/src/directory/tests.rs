use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixStream};

use sys::unix::SocketKind;

use super::registry::covers_in;
use super::*;

/// A machine of our own: a temporary directory with `run` and `tmp`.
struct Place {
    root: PathBuf,
    environment: Environment,
}

impl Place {
    fn new(name: &str) -> Self {
        let root =
            std::env::temp_dir().join(format!("netherd-place-{}-{name}", std::process::id()));
        let _gone = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(root.join("run")).expect("a directory");
        std::fs::create_dir_all(root.join("tmp")).expect("a directory");
        let environment = Environment {
            uid: sys::user::uid(),
            xdg_runtime_dir: None,
            run_user: root.join("run"),
            tmp: root.join("tmp"),
        };
        Self { root, environment }
    }

    fn fallback(&self) -> PathBuf {
        self.root.join("tmp").join(format!("netherd-{}", self.environment.uid))
    }

    fn private(&self, name: &str) -> PathBuf {
        let path = self.root.join(name);
        std::fs::create_dir(&path).expect("new");
        std::fs::set_permissions(&path, Permissions::from_mode(0o700)).expect("ours");
        path
    }

    fn publish(&self, path: &Path, access: &Access) -> Result<PublishedDirectory, DirectoryError> {
        PublishedDirectory::open_in(&self.environment, path, access, BTreeMap::new())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _left = std::fs::remove_dir_all(&self.root);
    }
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().expect("there").mode() & 0o7777
}

#[test]
fn the_default_place_is_the_first_that_is_safe() {
    let mut place = Place::new("default");
    let uid = place.environment.uid;
    assert_eq!(
        resolve_in(&place.environment, "home", None).expect("fallback"),
        place.fallback().join("home")
    );
    let run = place.private(&format!("run/{uid}"));
    assert_eq!(
        resolve_in(&place.environment, "home", None).expect("run"),
        run.join("netherd/home")
    );
    let xdg = place.private("xdg");
    place.environment.xdg_runtime_dir = Some(xdg.clone());
    assert_eq!(
        resolve_in(&place.environment, "home", None).expect("xdg"),
        xdg.join("netherd/home")
    );
    // A runtime directory that others may write to, or that is relative, is not used.
    std::fs::set_permissions(&xdg, Permissions::from_mode(0o777)).expect("ours");
    assert_eq!(
        resolve_in(&place.environment, "home", None).expect("run"),
        run.join("netherd/home")
    );
    place.environment.xdg_runtime_dir = Some(PathBuf::from("xdg"));
    assert_eq!(
        resolve_in(&place.environment, "home", None).expect("run"),
        run.join("netherd/home")
    );
    assert!(matches!(
        resolve_in(&place.environment, "../home", None),
        Err(DirectoryError::Name { .. })
    ));
}

#[test]
fn a_fallback_that_somebody_else_prepared_is_refused() {
    let place = Place::new("prepared");
    let elsewhere = place.private("elsewhere");
    symlink(&elsewhere, place.fallback()).expect("a link");
    let error = resolve_in(&place.environment, "home", None).expect_err("a link");
    assert!(matches!(error, DirectoryError::NotADirectory { .. }), "{error}");
    std::fs::remove_file(place.fallback()).expect("ours");
    std::fs::create_dir(place.fallback()).expect("new");
    std::fs::set_permissions(place.fallback(), Permissions::from_mode(0o777)).expect("ours");
    let error = resolve_in(&place.environment, "home", None).expect_err("open to all");
    assert!(matches!(error, DirectoryError::TooOpen { mode: 0o777, .. }), "{error}");
    let mut other = place.environment.clone();
    other.uid += 1;
    other.tmp = place.root.join("tmp");
    let foreign = |name: String| std::fs::create_dir(other.tmp.join(name)).expect("new");
    foreign(format!("netherd-{}", other.uid));
    let second = other.tmp.join(format!("netherd-{}.2", other.uid));
    assert_eq!(resolve_in(&other, "home", None).expect("the next"), second.join("home"));
    for number in 2..=FALLBACKS {
        foreign(format!("netherd-{}.{number}", other.uid));
    }
    let error = resolve_in(&other, "home", None).expect_err("none is his");
    assert!(matches!(error, DirectoryError::NotOurs { .. }), "{error}");
}

/// Whoever else has the first name, networks are found where they are: also when he gives it up.
#[test]
fn a_fallback_stays_where_it_is() {
    let place = Place::new("stays");
    let second = place.root.join("tmp").join(format!("netherd-{}.2", place.environment.uid));
    std::fs::create_dir(&second).expect("new");
    assert_eq!(place.environment.base(), second, "ours comes before one that is free");
    std::fs::create_dir(place.fallback()).expect("new");
    assert_eq!(place.environment.base(), place.fallback(), "and the first before others");
}

#[test]
fn a_directory_is_published_once_and_leaves_nothing() {
    let place = Place::new("once");
    let path = resolve_in(&place.environment, "home", None).expect("fallback");
    let mut published = place.publish(&path, &Access::default()).expect("free");
    assert_eq!((mode(&place.fallback()), mode(&path)), (0o700, 0o700));
    let _api = published.bind("api", SocketKind::Stream, &Access::default()).expect("free");
    let _web = published
        .bind("ports/web/stream", SocketKind::Stream, &Access { mode: 0o666, ..Access::default() })
        .expect("free");
    assert_eq!(mode(&path.join("api")), 0o600);
    assert_eq!(mode(&path.join("ports")), 0o711);
    assert_eq!(mode(&path.join("ports/web")), 0o755);
    assert_eq!(mode(&path.join("ports/web/stream")), 0o666);
    assert_eq!(published.nodes().collect::<Vec<_>>(), ["api", "ports/web/stream"]);
    // Nobody listens yet.
    assert!(UnixStream::connect(path.join("api")).is_err());
    let error = place.publish(&path, &Access::default()).expect_err("held");
    let pid = std::process::id();
    assert!(error.to_string().contains(&format!("process {pid}")), "{error}");
    drop(published);
    let left: Vec<_> = Dir::open(&path).expect("there").names().expect("readable");
    assert_eq!(left, ["lock"]);
    assert_eq!(list_in(&place.environment), [("home".to_owned(), path)]);
}

#[test]
fn what_a_killed_daemon_left_is_cleaned() {
    let place = Place::new("stale");
    let path = place.private("net");
    for socket in ["stream", "api", "dgram", "001.12", ".01234-00000"] {
        drop(UnixDatagram::bind(path.join(socket)).expect("bound"));
    }
    std::fs::create_dir_all(path.join("ports/web")).expect("new");
    drop(UnixDatagram::bind(path.join("ports/web/stream")).expect("bound"));
    std::fs::write(path.join("plan.json"), "{}").expect("written");
    // A file in a node's place is not ours to remove.
    std::fs::write(path.join("ctl"), "").expect("written");
    let held: OwnedFd = File::open("/dev/null").expect("there").into();
    let adopted = BTreeMap::from([("api".to_owned(), held)]);
    let mut published =
        PublishedDirectory::open_in(&place.environment, &path, &Access::default(), adopted)
            .expect("nobody holds it");
    let mut left = published.dir().names().expect("readable");
    left.sort();
    assert_eq!(left, ["api", "ctl", "lock", "plan.json"]);
    published.bind("api", SocketKind::Stream, &Access::default()).expect("the adopted one");
    drop(published);
    assert!(path.join("api").exists(), "whoever made it serves it again");
}

#[test]
fn data_sockets_of_declared_ports_are_cleaned_as_well() {
    let place = Place::new("declared");
    let path = place.private("net");
    let web = path.join("ports/web");
    // After a kill: a switch's data socket, a client's, and a node of an unfinished reload.
    std::fs::create_dir_all(&web).expect("new");
    for socket in ["ctl", "001.17", ".01234-00000", ".stream.new"] {
        drop(UnixDatagram::bind(web.join(socket)).expect("bound"));
    }
    let mut published = place.publish(&path, &Access::default()).expect("nobody holds it");
    assert!(!path.join("ports").exists(), "{:?}", published.dir().names());
    // After an end: what a client left.
    let _ctl = published.bind("ports/web/ctl", SocketKind::Stream, &Access::default());
    drop(UnixDatagram::bind(web.join("002.18")).expect("bound"));
    drop(published);
    assert_eq!(Dir::open(&path).expect("there").names().expect("readable"), ["lock"]);
}

#[test]
fn a_network_that_is_private_again_is_closed_to_its_former_users() {
    let place = Place::new("private-again");
    let path = place.private("net");
    std::fs::set_permissions(&path, Permissions::from_mode(0o750)).expect("ours");
    let published = place.publish(&path, &Access::default()).expect("nobody holds it");
    assert_eq!(mode(&path), 0o700);
    drop(published);
}

#[test]
fn staged_nodes_take_their_place_or_leave_no_trace() {
    let place = Place::new("staged");
    let path = place.private("net");
    let mut published = place.publish(&path, &Access::default()).expect("nobody holds it");
    let open = Access { mode: 0o666, ..Access::default() };
    let _old = published.bind("stream", SocketKind::Stream, &Access::default()).expect("free");
    let before = path.join("stream").metadata().expect("there").ino();
    let names = |published: &PublishedDirectory| {
        let mut names = published.dir().names().expect("readable");
        names.sort();
        names
    };
    // Staged, put, and taken back: the old node is there again.
    let (_new, mut stream) = published.stage("stream", SocketKind::Stream, &open).expect("room");
    let (_web, mut web) =
        published.stage("ports/web/stream", SocketKind::Stream, &open).expect("room");
    assert_eq!(mode(&path.join("stream")), 0o600, "nothing is seen of it yet");
    published.put(&mut stream).expect("ours");
    published.put(&mut web).expect("free");
    assert_eq!(mode(&path.join("stream")), 0o666);
    assert!(path.join("ports/web/stream").exists());
    published.take_back(web);
    published.take_back(stream);
    assert_eq!(path.join("stream").metadata().expect("there").ino(), before);
    assert_eq!(names(&published), ["lock", "stream"]);
    // What is not ours is not replaced.
    std::fs::write(path.join("dgram"), "").expect("writable");
    let (_new, mut dgram) = published.stage("dgram", SocketKind::Datagram, &open).expect("room");
    assert!(published.put(&mut dgram).is_err());
    published.take_back(dgram);
    assert_eq!(names(&published), ["dgram", "lock", "stream"]);
    // And settled.
    let (_new, mut stream) = published.stage("stream", SocketKind::Stream, &open).expect("room");
    published.put(&mut stream).expect("ours");
    published.settle(stream);
    assert_ne!(path.join("stream").metadata().expect("there").ino(), before);
    assert_eq!(names(&published), ["dgram", "lock", "stream"]);
    if sys::user::uid() != 0 {
        // A group that we are not in shows before anything has changed.
        let foreign = Access { gid: Some(0), ..Access::default() };
        assert!(published.stage("ctl", SocketKind::Stream, &foreign).is_err());
        assert_eq!(names(&published), ["dgram", "lock", "stream"]);
    }
}

#[test]
fn a_log_is_for_its_owner_alone() {
    let place = Place::new("log");
    let path = place.private("logs").join("lab.log");
    writeln!(open_log(&path).expect("ours"), "one").expect("room");
    assert_eq!(mode(&path), 0o600);
    // As older versions left it.
    std::fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("ours");
    writeln!(open_log(&path).expect("ours"), "two").expect("room");
    assert_eq!(mode(&path), 0o600);
    assert_eq!(std::fs::read_to_string(&path).expect("ours"), "one\ntwo\n");
}

#[test]
fn a_directory_with_other_content_is_refused() {
    let place = Place::new("content");
    let path = place.private("net");
    std::fs::write(path.join("thesis.tex"), "").expect("written");
    let error = place.publish(&path, &Access::default()).expect_err("other content");
    assert!(error.to_string().contains("thesis.tex"), "{error}");
    assert!(!path.join("lock").exists());
    let error =
        place.publish(&place.root.join("no/net"), &Access::default()).expect_err("no parent");
    assert!(error.to_string().contains("Make the directory above it first"), "{error}");
}

#[test]
fn directories_published_elsewhere_are_known_to_covers() {
    let place = Place::new("covers");
    let path = place.root.join("elsewhere");
    let access = Access { mode: 0o660, ..Access::default() };
    let published = place.publish(&path, &access).expect("free");
    assert_eq!(mode(&path), 0o750);
    assert_eq!(covers_in(&place.environment), [path.clone(), place.fallback()]);
    assert_eq!(list_in(&place.environment), [("elsewhere".to_owned(), path.clone())]);
    // Removed under its publisher, and published anew: the entry is the newcomer's.
    std::fs::remove_dir_all(&path).expect("ours");
    let newcomer = place.publish(&path, &access).expect("free again");
    drop(published);
    assert_eq!(covers_in(&place.environment), [path, place.fallback()]);
    drop(newcomer);
    assert_eq!(covers_in(&place.environment), [place.fallback()]);
}

#[test]
fn access_gives_directories_no_more_than_nodes() {
    for (node, directory) in
        [(0o600, 0o700), (0o660, 0o750), (0o620, 0o710), (0o666, 0o755), (0o602, 0o701)]
    {
        let access = Access { mode: node, ..Access::default() };
        assert_eq!(access.directory_mode(), directory, "nodes {node:o}");
    }
    assert!(matches!(
        Access::named(None, Some("no such group"), None),
        Err(DirectoryError::NoSuchOwner { what: "group", .. })
    ));
    let (uid, gid) = (sys::user::uid(), sys::user::gid());
    let own = Access::named(Some(&uid.to_string()), Some(&gid.to_string()), None).expect("ours");
    assert_eq!(own, Access { uid: Some(uid), gid: Some(gid), mode: 0o660 });
    if uid != 0 {
        let named = Access::named(Some("root"), None, None);
        assert!(matches!(named, Err(DirectoryError::NotGiven { .. })), "{named:?}");
        let named = Access::named(None, Some("root"), None);
        assert!(matches!(named, Err(DirectoryError::NotMember { .. })), "{named:?}");
    }
}
