//! Giving up what a started daemon does not need: privileges by exec, core files, system calls, files.
//!
//! All of it holds for the calling thread and the threads it makes afterwards, and cannot be taken back.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus, Scope, path_beneath_rules,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

/// Raises the soft limit of open descriptors to the hard limit, or to `enough` where there is none.
pub fn raise_descriptor_limit(enough: u64) {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(enough);
    if limit.current.is_some_and(|current| current < most) {
        let raised = Rlimit { current: Some(most), maximum: limit.maximum };
        // Without it fewer guests fit; the daemon says so when it meets the limit.
        let _kept = setrlimit(Resource::Nofile, raised);
    }
}

/// How many descriptors the process may have open now; none if there is no limit.
#[must_use]
pub fn descriptor_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Sets both limits of open descriptors to `most`: for tests of what happens without any left.
pub fn limit_descriptors(most: u64) {
    let limit = Rlimit { current: Some(most), maximum: Some(most) };
    let _kept = setrlimit(Resource::Nofile, limit);
}

/// No core file of this process is written: it would hold guests' frames.
///
/// # Errors
/// As setrlimit(2).
pub fn no_core_files() -> io::Result<()> {
    Ok(setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?)
}

/// execve(2) gives no privileges any more (`PR_SET_NO_NEW_PRIVS`).
///
/// # Errors
/// As prctl(2).
pub fn no_new_privileges() -> io::Result<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
}

/// Whether the kernel restricts files as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Landlocked {
    Yes,
    /// The kernel has no Landlock.
    No,
}

/// Opening files is possible only below these places, and signals only to ourselves (landlock(7)). Descriptors that are
/// open stay usable, and connecting to sockets is not restricted: clients of VDE are reached by names of theirs, in the
/// file system and abstract ones.
///
/// # Errors
/// When the kernel has Landlock and refuses the rules.
pub fn restrict_files(writable: &[PathBuf], readable: &[PathBuf]) -> io::Result<Landlocked> {
    let abi = ABI::V3;
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))
        .and_then(|ruleset| ruleset.scope(Scope::Signal))
        .and_then(|ruleset| ruleset.create())
        .and_then(|ruleset| {
            // What is written to is never run.
            let write = AccessFs::from_all(abi) & !AccessFs::Execute;
            ruleset.add_rules(path_beneath_rules(writable, write))
        })
        .and_then(|ruleset| {
            let read = AccessFs::ReadFile | AccessFs::ReadDir;
            ruleset.add_rules(path_beneath_rules(readable, read))
        })
        .and_then(|ruleset| ruleset.restrict_self())
        .map_err(io::Error::other)?;
    Ok(match status.ruleset {
        RulesetStatus::NotEnforced => Landlocked::No,
        _ => Landlocked::Yes,
    })
}

/// What happens at a system call that is not on the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unlisted {
    /// It fails with EPERM.
    Refuse,
    /// The process dies of SIGSYS: for tests of the list.
    Kill,
}

/// System calls that serving needs, whatever their arguments.
const ALLOWED: &[libc::c_long] = &[
    // frames, requests, events
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_ppoll,
    // sockets of clients and of the nodes
    libc::SYS_socketpair,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_listen,
    libc::SYS_accept4,
    libc::SYS_shutdown,
    libc::SYS_pidfd_open,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_fcntl,
    // the networks' directories
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_lseek,
    libc::SYS_getdents64,
    libc::SYS_readlinkat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_ftruncate,
    libc::SYS_flock,
    libc::SYS_getcwd,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_add_watch,
    // time and signals
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_signalfd4,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_tgkill,
    // who we are
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_uname,
    libc::SYS_getrandom,
    // memory and threads
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_clone3,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_membarrier,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_prlimit64,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Requests to drivers and sockets (ioctl(2)) that serving makes: to attach to a tap of the user's that was made anew, what a tap is, what a socket has not delivered yet,
/// which number the device has that a resolver's address names,
/// and how the standard library marks descriptors.
#[allow(clippy::unnecessary_cast, reason = "the type of requests depends on the C library")]
const IOCTLS: [u64; 9] = [
    libc::TUNSETIFF as u64,
    libc::TUNSETOFFLOAD as u64,
    libc::TUNSETVNETHDRSZ as u64,
    libc::TUNGETIFF as u64,
    libc::TUNGETVNETHDRSZ as u64,
    libc::TIOCOUTQ as u64,
    libc::SIOCGIFINDEX as u64,
    libc::FIONBIO as u64,
    libc::FIOCLEX as u64,
];

/// The bits of a socket's type beside its flags (include/linux/net.h, `SOCK_TYPE_MASK`).
const SOCK_TYPE_MASK: u64 = 0xf;

/// The older calls that C libraries still use where an architecture has them.
#[cfg(target_arch = "x86_64")]
const ALLOWED_BY_ARCH: &[libc::c_long] = &[
    libc::SYS_poll,
    libc::SYS_epoll_wait,
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_chmod,
    libc::SYS_dup2,
    libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_BY_ARCH: &[libc::c_long] = &[];

/// Calls by which a process becomes another, leaves its place or looks into others: nothing that serves makes them, so
/// whoever does is not us any more.
const KILLED: &[libc::c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_io_uring_setup,
];

const NAMESPACE_FLAGS: u64 = (libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP) as u64;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn any(calls: &[libc::c_long]) -> Rules {
    calls.iter().map(|call| (*call, Vec::new())).collect()
}

fn when(argument: u8, operator: SeccompCmpOp, value: u64) -> io::Result<SeccompRule> {
    when_all(&[(argument, operator, value)])
}

/// A call whose arguments, by number, all compare so.
fn when_all(arguments: &[(u8, SeccompCmpOp, u64)]) -> io::Result<SeccompRule> {
    let condition = |(argument, operator, value): &(u8, SeccompCmpOp, u64)| {
        SeccompCondition::new(*argument, SeccompCmpArgLen::Dword, operator.clone(), *value)
    };
    let conditions: Result<Vec<_>, _> = arguments.iter().map(condition).collect();
    conditions.and_then(SeccompRule::new).map_err(io::Error::other)
}

fn program(
    rules: Rules,
    unmatched: SeccompAction,
    matched: SeccompAction,
) -> io::Result<BpfProgram> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
    SeccompFilter::new(rules, unmatched, matched, arch)
        .and_then(BpfProgram::try_from)
        .map_err(io::Error::other)
}

fn install(program: &BpfProgram) -> io::Result<()> {
    apply_filter(program).map_err(io::Error::other)
}

/// Installs the filters. Filters add up: the kernel takes the strictest answer.
///
/// # Errors
/// When the kernel refuses a filter, or the architecture is not known.
pub fn filter_system_calls(unlisted: Unlisted) -> io::Result<()> {
    let refused = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let mut allowed = any(ALLOWED);
    allowed.extend(any(ALLOWED_BY_ARCH));
    let mask = |bits: u64| SeccompCmpOp::MaskedEq(bits);
    // Threads, but no namespaces.
    allowed.insert(libc::SYS_clone, vec![when(0, mask(NAMESPACE_FLAGS), 0)?]);
    // Memory that is never code.
    let exec = libc::PROT_EXEC as u64;
    allowed.insert(libc::SYS_mmap, vec![when(2, mask(exec), 0)?]);
    allowed.insert(libc::SYS_mprotect, vec![when(2, mask(exec), 0)?]);
    // Sockets to processes of this machine, and to the kernel for routes and for what sockets there are.
    let local = |kind: libc::c_int| {
        when_all(&[
            (0, SeccompCmpOp::Eq, libc::AF_UNIX as u64),
            (1, mask(SOCK_TYPE_MASK), kind as u64),
            (2, SeccompCmpOp::Eq, 0),
        ])
    };
    let kernel = |protocol: libc::c_int| {
        when_all(&[
            (0, SeccompCmpOp::Eq, libc::AF_NETLINK as u64),
            (2, SeccompCmpOp::Eq, protocol as u64),
        ])
    };
    // Sockets to the outside: connections, datagrams and echo of guests are the host's own. No raw sockets, which
    // need a privilege anyway.
    let outside = |family: libc::c_int, kind: libc::c_int, protocol: libc::c_int| {
        when_all(&[
            (0, SeccompCmpOp::Eq, family as u64),
            (1, mask(SOCK_TYPE_MASK), kind as u64),
            (2, SeccompCmpOp::Eq, protocol as u64),
        ])
    };
    allowed.insert(
        libc::SYS_socket,
        vec![
            outside(libc::AF_INET, libc::SOCK_STREAM, 0)?,
            outside(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_TCP)?,
            outside(libc::AF_INET, libc::SOCK_DGRAM, 0)?,
            outside(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_UDP)?,
            outside(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP)?,
            outside(libc::AF_INET6, libc::SOCK_STREAM, 0)?,
            outside(libc::AF_INET6, libc::SOCK_STREAM, libc::IPPROTO_TCP)?,
            outside(libc::AF_INET6, libc::SOCK_DGRAM, 0)?,
            outside(libc::AF_INET6, libc::SOCK_DGRAM, libc::IPPROTO_UDP)?,
            outside(libc::AF_INET6, libc::SOCK_DGRAM, libc::IPPROTO_ICMPV6)?,
            local(libc::SOCK_STREAM)?,
            local(libc::SOCK_DGRAM)?,
            local(libc::SOCK_SEQPACKET)?,
            kernel(libc::NETLINK_ROUTE)?,
            kernel(libc::NETLINK_SOCK_DIAG)?,
        ],
    );
    let requests: io::Result<Vec<_>> =
        IOCTLS.iter().map(|request| when(1, SeccompCmpOp::Eq, *request)).collect();
    allowed.insert(libc::SYS_ioctl, requests?);
    // Names for threads and their memory.
    allowed.insert(
        libc::SYS_prctl,
        vec![
            when(0, SeccompCmpOp::Eq, libc::PR_SET_NAME as u64)?,
            when(0, SeccompCmpOp::Eq, libc::PR_SET_VMA as u64)?,
            when(0, SeccompCmpOp::Eq, libc::PR_GET_NAME as u64)?,
        ],
    );
    let unlisted = match unlisted {
        Unlisted::Refuse => refused,
        Unlisted::Kill => SeccompAction::KillProcess,
    };
    let list = program(allowed, unlisted, SeccompAction::Allow)?;
    let killed = program(any(KILLED), SeccompAction::Allow, SeccompAction::KillProcess)?;
    // The flags of clone3 lie in memory, where a filter cannot see them: the C library takes clone instead.
    let absent = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let clone3 = program(any(&[libc::SYS_clone3]), SeccompAction::Allow, absent)?;
    install(&killed)?;
    install(&clone3)?;
    install(&list)
}

/// System calls of a process that only moves frames between descriptors that it has.
const MOVING: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_epoll_ctl,
    libc::SYS_ppoll,
    libc::SYS_bind,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_close,
    libc::SYS_clock_gettime,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_sigaltstack,
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_exit,
    libc::SYS_exit_group,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
];

/// What such a process asks of network devices.
#[allow(clippy::unnecessary_cast, reason = "the type of requests depends on the C library")]
const DEVICE_REQUESTS: [u64; 4] = [
    libc::SIOCGIFINDEX as u64,
    libc::SIOCGIFMTU as u64,
    libc::SIOCGIFFLAGS as u64,
    libc::SIOCGIFHWADDR as u64,
];

/// From now on only frames can be moved: no file, socket, process or thread can be made, nothing can
/// be changed elsewhere. Any other call ends the process.
///
/// # Errors
/// When the kernel refuses the filter, or the architecture is not known.
pub fn only_move_frames() -> io::Result<()> {
    let mut allowed = any(MOVING);
    let exec = libc::PROT_EXEC as u64;
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        allowed.insert(call, vec![when(2, SeccompCmpOp::MaskedEq(exec), 0)?]);
    }
    let requests: io::Result<Vec<_>> =
        DEVICE_REQUESTS.iter().map(|request| when(1, SeccompCmpOp::Eq, *request)).collect();
    allowed.insert(libc::SYS_ioctl, requests?);
    // The standard library looks whether a descriptor is open before it closes it, in debug builds.
    allowed.insert(libc::SYS_fcntl, vec![when(1, SeccompCmpOp::Eq, libc::F_GETFD as u64)?]);
    install(&program(allowed, SeccompAction::KillProcess, SeccompAction::Allow)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Confinement cannot be taken back, so it is tried in a thread that ends.
    fn in_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        std::thread::spawn(work).join().expect("the thread ends")
    }

    #[test]
    fn what_is_not_listed_is_refused() {
        let refused = |result: io::Result<()>| {
            result.expect_err("not on the list").raw_os_error().expect("the kernel's")
        };
        let (socket, file, memory, thread, uevents, terminal, device) = in_thread(|| {
            no_new_privileges().expect("always allowed");
            filter_system_calls(Unlisted::Refuse).expect("a kernel with seccomp");
            let udp = rustix::net::SocketType::DGRAM;
            let udplite = rustix::net::Protocol::from_raw(
                core::num::NonZeroU32::new(libc::IPPROTO_UDPLITE.cast_unsigned())
                    .expect("a number"),
            );
            let socket = rustix::net::socket(rustix::net::AddressFamily::INET, udp, Some(udplite))
                .map(drop)
                .map_err(io::Error::from);
            std::net::UdpSocket::bind("127.0.0.1:0").expect("the outside is reached");
            let file = std::fs::read("/proc/self/comm").map(|_| ());
            let link = std::os::unix::fs::symlink("/", "/tmp/netherd-never-made");
            let thread = std::thread::spawn(|| 7).join().ok();
            let protocol = Some(rustix::net::netlink::KOBJECT_UEVENT);
            let uevents = rustix::net::socket(
                rustix::net::AddressFamily::NETLINK,
                rustix::net::SocketType::RAW,
                protocol,
            );
            let null = std::fs::File::open("/dev/null").expect("there");
            let terminal = rustix::termios::tcgetattr(&null);
            let (uevents, terminal) = (uevents.map(drop), terminal.map(drop));
            let device = crate::device::number("lo");
            let (uevents, terminal) = (uevents.map_err(Into::into), terminal.map_err(Into::into));
            (socket, file, link, thread, uevents, terminal, device)
        });
        assert_eq!(device.expect("devices have numbers"), 1);
        assert_eq!(refused(uevents), libc::EPERM, "no other netlink than for routes and sockets");
        assert_eq!(refused(terminal), libc::EPERM, "no other requests than those of the list");
        let socket = socket.expect_err("no other protocols of the internet");
        assert_eq!(socket.raw_os_error(), Some(libc::EPERM));
        file.expect("reading is allowed");
        assert_eq!(memory.expect_err("not on the list").raw_os_error(), Some(libc::EPERM));
        assert_eq!(thread, Some(7), "threads can be made");
    }

    #[test]
    fn files_elsewhere_are_out_of_reach() {
        let place = std::env::temp_dir().join(format!("netherd-landlock-{}", std::process::id()));
        let elsewhere = place.with_extension("other");
        std::fs::create_dir_all(&place).expect("a directory");
        std::fs::create_dir_all(&elsewhere).expect("a directory");
        let (inside, outside) = (place.join("file"), elsewhere.join("file"));
        let places = vec![place.clone()];
        let (landlocked, inside, outside, passwd) = in_thread(move || {
            no_new_privileges().expect("always allowed");
            let landlocked = restrict_files(&places, &[PathBuf::from("/etc/passwd")]);
            (
                landlocked,
                std::fs::write(inside, "x"),
                std::fs::write(outside, "x"),
                std::fs::read("/etc/passwd").map(|_| ()),
            )
        });
        inside.expect("the place is writable");
        passwd.expect("the file is readable");
        match landlocked.expect("no refusal") {
            Landlocked::Yes => assert!(outside.is_err()),
            Landlocked::No => testkit::skipped("this kernel has no Landlock"),
        }
        std::fs::remove_dir_all(&place).expect("clean up");
        std::fs::remove_dir_all(&elsewhere).expect("clean up");
    }
}
