//! What clients may ask for, and what is true of each call.

use serde::{Deserialize, Serialize};

use super::{CaptureArgs, FilterSet, Join, LinkArgs, Page};
#[cfg(doc)]
use super::{Capturing, Entrance, Hello, Joined, Linked, Metrics, Nothing, Published, Reloaded};

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "call", content = "args", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Call {
    /// Who are you: answers [`Hello`].
    Hello {},
    /// The networks of this daemon: answers [`crate::report::Networks`].
    Networks {},
    /// Report on the network: answers [`crate::report::Network`]. With a port, the report has this one alone, and
    /// no MAC table.
    Show {
        #[serde(default)]
        port: Option<String>,
    },
    /// Begin a guest's session: answers [`Joined`].
    Join(Join),
    /// Bring the guest's link: answers [`Linked`]. One descriptor of the link comes with it, then those of
    /// the namespaces that [`LinkArgs::namespaces`] lists, in its order.
    Link(LinkArgs),
    /// End a guest: its port is closed, the event `closed` tells its keeper. Answers [`Nothing`]; with an attached
    /// guest's comes, where the kernel gives one, a pidfd of the keeper, which ends when the interface is gone.
    Detach { guest: String },
    /// Descriptors to enter a guest, for its owner: answers [`Entrance`], the descriptors with it.
    Exec { guest: String },
    /// Write a live pcapng to the descriptor that comes with it: answers [`Capturing`]; ends with the
    /// connection, or when the descriptor cannot be written to.
    Capture(CaptureArgs),
    /// Counters as OpenMetrics text: answers [`Metrics`].
    Metrics {},
    /// Read the configuration file again, or take the given text instead: answers [`Reloaded`].
    Reload {
        #[serde(default)]
        config: Option<String>,
    },
    /// Stop this network: answers [`Nothing`], and the guests' sessions get `closed`.
    Down {},
    /// Whether the network stays when its last guest has gone: answers [`Nothing`].
    Stay { stay: bool },
    /// Forward a port of the host into a guest from now on: answers [`Published`]. It ends with `unpublish` or the
    /// network, not with the guest or the connection.
    Publish {
        /// As in the configuration: `8080:web:80`, `udp/5353:web:53`.
        forward: String,
    },
    /// End a forward: answers [`Nothing`].
    Unpublish {
        /// As [`Published::forward`] said it.
        forward: String,
    },
    /// Let guests reach a port of the host as `host.internal`: answers [`Nothing`].
    AllowHost {
        /// `80`, `udp/53`.
        port: String,
        /// Only this guest, until it leaves; otherwise all, until the network ends.
        #[serde(default)]
        guest: Option<String>,
    },
    /// Connections that the gateway carries: answers [`crate::report::Flows`].
    Flows(Page),
    /// Addresses that DHCP gave: answers [`crate::report::Leases`].
    Leases(Page),
    /// Routes of this hypervisor's router: answers [`crate::report::Routes`].
    Routes(Page),
    /// Stations that the router knows: answers [`crate::report::Neighbours`].
    Neighbours(Page),
    /// Which addresses belong to which port: answers [`crate::report::Bindings`].
    Bindings(Page),
    /// Forwards into guests: answers [`crate::report::Publishes`].
    Published {},
    /// Another filter for an open port, in one direction, from the next frame on: answers [`Nothing`]. It ends with the
    /// port, or with a reload that changes the port's filter in the configuration.
    FilterSet(FilterSet),
    /// The guards of ports, and what they met: answers [`crate::report::Guards`]. Of one port with every check, of
    /// all with those that met something or are not to drop.
    Guard(Page),
    /// Change what becomes of frames that fail a check, until the port closes: answers [`Nothing`].
    GuardSet {
        port: String,
        /// A number, a name, a reason of it (`arp-sender-ip`), or `all`.
        check: String,
        /// `drop`, `reject`, `audit` or `allow`.
        action: String,
    },
    /// Let every check of a port only count, or end that: answers [`Nothing`].
    GuardAudit { port: String, on: bool },
    /// Let a port send again that was cut off for its violations: answers [`Nothing`].
    GuardRelease { port: String },
}

/// What is true of a call, whoever makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About<'a> {
    /// Its name in a request.
    pub name: &'static str,
    pub audience: Audience,
    /// It makes the connection keep something from then on, a guest or a capture.
    pub holds: bool,
    pub answer: Answer<'a>,
}

/// Who may make a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Whoever may open the socket: for guests of his own.
    Anybody,
    /// Who owns the hypervisor, and root.
    Owner,
}

/// How much there is to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    /// What does not grow with what there is.
    Short,
    /// All that there is: it takes longer the more that is.
    Report,
    /// A part of a table, as a page asks for it. Which rows these are can take as long as a report.
    Table(&'a Page),
}

impl About<'static> {
    /// A call of the owner's that holds nothing and has a short answer.
    const fn owners(name: &'static str) -> Self {
        Self { name, audience: Audience::Owner, holds: false, answer: Answer::Short }
    }

    /// The same of everybody.
    const fn anybodys(name: &'static str) -> Self {
        Self { audience: Audience::Anybody, ..Self::owners(name) }
    }

    const fn report(self) -> Self {
        Self { answer: Answer::Report, ..self }
    }

    const fn holding(self) -> Self {
        Self { holds: true, ..self }
    }
}

impl<'a> About<'a> {
    const fn table(name: &'static str, page: &'a Page) -> Self {
        Self { answer: Answer::Table(page), ..About::owners(name) }
    }

    /// Whether the answer may take so long that nobody else is answered in the same turn.
    #[must_use]
    pub fn is_report(&self) -> bool {
        self.answer != Answer::Short
    }
}

impl Call {
    /// What is true of it.
    #[must_use]
    pub fn about(&self) -> About<'_> {
        match self {
            Self::Hello {} => About::anybodys("hello"),
            Self::Networks {} => About::anybodys("networks").report(),
            Self::Show { .. } => About::anybodys("show").report(),
            Self::Join(_) => About::anybodys("join").holding(),
            Self::Link(_) => About::anybodys("link"),
            Self::Detach { .. } => About::anybodys("detach"),
            Self::Exec { .. } => About::anybodys("exec"),
            Self::Capture(_) => About::owners("capture").holding(),
            Self::Metrics {} => About::owners("metrics").report(),
            Self::Reload { .. } => About::owners("reload").report(),
            Self::Down {} => About::owners("down"),
            Self::Stay { .. } => About::owners("stay"),
            Self::Publish { .. } => About::owners("publish"),
            Self::Unpublish { .. } => About::owners("unpublish"),
            Self::Published {} => About::owners("published"),
            Self::AllowHost { .. } => About::owners("allow-host"),
            Self::Flows(page) => About::table("flows", page),
            Self::Leases(page) => About::table("leases", page),
            Self::Routes(page) => About::table("routes", page),
            Self::Neighbours(page) => About::table("neighbours", page),
            Self::Bindings(page) => About::table("bindings", page),
            Self::FilterSet(_) => About::owners("filter-set"),
            Self::Guard(page) => About::table("guard", page),
            Self::GuardSet { .. } => About::owners("guard-set"),
            Self::GuardAudit { .. } => About::owners("guard-audit"),
            Self::GuardRelease { .. } => About::owners("guard-release"),
        }
    }

    /// Names of all calls, in the order of the documentation.
    pub const NAMES: [&str; 26] = [
        "hello",
        "networks",
        "show",
        "join",
        "link",
        "detach",
        "exec",
        "capture",
        "metrics",
        "reload",
        "down",
        "stay",
        "publish",
        "unpublish",
        "published",
        "allow-host",
        "flows",
        "leases",
        "routes",
        "neighbours",
        "bindings",
        "filter-set",
        "guard",
        "guard-set",
        "guard-audit",
        "guard-release",
    ];
}
