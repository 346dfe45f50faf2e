//! Connections end: in order, half, at once, or not in order at all.

use super::{opened, opened_plain};

#[test]
fn the_guest_ends_first() {
    opened(
        "
        < FA 1 ack 1
        > A 1 ack 2
        host ended
        host sends 10                   # the other direction lives on
        > PA 1+10 ack 2
        < A 2 ack 11
        host ends
        > FA 11 ack 2
        < A 2 ack 12
        host closed
        count tcp-closed 1
        empty
        ",
    );
}

#[test]
fn the_outside_ends_first() {
    opened(
        "
        host ends
        > FA 1 ack 1
        < A 1 ack 2
        < PA 1+10 ack 2                 # the other direction lives on
        > A 2 ack 11
        host got 10
        host open
        < FA 11 ack 2
        > A 2 ack 12
        host ended
        host closed
        flows 0
        < FA 11 ack 2                   # our last acknowledgement was lost
        > A 2 ack 12
        +1900ms
        < FA 11 ack 2
        > A 2 ack 12
        +2s
        empty
        < FA 11 ack 2
        > R 2
        count tcp-closed 1
        ",
    );
}

#[test]
fn both_end_at_once() {
    opened(
        "
        host ends
        > FA 1 ack 1
        < FA 1 ack 1                    # crossed
        > A 2 ack 2
        host ended
        < A 2 ack 2
        host closed
        flows 0
        +2s
        empty
        ",
    );
}

#[test]
fn the_end_comes_with_the_data() {
    opened(
        "
        < FPA 1+100 ack 1
        > A 1 ack 102
        host got 100
        host ended
        host queues 50
        host ends
        > PA 1+50 ack 102
        > FA 51 ack 102
        < A 102 ack 52
        empty
        ",
    );
}

#[test]
fn the_end_waits_for_what_is_before_it() {
    opened(
        "
        < FPA 101+50 ack 1
        > A 1 ack 1 sack 101-151
        < FA 151 ack 1                  # again, alone
        > A 1 ack 1
        host got 0
        host open
        < PA 1+100 ack 1
        > A 1 ack 152 nosack
        host got 150
        host ended
        ",
    );
}

#[test]
fn the_end_is_acknowledged_when_the_outside_has_it() {
    opened(
        "
        host withholds
        < FPA 1+10 ack 1
        > A 1 ack 11
        host ended
        +100ms
        < FA 11 ack 1                   # the guest waits
        > A 1 ack 11
        host acknowledges
        +1s
        > A 1 ack 12
        ",
    );
}

/// A guest's stack that is shown an open window and no acknowledgement takes its peer for dead after a
/// quarter of an hour. One that is shown a closed one waits for as long as it is answered (RFC 9293,
/// 3.8.6.1).
#[test]
fn a_guest_whose_end_waits_is_shown_a_closed_window() {
    opened_plain(
        "
        host withholds
        < FPA 1+10 ack 1 win 60000
        > A 1 ack 11 win 0
        host ended
        host sends 100                  # the other direction lives on
        > PA 1+100 ack 11 win 0
        < A 11 ack 101 win 60000
        +1000s
        < FA 11 ack 101 win 60000
        > A 101 ack 11 win 0
        < PA 5+6 ack 101 win 60000      # what was promised is still acceptable
        > A 101 ack 11 win 0
        host acknowledges
        +1s
        > A 101 ack 12
        host ends
        > FA 101 ack 12
        < A 12 ack 102 win 60000
        empty
        ",
    );
}

/// The outside's answer says that it has the guest's end, and the guest is told so with it.
#[test]
fn the_outsides_answer_acknowledges_the_guests_end() {
    opened(
        "
        host withholds
        < FA 1 ack 1
        > A 1 ack 1
        host acknowledges
        host ends
        > FA 1 ack 2
        < A 2 ack 2
        host closed
        empty                           # it is the guest that lingers
        ",
    );
    opened(
        "
        host withholds
        < FA 1 ack 1
        > A 1 ack 1
        host acknowledges
        host sends 10
        > PA 1+10 ack 2
        ",
    );
}

/// Where the ends crossed, each side's last acknowledgement may be lost (CLOSING leads to TIME-WAIT).
#[test]
fn the_last_acknowledgement_of_ends_that_crossed_is_repeated() {
    opened(
        "
        host withholds
        < FA 1 ack 1
        > A 1 ack 1
        host ends
        > FA 1 ack 1
        < A 2 ack 2
        host acknowledges
        +1s
        > A 2 ack 2
        host closed
        flows 0
        < FA 1 ack 2                    # it was lost
        > A 2 ack 2
        +2s
        empty
        ",
    );
}

#[test]
fn nothing_counts_behind_the_end() {
    opened(
        "
        < FPA 1+10 ack 1
        > A 1 ack 12
        < PA 12+10 ack 1
        > A 1 ack 12
        host got 10
        < PA 5+20 ack 1
        > A 1 ack 12
        host got 10
        ",
    );
}

#[test]
fn our_end_is_repeated() {
    opened(
        "
        host ends
        > FA 1 ack 1
        +201ms
        > FA 1 ack 1
        +401ms
        > FA 1 ack 1
        < A 1 ack 2
        +60s
        count tcp-retransmitted 2
        ",
    );
}

#[test]
fn a_lost_end_and_the_data_before_it_come_again() {
    opened(
        "
        host queues 1500
        host ends
        > PA 1+1500 gso 1000
        > FA 1501 ack 1
        < A 1 ack 1001
        +201ms
        > PA 1001+500
        > FA 1501 ack 1
        < A 1 ack 1502
        host holds 0
        ",
    );
}

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
fn a_new_connection_may_follow_at_once() {
    opened(
        "
        host ends
        > FA 1
        < FA 1 ack 2
        > A 2 ack 2
        < S 1 mss 1000                  # not newer: an old duplicate
        > A 2 ack 2
        flows 0
        +500ms
        < SA 70000 ack 2 mss 1000       # no new connection begins like this
        > A 2 ack 2
        < SR 70000 mss 1000
        < FA 1 ack 2                    # and it is still known
        > A 2 ack 2
        < S 70000 mss 1000
        flows 1
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

#[test]
fn a_plain_guest_closes() {
    opened_plain(
        "
        < FA 1 ack 1 win 60000
        > A 1 ack 2
        host ends
        > FA 1 ack 2
        < A 2 ack 2 win 60000
        empty
        ",
    );
}

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
