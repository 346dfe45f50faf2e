//! A namespace whose `tap0` hangs on a network by VDE's own plug: a station with a kernel's stack, which the network
//! knows nothing about beforehand.

use std::path::Path;

use crate::job::{Job, Running, Tun};
use crate::lab::Person;
use crate::netns::Netns;
use crate::wait::until;

/// The namespace, and the program that carries its frames; both end with this value.
#[derive(Debug)]
pub struct Plug {
    pub netns: Netns,
    _plug: Running,
}

impl Plug {
    /// Attaches one to the network published at `directory`. A tap in a namespace of root's takes root to make, so
    /// `root` is he, and the network lets him in.
    ///
    /// # Errors
    /// A reason for [`skip!`](crate::skip!).
    ///
    /// # Panics
    /// When its tap does not come.
    pub fn new(root: &Person<'_>, directory: &Path) -> Result<Self, String> {
        crate::skip::program("vde_plug2tap")?;
        let netns = Netns::new("plug")?;
        let plug = root.job("vde_plug2tap").arg("-s").arg(directory).arg("tap0");
        let plug = plug.tun(Tun::AsIs).netns(&netns).spawn();
        until("the tap of vde_plug2tap", || {
            let look = netns.command("ip").args(["link", "show", "tap0"]).output().ok()?;
            look.status.success().then_some(())
        });
        Ok(Self { netns, _plug: plug })
    }

    /// A program in the namespace.
    pub fn job(&self, root: &Person<'_>, program: &str) -> Job {
        root.job(program).tun(Tun::AsIs).netns(&self.netns)
    }
}
