//! Job control: a guest's command is a job of the caller's shell like any other.
#![forbid(unsafe_code)]

use e2e::{Lab, Person, Tun, User, need, until};
use rustix::process::Signal;

/// Types at a shell on a pseudo-terminal; each step it has taken is a line.
const TYPIST: &str = concat!(include_str!("programs/shell.py"), include_str!("programs/typist.py"));
/// The same at a shell in a guest alone, which it leaves.
const RETURNER: &str =
    concat!(include_str!("programs/shell.py"), include_str!("programs/returner.py"));

#[test]
fn a_guest_is_a_job_of_an_interactive_shell() {
    need!(e2e::skip::program("python3"));
    need!(e2e::skip::program("bash"));
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let said = person.job("python3").args(["-c", TYPIST]).arg(e2e::binary::netherd()).run().ok();
    let steps: Vec<&str> = said.lines().collect();
    assert_eq!(
        steps,
        [
            "stopped, continued, interrupted",
            "a shell inside has jobs of its own",
            "a shell inside is suspended and comes back",
            "so does a command that is no shell",
            "the terminal is the caller's again",
            "a job in the background is ended",
            "a job in the background that reads is stopped",
        ]
    );
}

/// Shells that give the terminal back to whom it belonged when they started do so without complaint.
#[test]
fn a_shell_that_returns_the_terminal_ends_well() {
    need!(e2e::skip::program("python3"));
    need!(e2e::skip::program("dash"));
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let run = person.netherd(["run", "--name", "web", "--", "sleep", "600"]);
    let _web = person.guest("default", "web", run);
    for command in [&["run", "--", "dash", "-i"][..], &["exec", "web", "--", "dash", "-i"]] {
        let job = person.job("python3").args(["-c", RETURNER]).arg(e2e::binary::netherd());
        let said = job.args(command).run().ok();
        assert_eq!(said, "a job of its own\nsuspended, and back\nended with 7\n", "{command:?}");
    }
}

/// A guest whose command says how it was signalled.
fn trapping(person: &Person<'_>) -> e2e::Running {
    let script = "trap 'echo got TERM; exit 5' TERM; trap 'echo got HUP' HUP; echo ready; \
                  while :; do sleep 0.05; done";
    let mut guest = person.netherd(["run", "--name", "trap", "--", "sh", "-c", script]).spawn();
    guest.says("ready");
    guest
}

#[test]
fn signals_sent_to_run_reach_the_command_and_its_status_is_ours() {
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let mut guest = trapping(&person);
    guest.signal(Signal::HUP);
    guest.says("got HUP");
    let output = guest.stop(Signal::TERM);
    assert_eq!(output.status.code(), Some(5), "{}", output.account());
    assert!(output.stdout.contains("got TERM"));
}

#[test]
fn run_dies_of_the_signal_that_ended_its_command() {
    use std::os::unix::process::ExitStatusExt;
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    for signal in ["KILL", "TERM", "ABRT"] {
        let output = person.netherd(["run", "--", "sh", "-c", &format!("kill -{signal} $$")]).run();
        let expected = match signal {
            "KILL" => 9,
            "TERM" => 15,
            _ => 6,
        };
        assert_eq!(output.status.signal(), Some(expected), "{}", output.account());
        assert!(!output.status.core_dumped());
    }
    let output = person.netherd(["run", "--", "sh", "-c", "exit 42"]).run();
    assert_eq!(output.status.code(), Some(42));
}

#[test]
fn a_guest_ends_with_run() {
    need!(Tun::AsIs.possible());
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let mark = "86399.25";
    let guest = person.netherd([
        "run",
        "--name",
        "g",
        "--",
        "sh",
        "-c",
        &format!("sleep {mark} & sleep {mark}"),
    ]);
    let guest = person.guest("default", "g", guest);
    let sleepers = || {
        lab.processes()
            .into_iter()
            .filter(|pid| {
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                line.windows(mark.len()).any(|part| part == mark.as_bytes())
                    && line.starts_with(b"sleep")
            })
            .count()
    };
    until("both sleepers", || (sleepers() == 2).then_some(()));
    let _killed = guest.stop(Signal::KILL);
    until("the end of all in the guest", || (sleepers() == 0).then_some(()));
    until("the end of its port", || person.show("default").find("g").is_none().then_some(()));
}

#[test]
fn the_own_group_is_that_of_the_guest() {
    need!(e2e::skip::program("python3"));
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    // The caller's shell has `run` and a bystander in one group; the command signals "its group".
    let inside = "import os,signal,time\n\
                  hits=[]\n\
                  signal.signal(signal.SIGUSR1,lambda *a:hits.append(1))\n\
                  r,w=os.pipe()\n\
                  pid=os.fork()\n\
                  if pid==0:\n\
                  \x20signal.signal(signal.SIGUSR1,lambda *a:os._exit(7))\n\
                  \x20os.write(w,b'x')\n\
                  \x20while True: time.sleep(1)\n\
                  os.read(r,1)\n\
                  os.kill(0,signal.SIGUSR1)\n\
                  status=os.waitstatus_to_exitcode(os.waitpid(pid,0)[1])\n\
                  print('self',len(hits),'child',status)\n\
                  os.setpgid(0,0)\n\
                  os.kill(0,signal.SIGUSR1)\n\
                  print('own group',len(hits))\n";
    let script = "trap 'echo the shell was hit' USR1; \
                  sh -c 'trap \"echo the bystander was hit\" USR1; while :; do sleep 0.05; done' & \
                  \"$0\" run -- python3 -c \"$1\"; echo status $?; \
                  kill -0 $! && echo the bystander lives; kill -9 $!";
    let said =
        person.job("sh").args(["-c", script]).arg(e2e::binary::netherd()).arg(inside).run().ok();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines,
        ["self 1 child 7", "own group 2", "status 0", "the bystander lives"],
        "{said}"
    );
}

/// `run` is not deaf while nobody answers it.
#[test]
fn signals_reach_the_command_while_the_hypervisor_is_stopped() {
    need!(e2e::skip::program("python3"));
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let daemon = person.up("default");
    let mut guest = trapping(&person);
    daemon.signal(Signal::STOP);
    guest.signal(Signal::HUP);
    guest.says("got HUP");
    let output = guest.stop(Signal::TERM);
    assert_eq!(output.status.code(), Some(5), "{}", output.account());
    daemon.signal(Signal::CONT);

    // One that takes connections and then never says a word: `run` is coming back and has to wait for it.
    let mut guest = trapping(&person);
    let _ended = daemon.stop(Signal::KILL);
    let silent = "import os,socket,sys,time\n\
                  if os.path.exists(sys.argv[1]): os.unlink(sys.argv[1])\n\
                  s=socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()\n\
                  kept=s.accept()\n\
                  print('asked',flush=True)\n\
                  time.sleep(600)\n";
    let api = person.node("default", "api");
    let mut silent = person.job("python3").args(["-c", silent]).arg(api).spawn();
    silent.says("asked");
    guest.signal(Signal::HUP);
    guest.says_within(std::time::Duration::from_secs(10), "got HUP");
    guest.signal(Signal::TERM);
    let output = guest.end_within(std::time::Duration::from_secs(10));
    assert_eq!(output.status.code(), Some(5), "{}", output.account());
}
