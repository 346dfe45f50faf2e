//! Guests leave, and the way out is closed: what was acknowledged is delivered, the rest is cut.

use super::{opened, opened_plain};

/// What was acknowledged to a guest that ended its direction is delivered, though the guest is gone.
#[test]
fn a_guest_that_ended_and_is_gone_has_sent_all() {
    for gone in ["gone", "addresses-gone"] {
        opened(&format!(
            "
            host withholds
            < FPA 1+100 ack 1
            > A 1 ack 101
            {gone}
            host got 100
            host ended
            host closed
            count tcp-left-behind 0
            empty
            < FA 101 ack 1
            > R 1
            "
        ));
        // The last of it and the end came in the batch before. What the guest acknowledged there is
        // not left in the stream, which the kernel would reset for it.
        opened(&format!(
            "
            host sends 10
            > PA 1+10 ack 1
            << PA 1+100 ack 1
            << FPA 101+50 ack 11
            {gone}
            host got 150
            host ended
            host holds 0
            host closed
            empty
            "
        ));
    }
}

#[test]
fn what_a_guest_left_behind_waits_for_the_outside() {
    let left = "
        host room 40
        < FPA 1+100 ack 1
        > A 1 ack 101 win 0
        gone
        host got 40
        host open
        flows 1
        ";
    opened_plain(&format!(
        "
        {left}
        < A 101 ack 1                   # nobody's
        > R 1
        +59s
        host room 10
        host got 50
        host room 1000
        host got 100
        host ended
        host closed
        count tcp-left-behind 0
        empty
        "
    ));
    opened_plain(&format!("{left} \n +60s \n host aborted \n count tcp-left-behind 1 \n empty"));
    opened_plain(&format!("{left} \n host resets \n host aborted \n count tcp-reset 1 \n empty"));
    // The same ends again, by another guest.
    opened_plain(&format!(
        "
        {left}
        gone
        addresses-gone
        < S 100000 mss 1000
        flows 2
        +60s
        flows 1
        "
    ));
}

/// A stream that is cut must not look as if it were whole.
#[test]
fn a_guest_that_is_gone_before_its_end_is_reset() {
    opened("< PA 1+100 ack 1 \n > A 1 ack 101 \n gone \n host aborted \n empty");
    // The end is here, and something before it is not.
    opened("< FPA 101+50 ack 1 \n > A 1 ack 1 \n gone \n host aborted \n empty");
    opened("host ends \n > FA 1 \n < A 1 ack 2 \n gone \n host aborted \n empty");
}

/// With the way out go its connections: whole, if they were ended, and otherwise as what is cut.
#[test]
fn without_a_way_out_nothing_is_left() {
    opened("host room 40 \n < PA 1+100 ack 1 \n > A 1 ack 101 \n close \n host aborted \n empty");
    opened("< FPA 1+100 ack 1 \n > A 1 ack 102 \n close \n host got 100 \n host closed \n empty");
    let left = "host room 40 \n < FPA 1+100 ack 1 \n > A 1 ack 101 win 0 \n";
    for end in ["close", "gone \n close"] {
        opened_plain(&format!("{left} {end} \n host aborted \n count tcp-left-behind 1 \n empty"));
    }
    super::script::run("host accepts \n > S 0 \n close \n host aborted \n empty");
    super::script::run("< S 0 mss 1000 \n close \n host aborted \n empty");
}
