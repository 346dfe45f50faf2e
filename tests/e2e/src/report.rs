//! What `netherd show --json` says, as the tests ask it.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::Value;

use crate::lab::Person;
use crate::wait::until;

/// A report on one network, as of one moment.
#[derive(Clone, Debug)]
pub struct Report(pub Value);

/// One port in a report.
#[derive(Clone, Debug)]
pub struct Port(pub Value);

impl Report {
    /// The daemon's process id.
    ///
    /// # Panics
    /// When the report names none.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.0["pid"]
            .as_i64()
            .and_then(|pid| pid.try_into().ok())
            .expect("a report names its daemon")
    }

    /// All ports.
    pub fn ports(&self) -> impl Iterator<Item = Port> {
        self.0["ports"].as_array().cloned().unwrap_or_default().into_iter().map(Port)
    }

    /// The port of that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Port> {
        self.ports().find(|port| port.name() == name)
    }

    /// The port of that name.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    #[must_use]
    pub fn port(&self, name: &str) -> Port {
        self.find(name).unwrap_or_else(|| panic!("there is no port {name} in {:#}", self.0))
    }

    /// The port that learned, or owns, `mac`.
    #[must_use]
    pub fn behind(&self, mac: [u8; 6]) -> Option<Port> {
        let wanted = mac_text(mac);
        let entry = self.0["macs"]
            .as_array()?
            .iter()
            .find(|entry| entry["mac"] == wanted.as_str())?
            .clone();
        self.find(entry["port"].as_str()?)
    }

    /// How many addresses the network knows.
    #[must_use]
    pub fn macs(&self) -> usize {
        self.0["macs"].as_array().map_or(0, Vec::len)
    }

    /// An IPv4 address of the network's subnet for a client that brings its own, with the prefix length: the
    /// `number`th from the subnet's end, where the plan puts no named guests.
    ///
    /// # Panics
    /// When the report has no subnet.
    #[must_use]
    pub fn spare_ipv4(&self, number: u32) -> (Ipv4Addr, u8) {
        let text = self.0["ipv4"].as_str().unwrap_or_default();
        let (base, length) = text.split_once('/').expect("a subnet has a prefix length");
        let base: Ipv4Addr = base.parse().expect("a subnet begins with an address");
        let length: u8 = length.parse().expect("a prefix length is a number");
        let last = u32::from(base) | (u32::MAX >> length);
        (Ipv4Addr::from(last - 1 - number), length)
    }

    /// Its twin for IPv6.
    ///
    /// # Panics
    /// When the report has no prefix.
    #[must_use]
    pub fn spare_ipv6(&self, number: u32) -> (Ipv6Addr, u8) {
        let text = self.0["ipv6"].as_str().unwrap_or_default();
        let (base, length) = text.split_once('/').expect("a prefix has a length");
        let base: Ipv6Addr = base.parse().expect("a prefix begins with an address");
        let address = u128::from(base) | 0xffff_0000 | u128::from(number);
        (Ipv6Addr::from(address), length.parse().expect("a prefix length is a number"))
    }
}

impl Port {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0["name"].as_str().unwrap_or_default()
    }

    /// The mechanism: `tap`, `packet`, `stream`, `vde`, `dgram` or `seqpacket`.
    #[must_use]
    pub fn link(&self) -> &str {
        self.0["link"].as_str().unwrap_or_default()
    }

    /// A counter by its documented name.
    ///
    /// # Panics
    /// When there is no such counter: a misspelt name must not read as 0.
    #[track_caller]
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        self.0["counters"][name]
            .as_u64()
            .unwrap_or_else(|| panic!("no counter {name} in {:#}", self.0["counters"]))
    }

    /// Frames dropped on it for the reason of that short name.
    #[must_use]
    pub fn dropped(&self, reason: &str) -> u64 {
        self.0["drops"][reason].as_u64().unwrap_or(0)
    }

    /// Frames dropped on it for whatever reason.
    #[must_use]
    pub fn drops(&self) -> u64 {
        self.0["drops"].as_object().map_or(0, |all| all.values().filter_map(Value::as_u64).sum())
    }

    /// Its first IPv4 address, without the prefix length.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    pub fn ipv4(&self) -> String {
        first(&self.0["ipv4"])
    }

    /// Its first IPv6 address that is not link-local, without the prefix length.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    pub fn ipv6(&self) -> String {
        first(&self.0["ipv6"])
    }

    /// Its first MAC address.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        let text = first(&self.0["macs"]);
        let mut bytes =
            text.split(':').map(|byte| u8::from_str_radix(byte, 16).expect("two hex digits"));
        std::array::from_fn(|_| bytes.next().expect("six bytes"))
    }
}

fn first(list: &Value) -> String {
    let entries = list.as_array().cloned().unwrap_or_default();
    entries
        .iter()
        .filter_map(Value::as_str)
        .find(|text| !text.starts_with("fe80"))
        .and_then(|text| text.split('/').next())
        .map(str::to_owned)
        .expect("the port has an address")
}

/// `02:..` in lower case.
#[must_use]
pub fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

impl Person<'_> {
    /// A report on his network `name`, if it is up.
    #[must_use]
    pub fn try_show(&self, name: &str) -> Option<Report> {
        let output = self.netherd(["show", "--json", "--net", name]).run();
        let report = output.status.success().then(|| serde_json::from_str(&output.stdout));
        Some(Report(report?.expect("show --json prints JSON")))
    }

    /// A report on his network `name`.
    ///
    /// # Panics
    /// When it is not up.
    #[track_caller]
    #[must_use]
    pub fn show(&self, name: &str) -> Report {
        let said = self.netherd(["show", "--json", "--net", name]).run().ok();
        Report(serde_json::from_str(&said).expect("show --json prints JSON"))
    }

    /// Waits until a report on his network satisfies `wanted`, and returns what that made of it.
    ///
    /// # Panics
    /// When it does not come to that.
    pub fn show_until<T>(
        &self,
        name: &str,
        what: &str,
        mut wanted: impl FnMut(&Report) -> Option<T>,
    ) -> T {
        until(what, || wanted(&self.try_show(name)?))
    }

    /// Waits until his network has a port of that name.
    ///
    /// # Panics
    /// When it does not come.
    #[must_use]
    pub fn port(&self, network: &str, port: &str) -> Port {
        self.show_until(network, &format!("the port {port}"), |report| report.find(port))
    }

    /// Starts `job`, a `netherd run` whose guest is `name`, and waits until its port is there.
    ///
    /// # Panics
    /// When it ends, or its port does not come.
    #[track_caller]
    #[must_use]
    pub fn guest(&self, network: &str, name: &str, job: crate::Job) -> crate::Running {
        let mut guest = job.spawn();
        until(&format!("the port of {name}"), || {
            assert!(guest.alive(), "{name} ended:\n{}{}", guest.stdout(), guest.stderr());
            self.try_show(network)?.find(name).map(drop)
        });
        guest
    }

    /// Serves the network `name` in the foreground, and waits until its nodes are there.
    ///
    /// # Panics
    /// When they do not come.
    #[must_use]
    pub fn up(&self, name: &str) -> crate::Running {
        self.serving(name, self.netherd(["up", name]))
    }

    /// The same, for the tests' own clients: ports may send frames of [`EXPERIMENT`](crate::client::frame::EXPERIMENT),
    /// which the guard lets nobody send who is not allowed to. `more` is said of the network beside.
    ///
    /// # Panics
    /// When they do not come.
    #[must_use]
    pub fn up_for_frames(&self, name: &str, more: &str) -> crate::Running {
        let file = self.home().join("frames.toml");
        let number = crate::client::frame::EXPERIMENT;
        let text = format!("[network.{name}]\nguard.ethertypes = [{number}]\n{more}\n");
        std::fs::write(&file, text).expect("the lab is ours");
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(&file, readable).expect("the lab is ours");
        self.serving(name, self.netherd(["up", "-c"]).arg(&file))
    }

    /// Starts `daemon`, which is to serve the network `name` in its default place, and waits until it does.
    ///
    /// # Panics
    /// When it ends, or does not serve in time.
    #[must_use]
    pub fn serving(&self, name: &str, daemon: crate::Job) -> crate::Running {
        let mut daemon = daemon.spawn();
        until(&format!("network {name}"), || {
            assert!(daemon.alive(), "the daemon ended: {}", daemon.stderr());
            (self.try_show(name)?.pid() == daemon.pid()).then_some(())
        });
        daemon
    }
}
