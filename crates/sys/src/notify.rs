//! The system-call filter of a guest, and the notifications it raises (seccomp_unotify(2)).
//!
//! # Theory of operation
//!
//! A PID namespace hides outer processes behind numbers it does not have. What is left are the calls
//! that name a process group as "mine": a guest's command starts in the process group of who started
//! it, so that a shell's job control works, and "my group" then has members outside. Those calls are
//!
//! - `kill(0, signal)`: raised to the guest's init, which signals the members that the caller can see
//!   and nobody else. Once a process has left the outer group it cannot come back, because
//!   `setpgid(2)` needs the number of the group and the namespace has none for it. So a check that
//!   finds the caller in a group of its own may let the call continue: nothing can make it untrue.
//! - `setpriority(PRIO_PGRP, 0)` and `ioprio_set(IOPRIO_WHO_PGRP, 0)`: refused with `EPERM`.
//! - `pidfd_send_signal` with `PIDFD_SIGNAL_PROCESS_GROUP`: refused likewise.
//! - `ioctl` with `TIOCSTI` and `TIOCLINUX`: they type into the terminal that the guest shares with
//!   the outer shell. Refused.
//! - `fcntl(F_SETFL)` with `O_ASYNC`, and `ioctl(FIOASYNC)`: on a terminal they make its foreground group
//!   the receiver of a signal of the caller's choice (`__tty_fasync`, drivers/tty/tty_io.c; `F_SETSIG`), be
//!   it SIGKILL. Raised to init, which does it itself on what is no terminal ([`set_async`]).
//! - `ioctl` with `TIOCSPGRP`: shells such as `dash` note who has the terminal when they start, which is a group
//!   without a number, 0, and give it back at their end, which the kernel refuses: nothing has that number.
//!   Raised to init, which says that it is done if the number is 0 ([`names_no_group`]) and lets the
//!   kernel do it otherwise. In truth the terminal is given back by `run`, once the command has ended.
//! - `keyctl`, `add_key`, `request_key`: keys have no namespaces, and the user's own keyrings answer to
//!   his number from anywhere. Here the kernel has no keys: `ENOSYS`.
//! - `socket(AF_VSOCK)`: the addresses of virtual machines and of their host have no namespaces, and lead past
//!   the guest's interface. Here the kernel does not know them: `EAFNOSUPPORT`. (`socketcall` of 32-bit x86 has
//!   its arguments in memory and is not looked into.)
//!
//! The filter looks at register values only, never at memory, so no argument can change after the check.
//! The kernel reads `pid`, `which`, `who`, `cmd` and the flags as 32-bit values; so does the filter.
//!
//! A process's filters can have one listener at most. In a guest of a guest the outer listener hears
//! `kill(0)` already, and its init knows which of the group's members the caller can see.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `AUDIT_ARCH_*` (linux/audit.h) and the numbers of the calls (asm/unistd.h).
struct Abi {
    arch: u32,
    kill: u32,
    setpriority: u32,
    ioprio_set: u32,
    ioctl: u32,
    /// A second number for the same call, of x32.
    ioctl_alias: u32,
    fcntl: u32,
    /// `fcntl64` of 32-bit ABIs.
    fcntl_alias: u32,
    /// `add_key`, `request_key`, `keyctl`.
    keys: [u32; 3],
    socket: u32,
}

/// Since Linux 5.1 new calls have one number on every architecture.
const PIDFD_SEND_SIGNAL: u32 = 424;
const PIDFD_SIGNAL_PROCESS_GROUP: u32 = 4;
const PRIO_PGRP: u32 = 1;
const IOPRIO_WHO_PGRP: u32 = 2;
/// asm-generic/ioctls.h; both architectures below use it.
const TIOCSTI: u32 = 0x5412;
const TIOCLINUX: u32 = 0x541c;
const FIOASYNC: u32 = 0x5452;
const TIOCSPGRP: u32 = 0x5410;
/// asm-generic/fcntl.h.
const F_SETFL: u32 = 4;
const O_ASYNC: u32 = 0x2000;
/// `__X32_SYSCALL_BIT`, set in the call numbers of the x32 ABI.
const X32_BIT: u32 = 0x4000_0000;
/// linux/socket.h.
const AF_VSOCK: u32 = 40;

#[cfg(target_arch = "x86_64")]
const ABIS: [Abi; 2] = [
    Abi {
        arch: 0xc000_003e, // AUDIT_ARCH_X86_64
        kill: 62,
        setpriority: 141,
        ioprio_set: 251,
        ioctl: 16,
        ioctl_alias: 514,
        fcntl: 72,
        fcntl_alias: 72,
        keys: [248, 249, 250],
        socket: 41,
    },
    Abi {
        arch: 0x4000_0003, // AUDIT_ARCH_I386
        kill: 37,
        setpriority: 97,
        ioprio_set: 289,
        ioctl: 54,
        ioctl_alias: 54,
        fcntl: 55,
        fcntl_alias: 221,
        keys: [286, 287, 288],
        socket: 359,
    },
];

#[cfg(target_arch = "aarch64")]
const ABIS: [Abi; 2] = [
    Abi {
        arch: 0xc000_00b7, // AUDIT_ARCH_AARCH64
        kill: 129,
        setpriority: 140,
        ioprio_set: 30,
        ioctl: 29,
        ioctl_alias: 29,
        fcntl: 25,
        fcntl_alias: 25,
        keys: [217, 218, 219],
        socket: 198,
    },
    Abi {
        arch: 0x4000_0028, // AUDIT_ARCH_ARM
        kill: 37,
        setpriority: 97,
        ioprio_set: 314,
        ioctl: 54,
        ioctl_alias: 54,
        fcntl: 55,
        fcntl_alias: 221,
        keys: [309, 310, 311],
        socket: 281,
    },
];

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("the guest's system-call filter knows x86_64 and aarch64 only");

/// What a call gives that the listener decides about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubtful {
    /// A notification to our listener.
    Notify,
    /// Nothing of ours: an outer listener hears it.
    Leave,
}

// Offsets in struct seccomp_data; the low halves of the 64-bit arguments.
const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCH: u32 = 4;
const fn argument(n: u32) -> u32 {
    16 + 8 * n + if cfg!(target_endian = "big") { 4 } else { 0 }
}

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const JUMP_EQ: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JUMP_ANY: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

fn op(code: u16, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

fn refuse(errno: i32) -> libc::sock_filter {
    op(RETURN, libc::SECCOMP_RET_ERRNO | (errno.unsigned_abs() & 0xffff), 0, 0)
}

fn allow() -> libc::sock_filter {
    op(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0)
}

/// A call number together with conditions on its arguments, all of which must hold.
fn rule(
    program: &mut Vec<libc::sock_filter>,
    number: u32,
    conditions: &[(u32, libc::sock_filter)],
    verdict: libc::sock_filter,
) {
    // Each condition loads an argument and tests it; a failed test reaches the reload at the end.
    let body = u8::try_from(conditions.len() * 2 + 1).unwrap_or(0);
    program.push(op(JUMP_EQ, number, 0, body + 2));
    for (done, (argument_number, test)) in conditions.iter().enumerate() {
        let rest = body - u8::try_from(done * 2 + 2).unwrap_or(0);
        program.push(op(LOAD, argument(*argument_number), 0, 0));
        program.push(op(test.code, test.k, 0, rest));
    }
    program.push(verdict);
    program.push(op(LOAD, OFFSET_NUMBER, 0, 0));
    program.push(op(AND, !X32_BIT, 0, 0));
}

fn program(doubtful: Doubtful) -> Vec<libc::sock_filter> {
    let equals = |k| op(JUMP_EQ, k, 0, 0);
    let has = |k| op(JUMP_ANY, k, 0, 0);
    let eperm = refuse(libc::EPERM);
    let mut program = Vec::new();
    for abi in &ABIS {
        let mut rules = vec![op(LOAD, OFFSET_NUMBER, 0, 0), op(AND, !X32_BIT, 0, 0)];
        if doubtful == Doubtful::Notify {
            let notify = op(RETURN, libc::SECCOMP_RET_USER_NOTIF, 0, 0);
            rule(&mut rules, abi.kill, &[(0, equals(0))], notify);
            for number in [abi.fcntl, abi.fcntl_alias] {
                let conditions = [(1, equals(F_SETFL)), (2, has(O_ASYNC))];
                rule(&mut rules, number, &conditions, notify);
            }
            for number in [abi.ioctl, abi.ioctl_alias] {
                rule(&mut rules, number, &[(1, equals(FIOASYNC))], notify);
                rule(&mut rules, number, &[(1, equals(TIOCSPGRP))], notify);
            }
        }
        for number in abi.keys {
            rule(&mut rules, number, &[], refuse(libc::ENOSYS));
        }
        let vsock = [(0, equals(AF_VSOCK))];
        rule(&mut rules, abi.socket, &vsock, refuse(libc::EAFNOSUPPORT));
        let group_flag = has(PIDFD_SIGNAL_PROCESS_GROUP);
        rule(&mut rules, PIDFD_SEND_SIGNAL, &[(3, group_flag)], eperm);
        let own = [(0, equals(PRIO_PGRP)), (1, equals(0))];
        rule(&mut rules, abi.setpriority, &own, eperm);
        let own = [(0, equals(IOPRIO_WHO_PGRP)), (1, equals(0))];
        rule(&mut rules, abi.ioprio_set, &own, eperm);
        for number in [abi.ioctl, abi.ioctl_alias] {
            rule(&mut rules, number, &[(1, equals(TIOCSTI))], eperm);
            rule(&mut rules, number, &[(1, equals(TIOCLINUX))], eperm);
        }
        rules.push(allow());
        program.push(op(LOAD, OFFSET_ARCH, 0, 0));
        let length = u8::try_from(rules.len()).unwrap_or(0);
        program.push(op(JUMP_EQ, abi.arch, 0, length));
        program.extend(rules);
    }
    // No other ABI has numbers that we know.
    program.push(refuse(libc::ENOSYS));
    program
}

/// Filters the calling thread and what it starts. Needs `CAP_SYS_ADMIN` in its user namespace, so
/// that programs which gain privilege inside a guest still can.
///
/// Answers the listener, or `None` if an outer one exists already and stays responsible.
pub fn install() -> io::Result<Option<Listener>> {
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    // Without this flag (Linux 5.19) a signal handler of the caller may interrupt the call while
    // it is answered, and it would be made a second time.
    let steady = flags | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    let with_listener = program(Doubtful::Notify);
    let mut result = load(&with_listener, steady);
    let mut is_steady = true;
    if result.as_ref().is_err_and(|e| e.raw_os_error() == Some(libc::EINVAL)) {
        result = load(&with_listener, flags);
        is_steady = false;
    }
    match result {
        Ok(fd) => {
            // SAFETY: the kernel has just given us this descriptor and nobody else knows it.
            let fd = unsafe { OwnedFd::from_raw_fd(fd) };
            Ok(Some(Listener { fd, steady: is_steady }))
        }
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
            load(&program(Doubtful::Leave), 0)?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn load(program: &[libc::sock_filter], flags: libc::c_ulong) -> io::Result<i32> {
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel copies the program, whose length is given, and does not write to it.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const filter)
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(i32::try_from(result).unwrap_or(-1))
}

/// What a call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// `kill(0, signal)`.
    Signal(i32),
    /// Signals when a descriptor is ready.
    Async { fd: i32, how: Async },
    /// `tcsetpgrp(fd, group)`; where the caller has the group's number.
    Foreground { fd: i32, address: u64 },
}

/// With which call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Async {
    /// `fcntl(fd, F_SETFL, flags)`.
    Flags(i32),
    /// `ioctl(fd, FIOASYNC, pointer)`: where the caller has the number that says on or off.
    Pointer(u64),
}

/// A call that waits for its answer.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    id: u64,
    /// The calling thread, as numbered in the PID namespace of who reads the notification.
    pub caller: i32,
    pub wish: Wish,
}

impl Call {
    fn new(got: &libc::seccomp_notif) -> Self {
        // The kernel takes these as 32-bit values: the low halves.
        #[allow(clippy::cast_possible_truncation)]
        let low = |n: usize| (got.data.args[n] as u32).cast_signed();
        let number = got.data.nr.cast_unsigned() & !X32_BIT;
        let abi = ABIS.iter().find(|abi| abi.arch == got.data.arch);
        let wish = match abi {
            Some(abi) if [abi.fcntl, abi.fcntl_alias].contains(&number) => {
                Wish::Async { fd: low(0), how: Async::Flags(low(2)) }
            }
            Some(abi)
                if [abi.ioctl, abi.ioctl_alias].contains(&number)
                    && low(1).cast_unsigned() == TIOCSPGRP =>
            {
                Wish::Foreground { fd: low(0), address: got.data.args[2] }
            }
            Some(abi) if [abi.ioctl, abi.ioctl_alias].contains(&number) => {
                Wish::Async { fd: low(0), how: Async::Pointer(got.data.args[2]) }
            }
            _ => Wish::Signal(low(1)),
        };
        Self { id: got.id, caller: got.pid.cast_signed(), wish }
    }
}

/// Whether `process` asked with [`Wish::Foreground`] that a terminal of its be given to the group 0: one that began
/// outside of its PID namespace.
///
/// May wait, as [`set_async`].
///
/// # Errors
/// The descriptor or the memory cannot be had: the kernel will say so to the caller.
pub fn names_no_group(process: i32, fd: i32, address: u64) -> io::Result<bool> {
    Ok(int_of(process, address)? == 0 && io::IsTerminal::is_terminal(&file_of(process, fd)?))
}

/// What the descriptor of another process is of.
fn file_of(process: i32, fd: i32) -> io::Result<OwnedFd> {
    let pidfd = crate::process::open(process)?;
    // SAFETY: pidfd_getfd has no memory arguments.
    let got = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0) };
    if got < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(got).unwrap_or(-1)) })
}

/// A number in the memory of another process.
fn int_of(process: i32, address: u64) -> io::Result<libc::c_int> {
    let mut number = [0; size_of::<libc::c_int>()];
    std::os::unix::fs::FileExt::read_exact_at(
        &std::fs::File::open(format!("/proc/{process}/mem"))?,
        &mut number,
        address,
    )
    .map_err(|_| io::Error::from_raw_os_error(libc::EFAULT))?;
    Ok(libc::c_int::from_ne_bytes(number))
}

/// Does for `process` what it asked with [`Wish::Async`], on its open file, unless that is a terminal.
///
/// May wait for locks that the caller's other threads hold: not for a process that others wait for.
///
/// # Errors
/// What the caller is to be answered: `EPERM` for a terminal.
pub fn set_async(process: i32, fd: i32, how: Async) -> io::Result<()> {
    let file = file_of(process, fd)?;
    if io::IsTerminal::is_terminal(&file) {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    let result = match how {
        // SAFETY: F_SETFL takes a number.
        Async::Flags(flags) => unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags) },
        Async::Pointer(address) => {
            let on = int_of(process, address)?;
            // SAFETY: the request reads one int through the pointer.
            unsafe { libc::ioctl(file.as_raw_fd(), libc::Ioctl::from(FIOASYNC), &raw const on) }
        }
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// What to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The call has been made on the caller's behalf.
    Done,
    /// The call fails with this errno.
    Fail(i32),
    /// The kernel makes the call.
    Continue,
}

/// The descriptor that hears what the filter raises; readable when there is something.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    steady: bool,
}

impl Listener {
    /// Takes a listener that came from another process, with what [`Listener::is_steady`] said there.
    #[must_use]
    pub fn from_fd(fd: OwnedFd, steady: bool) -> Self {
        Self { fd, steady }
    }

    /// Whether a caller stays in its call while it is answered, so that it can be signalled first.
    #[must_use]
    pub fn is_steady(&self) -> bool {
        self.steady
    }

    /// The next call to answer; `None` if its caller has died meanwhile.
    pub fn receive(&self) -> io::Result<Option<Call>> {
        // SAFETY: an all-zero notification is what the kernel demands to be given.
        let mut got: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the request fills in the structure it is made for.
        let result = unsafe {
            libc::ioctl(self.fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut got)
        };
        if result != 0 {
            let error = io::Error::last_os_error();
            let gone = [libc::ENOENT, libc::EINTR, libc::EAGAIN];
            return match error.raw_os_error() {
                Some(errno) if gone.contains(&errno) => Ok(None),
                _ => Err(error),
            };
        }
        Ok(Some(Call::new(&got)))
    }

    /// Whether no process is left that the filter applies to: nothing will come any more.
    #[must_use]
    pub fn is_unused(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec};
        let mut set = [PollFd::new(&self.fd, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut set, Some(&now)).is_ok()
            && set[0].revents().contains(PollFlags::HUP)
    }

    /// Whether the caller is still in its call: only then does its number still name it.
    #[must_use]
    pub fn is_waiting(&self, call: &Call) -> bool {
        let mut id = call.id;
        // SAFETY: the request reads one u64 through the pointer.
        let result = unsafe {
            libc::ioctl(self.fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw mut id)
        };
        result == 0
    }

    /// Answers a call. A caller that has died meanwhile is no error.
    pub fn answer(&self, call: &Call, answer: Answer) -> io::Result<()> {
        // SAFETY: an all-zero response is a valid one: success with value 0.
        let mut response: libc::seccomp_notif_resp = unsafe { std::mem::zeroed() };
        response.id = call.id;
        match answer {
            Answer::Done => {}
            Answer::Fail(errno) => response.error = -errno.abs(),
            Answer::Continue => response.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE,
        }
        // SAFETY: the request reads the structure it is made for.
        let result = unsafe {
            libc::ioctl(self.fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut response)
        };
        if result != 0 {
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(libc::ENOENT) {
                return Err(error);
            }
        }
        Ok(())
    }
}

/// linux/seccomp.h.
const SECCOMP_USER_NOTIF_FLAG_CONTINUE: u32 = 1;

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's machine for the subset of classic BPF that the filter uses.
    fn run(program: &[libc::sock_filter], arch: u32, number: u32, args: [u64; 6]) -> u32 {
        let word = |offset: u32| match offset {
            OFFSET_NUMBER => number,
            OFFSET_ARCH => arch,
            other => {
                let index = usize::try_from((other - 16) / 8).unwrap();
                assert_eq!(argument(u32::try_from(index).unwrap()), other, "a low half is read");
                u32::try_from(args[index] & 0xffff_ffff).unwrap()
            }
        };
        let (mut pc, mut a) = (0, 0);
        loop {
            let i = &program[pc];
            pc += 1;
            let skip = |taken: bool| usize::from(if taken { i.jt } else { i.jf });
            match i.code {
                LOAD => a = word(i.k),
                AND => a &= i.k,
                JUMP_EQ => pc += skip(a == i.k),
                JUMP_ANY => pc += skip(a & i.k != 0),
                RETURN => return i.k,
                other => panic!("unknown instruction {other}"),
            }
        }
    }

    const EPERM: u32 = libc::SECCOMP_RET_ERRNO | 1;

    #[test]
    fn the_own_group_is_out_of_reach_in_every_abi() {
        let full = program(Doubtful::Notify);
        let nested = program(Doubtful::Leave);
        for abi in &ABIS {
            for x32 in [0, X32_BIT] {
                let check = |number, args, expected| {
                    assert_eq!(run(&full, abi.arch, number | x32, args), expected);
                    let other = if expected == libc::SECCOMP_RET_USER_NOTIF {
                        libc::SECCOMP_RET_ALLOW
                    } else {
                        expected
                    };
                    assert_eq!(run(&nested, abi.arch, number | x32, args), other);
                };
                let high = 0xdead_beef_0000_0000;
                check(abi.kill, [0, 15, 0, 0, 0, 0], libc::SECCOMP_RET_USER_NOTIF);
                check(abi.kill, [high, 15, 0, 0, 0, 0], libc::SECCOMP_RET_USER_NOTIF);
                check(abi.kill, [7, 15, 0, 0, 0, 0], libc::SECCOMP_RET_ALLOW);
                check(abi.kill, [u64::MAX, 15, 0, 0, 0, 0], libc::SECCOMP_RET_ALLOW);
                check(PIDFD_SEND_SIGNAL, [5, 15, 0, 4, 0, 0], EPERM);
                check(PIDFD_SEND_SIGNAL, [5, 15, 0, high | 6, 0, 0], EPERM);
                check(PIDFD_SEND_SIGNAL, [5, 15, 0, 0, 0, 0], libc::SECCOMP_RET_ALLOW);
                check(abi.setpriority, [1, 0, 5, 0, 0, 0], EPERM);
                check(abi.setpriority, [high | 1, high, 5, 0, 0, 0], EPERM);
                check(abi.setpriority, [1, 9, 5, 0, 0, 0], libc::SECCOMP_RET_ALLOW);
                check(abi.setpriority, [0, 0, 5, 0, 0, 0], libc::SECCOMP_RET_ALLOW);
                check(abi.ioprio_set, [2, 0, 5, 0, 0, 0], EPERM);
                check(abi.ioprio_set, [1, 0, 5, 0, 0, 0], libc::SECCOMP_RET_ALLOW);
                for number in [abi.ioctl, abi.ioctl_alias] {
                    check(number, [0, 0x5412, 0, 0, 0, 0], EPERM);
                    check(number, [0, high | 0x541c, 0, 0, 0, 0], EPERM);
                    check(number, [0, 0x5401, 0, 0, 0, 0], libc::SECCOMP_RET_ALLOW);
                    check(number, [0, high | 0x5452, 0, 0, 0, 0], libc::SECCOMP_RET_USER_NOTIF);
                    check(number, [0, high | 0x5410, 0, 0, 0, 0], libc::SECCOMP_RET_USER_NOTIF);
                }
                for number in [abi.fcntl, abi.fcntl_alias] {
                    let flags = high | 0x2802;
                    check(number, [0, 4, flags, 0, 0, 0], libc::SECCOMP_RET_USER_NOTIF);
                    check(number, [0, 4, 0x802, 0, 0, 0], libc::SECCOMP_RET_ALLOW);
                    check(number, [0, 3, flags, 0, 0, 0], libc::SECCOMP_RET_ALLOW);
                }
                for number in abi.keys {
                    check(number, [0; 6], libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs());
                }
                let unknown = libc::SECCOMP_RET_ERRNO | libc::EAFNOSUPPORT.unsigned_abs();
                check(abi.socket, [40, 1, 0, 0, 0, 0], unknown);
                check(abi.socket, [high | 40, 1, 0, 0, 0, 0], unknown);
                check(abi.socket, [2, 1, 0, 0, 0, 0], libc::SECCOMP_RET_ALLOW);
                check(1, [0, 0, 0, 0, 0, 0], libc::SECCOMP_RET_ALLOW);
            }
        }
    }

    #[test]
    fn an_unknown_abi_has_no_system_calls() {
        let enosys = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
        assert_eq!(run(&program(Doubtful::Notify), 0x1234, 62, [0; 6]), enosys);
    }

    #[test]
    fn every_jump_stays_inside_the_program() {
        for doubtful in [Doubtful::Notify, Doubtful::Leave] {
            let program = program(doubtful);
            for (at, i) in program.iter().enumerate() {
                if i.code == JUMP_EQ || i.code == JUMP_ANY {
                    let far = at + 1 + usize::from(i.jt.max(i.jf));
                    assert!(far < program.len());
                }
            }
        }
    }
}
