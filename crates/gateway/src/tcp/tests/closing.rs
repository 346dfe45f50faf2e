//! Connections end in order: one side first, both at once, or half.

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
