//! An outside for the gateway: a host in a namespace of its own, and a server beyond a veth pair.
//!
//! The hypervisor and its guests run in the host's namespace, as an ordinary user; what serves runs in the far one.
//! Addresses are of the ranges for documentation, which no machine has.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::{Job, Lab, Netns, Person, Running, until};

/// The far end's addresses: web, names, ssh and iperf3 are there.
pub const FAR: [&str; 2] = ["203.0.113.1", "2001:db8:113::1"];
/// The host's own.
pub const HOST: [&str; 2] = ["203.0.113.2", "2001:db8:113::2"];
/// A name that the far end's server has, with both addresses of [`FAR`].
pub const NAME: &str = "www.example.net";

/// The network that [`Outside::network`] serves.
pub const NET: &str = "n";

/// The two namespaces, and what was started in them.
#[derive(Debug)]
pub struct Outside {
    pub host: Netns,
    pub far: Netns,
    started: Vec<Child>,
}

impl Drop for Outside {
    fn drop(&mut self) {
        for child in &mut self.started {
            let _ended = child.kill();
            let _reaped = child.wait();
        }
    }
}

impl Outside {
    /// A host with a way out over both families, where everybody may ping.
    ///
    /// # Errors
    /// A reason for [`skip!`](crate::skip!): only root can make one.
    pub fn new() -> Result<Self, String> {
        let outside = Self { host: Netns::new("h")?, far: Netns::new("f")?, started: Vec::new() };
        outside.connect();
        outside.far.ip(&["link", "set", "down0", "up"]);
        outside.who_may_ping("0 2147483647");
        Ok(outside)
    }

    /// Makes the pair of interfaces, with their addresses and the host's default routes.
    pub fn connect(&self) {
        let pair = ["link", "add", "up0", "type", "veth", "peer", "name", "down0", "netns"];
        self.host.ip(&[&pair[..], &[self.far.name()]].concat());
        for (netns, device, [v4, v6]) in [(&self.host, "up0", HOST), (&self.far, "down0", FAR)] {
            netns.ip(&["address", "add", &format!("{v4}/24"), "dev", device]);
            netns.ip(&["address", "add", &format!("{v6}/64"), "dev", device, "nodad"]);
            netns.ip(&["link", "set", device, "up"]);
        }
        self.host.ip(&["route", "add", "default", "via", FAR[0]]);
        self.host.ip(&["-6", "route", "add", "default", "via", FAR[1]]);
    }

    /// Takes the pair away.
    pub fn disconnect(&self) {
        self.host.ip(&["link", "delete", "up0"]);
    }

    /// Sets the groups that the host gives sockets for ping.
    ///
    /// # Panics
    /// When it cannot be set.
    pub fn who_may_ping(&self, groups: &str) {
        let line = format!("echo {groups} > /proc/sys/net/ipv4/ping_group_range");
        let set = self.host.command("sh").args(["-c", &line]).status().expect("sh runs");
        assert!(set.success(), "{line}");
    }

    /// Starts a program in the far namespace; it ends with this value.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(&mut self, program: &str, arguments: &[&str]) {
        let mut command = self.far.command(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        self.started.push(command.spawn().unwrap_or_else(|e| panic!("{program}: {e}")));
    }

    /// Waits until something listens at `port` of the far end's addresses.
    ///
    /// # Panics
    /// When nobody does in time.
    pub fn listens(&self, port: u16) {
        let filter = format!("sport = :{port}");
        until(&format!("somebody at port {port}"), || {
            let output = self.far.command("ss").args(["-Hlnut", &filter]).output().ok()?;
            (!output.stdout.is_empty()).then_some(())
        });
    }

    /// A web server: what is in the folder that it returns, takes files by PUT, and says at `/me` who asks.
    ///
    /// # Errors
    /// A reason for [`skip!`](crate::skip!).
    ///
    /// # Panics
    /// When its files cannot be written.
    pub fn web(&mut self, lab: &Lab) -> Result<PathBuf, String> {
        crate::skip::program("nginx")?;
        let folder = lab.root().join("web");
        fs::create_dir_all(&folder).expect("the lab is ours");
        let root = folder.display();
        let own: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|what| format!("{what}_temp_path {root}/.{what};"))
            .concat();
        let [v4, v6] = FAR;
        // Without a process of its own for the work, which would outlive the one that is ended here.
        let text = format!(
            "daemon off; master_process off; user root; pid {root}/.pid; error_log stderr; events {{}}
             http {{ access_log off; client_max_body_size 0; {own}
             server {{ listen {v4}:80; listen [{v6}]:80; root {root}; dav_methods PUT;
             location = /me {{ return 200 \"$remote_addr\\n\"; }} }} }}"
        );
        let file = lab.root().join("nginx.conf");
        fs::write(&file, text).expect("the lab is ours");
        self.start("nginx", &["-e", "stderr", "-c", path(&file)]);
        self.listens(80);
        Ok(folder)
    }

    /// A name server that knows [`NAME`], and a text too long for a datagram at `long.example.net`.
    ///
    /// # Errors
    /// A reason for [`skip!`](crate::skip!).
    pub fn names(&mut self) -> Result<(), String> {
        crate::skip::program("dnsmasq")?;
        let text = format!(
            "--txt-record=long.example.net{}",
            ",0123456789012345678901234567890123456789".repeat(60)
        );
        let record = format!("--host-record={NAME},{},{}", FAR[0], FAR[1]);
        let arguments = [
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--bind-interfaces",
            "--interface=down0",
            "--user=root",
            "--pid-file",
            "--local=/example.net/",
            &text,
            &record,
        ];
        self.start("dnsmasq", &arguments);
        self.listens(53);
        Ok(())
    }

    /// Ends what was started last.
    ///
    /// # Panics
    /// When nothing was.
    pub fn stop_last(&mut self) {
        let mut child = self.started.pop().expect("something was started");
        child.kill().expect("our child can be ended");
        child.wait().expect("our child can be waited for");
    }

    /// Serves the network [`NET`] as `person`, with the far end as resolver and `more` lines of configuration.
    ///
    /// # Panics
    /// When it does not come.
    #[must_use]
    pub fn network(&self, person: &Person<'_>, more: &str) -> Running {
        self.network_by(person, more, person.job(crate::binary::netherd()))
    }

    /// The same, by a program that gets the arguments of `netherd`.
    ///
    /// # Panics
    /// When it does not come.
    #[must_use]
    pub fn network_by(&self, person: &Person<'_>, more: &str, netherd: Job) -> Running {
        let file = person.home().join("netherd.toml");
        let text = format!("[network.{NET}]\nresolvers = [\"{}\"]\n{more}\n", FAR[0]);
        fs::write(&file, text).expect("the lab is ours");
        let daemon = netherd.args(["up", "-c", path(&file)]).netns(&self.host);
        let daemon = person.serving(NET, daemon);
        person.show_until(NET, "a way out", |report| {
            let outside = &report.0["outside"];
            (outside["ipv4"] == true && outside["ipv6"] == true).then_some(())
        });
        daemon
    }

    /// `netherd run` of a guest in [`NET`].
    pub fn guest(&self, person: &Person<'_>, name: &str, options: &[&str], script: &str) -> Job {
        let run = person.netherd(["run", "--net", NET, "--name", name]).args(options);
        run.args(["--", "sh", "-c", script]).netns(&self.host)
    }
}

/// A guest of [`NET`] that stays, for [`inside`].
///
/// # Panics
/// When it does not come.
#[must_use]
pub fn stays(outside: &Outside, person: &Person<'_>, name: &str) -> Running {
    person.guest(NET, name, outside.guest(person, name, &[], "exec sleep 600"))
}

/// What a command in the guest `name` of [`NET`] says, however it ends.
#[must_use]
pub fn inside(person: &Person<'_>, name: &str, script: &str) -> String {
    let exec = person.netherd(["exec", name, "--net", NET, "--", "sh", "-c", script]);
    let output = exec.limit(Duration::from_secs(60)).run();
    format!("{}{}", output.stdout, output.stderr)
}

/// A path as an argument.
///
/// # Panics
/// When it is not of letters.
#[must_use]
pub fn path(path: &Path) -> &str {
    path.to_str().expect("a path of letters")
}
