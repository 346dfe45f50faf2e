//! The clients and what each wants to hear.

use std::env;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::bail;
use host::node::VDE_DIRECTORY_MAX;
use wire::MacAddr;

use super::version::{Ask, Version};
use crate::cli::ClientKind;

/// Longest path that `struct sockaddr_un` holds, without the final NUL (unix(7)).
const SOCKET_PATH_MAX: usize = sys::unix::PATH_MAX_BYTES;

/// `-netdev stream` came with QEMU 7.2, `reconnect` (seconds) with 8.0; from 9.2 on the option is
/// `reconnect-ms`, and later releases know only that (docs/about/deprecated.rst of QEMU).
const QEMU_STREAM: Version = Version::new(7, 2);
const QEMU_RECONNECT: Version = Version::new(8, 0);
const QEMU_RECONNECT_MS: Version = Version::new(9, 2);
/// `krun_add_net_unixgram` came with libkrun 1.15.
const LIBKRUN_ADD_NET: Version = Version::new(1, 15);
/// The vector drivers learned the `bess` transport in Linux 5.4.
const UML_BESS: Version = Version::new(5, 4);

/// What a client is to be told.
#[derive(Debug)]
pub struct Attachment {
    /// The network's directory, absolute.
    pub directory: PathBuf,
    /// The node for this kind of client, absolute.
    pub node: PathBuf,
    pub guest: String,
    pub mac: MacAddr,
    /// The network's, if it is known and another than everybody takes for granted.
    pub mtu: Option<u16>,
}

/// The answer: words to paste, and sentences to know.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Advice {
    pub words: Vec<String>,
    pub notes: Vec<String>,
}

/// The name of a client on the command line.
pub fn name(client: ClientKind) -> &'static str {
    match client {
        ClientKind::Qemu => "qemu",
        ClientKind::Vde => "vde",
        ClientKind::Libkrun => "libkrun",
        ClientKind::Vfkit => "vfkit",
        ClientKind::Uml => "uml",
    }
}

/// The node that a client opens.
pub fn node(client: ClientKind) -> &'static str {
    match client {
        ClientKind::Qemu => "stream",
        ClientKind::Vde => "ctl",
        ClientKind::Libkrun | ClientKind::Vfkit => "dgram",
        ClientKind::Uml => "seqpacket",
    }
}

/// The arguments for the version of `client` that is installed.
///
/// # Errors
///
/// When that version cannot attach, or the path is longer than it can take.
pub fn advise(client: ClientKind, to: &Attachment, ask: &dyn Ask) -> anyhow::Result<Advice> {
    match client {
        ClientKind::Qemu => qemu(to, ask),
        ClientKind::Vde => vde(to),
        ClientKind::Libkrun => libkrun(to, ask),
        ClientKind::Vfkit => vfkit(to),
        ClientKind::Uml => uml(to, ask),
    }
}

fn qemu(to: &Attachment, ask: &dyn Ask) -> anyhow::Result<Advice> {
    let program = format!("qemu-system-{}", qemu_architecture(env::consts::ARCH));
    let mut advice = Advice::default();
    let version = ask.ask(&program, &["--version"]).and_then(|text| Version::find(&text));
    if version.is_none() {
        advice.notes.push(format!(
            "{program} is not installed; these arguments are for QEMU 7.2 and later"
        ));
    }
    let version = version.unwrap_or(QEMU_STREAM);

    let id = format!("netherd-{}", to.guest);
    let netdev = if version >= QEMU_STREAM {
        let path = socket_path(&to.node)?;
        let reconnect = if version >= QEMU_RECONNECT_MS {
            ",reconnect-ms=1000"
        } else if version >= QEMU_RECONNECT {
            ",reconnect=1"
        } else {
            ""
        };
        format!("stream,id={id},addr.type=unix,addr.path={}{reconnect}", qemu_value(path))
    } else if ask.ask(&program, &["-netdev", "help"]).is_some_and(|list| lists(&list, "vde")) {
        format!("vde,id={id},sock={}", qemu_value(vde_directory(&to.directory)?))
    } else {
        bail!(
            "{program} {}.{} knows neither `-netdev stream` nor `-netdev vde`; install QEMU 7.2 \
             or later",
            version.major,
            version.minor
        );
    };
    advice.words = vec![
        "-netdev".to_owned(),
        netdev,
        "-device".to_owned(),
        format!("virtio-net-pci,netdev={id},mac={}{}", to.mac, option("host_mtu", to.mtu)),
    ];
    Ok(advice)
}

/// An option with its comma, if there is something to say.
fn option(name: &str, value: Option<u16>) -> String {
    value.map_or_else(String::new, |value| format!(",{name}={value}"))
}

/// For clients that have no argument for it. By DHCP and router advertisement the machine hears of it, too.
fn mtu_note(to: &Attachment) -> Vec<String> {
    let note = |mtu| {
        format!("the network's MTU is {mtu}: the machine's interface needs the same; DHCP tells it")
    };
    to.mtu.map(note).into_iter().collect()
}

/// QEMU's name for an architecture that Rust names.
fn qemu_architecture(rust: &str) -> &str {
    match rust {
        "x86" => "i386",
        "powerpc64" => "ppc64",
        other => other,
    }
}

fn lists(help: &str, netdev: &str) -> bool {
    help.lines().any(|line| line.trim() == netdev)
}

/// A value of a QEMU option: a comma in it is written twice.
fn qemu_value(text: &str) -> String {
    text.replace(',', ",,")
}

fn vde(to: &Attachment) -> anyhow::Result<Advice> {
    let directory = vde_directory(&to.directory)?;
    // The new libvdeplug reads brackets as a port number, and a scheme where there is `://`.
    let words = vec![directory.to_owned()];
    Ok(Advice { words, notes: mtu_note(to) })
}

fn libkrun(to: &Attachment, ask: &dyn Ask) -> anyhow::Result<Advice> {
    let path = c_string(socket_path(&to.node)?);
    let mut advice = Advice { notes: mtu_note(to), ..Advice::default() };
    let answer = ask.ask("pkg-config", &["--modversion", "libkrun"]);
    let version = answer.and_then(|text| Version::find(&text));
    if version.is_none() {
        advice.notes.push("libkrun is not installed; this call is for 1.15 and later".to_owned());
    }
    let mac = to.mac.0.map(|byte| format!("{byte:#04x}")).join(", ");
    if version.unwrap_or(LIBKRUN_ADD_NET) >= LIBKRUN_ADD_NET {
        // No features: this socket carries no offload metadata, and what the guest leaves to be
        // completed (COMPAT_NET_FEATURES) would arrive incomplete.
        advice.words = vec![format!(
            "krun_add_net_unixgram(ctx, {path}, -1, (uint8_t[]){{{mac}}}, 0, NET_FLAG_VFKIT);"
        )];
    } else {
        advice.words = vec![format!(
            "krun_set_net_mac(ctx, (uint8_t[]){{{mac}}}); krun_set_gvproxy_path(ctx, {path});"
        )];
        advice.notes.push(
            "libkrun before 1.15 always lets its guest leave checksums and segmentation to the network: declare \
            the port with `raw_offload = true`"
                .to_owned(),
        );
    }
    Ok(advice)
}

/// A C string literal.
fn c_string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn vfkit(to: &Attachment) -> anyhow::Result<Advice> {
    let path = socket_path(&to.node)?;
    if path.contains(',') {
        bail!("vfkit cannot take the path {path}, which has a comma in it; use --dir");
    }
    let words =
        vec!["--device".to_owned(), format!("virtio-net,unixSocketPath={path},mac={}", to.mac)];
    Ok(Advice { words, notes: mtu_note(to) })
}

fn uml(to: &Attachment, ask: &dyn Ask) -> anyhow::Result<Advice> {
    let path = socket_path(&to.node)?;
    if path.contains([',', ' ']) {
        bail!(
            "a UML kernel cannot take the path {path}, which has a comma or blank in it; use --dir"
        );
    }
    let mut advice = Advice::default();
    let version = ["linux.uml", "linux"]
        .iter()
        .find_map(|program| ask.ask(program, &["--version"]))
        .and_then(|text| Version::find(&text));
    match version {
        None => advice.notes.push(
            "no linux.uml is installed; these arguments are for Linux 5.4 and later".to_owned(),
        ),
        Some(version) if version < UML_BESS => bail!(
            "the UML kernel {}.{} has no `bess` transport; use Linux 5.4 or later",
            version.major,
            version.minor
        ),
        Some(_) => {}
    }
    advice.words = vec![format!(
        "vec0:transport=bess,dst={path},depth=128,gro=1,mac={}{}",
        to.mac,
        option("mtu", to.mtu)
    )];
    Ok(advice)
}

/// `path` as text that fits a socket address.
fn socket_path(path: &Path) -> anyhow::Result<&str> {
    let length = path.as_os_str().as_bytes().len();
    if length > SOCKET_PATH_MAX {
        bail!(
            "the path {} has {length} bytes, and a client accepts at most {SOCKET_PATH_MAX}; publish the network \
             in a shorter one with `netherd up --dir`",
            path.display()
        );
    }
    utf8(path)
}

/// `directory` as text, if a VDE client can put its own socket beside ours.
fn vde_directory(directory: &Path) -> anyhow::Result<&str> {
    let length = directory.as_os_str().as_bytes().len();
    if length > VDE_DIRECTORY_MAX {
        bail!(
            "the directory {} has {length} bytes, and a VDE client accepts at most {VDE_DIRECTORY_MAX}; publish \
            the network in a shorter one with `netherd up --dir`",
            directory.display()
        );
    }
    utf8(directory)
}

fn utf8(path: &Path) -> anyhow::Result<&str> {
    match path.to_str() {
        Some(text) => Ok(text),
        None => bail!("the path {} is not UTF-8; publish the network elsewhere", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine where every program says the same; `None`: where there is none.
    struct Says<'a> {
        version: Option<&'a str>,
        netdevs: &'a str,
    }

    impl Ask for Says<'_> {
        fn ask(&self, _: &str, arguments: &[&str]) -> Option<String> {
            let version = self.version?;
            Some(if arguments == ["-netdev", "help"] { self.netdevs } else { version }.to_owned())
        }
    }

    fn says(version: &str) -> Says<'_> {
        Says { version: Some(version), netdevs: "" }
    }

    fn attachment(directory: &str, client: ClientKind) -> Attachment {
        Attachment {
            directory: PathBuf::from(directory),
            node: Path::new(directory).join(node(client)),
            guest: "web".to_owned(),
            mac: MacAddr([2, 0, 0, 0, 0xab, 1]),
            mtu: None,
        }
    }

    fn line(client: ClientKind, ask: &dyn Ask) -> String {
        let advice = advise(client, &attachment("/run/n", client), ask).expect("advice");
        advice.words.join(" ")
    }

    #[test]
    fn qemu_reconnects_as_its_version_understands() {
        for (version, reconnect) in [
            ("QEMU emulator version 7.2.22 (Debian)", ""),
            ("QEMU emulator version 8.0.0", ",reconnect=1"),
            ("QEMU emulator version 9.1.2", ",reconnect=1"),
            ("QEMU emulator version 9.2.0", ",reconnect-ms=1000"),
            ("QEMU emulator version 11.0.0", ",reconnect-ms=1000"),
        ] {
            assert_eq!(
                line(ClientKind::Qemu, &says(version)),
                format!(
                    "-netdev stream,id=netherd-web,addr.type=unix,addr.path=/run/n/stream{reconnect} \
                     -device virtio-net-pci,netdev=netherd-web,mac=02:00:00:00:ab:01"
                ),
                "{version}"
            );
        }
    }

    #[test]
    fn an_old_qemu_uses_vde_if_it_was_built_with_it() {
        let version = Some("QEMU emulator version 6.2.0");
        let with = Says { version, netdevs: "Available netdev backend types:\nsocket\nvde\n" };
        assert_eq!(
            line(ClientKind::Qemu, &with),
            "-netdev vde,id=netherd-web,sock=/run/n \
             -device virtio-net-pci,netdev=netherd-web,mac=02:00:00:00:ab:01"
        );
        let without = Says { version, netdevs: "socket\n" };
        let to = attachment("/run/n", ClientKind::Qemu);
        let error = advise(ClientKind::Qemu, &to, &without).unwrap_err().to_string();
        assert!(error.contains("6.2") && error.contains("install QEMU 7.2"), "{error}");
    }

    #[test]
    fn without_qemu_the_arguments_suit_every_version_that_has_stream() {
        let to = attachment("/run/n", ClientKind::Qemu);
        let none = Says { version: None, netdevs: "" };
        let advice = advise(ClientKind::Qemu, &to, &none).expect("advice");
        assert!(!advice.words.join(" ").contains("reconnect"));
        assert_eq!(advice.notes.len(), 1);
    }

    #[test]
    fn commas_in_paths_are_doubled_for_qemu_and_refused_for_others() {
        let version = says("QEMU emulator version 9.2.0");
        let to = attachment("/run/a,b", ClientKind::Qemu);
        let advice = advise(ClientKind::Qemu, &to, &version).expect("advice");
        assert!(advice.words[1].contains("addr.path=/run/a,,b/stream,reconnect"));
        for client in [ClientKind::Vfkit, ClientKind::Uml] {
            assert!(advise(client, &attachment("/run/a,b", client), &says("6.1.1")).is_err());
        }
    }

    #[test]
    fn a_vde_address_is_the_directory() {
        assert_eq!(line(ClientKind::Vde, &says("")), "/run/n");
    }

    #[test]
    fn libkrun_offers_its_guest_no_offloads() {
        assert_eq!(
            line(ClientKind::Libkrun, &says("1.15.1\n")),
            "krun_add_net_unixgram(ctx, \"/run/n/dgram\", -1, \
             (uint8_t[]){0x02, 0x00, 0x00, 0x00, 0xab, 0x01}, 0, NET_FLAG_VFKIT);"
        );
        let to = attachment("/run/n", ClientKind::Libkrun);
        let old = advise(ClientKind::Libkrun, &to, &says("1.9.0")).expect("advice");
        assert!(old.words[0].ends_with("krun_set_gvproxy_path(ctx, \"/run/n/dgram\");"));
        assert!(old.notes[0].contains("raw_offload"));
    }

    #[test]
    fn vfkit_and_uml_get_their_own_syntax() {
        assert_eq!(
            line(ClientKind::Vfkit, &says("")),
            "--device virtio-net,unixSocketPath=/run/n/dgram,mac=02:00:00:00:ab:01"
        );
        assert_eq!(
            line(ClientKind::Uml, &says("6.1.176")),
            "vec0:transport=bess,dst=/run/n/seqpacket,depth=128,gro=1,mac=02:00:00:00:ab:01"
        );
        let to = attachment("/run/n", ClientKind::Uml);
        assert!(advise(ClientKind::Uml, &to, &says("4.19.0")).is_err());
    }

    #[test]
    fn another_mtu_is_told() {
        for (client, version, words) in [
            (
                ClientKind::Qemu,
                "QEMU emulator version 9.2.0",
                ",mac=02:00:00:00:ab:01,host_mtu=9000",
            ),
            (ClientKind::Uml, "6.1.176", ",mac=02:00:00:00:ab:01,mtu=9000"),
        ] {
            let to = Attachment { mtu: Some(9000), ..attachment("/run/n", client) };
            let advice = advise(client, &to, &says(version)).expect("advice");
            assert!(advice.words.join(" ").ends_with(words), "{advice:?}");
            assert_eq!(advice.notes, [""; 0]);
        }
        for client in [ClientKind::Vde, ClientKind::Vfkit, ClientKind::Libkrun] {
            let to = Attachment { mtu: Some(9000), ..attachment("/run/n", client) };
            let advice = advise(client, &to, &says("1.15.1")).expect("advice");
            assert!(advice.notes.iter().any(|note| note.contains("MTU is 9000")), "{advice:?}");
        }
    }

    #[test]
    fn a_path_is_as_long_as_a_socket_address_allows_and_no_longer() {
        let fits = format!("/{}", "x".repeat(SOCKET_PATH_MAX - 1 - "/stream".len()));
        let version = says("QEMU emulator version 9.2.0");
        let to = attachment(&fits, ClientKind::Qemu);
        assert!(advise(ClientKind::Qemu, &to, &version).is_ok());
        let to = attachment(&format!("{fits}x"), ClientKind::Qemu);
        let error = advise(ClientKind::Qemu, &to, &version).unwrap_err().to_string();
        assert!(error.contains("108 bytes") && error.contains("--dir"), "{error}");

        let fits = format!("/{}", "x".repeat(VDE_DIRECTORY_MAX - 1));
        assert!(advise(ClientKind::Vde, &attachment(&fits, ClientKind::Vde), &version).is_ok());
        let to = attachment(&format!("{fits}x"), ClientKind::Vde);
        let error = advise(ClientKind::Vde, &to, &version).unwrap_err().to_string();
        assert!(error.contains("has 96 bytes"), "{error}");
    }
}
