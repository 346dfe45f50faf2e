//! Starting a program as a user, reading what it says, and ending it.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::user::{User, is_root};
use crate::wait::{PATIENCE, until_for};

/// What the program finds at `/dev/net/tun`. Distributions open it to everybody, bare machines to root alone;
/// root's tests make either, in a mount namespace of the program's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tun {
    /// As on a usual desktop: everybody may open it.
    Open,
    /// Nobody but root may open it: the packet-socket fallback must serve.
    Closed,
    /// As this machine has it.
    AsIs,
}

impl Tun {
    /// Whether this machine can show the program such a node.
    ///
    /// # Errors
    /// A reason for [`skip!`](crate::skip!).
    pub fn possible(self) -> Result<(), String> {
        if self == Self::AsIs || may_mount() {
            return Ok(());
        }
        match (self, open_to_all()) {
            (Self::Open, true) | (Self::Closed, false) => Ok(()),
            (Self::Open, false) => Err("/dev/net/tun is not for ordinary users here".to_owned()),
            (_, _) => Err("only root can hide /dev/net/tun, in a mount namespace".to_owned()),
        }
    }

    /// A shell script that changes the node and goes on with its arguments; none where it cannot be changed.
    fn script(self) -> Option<&'static str> {
        match self {
            Self::Open if may_mount() => Some(OPEN),
            Self::Closed if may_mount() => Some(CLOSED),
            _ => None,
        }
    }
}

const OPEN: &str = "mount -t tmpfs -o mode=0755 tmpfs /dev/net \
     && mknod -m 0666 /dev/net/tun c 10 200 && exec \"$@\"";
const CLOSED: &str = "mount -t tmpfs -o mode=0755 tmpfs /dev/net \
     && mknod -m 0600 /dev/net/tun c 10 200 && exec \"$@\"";
const APART: [&str; 5] = ["unshare", "--mount", "--propagation", "private", "--"];

/// Whether we may give a program a `/dev/net` of its own: root may, but not in every container.
fn may_mount() -> bool {
    static MAY: OnceLock<bool> = OnceLock::new();
    *MAY.get_or_init(|| {
        let mut probe = Command::new(APART[0]);
        probe.args(&APART[1..]).args(["sh", "-c", OPEN, "sh", "sh", "-c", "exec 3<>/dev/net/tun"]);
        is_root() && probe.output().is_ok_and(|output| output.status.success())
    })
}

/// Whether everybody may open the node as it is.
fn open_to_all() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/dev/net/tun").is_ok_and(|node| node.mode() & 0o006 == 0o006)
}

/// A program about to be started.
#[derive(Debug)]
#[must_use = "a job does nothing until it is run or spawned"]
pub struct Job {
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    cwd: Option<PathBuf>,
    user: Option<User>,
    netns: Option<String>,
    tun: Tun,
    stdin: Stdio,
    input: Option<String>,
    limit: Duration,
}

impl Job {
    /// `program`, as whoever runs the tests, with an environment of `PATH` alone.
    pub fn new(program: &OsStr) -> Self {
        Self {
            program: program.to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            cwd: None,
            user: None,
            netns: None,
            tun: Tun::Open,
            stdin: Stdio::null(),
            input: None,
            limit: PATIENCE,
        }
    }

    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Sets a variable; a later value of the same name wins.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self = self.env_remove(name.as_ref());
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.environment.retain(|(have, _)| have != name.as_ref());
        self
    }

    pub fn cwd(mut self, folder: &Path) -> Self {
        self.cwd = Some(folder.to_owned());
        self
    }

    pub fn user(mut self, user: User) -> Self {
        self.user = Some(user);
        self
    }

    /// Runs it in a network namespace of the test.
    pub fn netns(mut self, netns: &crate::Netns) -> Self {
        self.netns = Some(netns.path());
        self
    }

    /// Chooses what `/dev/net/tun` is to it; without a choice everybody may open it.
    pub fn tun(mut self, tun: Tun) -> Self {
        self.tun = tun;
        self
    }

    /// What it reads on standard input; without it, nothing.
    pub fn input(mut self, text: &str) -> Self {
        self.input = Some(text.to_owned());
        self
    }

    /// A descriptor as its standard input, a pseudo-terminal for instance.
    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.stdin = stdin.into();
        self
    }

    /// How long [`run`](Self::run) waits for its end.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Starts it and waits for its end.
    ///
    /// # Panics
    /// When it cannot be started, or has not ended in time (then it is ended).
    #[must_use]
    pub fn run(self) -> Output {
        let limit = self.limit;
        self.spawn().end_within(limit)
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn spawn(self) -> Running {
        let shown = self.shown();
        let (mut command, input) = self.command();
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("cannot start {shown}: {error}"));
        let stdout = Said::reader(child.stdout.take().expect("stdout is a pipe"));
        let stderr = Said::reader(child.stderr.take().expect("stderr is a pipe"));
        let mut stdin = child.stdin.take();
        if let Some(text) = input {
            let mut pipe = stdin.take().expect("stdin is a pipe when there is input");
            // A program that ends without reading is the test's business, not the writer's.
            let _ = pipe.write_all(text.as_bytes());
        }
        Running { child, shown, stdin, stdout, stderr, ended: None }
    }

    fn shown(&self) -> String {
        let name = Path::new(&self.program).file_name().unwrap_or(&self.program);
        let mut text = name.to_string_lossy().into_owned();
        for argument in &self.arguments {
            text.push(' ');
            text.push_str(&argument.to_string_lossy());
        }
        text
    }

    /// Puts the wrappers in front, each of which ends in `exec`: the process id stays the program's own.
    fn command(self) -> (Command, Option<String>) {
        let mut line: Vec<OsString> = Vec::new();
        let words = |line: &mut Vec<OsString>, words: &[&str]| {
            line.extend(words.iter().map(OsString::from));
        };
        if let Some(path) = &self.netns {
            words(&mut line, &["nsenter", &format!("--net={path}"), "--"]);
        }
        if let Some(script) = self.tun.script() {
            words(&mut line, &APART);
            words(&mut line, &["sh", "-c", script, "sh"]);
        }
        if let Some(user) = self.user.as_ref().filter(|_| is_root()) {
            let groups: Vec<String> = std::iter::once(user.gid)
                .chain(user.groups.iter().copied())
                .map(|g| g.to_string())
                .collect();
            words(&mut line, &["setpriv", &format!("--reuid={}", user.uid)]);
            words(&mut line, &[&format!("--regid={}", user.gid)]);
            words(&mut line, &[&format!("--groups={}", groups.join(",")), "--"]);
        }
        line.push(self.program);
        line.extend(self.arguments);

        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).env_clear().stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("LC_ALL", "C.UTF-8").env("TERM", "dumb").envs(self.environment);
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        // A group of its own: a signal to the job's group is not one to the tests.
        command.process_group(0);
        command.stdin(if self.input.is_some() { Stdio::piped() } else { self.stdin });
        (command, self.input)
    }
}

/// How a program ended and what it said.
#[derive(Clone, Debug)]
pub struct Output {
    /// The command line, for messages.
    pub shown: String,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    /// Whether something it left behind still holds its output pipes: a daemon not properly detached.
    pub held: bool,
}

impl Output {
    /// What it said on standard output.
    ///
    /// # Panics
    /// When it did not end well.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.status.success(), "{}", self.account());
        self.stdout
    }

    /// What it said on standard error, when it refused as it should: by itself with a status other than 0, in
    /// sentences, with no trace of a panic.
    ///
    /// # Panics
    /// When it ended well or by a signal, said nothing, or panicked.
    #[track_caller]
    pub fn refused(self) -> String {
        assert!(self.status.code().is_some_and(|code| code != 0), "{}", self.account());
        assert!(!self.stderr.trim().is_empty(), "refused without a word: {}", self.account());
        for trace in ["panicked at", "stack backtrace", "RUST_BACKTRACE", "thread 'main'"] {
            assert!(!self.stderr.contains(trace), "{}", self.account());
        }
        // A sentence begins with a capital, or with what the user wrote.
        let word = self.stderr.strip_prefix("netherd: ").and_then(|it| it.split(' ').next());
        let word = word.filter(|it| *it != "netherd").unwrap_or_default();
        let is_plain = |c: char| c.is_ascii_lowercase();
        assert!(word.is_empty() || !word.chars().all(is_plain), "{}", self.account());
        self.stderr
    }

    /// Everything about it, for a message.
    #[must_use]
    pub fn account(&self) -> String {
        format!(
            "{}\n  ended with {:?} (signal {:?})\n  stdout: {}\n  stderr: {}",
            self.shown,
            self.status.code(),
            self.status.signal(),
            self.stdout,
            self.stderr
        )
    }
}

/// A program that runs; it ends with this value.
#[derive(Debug)]
pub struct Running {
    child: Child,
    shown: String,
    stdin: Option<ChildStdin>,
    stdout: Said,
    stderr: Said,
    ended: Option<ExitStatus>,
}

impl Running {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id is a positive i32")
    }

    /// What it has said on standard output until now.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it has said on standard error until now.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Waits until standard output contains `text`.
    ///
    /// # Panics
    /// When it ends before, or does not come in time.
    #[track_caller]
    pub fn says(&mut self, text: &str) -> String {
        self.says_within(PATIENCE, text)
    }

    /// Waits until standard output contains `text`, at most `limit`.
    ///
    /// # Panics
    /// When it ends before, or does not come in time.
    #[track_caller]
    pub fn says_within(&mut self, limit: Duration, text: &str) -> String {
        let what = format!("\"{text}\" from {}", self.shown);
        until_for(limit, &what, || {
            let said = self.stdout();
            if said.contains(text) {
                return Some(said);
            }
            if let Some(status) = self.try_end() {
                // What was said last may still be in the pipe.
                self.stdout.finish();
                let said = self.stdout();
                assert!(said.contains(text), "{}", self.account(status));
                return Some(said);
            }
            None
        })
    }

    /// Whether it has not ended.
    pub fn alive(&mut self) -> bool {
        self.try_end().is_none()
    }

    /// Sends a signal to the process.
    ///
    /// # Panics
    /// When it no longer exists.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid()).expect("a process id is not 0");
        kill_process(pid, signal).expect("our child can be signalled");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn end(self) -> Output {
        self.end_within(PATIENCE)
    }

    /// Waits for its end, at most `limit`.
    ///
    /// # Panics
    /// When it does not end in time, with what it said until then.
    #[track_caller]
    pub fn end_within(mut self, limit: Duration) -> Output {
        drop(self.stdin.take());
        let end = std::time::Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.try_end() {
                break status;
            }
            assert!(
                std::time::Instant::now() < end,
                "{} did not end within {} s\n  stdout: {}\n  stderr: {}",
                self.shown,
                limit.as_secs(),
                self.stdout(),
                self.stderr()
            );
            std::thread::sleep(Duration::from_millis(5));
        };
        let closed = self.stdout.finish() & self.stderr.finish();
        Output {
            shown: self.shown.clone(),
            status,
            stdout: self.stdout(),
            stderr: self.stderr(),
            held: !closed,
        }
    }

    /// Ends it by a signal and waits.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn stop(self, signal: Signal) -> Output {
        self.signal(signal);
        self.end()
    }

    fn try_end(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("our child can be waited for");
        }
        self.ended
    }

    fn account(&self, status: ExitStatus) -> String {
        format!(
            "{} ended with {status}\n  stdout: {}\n  stderr: {}",
            self.shown,
            self.stdout(),
            self.stderr()
        )
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.try_end().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- {} ---\n{}{}", self.shown, self.stdout(), self.stderr());
        }
    }
}

/// What a program said on one pipe, collected by a thread.
#[derive(Debug)]
struct Said {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: std::thread::JoinHandle<()>,
}

impl Said {
    /// Past this a program is only heard, not kept: a flood must not fill the memory of the tests.
    const KEPT: usize = 16 << 20;

    fn reader(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&bytes);
        let thread = std::thread::spawn(move || {
            let mut chunk = [0; 8192];
            while let Ok(length @ 1..) = pipe.read(&mut chunk) {
                let mut sink = sink.lock().expect("no reader panics");
                if sink.len() < Self::KEPT {
                    sink.extend_from_slice(&chunk[..length]);
                }
            }
        });
        Self { bytes, thread }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().expect("no reader panics")).into_owned()
    }

    /// Waits for the end of the pipe after the program's own end; false when another still holds it.
    fn finish(&self) -> bool {
        let end = std::time::Instant::now() + Duration::from_secs(2);
        while !self.thread.is_finished() {
            if std::time::Instant::now() > end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        true
    }
}

/// Waits until no process of that id is left.
///
/// # Panics
/// When it lives on past `limit`.
pub fn gone(pid: i32, limit: Duration) {
    until_for(limit, &format!("the end of process {pid}"), || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok();
        // A zombie has ended; its parent has only not asked yet.
        let dead =
            stat.is_none_or(|text| text.rsplit(") ").next().is_some_and(|s| s.starts_with('Z')));
        dead.then_some(())
    });
}
