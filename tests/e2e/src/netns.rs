//! Network namespaces that a test makes for itself.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A named network namespace (`ip netns`), removed at the end. Only root can make one.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// Makes a namespace with `lo` up; `word` tells it from the test's others.
    ///
    /// # Errors
    /// A reason for [`skip!`](crate::skip!): not root, or no iproute2.
    ///
    /// # Panics
    /// When root cannot make it.
    pub fn new(word: &str) -> Result<Self, String> {
        crate::skip::root()?;
        crate::skip::program("ip")?;
        // Tests of one process run side by side under `cargo test`.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("netherd-test-{}-{word}{number}", std::process::id());
        ip(&["netns", "add", &name]);
        let made = Self { name };
        made.ip(&["link", "set", "lo", "up"]);
        Ok(made)
    }

    /// Its name, as `ip netns exec` wants it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its path, as `nsenter --net=` and `netherd attach --netns` want it.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }

    /// Runs `ip` in it.
    ///
    /// # Panics
    /// When `ip` fails, with what it said.
    pub fn ip(&self, arguments: &[&str]) -> String {
        let mut all = vec!["-n", self.name.as_str()];
        all.extend_from_slice(arguments);
        ip(&all)
    }

    /// A command that runs in it, as root.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

fn ip(arguments: &[&str]) -> String {
    let said = Command::new("ip").args(arguments).output().expect("iproute2 runs");
    assert!(
        said.status.success(),
        "ip {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&said.stderr)
    );
    String::from_utf8_lossy(&said.stdout).into_owned()
}
