//! Connections end at once: a guest or the outside resets them, and what could be forged is challenged.

use super::{opened, opened_plain};

#[test]
fn a_guest_resets() {
    opened("< R 1 \n host aborted \n count tcp-guest-reset 1 \n empty");
    // With data on both sides under way, and some before it in the same batch.
    opened(
        "
        host sends 10
        > PA 1+10
        << PA 1+5 ack 1
        << R 6
        host got 5
        host aborted
        empty
        ",
    );
    // After either end.
    opened("host ends \n > FA 1 \n < A 1 ack 2 \n < R 1 \n host aborted \n empty");
    opened("< FA 1 ack 1 \n > A 1 ack 2 \n < R 2 \n host aborted \n empty");
    // While the end waits to be acknowledged, the guest's next number is the one before it.
    opened("host withholds \n < FA 1 ack 1 \n > A 1 ack 1 \n < R 2 \n host aborted \n empty");
    opened("host withholds \n < FA 1 ack 1 \n > A 1 ack 1 \n < R 1 \n host aborted \n empty");
}

/// Both have ended, and one of the ends is not acknowledged yet (CLOSING and LAST-ACK of RFC 9293).
#[test]
fn a_guest_resets_when_both_have_ended() {
    // The outside's first: ours is under way when the guest's comes, and is withheld.
    for number in [1, 2] {
        opened(&format!(
            "
            host withholds
            host ends
            > FA 1 ack 1
            < FA 1 ack 1
            > A 2 ack 1
            < R {number}
            host aborted
            count tcp-guest-reset 1
            empty
            "
        ));
    }
    // The guest's first, and the outside's is not acknowledged by the guest.
    for acknowledged in [1, 2] {
        opened(&format!(
            "
            host withholds
            < FA 1 ack 1
            > A 1 ack 1
            host ends
            > FA 1 ack 1
            < A 2 ack {acknowledged}
            < R 2
            host aborted
            count tcp-guest-reset 1
            empty
            "
        ));
    }
    // What could be forged is challenged there as well.
    opened(
        "
        host withholds
        host ends
        > FA 1 ack 1
        < FA 1 ack 1
        > A 2 ack 1
        < R 3
        > A 2 ack 1
        count tcp-challenge 1
        count tcp-guest-reset 0
        flows 1
        ",
    );
}

/// The outside's reset in the same states.
#[test]
fn the_outside_resets_when_both_have_ended() {
    opened(
        "
        host withholds
        host ends
        > FA 1 ack 1
        < FA 1 ack 1
        > A 2 ack 1
        host resets
        > RA 2 ack 1
        host aborted
        count tcp-reset 1
        empty
        ",
    );
    opened(
        "
        host withholds
        < FA 1 ack 1
        > A 1 ack 1
        host ends
        > FA 1 ack 1
        < A 2 ack 2
        host resets
        > RA 2 ack 1
        host aborted
        count tcp-reset 1
        empty
        ",
    );
}

#[test]
fn a_reset_that_could_be_forged_is_challenged() {
    opened(
        "
        < R 2
        > A 1 ack 1
        < R 1000
        +499ms
        < R 1000
        +1ms
        < R 1000
        > A 1 ack 1
        count tcp-challenge 4
        < R 9000000                     # outside the window: nothing at all
        count tcp-out-of-window 1
        flows 1
        ",
    );
}

#[test]
fn a_reset_while_lingering_is_taken() {
    opened(
        "
        host ends
        > FA 1
        < A 1 ack 2
        < FA 1 ack 2
        > A 2 ack 2
        < R 2
        empty
        ",
    );
}

#[test]
fn the_outside_resets() {
    opened(
        "
        host resets
        > RA 1 ack 1
        host aborted
        count tcp-reset 1
        empty
        ",
    );
    // What it sent before comes first.
    opened(
        "
        host queues 100
        host resets
        > PA 1+100
        > RA 101
        empty
        ",
    );
    // After its own end, when nothing is read any more.
    opened(
        "
        host ends
        > FA 1
        < A 1 ack 2
        host resets
        > RA 2
        host aborted
        count tcp-reset 1
        empty
        ",
    );
    // Found by writing.
    opened(
        "
        < FA 1 ack 1
        > A 1 ack 2
        host resets
        > RA 1 ack 2
        empty
        ",
    );
}

/// A reset waits for no window.
#[test]
fn the_outside_resets_while_the_guest_takes_nothing() {
    opened(
        "
        < A 1 ack 1 win 0
        host queues 100
        host resets
        > RA 1 ack 1
        host aborted
        count tcp-reset 1
        empty
        ",
    );
    // The window was open when it came, and what fits it is under way.
    opened_plain(
        "
        < A 1 ack 1 win 1000
        host queues 3000
        host resets
        > A 1+1000
        < A 1 ack 1001 win 0
        +201ms
        > RA 1001 ack 1
        host aborted
        count tcp-reset 1
        empty
        ",
    );
    // An end is not an error.
    opened(
        "
        < A 1 ack 1 win 0
        host queues 100
        host ends
        +201ms
        > A 0 ack 1
        < A 1 ack 1 win 1
        > PA 1+100
        > FA 101 ack 1
        < A 1 ack 102
        ",
    );
}

#[test]
fn the_outside_resets_before_the_guest_knows() {
    super::script::run(
        "
        < S 0 mss 1000
        host answers refused
        > RA * ack 1
        empty
        ",
    );
}
