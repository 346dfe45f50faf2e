//! The command line: every subcommand and flag of `netherd`, as clap reads them.
//!
//! The same definition gives the parser, `--help`, the manual pages and the shell completions, so
//! a doc comment here is what the user reads: it says what the command does, then what to know
//! about it. Values are only checked for their shape; whether a network or guest of that name
//! exists is for the command to say.
#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "brackets in help texts are for what may be left out"
)]

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use host::names::DEFAULT_NETWORK;

pub use self::live::{
    FilterAction, FilterArgs, FilterDirection, FilterFormat, GuardAction, GuardArgs, PublishAction,
    PublishArgs,
};
use self::values::{
    UPLINK_HELP, parse_bytes, parse_forward, parse_guest, parse_host_port, parse_mac, parse_mode,
    parse_pid, parse_prefix, parse_seconds, parse_uplink,
};

mod live;
#[cfg(test)]
mod tests;
mod values;

/// Closing words of `netherd --help` and `netherd(1)`.
const AFTER_HELP: &str = "\
Exit status:
  0    success
  1    the command failed; a sentence on standard error says what, where and what to do
  2    the command line could not be understood
  125  run, exec: netherd failed before it could start the command
  126  run, exec: the command was found but could not be started
  127  run, exec: the command was not found
  else run, exec: the status of the command; if a signal ended it, the same signal ends netherd

Environment:
  XDG_RUNTIME_DIR  networks are published in $XDG_RUNTIME_DIR/netherd/NET
  XDG_CONFIG_HOME  `up` reads $XDG_CONFIG_HOME/netherd/netherd.toml when it exists
  XDG_STATE_HOME   a network started by `run` logs to $XDG_STATE_HOME/netherd/NET.log
  NO_COLOR         print no colours, whatever standard output is

Example:
  netherd run -d --name web -- python3 -m http.server
  netherd run -- curl http://web:8000/";

/// Closing words of the help and the pages of `run` and `exec`.
const COMMAND_STATUS: &str = "\
Exit status:
  125  netherd failed before it could start the command
  126  the command was found but could not be started
  127  the command was not found
  else the status of the command; if a signal ended it, the same signal ends netherd
  2    the command line could not be understood";

/// A network hypervisor for ordinary users: every program gets its own Ethernet.
///
/// netherd carries Ethernet frames between guests (programs in namespaces of their own, virtual
/// machines, VDE clients) and to the outside, and decides which of them may pass. It needs no
/// privilege, no set-up and no configuration file.
#[derive(Debug, Parser)]
#[command(name = "netherd", version, after_long_help = AFTER_HELP)]
#[command(propagate_version = false, disable_help_subcommand = true, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// One variant for each subcommand, in the order of `--help`.
#[derive(Debug, Subcommand)]
pub enum Command {
    Run(RunArgs),
    Exec(ExecArgs),
    Attach(AttachArgs),
    Detach(DetachArgs),
    Up(UpArgs),
    Down(DownArgs),
    Reload(ReloadArgs),
    Ls(LsArgs),
    Show(ShowArgs),
    Publish(PublishArgs),
    Guard(GuardArgs),
    Capture(CaptureArgs),
    Filter(FilterArgs),
    Args(ArgsArgs),
    Metrics(MetricsArgs),
    Doctor(DoctorArgs),
    Man(ManArgs),
    Completions(CompletionsArgs),
}

/// Which network a command is about.
#[derive(Debug, Clone, Args)]
pub struct NetworkArgs {
    /// The network: letters, digits and hyphens, at most 32
    #[arg(long, value_name = "NET", default_value = DEFAULT_NETWORK)]
    pub net: String,

    /// The directory in which it is published, instead of the usual one for NET
    #[arg(long, value_name = "PATH", value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
}

/// Run a command with its own eth0 on a network
///
/// CMD gets user, network, mount and PID namespaces of its own, with eth0 up, IPv4 and IPv6
/// addresses, a way out through the network's gateway, and the other guests by name. If nothing
/// serves the network yet, it is started, and ends a few seconds after its last guest. This needs no
/// privilege; without CMD, your shell runs.
///
/// The guest ends with CMD, and so do its other processes. What they had written to TCP connections and closed
/// is still sent: netherd waits while it is being acknowledged, at most five seconds while nothing is and a
/// minute in all, or until ^C.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = COMMAND_STATUS)]
pub struct RunArgs {
    #[command(flatten)]
    pub network: NetworkArgs,

    /// Name of the guest [default: the name of CMD, then with -2, -3 ...]
    #[arg(long, value_name = "GUEST", value_parser = parse_guest)]
    pub name: Option<String>,

    /// MAC address of eth0 [default: follows from the names of network and guest]
    #[arg(long, value_name = "MAC", value_parser = parse_mac)]
    pub mac: Option<wire::MacAddr>,

    /// Forward a port of the host into the guest: [tcp/|udp/][ADDRESS:]PORT[:PORT]
    ///
    /// The first PORT is the host's, on ADDRESS or by default on its loopback addresses; the second is
    /// the guest's, by default the same. May be repeated; ends with the guest. Needs the uplink
    /// `nat` or `net`.
    #[arg(short, long, value_name = "FORWARD", value_parser = parse_forward)]
    pub publish: Vec<String>,

    /// Let the guest reach this port of the host, as host.internal: [tcp/|udp/]PORT
    ///
    /// May be repeated. Other services of the host are out of reach.
    #[arg(long, value_name = "PORT", value_parser = parse_host_port)]
    pub allow_host: Vec<String>,

    /// Let a bridged network inside the guest use N more MAC addresses
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub macs: u16,

    /// Route PREFIX to the guest, for a routed network inside it; may be repeated
    #[arg(long, value_name = "PREFIX", value_parser = parse_prefix)]
    pub route: Vec<String>,

    /// The way out of the network, if it is started now
    #[arg(long, value_name = "UPLINK", value_parser = parse_uplink, long_help = UPLINK_HELP)]
    pub uplink: Option<String>,

    /// Capabilities of CMD inside its namespaces [default: net; with --root, all of them]
    #[arg(long, value_name = "SET", value_enum)]
    pub caps: Option<Caps>,

    /// Run CMD as uid 0 of its namespace, which is you outside
    #[arg(long)]
    pub root: bool,

    /// Also map your subordinate ids from /etc/subuid and /etc/subgid; implies --root
    #[arg(long)]
    pub map_auto: bool,

    /// Use DIR as the root of CMD's file system
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub rootfs: Option<PathBuf>,

    /// Leave the guest running and return once eth0 is usable
    ///
    /// It runs until CMD ends, `netherd detach` ends it, or its network is stopped: then CMD gets
    /// SIGTERM, and SIGKILL ten seconds later.
    #[arg(short, long)]
    pub detach: bool,

    /// The command and its arguments [default: $SHELL]
    #[arg(value_name = "CMD", trailing_var_arg = true, value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<std::ffi::OsString>,
}

/// What `run --caps` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Caps {
    /// None
    None,
    /// Configure the guest's network, raw sockets and ports below 1024
    Net,
}

/// Run another command in a guest of `run`
///
/// It gets the same ids, capabilities and view of the file system as the guest's first command,
/// and ends with the guest. Only the guest's owner may do this.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = COMMAND_STATUS)]
pub struct ExecArgs {
    /// The guest, as `netherd show` names it
    #[arg(value_name = "GUEST")]
    pub guest: String,

    #[command(flatten)]
    pub network: NetworkArgs,

    /// The command and its arguments [default: $SHELL]
    #[arg(value_name = "CMD", trailing_var_arg = true, value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<std::ffi::OsString>,
}

/// Give an existing network namespace an interface on a network
///
/// For namespaces made by other programs (podman, bubblewrap, unshare). You must own the user
/// namespace to which the network namespace belongs, or one above it. When the command returns, the
/// interface is usable, with a default route unless the namespace already has one. It goes away by
/// `netherd detach`, or with the namespace, once no program but netherd's own keeper is left in it.
/// The lines for its programs' resolv.conf are printed on standard error.
#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("target").required(true).args(["pid", "netns"]))]
pub struct AttachArgs {
    /// The network namespace of this process
    #[arg(long, value_name = "PID", value_parser = parse_pid)]
    pub pid: Option<i32>,

    /// The network namespace at this path, such as /run/netns/NAME, or /proc/self/ns/net for this one
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub netns: Option<PathBuf>,

    #[command(flatten)]
    pub network: NetworkArgs,

    /// Name of the guest [default: the name of the process, then with -2, -3 ...]
    #[arg(long, value_name = "GUEST", value_parser = parse_guest)]
    pub name: Option<String>,

    /// MAC address of the interface [default: follows from the names of network and guest]
    #[arg(long, value_name = "MAC", value_parser = parse_mac)]
    pub mac: Option<wire::MacAddr>,

    /// Name of the interface
    #[arg(long, value_name = "NAME", default_value = "eth0")]
    pub ifname: String,
}

/// Remove the interface that `attach` gave, or end a guest of `run`
///
/// An interface that `attach` gave is gone when the command returns.
#[derive(Debug, Clone, Args)]
pub struct DetachArgs {
    /// The guest, as `netherd show` names it
    #[arg(value_name = "GUEST")]
    pub guest: String,

    #[command(flatten)]
    pub network: NetworkArgs,
}

/// Serve networks in the foreground
///
/// With a configuration (-c, or netherd/netherd.toml in $XDG_CONFIG_HOME if it exists), serves its
/// networks, or only NET. Without one, or if the usual one does not have NET, serves NET with the
/// defaults. SIGHUP reads the configuration again; SIGTERM and ^C end it
/// cleanly.
#[derive(Debug, Clone, Args)]
pub struct UpArgs {
    /// The network to serve [default: those of the configuration, else `default`]
    #[arg(value_name = "NET")]
    pub network: Option<String>,

    /// Configuration file (TOML)
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,

    /// Publish the network in this directory; only for a single network
    #[arg(long, value_name = "PATH", value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,

    /// The way out of the network
    #[arg(long, value_name = "UPLINK", value_parser = parse_uplink, long_help = UPLINK_HELP)]
    #[arg(conflicts_with = "config")]
    pub uplink: Option<String>,

    /// Group of the directory and its nodes, whose members may connect
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,

    /// Permissions of the nodes, in octal; the directory can be searched by those who may read the nodes
    #[arg(long, value_name = "MODE", value_parser = parse_mode)]
    pub mode: Option<u32>,

    /// End when there has been no guest for this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub idle: Option<Duration>,

    /// Serve NET in the background, with the defaults, until `down`; returns once it is up
    #[arg(short, long, conflicts_with_all = ["config", "idle"])]
    pub detach: bool,

    /// We were started by `run`: leave its terminal, session and directory
    #[arg(long, hide = true)]
    pub detached: bool,

    /// Descriptor that gets one line when the network is usable, or the reason why not
    #[arg(long, hide = true, value_name = "N")]
    pub ready_fd: Option<i32>,

    /// Log file, in place of standard error
    #[arg(long, hide = true, value_name = "FILE")]
    pub log: Option<PathBuf>,
}

/// Stop a network, and with it the links of its guests
///
/// Guests in the background (`run -d`) end with it. Others go on without a network behind their
/// eth0, and say so on their terminals.
#[derive(Debug, Clone, Args)]
pub struct DownArgs {
    /// The network
    #[arg(value_name = "NET", default_value = DEFAULT_NETWORK)]
    pub network: String,

    /// The directory in which it is published, instead of the usual one for NET
    #[arg(long, value_name = "PATH", value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
}

/// Read a network's configuration again, as SIGHUP does
///
/// The new configuration takes effect as a whole, or, if anything in it is wrong, not at all.
#[derive(Debug, Clone, Args)]
pub struct ReloadArgs {
    /// The network
    #[arg(value_name = "NET", default_value = DEFAULT_NETWORK)]
    pub network: String,

    /// The directory in which it is published, instead of the usual one for NET
    #[arg(long, value_name = "PATH", value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
}

/// List the networks that are up
#[derive(Debug, Clone, Args)]
pub struct LsArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Show a network and its ports, one port in detail, or tables of what passes and what is known
///
/// Without WHAT: the network, its way out and its ports. WHAT is the name of a port, for all its
/// counters and the reasons of dropped frames, or one of
///   flows       connections that the gateway carries
///   forwards    ports of the host that lead into guests
///   leases      addresses that DHCP has given out
///   routes      where the router sends what
///   neighbours  which station has which address
///   bindings    which addresses belong to which port
///   counters    what the gateway, services and router did, and why they dropped packets
///   port        the port PORT, even if its name is one of these words
#[derive(Debug, Clone, Args)]
#[command(verbatim_doc_comment)]
pub struct ShowArgs {
    /// A port, or flows, forwards, leases, routes, neighbours, bindings, counters
    #[arg(value_name = "WHAT")]
    pub what: Option<String>,

    /// Only what belongs to this port
    #[arg(value_name = "PORT")]
    pub port: Option<String>,

    #[command(flatten)]
    pub network: NetworkArgs,

    /// Print JSON
    #[arg(long)]
    pub json: bool,

    /// Print only the port's IPv4 address
    #[arg(long, requires = "what", conflicts_with = "json")]
    pub ipv4: bool,

    /// Print only the port's first IPv6 address
    #[arg(long, requires = "what", conflicts_with_all = ["json", "ipv4"])]
    pub ipv6: bool,
}

/// Capture frames of a network or of one port, as live pcapng
///
/// Each frame is captured once, where it enters, with the verdict of the engine as a comment.
/// The hypervisor applies the filter, to whole frames, before it copies anything; the language is that
/// of pcap-filter(7). Without PORT, give the filter with --filter.
/// The capture ends with ^C, with its reader, or with the network.
#[derive(Debug, Clone, Args)]
pub struct CaptureArgs {
    /// Only the frames that this port sends, and those that are forwarded to it
    #[arg(value_name = "PORT")]
    pub port: Option<String>,

    /// Only frames that this filter expression matches, in one argument or several
    #[arg(value_name = "EXPR", num_args = 0.., conflicts_with = "filter")]
    pub expression: Vec<String>,

    /// Only frames that this filter expression matches, of one port or of all
    #[arg(short, long, value_name = "EXPR")]
    pub filter: Option<String>,

    #[command(flatten)]
    pub network: NetworkArgs,

    /// Write to FILE; `-` is standard output
    #[arg(short, long, value_name = "FILE", default_value = "-", value_hint = ValueHint::FilePath)]
    pub write: PathBuf,

    /// Keep at most this many bytes of each frame; 0 keeps all
    #[arg(short, long, value_name = "BYTES", default_value_t = 0, value_parser = parse_bytes)]
    pub snaplen: u32,
}

/// Print the arguments that attach a client to a network
///
/// The output is for pasting, or for a shell: qemu-system-x86_64 $(netherd args qemu) ...
/// netherd asks the installed client for its version, and prints the arguments that this version
/// understands.
#[derive(Debug, Clone, Args)]
pub struct ArgsArgs {
    /// The kind of client
    #[arg(value_name = "CLIENT", value_enum)]
    pub client: ClientKind,

    /// Name of the guest, from which its MAC address follows
    #[arg(long, value_name = "GUEST")]
    pub name: Option<String>,

    #[command(flatten)]
    pub network: NetworkArgs,

    /// Print JSON: the arguments, the MAC address, the node and notes
    #[arg(long)]
    pub json: bool,
}

/// The clients `args` knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ClientKind {
    /// QEMU: -netdev stream (7.2 and later), else -netdev vde
    Qemu,
    /// A VDE address, for vde_plug, vde_plug2tap, vdens and other programs that use libvdeplug
    Vde,
    /// libkrun and krunvm: the path for krun_add_net_unixgram
    Libkrun,
    /// vfkit: --device virtio-net
    Vfkit,
    /// User-mode Linux: vec0 over the seqpacket node
    Uml,
}

/// Print a network's metrics in the OpenMetrics text format
#[derive(Debug, Clone, Args)]
pub struct MetricsArgs {
    #[command(flatten)]
    pub network: NetworkArgs,
}

/// Check what this machine allows, and say what to do about the rest
///
/// The exit status is 1 only if `netherd run` cannot work here.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,

    /// We were started by `doctor` to try what this machine allows
    #[arg(long, hide = true, value_name = "LEVEL", value_enum)]
    pub trial: Option<Trial>,
}

/// The two processes of the trial: see `command::doctor::trial`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Trial {
    /// Makes namespaces and interfaces
    Outer,
    /// Lives in them
    Inner,
}

/// Write the manual pages into a directory
#[derive(Debug, Clone, Args)]
#[command(hide = true)]
pub struct ManArgs {
    /// The directory, which is made if it is missing
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub directory: PathBuf,
}

/// Print the completions for a shell
#[derive(Debug, Clone, Args)]
#[command(hide = true)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    pub shell: clap_complete::Shell,
}
