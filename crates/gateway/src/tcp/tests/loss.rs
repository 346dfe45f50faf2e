//! Segments get lost, come twice, or out of order.

use super::{opened, opened_plain};

#[test]
fn what_is_out_of_order_is_kept_and_reported() {
    opened(
        "
        < PA 101+100 ack 1
        > A 1 ack 1 sack 101-201
        < PA 301+100 ack 1
        > A 1 ack 1 sack 301-401 sack 101-201
        < PA 201+100 ack 1
        > A 1 ack 1 sack 101-401
        host got 0
        < PA 1+100 ack 1
        > A 1 ack 401 nosack
        host got 400
        ",
    );
}

#[test]
fn pieces_overlap_in_every_way() {
    opened(
        "
        < PA 101+100 ack 1
        > A 1 sack 101-201
        < PA 51+100 ack 1               # over its beginning
        > A 1 sack 51-201
        < PA 151+150 ack 1              # over its end
        > A 1 sack 51-301
        < PA 401+50 ack 1
        > A 1 sack 401-451
        < PA 351+200 ack 1              # around it
        > A 1 sack 351-551
        < PA 120+50 ack 1               # inside
        > A 1 ack 1
        count tcp-duplicate 1
        < PA 1+600 ack 1                # around all
        > A 1 ack 601 nosack
        host got 600
        ",
    );
}

#[test]
fn a_plain_guest_gets_one_acknowledgement_for_each() {
    opened_plain(
        "
        << PA 101+100 ack 1 win 60000
        << PA 201+100 ack 1 win 60000
        << PA 301+100 ack 1 win 60000
        +0ms
        > A 1 ack 1
        > A 1 ack 1
        > A 1 ack 1
        < PA 1+100 ack 1 win 60000
        > A 1 ack 401
        ",
    );
}

#[test]
fn the_first_time_is_a_second_and_doubles() {
    super::script::run(
        "
        host accepts
        > S 0
        +1s
        > S 0                           # so that no round trip was timed
        < SA 0 ack 1 mss 1000 ws 7 sackok
        > A 1 ack 1
        host sends 100
        > PA 1+100
        +1s
        > PA 1+100
        +1999ms
        +1ms
        > PA 1+100
        +4s
        > PA 1+100
        < A 1 ack 101
        +100s
        count tcp-timeouts 3
        host holds 0
        ",
    );
}

#[test]
fn a_time_out_sends_all_again_slowly() {
    opened_plain(
        "
        host sends 5000
        > PA 1+5000 gso 1000
        +10ms
        > PA 4001+1000                  # a probe for the tail
        +201ms
        > PA 1+1000
        < A 1 ack 1001 win 60000
        > PA 1001+2000
        < A 1 ack 3001 win 60000
        > PA 3001+2000
        < A 1 ack 5001 win 60000
        host holds 0
        count tcp-timeouts 1
        ",
    );
}

#[test]
fn three_duplicates_repair_at_once() {
    opened_plain(
        "
        host sends 10000
        > PA 1+10000 gso 1000
        < A 1 ack 1 win 60000
        < A 1 ack 1 win 60000
        < A 1 ack 1 win 60000
        > PA 1+1000
        < A 1 ack 4001 win 60000        # the next is missing, too
        > PA 4001+1000
        < A 1 ack 10001 win 60000
        host holds 0
        count tcp-timeouts 0
        count tcp-retransmitted 2
        ",
    );
}

#[test]
fn reports_repair_all_holes_at_once() {
    opened(
        "
        host sends 10000
        > PA 1+10000 gso 1000
        < A 1 ack 1001 sack 2001-4001
        < A 1 ack 1001 sack 5001-7001 sack 2001-4001
        > PA 1001+1000
        < A 1 ack 4001 sack 5001-10001
        > PA 4001+1000
        < A 1 ack 10001
        count tcp-timeouts 0
        count tcp-retransmitted 2
        host holds 0
        ",
    );
}

#[test]
fn what_is_lost_again_is_sent_again() {
    opened(
        "
        host sends 8000
        > PA 1+8000 gso 1000
        < A 1 ack 1 sack 1001-8001
        > PA 1+1000
        host sends 4000
        > A 8001+4000 gso 1000
        < A 1 ack 1 sack 1001-12001     # all but the repair arrived
        > PA 1+1000
        < A 1 ack 12001
        count tcp-timeouts 0
        ",
    );
}

#[test]
fn the_tail_is_probed() {
    opened(
        "
        host sends 100
        > PA 1+100
        < A 1 ack 101                   # a round trip is known
        host sends 5000
        > PA 101+5000 gso 1000
        +10ms
        > PA 4101+1000
        < A 1 ack 101 sack 4101-5101
        +1ms
        > PA 101+3000 gso 1000
        drop
        < A 1 ack 5101
        count tcp-timeouts 0
        ",
    );
}

#[test]
fn reports_of_nonsense_are_ignored() {
    opened(
        "
        host sends 5000
        > PA 1+5000
        < A 1 ack 1 sack 5001-9001
        < A 1 ack 1 sack 3001-2001
        < A 1 ack 1001 sack 1-500
        < A 1 ack 1001 sack 6001-6002
        < A 1 ack 5001
        count tcp-retransmitted 0
        ",
    );
}
