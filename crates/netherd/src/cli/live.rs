//! What is changed in a network while it runs: forwards, guards, filters.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};

use super::NetworkArgs;

/// Forward ports of the host into guests, while the network runs
///
/// A forward is [tcp/|udp/][ADDRESS:]PORT:GUEST[:PORT]: what comes to the first PORT of the host,
/// on ADDRESS or by default on its loopback addresses, goes to the second PORT of GUEST, by default
/// the same. It stays until it is removed or the network ends; the guest may come and go. `netherd
/// run --publish` makes one that ends with its guest.
#[derive(Debug, Clone, Args)]
pub struct PublishArgs {
    #[command(subcommand)]
    pub action: PublishAction,
}

/// What is done with forwards.
#[derive(Debug, Clone, Subcommand)]
pub enum PublishAction {
    /// Add a forward
    Add {
        /// Such as 8080:web:80, udp/5353:web:53, 192.0.2.1:8080:web:80 or [::1]:8080:web:80
        #[arg(value_name = "FORWARD")]
        forward: String,

        #[command(flatten)]
        network: NetworkArgs,
    },
    /// Remove a forward; its open connections go on
    Remove {
        /// As `netherd publish ls` names it
        #[arg(value_name = "FORWARD")]
        forward: String,

        #[command(flatten)]
        network: NetworkArgs,
    },
    /// List the forwards
    Ls {
        #[command(flatten)]
        network: NetworkArgs,

        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Show and change what the guards of ports refuse
///
/// The guard makes some sixty checks on each frame of a guest; docs/guard.md has a line for each.
/// A change made here lasts until the port closes; the configuration makes it permanent.
#[derive(Debug, Clone, Args)]
pub struct GuardArgs {
    #[command(subcommand)]
    pub action: GuardAction,
}

/// What is done with guards.
#[derive(Debug, Clone, Subcommand)]
pub enum GuardAction {
    /// Show the guards of all ports, or every check of one
    Show {
        /// The port, as `netherd show` names it
        #[arg(value_name = "PORT")]
        port: Option<String>,

        #[command(flatten)]
        network: NetworkArgs,

        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Change what happens to frames that fail a check
    Set {
        /// The port, as `netherd show` names it
        #[arg(value_name = "PORT")]
        port: String,

        /// Number or name of the check, one of its reasons (arp-sender-ip), or all
        #[arg(value_name = "CHECK")]
        check: String,

        /// What to do
        #[arg(value_name = "ACTION", value_parser = ["drop", "reject", "audit", "allow"])]
        action: String,

        #[command(flatten)]
        network: NetworkArgs,
    },
    /// Have all checks of a port only count and log, or end that
    Audit {
        /// The port, as `netherd show` names it
        #[arg(value_name = "PORT")]
        port: String,

        /// Whether they only count and log
        #[arg(value_name = "on|off", value_parser = ["on", "off"])]
        switch: String,

        #[command(flatten)]
        network: NetworkArgs,
    },
    /// Let a port that was cut off for its violations send again
    Release {
        /// The port, as `netherd show` names it
        #[arg(value_name = "PORT")]
        port: String,

        #[command(flatten)]
        network: NetworkArgs,
    },
}

/// Decide which frames may pass a port, and try filter expressions
///
/// A port has a filter for what comes from its guest (in) and one for what goes to it (out); a
/// frame that the expression does not match is dropped and counted. The language is that of
/// pcap-filter(7), as in tcpdump. Names of hosts are not looked up.
#[derive(Debug, Clone, Args)]
pub struct FilterArgs {
    #[command(subcommand)]
    pub action: FilterAction,
}

/// What to do with a filter expression.
#[derive(Debug, Clone, Subcommand)]
pub enum FilterAction {
    /// Let only matching frames pass an open port, from now on
    ///
    /// The filter stays until it is changed or the port closes; for one that lasts, see the key
    /// `filter` of the configuration. The change loses no frame.
    Set {
        /// The port, or the guest
        #[arg(value_name = "PORT")]
        port: String,

        /// Frames from the guest (in), or to it (out)
        #[arg(value_name = "DIRECTION", value_enum)]
        direction: FilterDirection,

        /// The expression, in one argument or several
        #[arg(value_name = "EXPR", required = true, num_args = 1..)]
        expression: Vec<String>,

        #[command(flatten)]
        network: NetworkArgs,
    },
    /// Let all frames pass a port again
    Clear {
        /// The port, or the guest
        #[arg(value_name = "PORT")]
        port: String,

        /// Only this direction
        #[arg(value_name = "DIRECTION", value_enum)]
        direction: Option<FilterDirection>,

        #[command(flatten)]
        network: NetworkArgs,
    },
    /// Show the filters of open ports, and how many frames they refused
    Show {
        /// Only this port
        #[arg(value_name = "PORT")]
        port: Option<String>,

        #[command(flatten)]
        network: NetworkArgs,

        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the program of an expression
    Compile {
        /// The expression, in one argument or several
        #[arg(value_name = "EXPR", required = true, num_args = 1.., allow_hyphen_values = true)]
        expression: Vec<String>,

        /// How to print it
        #[arg(long, value_name = "FORM", value_enum, default_value_t = FilterFormat::Listing)]
        format: FilterFormat,

        /// How many bytes of a matching frame the program asks for; 0 means all
        #[arg(short, long, value_name = "BYTES", default_value_t = 0)]
        snaplen: u32,

        /// The network's IPv4 netmask, for `ip broadcast`
        #[arg(long, value_name = "MASK")]
        netmask: Option<std::net::Ipv4Addr>,
    },
    /// Count the frames of a capture that an expression matches
    Test {
        /// The expression, in one argument
        #[arg(value_name = "EXPR", allow_hyphen_values = true)]
        expression: String,

        /// A pcapng or pcap file; `-` is standard input
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,

        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Which frames a filter is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FilterDirection {
    /// What comes from the guest
    In,
    /// What goes to the guest
    Out,
}

/// Forms of a filter program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FilterFormat {
    /// One instruction per line, for people: `tcpdump -d`
    Listing,
    /// Decimal numbers, for programs: `tcpdump -ddd`
    Decimal,
    /// A fragment of C: `tcpdump -dd`
    C,
}
