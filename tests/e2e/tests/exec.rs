//! `netherd exec`: one more program in a guest.
#![forbid(unsafe_code)]

use std::os::unix::process::ExitStatusExt;

use e2e::{Lab, User, need, until};
use rustix::process::Signal;

const NET: &str = "default";

#[test]
fn a_program_has_what_the_guests_first_one_has() {
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let facts = "id -u; id -g; grep -E 'CapEff|CapAmb|Seccomp:' /proc/self/status; hostname; \
                 readlink /proc/self/ns/user /proc/self/ns/net /proc/self/ns/mnt /proc/self/ns/pid \
                 /proc/self/ns/ipc /proc/self/ns/uts; ls \"$XDG_RUNTIME_DIR/netherd\" | wc -l; ls /proc/self/fd";
    for options in [&[][..], &["--caps", "none"], &["--root"]] {
        let script = format!("({facts}) ; echo ready; sleep 600");
        let run = person.netherd(["run", "--name", "g"]).args(options);
        let run = run.args(["--", "sh", "-c", &script]);
        let mut guest = person.guest(NET, "g", run);
        let first = guest.says("ready");
        let first = first.split("ready").next().unwrap_or_default();
        let second = person.netherd(["exec", "g", "--", "sh", "-c", facts]).run().ok();
        assert_eq!(second, first, "{options:?}");
        let _ended = guest.stop(Signal::TERM);
        until("the end of g", || person.show(NET).find("g").is_none().then_some(()));
    }
}

#[test]
fn its_status_is_ours_and_refusals_are_sentences() {
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let run = person.netherd(["run", "--name", "g", "--", "sleep", "600"]);
    let _guest = person.guest(NET, "g", run);
    let exec = |words: &[&str]| person.netherd(["exec"]).args(words).run();
    assert_eq!(exec(&["g", "--", "sh", "-c", "exit 9"]).status.code(), Some(9));
    assert_eq!(exec(&["g", "--", "sh", "-c", "kill -TERM $$"]).status.signal(), Some(15));
    for (line, status, words) in [
        (&["g", "--", "no-such-command"][..], 127, "was not found"),
        (&["g", "--", "/etc/passwd"], 126, "permission denied"),
        (&["other", "--", "true"], 125, "other"),
    ] {
        let output = exec(line);
        assert_eq!(output.status.code(), Some(status), "{}", output.account());
        assert!(output.refused().contains(words));
    }
}

#[test]
fn it_ends_with_the_guest() {
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let run = person.netherd(["run", "--name", "g", "--", "sleep", "600"]);
    let guest = person.guest(NET, "g", run);
    let mut second =
        person.netherd(["exec", "g", "--", "sh", "-c", "echo in; exec sleep 600"]).spawn();
    second.says("in");
    let _ended = guest.stop(Signal::TERM);
    assert_eq!(second.end().status.signal(), Some(9));
}

#[test]
fn the_guest_cannot_look_at_what_enters() {
    need!(e2e::skip::program("python3"));
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    // Watches, as user id 0 of the guest, every process that appears, and tries to read its descriptors.
    let watcher = "import os,sys\n\
                   seen=set()\n\
                   print('watching',flush=True)\n\
                   while True:\n\
                   \x20for p in os.listdir('/proc'):\n\
                   \x20\x20if not p.isdigit() or int(p)<3: continue\n\
                   \x20\x20try:\n\
                   \x20\x20\x20line=open(f'/proc/{p}/cmdline','rb').read()\n\
                   \x20\x20\x20if b'exec' not in line or b'netherd' not in line: continue\n\
                   \x20\x20\x20fds=os.listdir(f'/proc/{p}/fd')\n\
                   \x20\x20\x20# By now it may have become the command, whose own files are no secret.\n\
                   \x20\x20\x20if open(f'/proc/{p}/cmdline','rb').read()!=line: continue\n\
                   \x20\x20\x20if set(fds)-{'0','1','2'}: print('LOOKED',p,fds,flush=True)\n\
                   \x20\x20except OSError: pass\n";
    let run = person.netherd(["run", "--root", "--name", "g", "--", "python3", "-c", watcher]);
    let mut guest = person.guest(NET, "g", run);
    guest.says("watching");
    for _ in 0..10 {
        person.netherd(["exec", "g", "--", "sh", "-c", "sleep 0.02"]).run().ok();
    }
    assert_eq!(guest.stdout(), "watching\n");
}

/// What asks init of its guest for a signal of its group still has somebody who answers.
#[test]
fn what_a_program_leaves_running_is_answered() {
    need!(e2e::skip::program("python3"));
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let run = person.netherd(["run", "--name", "g", "--", "sleep", "600"]);
    let _guest = person.guest(NET, "g", run);
    let program = "import os,signal,time,sys\n\
                   if os.fork(): os._exit(0)\n\
                   null=os.open('/dev/null',os.O_RDWR)\n\
                   for n in range(3): os.dup2(null,n)\n\
                   while not os.path.exists('go'): time.sleep(0.01)\n\
                   got=[]\n\
                   signal.signal(signal.SIGURG,lambda *_: got.append(1))\n\
                   try: os.kill(0,signal.SIGURG); said='done %d' % len(got)\n\
                   except OSError as e: said=str(e)\n\
                   open('said.new','w').write(said); os.rename('said.new','said')\n";
    let exec = person.netherd(["exec", "g", "--", "python3", "-c", program]);
    let output = exec.cwd(person.home()).run();
    assert!(!output.held, "{}", output.account());
    output.ok();
    std::fs::write(person.home().join("go"), "").expect("a file in the person's home");
    let said = until("the answer", || std::fs::read_to_string(person.home().join("said")).ok());
    assert_eq!(said, "done 1");
    // The guest is as it was.
    person.netherd(["exec", "g", "--", "true"]).run().ok();
}
