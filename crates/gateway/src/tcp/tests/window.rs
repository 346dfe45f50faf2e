//! Windows of both sides, probes, what lies outside, urgent data, signs of life.

use super::script::run;
use super::{opened, opened_plain};

#[test]
fn the_window_follows_the_stream() {
    opened_plain(
        "
        host room 5000
        < PA 1+1000 ack 1 win 60000
        > A 1 ack 1001 win 64535        # it does not move for a single segment
        < PA 1001+2000 ack 1 win 60000
        > A 1 ack 3001 win 65535        # at least that, so that the kernel sees the demand
        < PA 3001+3000 ack 1 win 60000
        > A 1 ack 6001 win 62535        # held: no more than was promised
        host got 5000
        < PA 6001+1000 ack 1 win 60000
        > A 1 ack 7001 win 61535
        host got 5000
        host room free                  # nothing new: the window was never closed
        host got 7000
        < A 7001 ack 1 win 60000
        < PA 7001+1 ack 1 win 60000
        > A 1 ack 7002 win 65535
        ",
    );
}

#[test]
fn large_segments_never_meet_a_window_smaller_than_they_are() {
    run("
        mtu 57660
        < S 0 mss 57600 ws 7 sackok
        host connects
        > SA 0 ack 1 win 65535
        < A 1 ack 1
        host room 10240                 # next to nothing, but it took everything so far
        < PA 1+5120 ack 1
        > A 1 ack 5121 win 1000         # four of the largest that we take, in units of 128 bytes
        < PA 5121+20480 ack 1
        > A 1 ack 25601 win 840         # the stream is full, and this is held
        host got 10240
        < PA 25601+32000 ack 1
        > A 1 ack 57601 win 590
        < PA 57601+32000 ack 1
        > A 1 ack 89601 win 340
        < PA 89601+32000 ack 1
        > A 1 ack 121601 win 90
        host room free                  # told at once, although it was not closed
        > A 1 ack 121601 win 2048
        host got 121600
        host room 10240                 # what the stream takes at once is not what counts
        < PA 121601+32000 ack 1
        > A 1 ack 153601 win 1798
        ");
}

#[test]
fn over_a_link_with_delay_all_that_the_stream_takes_is_announced() {
    for (delay, window) in [("1ms", 2048), ("20ms", 8192)] {
        run(&format!(
            "
            < S 0 mss 1000 ws 7 sackok
            host connects
            > SA 0 ack 1 win 65535
            +{delay}
            < A 1 ack 1
            < PA 1+1000 ack 1
            > A 1 ack 1001 win {window}
            "
        ));
    }
}

/// A small question and a small answer cost no look into the stream.
#[test]
fn the_room_is_looked_for_when_it_can_matter() {
    opened(
        "
        < PA 1+10 ack 1
        > A 1 ack 11 win 2048
        host asked 1
        host sends 10
        > PA 1+10 ack 11 win 2048
        < PA 11+10 ack 11
        > A 11 ack 21 win 2048
        host sends 10
        > PA 11+10 ack 21 win 2048
        < A 21 ack 21
        host asked 1
        < PA 21+1980 ack 21
        > A 21 ack 2001
        host asked 1
        < PA 2001+200 ack 21            # two segments since
        > A 21 ack 2201 win 2048
        host asked 2
        ",
    );
}

#[test]
fn a_closed_window_takes_nothing_and_opens_again() {
    opened_plain(
        "
        host room 0
        < PA 1+40000 ack 1 win 60000
        > A 1 ack 40001 win 25535
        < PA 40001+25535 ack 1 win 60000
        > A 1 ack 65536 win 0
        < PA 65536+1 ack 1 win 60000    # a probe
        > A 1 ack 65536 win 0
        count tcp-no-room 1
        < A 65535 ack 1 win 60000       # another kind of probe, which is no sign of life asked for
        > A 1 ack 65536 win 0
        host not-watched
        host room free
        > A 1 ack 65536 win 65535
        host got 65535
        ",
    );
}

#[test]
fn the_guests_window_is_respected() {
    opened_plain(
        "
        < A 1 ack 1 win 2500
        host sends 4000
        > A 1+2500 gso 1000
        < A 1 ack 1001 win 2500
        > A 2501+1000
        < A 1 ack 3501 win 60000
        > PA 3501+500
        host holds 500
        ",
    );
}

#[test]
fn a_closed_window_of_the_guest_is_probed() {
    opened(
        "
        < A 1 ack 1 win 0
        host sends 100
        +200ms
        +1ms
        > A 0 ack 1                     # a number that was acknowledged before
        < A 1 ack 1 win 0
        +400ms
        +1ms
        > A 0 ack 1
        < A 1 ack 1 win 0
        +800ms
        +1ms
        > A 0 ack 1
        < A 1 ack 1 win 1
        > PA 1+100
        < A 1 ack 101
        ",
    );
}

#[test]
fn a_guest_that_answers_no_probe_is_given_up() {
    let probes = "> A 0\n".repeat(15);
    opened(&format!(
        "
        < A 1 ack 1 win 0
        host sends 100
        +2000s
        {probes}
        > RA 1
        host aborted
        count tcp-unanswered 1
        empty
        "
    ));
}

#[test]
fn a_window_may_shrink() {
    opened_plain(
        "
        host sends 3000
        > PA 1+3000 gso 1000
        < A 1 ack 1001 win 500          # less than is under way
        host sends 100
        < A 1 ack 3001 win 60000
        > PA 3001+100
        ",
    );
}

#[test]
fn an_old_window_is_not_taken() {
    opened_plain(
        "
        < PA 1+100 ack 1 win 5000
        > A 1 ack 101
        < A 1 ack 1 win 9               # from before the data
        > A 1 ack 101
        host sends 3000
        > PA 1+3000 gso 1000
        ",
    );
}

#[test]
fn segments_outside_the_window_are_acknowledged() {
    opened(
        "
        < PA 1+100 ack 1
        > A 1 ack 101
        < PA 1+100 ack 1                # again
        > A 1 ack 101
        count tcp-duplicate 1
        < PA 51+100 ack 1               # half of it is new
        > A 1 ack 151
        host got 150
        < PA 9000000+10 ack 1
        > A 1 ack 151
        count tcp-out-of-window 1
        < A 9000000 ack 1               # empty ones only twice a second
        > A 1 ack 151
        < A 9000000 ack 1
        count tcp-out-of-window 3
        ",
    );
}

#[test]
fn a_segment_that_ends_behind_the_window_is_cut() {
    opened_plain(
        "
        host room 0
        < PA 1+30000 ack 1 win 60000
        > A 1 ack 30001 win 35535
        < PA 30001+40000 ack 1 win 60000
        > A 1 ack 65536 win 0
        host room free
        > A 1 ack 65536
        host got 65535
        ",
    );
}

#[test]
fn acknowledgements_of_what_was_not_sent_are_challenged() {
    opened(
        "
        < PA 1+10 ack 2                 # nothing was sent (RFC 5961, 5)
        > A 1 ack 1
        host got 0
        count tcp-challenge 1
        +500ms
        < PA 1+10 ack -9000000
        > A 1 ack 1
        host got 0
        count tcp-challenge 2
        host sends 100
        > PA 1+100
        < A 1 ack 101
        < PA 1+10 ack 50                # old, and harmless
        > A 101 ack 11
        host got 10
        < . 11+10                       # no acknowledgement at all
        host got 10
        ",
    );
}

#[test]
fn urgent_data_is_inline() {
    opened(
        "
        < UPA 1+100 ack 1 urg 50
        > A 1 ack 101
        host got 100
        host queues 100
        host urgent
        host sends 50                   # reads stop short at the mark, and go on
        > PA 1+100
        > PA 101+50
        < A 101 ack 151                 # across the mark
        host holds 0
        ",
    );
}

/// Such a kernel shows what is behind the mark, or the end, when nothing is before it any more, and
/// tells nobody then.
#[test]
fn urgent_data_is_inline_on_a_kernel_that_cannot_peek_at_an_offset() {
    opened(
        "
        host has-no-offsets
        host queues 100
        host urgent
        host sends 50
        > PA 1+100
        +100ms
        < A 1 ack 51
        < A 1 ack 101
        > PA 101+50
        host ends
        < A 1 ack 151
        > FA 151 ack 1
        ",
    );
}

#[test]
fn a_guest_that_asks_for_signs_of_life_gets_the_peers() {
    opened(
        "
        +60s
        < A 0 ack 1
        > A 1 ack 1
        host watched 60
        +60s
        < A 0+1 ack 1
        > A 1 ack 1
        host got 0
        ",
    );
    // Whoever asks very often: the outside is not a link inside one machine.
    let asks = "+1s \n < A 0 ack 1 \n > A 1 ack 1 \n";
    opened(&format!("{asks} {asks} host not-watched \n {asks} host watched 10"));
}

/// A key that is pressed, whose acknowledgement is lost, is sent again: nobody asked for anything.
#[test]
fn a_byte_sent_again_asks_for_no_signs_of_life() {
    opened(
        "
        +60s
        < PA 1+1 ack 1
        drop                            # the acknowledgement is lost, and so are the next
        +200ms
        < PA 1+1 ack 1
        drop
        +400ms
        < PA 1+1 ack 1
        drop
        +3400ms
        < PA 1+1 ack 1
        > A 1 ack 2
        host got 1
        host not-watched
        +60s
        < A 1 ack 1                     # and now somebody does
        > A 1 ack 2
        host watched 60
        ",
    );
    // The window has opened, and the guest was not told.
    opened_plain(
        "
        host room 0
        < PA 1+40000 ack 1 win 60000
        > A 1 ack 40001
        < PA 40001+25535 ack 1 win 60000
        > A 1 ack 65536 win 0
        host room 1000000
        drop
        +500ms
        < A 65535 ack 1 win 60000
        > A 1 ack 65536
        host not-watched
        ",
    );
}

#[test]
fn a_silent_guest_is_asked_for_signs_of_life() {
    let questions = "> A 0 ack 1\n+75s\n".repeat(9);
    opened(&format!(
        "
        +7199s
        +1s
        > A 0 ack 1
        < A 1 ack 1
        +7200s
        {questions}
        > RA 1
        host aborted
        empty
        "
    ));
}

/// As often as any other: how old a connection is, and that it was asked for signs of life before, says
/// nothing about a guest that does not acknowledge.
#[test]
fn an_old_connection_is_sent_again_as_long_as_a_young_one() {
    let again = "> PA 1+100 ack 1\n".repeat(13);
    opened(&format!(
        "
        +7200s
        > A 0 ack 1
        +75s
        > A 0 ack 1
        < A 1 ack 1
        +100s
        host sends 100
        > PA 1+100 ack 1
        +600s
        {again}
        flows 1
        < A 1 ack 101
        +7199s
        +1s
        > A 100 ack 1                   # two hours after the last sign of life
        count tcp-unanswered 0
        "
    ));
}

/// A guest whose window is closed is asked about that, and not for signs of life as well.
#[test]
fn an_old_connection_with_a_closed_window_is_probed_as_long_as_a_young_one() {
    let probes = "> A 0\n".repeat(15);
    opened(&format!(
        "
        +7200s
        > A 0 ack 1
        < A 1 ack 1 win 0
        +100s
        host sends 100
        +900s
        {probes}
        flows 1
        +2000s
        > RA 1
        host aborted
        count tcp-unanswered 1
        empty
        "
    ));
}

#[test]
fn nothing_is_read_without_room_in_the_guests_queue() {
    opened(
        "
        room 0
        host sends 3000
        room 1500
        > A 1+1000
        room free
        > PA 1001+2000
        host holds 3000
        ",
    );
}

#[test]
fn a_batch_is_acknowledged_once() {
    opened(
        "
        << PA 1+100 ack 1
        << PA 101+100 ack 1
        << PA 201+100 ack 1
        +0ms
        > A 1 ack 301
        host got 300
        ",
    );
}

#[test]
fn data_carries_the_acknowledgement() {
    opened(
        "
        << PA 1+100 ack 1
        host sends 10
        > PA 1+10 ack 101
        ",
    );
}
