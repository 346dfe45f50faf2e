//! Connections begin, or do not.

use super::script::{run, run_with};
use super::{opened, opened_plain};
use crate::tcp::TcpLimits;

#[test]
fn a_guest_opens_a_connection() {
    run("
        < S 0 mss 1000 ws 7 sackok
        host target
        flows 1
        +900ms
        < S 0 mss 1000 ws 7 sackok      # again, while the host is connecting
        host connects
        > SA 0 ack 1 win 65535 ws 7 sackok
        < A 1 ack 1
        count tcp-opened 1
        count tcp-reopening 1
        < PA 1+100 ack 1
        > A 1 ack 101 win 2048
        host got 100
        host sends 200
        > PA 1+200 ack 101
        < A 101 ack 201
        host holds 0
    ");
}

#[test]
fn options_are_offered_to_those_who_offer_them() {
    run("
        < S 0 mss 1000
        host connects
        > SA 0 ack 1 win 65535 nosack
        < A 1 ack 1
        < PA 1+10 ack 1
        > A 1 ack 11 win 65525          # not scaled
    ");
}

#[test]
fn data_with_the_last_step_is_taken() {
    run("
        < S 0 mss 1000 ws 7 sackok
        host connects
        > SA 0 ack 1
        < PA 1+100 ack 1
        > A 1 ack 101
        host got 100
    ");
}

#[test]
fn what_the_host_sent_before_the_last_step_follows_it() {
    run("
        < S 0 mss 1000 ws 7 sackok
        host connects
        > SA 0 ack 1
        host sends 100
        < A 1 ack 1
        > PA 1+100 ack 1
    ");
}

#[test]
fn our_syn_is_repeated_until_it_is_given_up() {
    run("
        < S 0 mss 1000 ws 7 sackok
        host connects
        > SA 0 ack 1
        +1s
        > SA 0 ack 1
        < S 0 mss 1000 ws 7 sackok      # the guest repeats, too
        > SA 0 ack 1
        +2s
        > SA 0 ack 1
        +4s
        > SA 0 ack 1
        +8s
        > SA 0 ack 1
        +16s
        > SA 0 ack 1
        +32s
        > RA 1 ack 1
        host aborted
        count tcp-unanswered 1
        flows 0
        empty
    ");
}

#[test]
fn a_refusal_is_a_reset() {
    run("
        < S 0 mss 1000
        host refuses
        > RA * ack 1
        count tcp-refused 1
        empty
    ");
    run("
        host fails refused
        < S 0 mss 1000
        > RA * ack 1
        count tcp-refused 1
        empty
    ");
}

#[test]
fn silence_is_silence() {
    run("
        < S 0 mss 1000
        host answers timeout
        count tcp-unanswered 1
        empty
    ");
}

#[test]
fn without_descriptors_or_memory_the_guest_tries_again() {
    run("
        host fails emfile
        < S 0 mss 1000
        count out-of-descriptors 1
        empty
        host fails enobufs
        < S 0 mss 1000
        count socket-failed 1
        empty
        < S 0 mss 1000
        host connects
        > SA * ack 1
    ");
}

#[test]
fn a_guest_gives_up_while_the_host_connects() {
    run("
        < S 0 mss 1000
        < R 7                           # not its number
        flows 1
        < R 1
        host aborted
        count tcp-guest-reset 1
        count tcp-out-of-window 1
        empty
    ");
}

#[test]
fn another_syn_while_connecting_is_another_connection() {
    run("
        < S -1000 mss 1000
        < S 0 mss 1000
        flows 1
        host connects
        > SA * ack 1
    ");
}

#[test]
fn a_reset_ends_a_half_open_connection() {
    run("
        < S 0 mss 1000
        host connects
        > SA 0 ack 1
        < R 2                           # in the window, not its beginning (RFC 5961, 3.2)
        > A 1 ack 1
        count tcp-challenge 1
        < R 1
        host aborted
        empty
    ");
}

#[test]
fn a_wrong_last_step_is_answered_with_a_reset() {
    run("
        < S 0 mss 1000
        host connects
        > SA 0 ack 1
        < A 1 ack 77
        > R 77
        flows 1
        < A 1 ack 1
        count tcp-opened 1
    ");
}

#[test]
fn a_client_outside_opens_a_connection() {
    run("
        host accepts
        > S 0 win 65535 ws 7 sackok
        flows 1
        < SA 0 ack 1 mss 1000 ws 7 sackok
        > A 1 ack 1
        count tcp-accepted 1
        host sends 5
        > PA 1+5 ack 1
        < PA 1+7 ack 6
        > A 6 ack 8
        host got 7
    ");
}

#[test]
fn a_guest_refuses_a_client() {
    run("
        host accepts
        > S 0
        < RA 0 ack 1
        host aborted
        count tcp-guest-refused 1
        empty
    ");
    run("
        host accepts
        > S 0
        icmp no-port 0
        host aborted
        count tcp-guest-refused 1
        empty
    ");
    for what in ["v4 icmp no-protocol 0 \n v6 icmp no-port 0", "icmp prohibited 0"] {
        run(&format!("host accepts \n > S 0 \n {what} \n host aborted \n empty"));
    }
}

/// No error that may pass ends a connection, not even one that is not open yet (RFC 9293, 3.9.2.2;
/// RFC 6633), and no error at all one that is.
#[test]
fn a_trouble_that_may_pass_ends_no_connection() {
    run("
        host accepts
        > S 0
        icmp no-route 0
        icmp no-address 0
        icmp expired 0
        icmp parameter 0
        v4 icmp quench 0
        flows 1
        +1s
        > S 0
        < SA 0 ack 1 mss 1000
        > A 1 ack 1
        count tcp-guest-refused 0
        host sends 10
        > PA 1+10 ack 1
        icmp no-port 1
        icmp prohibited 1
        flows 1
    ");
}

#[test]
fn a_guest_does_not_answer_a_client() {
    run("
        host accepts
        > S 0
        +1s
        > S 0
        +2s
        > S 0
        +4s
        > S 0
        +8s
        > S 0
        +16s
        > S 0
        +32s
        host aborted
        count tcp-unanswered 1
        empty
    ");
}

#[test]
fn a_wrong_answer_to_our_syn_is_refused() {
    run("
        host accepts
        > S 0
        < SA 0 ack 9 mss 1000
        > R 9
        < A 0 ack 9                     # an old connection of the guest
        > R 9
        < RA 0 ack 9                    # not for this SYN
        < R 0
        flows 1
        < SA 0 ack 1 mss 1000
        > A 1 ack 1
    ");
}

#[test]
fn both_open_at_once() {
    run("
        host accepts
        > S 0
        < S 0 mss 1000 ws 7 sackok
        > SA 0 ack 1
        < SA 0 ack 1 mss 1000 ws 7 sackok
        host sends 10
        > PA 1+10 ack 1
        count tcp-accepted 1
    ");
}

#[test]
fn the_window_of_a_syn_is_not_scaled() {
    run("
        host accepts
        > S 0
        < S 0 win 1000 mss 1000 ws 7 sackok
        > SA 0 ack 1
        < SA 0 ack 1 win 1000 mss 1000 ws 7 sackok
        < A 1 ack -2000                 # older than any window was large (RFC 5961, 5.2)
        > A 1 ack 1
        count tcp-challenge 1
        host queues 5000
        host sends 1
        > A 1+1000 ack 1
    ");
}

/// The outside has gone before the guest has said the last word: it learns it when it has.
#[test]
fn the_outside_resets_before_the_connection_is_open() {
    run("
        < S 0 mss 1000
        host connects
        > SA 0 ack 1
        host resets
        < A 1 ack 1
        > RA 1 ack 1
        host aborted
        count tcp-reset 1
        empty
    ");
    // What it sent before comes first.
    run("
        < S 0 mss 1000
        host connects
        > SA 0 ack 1
        host queues 10
        host resets
        < A 1 ack 1
        > PA 1+10 ack 1
        > RA 11 ack 1
        empty
    ");
    run("
        host accepts
        > S 0
        host resets
        < SA 0 ack 1 mss 1000
        > RA 1 ack 1
        host aborted
        count tcp-reset 1
        empty
    ");
    // The guest says no: there is nobody left to tell.
    run("
        host accepts
        > S 0
        host resets
        < RA 0 ack 1
        host aborted
        count tcp-guest-refused 1
        empty
    ");
}

#[test]
fn segments_of_no_connection_are_reset() {
    run("
        < A 5 ack 9
        > R 9
        < P 5+10
        > RA * ack 15
        < FA 5 ack 3
        > R 3
        < R 5
        < RA 5 ack 5
        < SA 0 ack 7
        > R 7
        count tcp-unknown 6
        empty
    ");
}

#[test]
fn a_syn_inside_a_connection_is_challenged() {
    opened(
        "
        < S 100 mss 1000
        > A 1 ack 1
        < S 0 mss 1000                  # the old one
        +500ms
        < S 200 mss 1000
        > A 1 ack 1
        flows 1
        count tcp-challenge 3
        ",
    );
}

/// A guest that did not get the last step of opening says its own again, and is open only when that is
/// answered: it may send nothing else, and a server that waits for data does not.
#[test]
fn a_repeated_answer_to_our_syn_is_acknowledged() {
    run("
        host accepts
        > S 0
        < SA 0 ack 1 mss 1000 ws 7 sackok
        drop                            # the last step is lost
        +1s
        < SA 0 ack 1 mss 1000 ws 7 sackok
        > A 1 ack 1
        < SA 0 ack 1 mss 1000 ws 7 sackok
        > A 1 ack 1                     # as often as it asks
        host not-watched
        host sends 5
        > PA 1+5 ack 1
        < SA 0 ack 1 mss 1000 ws 7 sackok
        > A 6 ack 1
        < PA 1+7 ack 6
        > A 6 ack 8
        < SA 0 ack 1 mss 1000 ws 7 sackok
        > A 6 ack 8
        count tcp-accepted 1
        count tcp-challenge 0
    ");
}

#[test]
fn the_text_of_a_syn_begins_behind_it() {
    run("
        host accepts
        > S 0
        < S 0 mss 1000
        > SA 0 ack 1
        < SA 0+3 ack 1 mss 1000
        > A 1 ack 4
        host got 3
        < PA 1+6 ack 1
        > A 1 ack 7
        host got 6
    ");
    run("
        host accepts
        > S 0
        < SA 0+3 ack 1 mss 1000
        > A 1 ack 1
        < SA 0+3 ack 1 mss 1000
        > A 1 ack 1
        host got 0
        < PA 1+6 ack 1
        > A 1 ack 7
        host got 6
    ");
}

/// A client may use its port again as soon as its last connection is over (`tcp_tw_reuse`).
#[test]
fn a_client_comes_again_from_the_same_port() {
    let first = "
        host accepts
        > S 0
        < SA 0 ack 1 mss 1000
        > A 1 ack 1
        ";
    run(&format!(
        "
        {first}
        host ends
        > FA 1 ack 1
        < FA 1 ack 2
        > A 2 ack 2
        flows 0
        +100ms
        host accepts
        > S *
        flows 1
        host open
        +900ms
        +100ms
        > S *
        +1s
        flows 1                         # the first one's time is over, and not this one's
        count tcp-in-use 0
        "
    ));
    run(&format!(
        "
        {first}
        host accepts
        host aborted
        flows 1
        count tcp-in-use 1
        count flow-limit 0
        "
    ));
}

#[test]
fn limits_hold_for_one_guest() {
    let limits = TcpLimits { flows_per_guest: 1, ..TcpLimits::default() };
    run_with(
        "
        < S 0 mss 1000
        < S -5000 mss 1000              # the same ends: instead of the first
        flows 1
        ",
        limits,
    );
    let limits = TcpLimits { opening_per_guest: 0, ..TcpLimits::default() };
    run_with(
        "
        < S 0 mss 1000
        count guest-limit 1
        empty
        ",
        limits,
    );
}

#[test]
fn the_path_takes_smaller_segments() {
    let open = "
        < S 0 mss 1440 ws 7 sackok
        host connects
        > SA 0 ack 1
        < A 1 ack 1
        host sends 2500
        > PA 1+2500 gso 1440
        ";
    run(&format!(
        "
        {open}
        v4 icmp 540 1
        v4 > PA 1+2500 gso 500
        v6 icmp 1280 1
        v6 > PA 1+2500 gso 1220
        < A 1 ack 2501
        host sends 2000
        v4 > PA 2501+2000 gso 500
        v6 > PA 2501+2000 gso 1220
        "
    ));
    // What no path takes is not believed.
    run(&format!(
        "
        {open}
        v4 icmp 67 1
        v6 icmp 1279 1
        v6 icmp 0 1
        < A 1 ack 2501
        host sends 2000
        > PA 2501+2000 gso 1440
        "
    ));
    // A router that does not say: as much as the next that there commonly is, whatever comes twice.
    run(&format!(
        "
        {open}
        v4 icmp 0 1 1480
        v4 > PA 1+2500 gso 966
        v4 icmp 0 1441 1480
        < A 1 ack 2501
        host sends 2000
        v4 > PA 2501+2000 gso 966
        v6 > PA 2501+2000 gso 1440
        "
    ));
}

#[test]
fn a_plain_guest_is_served_as_well() {
    opened_plain(
        "
        < PA 1+100 ack 1 win 60000
        > A 1 ack 101 win 65435
        host sends 100
        > PA 1+100 ack 101
        ",
    );
}

#[test]
fn a_guest_that_is_gone_has_no_connections() {
    opened(
        "
        << PA 1+100 ack 1
        gone
        host aborted
        empty
        ",
    );
}
