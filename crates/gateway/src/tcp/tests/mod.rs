mod closing;
mod host;
mod leaving;
mod loss;
mod opening;
mod oracle;
mod resetting;
mod script;
mod sharing;
mod window;
mod world;

/// How a guest with all the options opens a connection.
const OPEN: &str = "
    < S 0 mss 1000 ws 7 sackok
    host connects
    > SA 0 ack 1 win 65535
    < A 1 ack 1
";

/// How one opens it that has none of them.
const OPEN_PLAIN: &str = "
    < S 0 win 60000 mss 1000
    host connects
    > SA 0 ack 1 win 65535
    < A 1 ack 1 win 60000
";

fn opened(rest: &str) {
    script::run(&format!("{OPEN}{rest}"));
}

fn opened_plain(rest: &str) {
    script::run(&format!("{OPEN_PLAIN}{rest}"));
}
