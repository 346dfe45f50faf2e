//! Why this machine does not let us make a sandbox, in sentences with the remedy.

use std::fs;
use std::io;

/// What was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// clone(2) with new namespaces.
    Namespaces,
    /// The first use of the privilege they give.
    Privilege,
}

/// What decides about it, read from the machine.
#[derive(Debug, Clone, Default)]
struct Facts {
    apparmor_restriction: bool,
    debian_switch_off: bool,
    /// Limits in `/proc/sys/user` that are 0.
    zero_limits: Vec<&'static str>,
    seccomp: bool,
    program: String,
}

const LIMITS: [&str; 4] =
    ["max_user_namespaces", "max_net_namespaces", "max_mnt_namespaces", "max_pid_namespaces"];

impl Facts {
    fn read() -> Self {
        let is = |path: &str, value: &str| {
            fs::read_to_string(path).is_ok_and(|text| text.trim() == value)
        };
        let kernel = "/proc/sys/kernel";
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            apparmor_restriction: is(
                &format!("{kernel}/apparmor_restrict_unprivileged_userns"),
                "1",
            ),
            debian_switch_off: is(&format!("{kernel}/unprivileged_userns_clone"), "0"),
            zero_limits: LIMITS
                .into_iter()
                .filter(|name| is(&format!("/proc/sys/user/{name}"), "0"))
                .collect(),
            seccomp: status.lines().any(|l| l.starts_with("Seccomp:") && l.ends_with('2')),
            program: std::env::current_exe()
                .map_or_else(|_| "/usr/bin/netherd".to_owned(), |p| p.display().to_string()),
        }
    }
}

/// Checks that a copy of this program could make namespaces as well: AppArmor knows programs by their paths.
///
/// # Errors
/// The sentence with the remedy.
pub fn check_copy() -> anyhow::Result<()> {
    let facts = Facts::read();
    if facts.apparmor_restriction && sys::user::uid() != 0 {
        anyhow::bail!(
            "AppArmor lets only programs with a profile use user namespaces, and a guest with --rootfs is made by \
             a copy of netherd as long as its file belongs to you; have the administrator install it: `install -o \
             root {} /usr/local/bin/netherd`",
            facts.program
        );
    }
    Ok(())
}

/// The sentence for a refused step.
#[must_use]
pub fn explain(step: Step, error: &io::Error) -> String {
    sentence(step, error, &Facts::read())
}

fn sentence(step: Step, error: &io::Error, facts: &Facts) -> String {
    if let Some(limit) = facts.zero_limits.first() {
        return format!(
            "this machine does not allow user namespaces: /proc/sys/user/{limit} is 0; have the administrator run \
            `sysctl -w user.{limit}=15000`"
        );
    }
    if facts.debian_switch_off {
        return "this machine does not let ordinary users make user namespaces; have the administrator run `sysctl \
        -w kernel.unprivileged_userns_clone=1`"
            .to_owned();
    }
    if facts.apparmor_restriction {
        return format!(
            "AppArmor keeps programs without a profile from using user namespaces; have the administrator either \
            write `abi <abi/4.0>, include <tunables/global> profile netherd {} flags=(unconfined) {{ userns, }}` \
            to /etc/apparmor.d/netherd and run `apparmor_parser -r /etc/apparmor.d/netherd`, or switch the \
            restriction off with `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`",
            facts.program
        );
    }
    let os = error.raw_os_error();
    if os == Some(errno::ENOSPC) || os == Some(errno::EUSERS) {
        return "no more user namespaces can be made here: the limit in /proc/sys/user (max_user_namespaces, \
                max_net_namespaces) or the 32 levels of nesting are reached; end other guests, or have the \
                administrator raise the limit"
            .to_owned();
    }
    if os == Some(errno::EINVAL) {
        return "this kernel has no user namespaces (CONFIG_USER_NS); boot one that has".to_owned();
    }
    if facts.seccomp {
        return "the container or sandbox around netherd does not allow user namespaces (its seccomp filter); start \
                it with `--security-opt seccomp=unconfined`, or run netherd outside it"
            .to_owned();
    }
    match step {
        Step::Namespaces => format!(
            "new namespaces are refused here ({error}): in a chroot, leave it; in a container, let it have \
             CAP_SYS_ADMIN or user namespaces; `netherd doctor` says more"
        ),
        Step::Privilege => format!(
            "the new namespaces give no privilege here ({error}): a security module forbids it; `netherd doctor` \
             says more"
        ),
    }
}

/// The sentence when no fresh `/proc` can be mounted.
#[must_use]
pub fn explain_proc(error: &io::Error) -> String {
    format!(
        "a fresh /proc cannot be mounted for the guest ({error}), usually because the container around netherd \
        covers parts of its own; start it with `--security-opt systempaths=unconfined` (podman: `--security-opt \
        unmask=ALL`), or run netherd outside it"
    )
}

/// The few numbers of errno(3) that decide above; the same on all architectures of Linux we run on.
mod errno {
    pub(super) use sys::errno::{EINVAL, ENOSPC, EUSERS};
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(step: Step, errno: i32, facts: &Facts) -> String {
        sentence(step, &io::Error::from_raw_os_error(errno), facts)
    }

    #[test]
    fn each_cause_has_its_remedy() {
        let zero = Facts { zero_limits: vec!["max_user_namespaces"], ..Facts::default() };
        let debian = Facts { debian_switch_off: true, ..Facts::default() };
        let apparmor = Facts {
            apparmor_restriction: true,
            program: "/opt/netherd".to_owned(),
            ..Facts::default()
        };
        let container = Facts { seccomp: true, ..Facts::default() };
        let plain = Facts::default();
        for (facts, errno, step, remedy) in [
            (&zero, 28, Step::Namespaces, "sysctl -w user.max_user_namespaces=15000"),
            (&debian, 1, Step::Namespaces, "sysctl -w kernel.unprivileged_userns_clone=1"),
            (&apparmor, 13, Step::Privilege, "profile netherd /opt/netherd flags=(unconfined)"),
            (&container, 1, Step::Namespaces, "--security-opt seccomp=unconfined"),
            (&plain, 28, Step::Namespaces, "raise the limit"),
            (&plain, 22, Step::Namespaces, "CONFIG_USER_NS"),
            (&plain, 1, Step::Namespaces, "netherd doctor"),
            (&plain, 1, Step::Privilege, "netherd doctor"),
        ] {
            let text = with(step, errno, facts);
            assert!(text.contains(remedy), "{text}");
        }
    }

    #[test]
    fn a_covered_proc_has_its_remedy() {
        assert!(explain_proc(&io::Error::from_raw_os_error(1)).contains("systempaths=unconfined"));
    }
}
