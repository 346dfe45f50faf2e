use super::*;
use crate::unix::{self, SocketKind};
use std::os::fd::AsFd;

#[test]
fn a_batch_keeps_order_pieces_and_lengths() {
    let (a, b) = unix::pair(SocketKind::Datagram, true).unwrap();
    let frames: Vec<Vec<u8>> = (0..10_u8).map(|i| vec![i; 60 + usize::from(i)]).collect();
    let sent =
        send(a.as_fd(), None, frames.iter().map(|f| [&f[..7], &f[7..20], &f[20..]] as Pieces<'_>))
            .unwrap();
    assert_eq!(sent, 10);
    let mut ring = ReceiveRing::new(65);
    assert_eq!(ring.receive(b.as_fd(), BATCH, 10, usize::MAX, false).unwrap(), 10);
    for (i, frame) in frames.iter().enumerate() {
        let d = ring.take(i).unwrap();
        assert_eq!(d.truncated, frame.len() > 65);
        let kept = frame.len().min(65);
        assert_eq!([d.head, d.body].concat(), frame[..kept]);
        assert_eq!(d.head.len(), 10);
    }
    assert!(ring.take(10).is_none());
    let again = ring.receive(b.as_fd(), BATCH, 0, usize::MAX, false).unwrap_err();
    assert_eq!(again.kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn senders_are_told_apart_by_name_and_credentials() {
    let node = unix::socket(SocketKind::Datagram, true).unwrap();
    let here = Address::from_abstract(format!("mmsg-{}", std::process::id()).as_bytes());
    let here = here.unwrap();
    unix::bind(node.as_fd(), &here).unwrap();
    unix::set_pass_cred(node.as_fd()).unwrap();
    let named = unix::socket(SocketKind::Datagram, true).unwrap();
    let there = Address::from_abstract(format!("mmsg-c-{}", std::process::id()).as_bytes());
    let there = there.unwrap();
    unix::bind(named.as_fd(), &there).unwrap();
    let unnamed = unix::socket(SocketKind::Datagram, true).unwrap();
    for client in [&named, &unnamed] {
        send(client.as_fd(), Some(&here), std::iter::once([&b"hello"[..], b"", b""])).unwrap();
    }
    let mut ring = ReceiveRing::new(128);
    assert_eq!(ring.receive(node.as_fd(), BATCH, 0, 128, true).unwrap(), 2);
    let first = ring.take(0).unwrap();
    assert_eq!(first.from, there);
    assert_eq!(first.cred.unwrap().pid, i32::try_from(std::process::id()).unwrap());
    assert!(ring.take(1).unwrap().from.is_unnamed());
    send(node.as_fd(), Some(&there), std::iter::once([&b"back"[..], b"", b""])).unwrap();
    let mut buffer = [0; 16];
    assert_eq!(unix::receive(named.as_fd(), &mut buffer).unwrap(), 4);
}

/// Whose close would be ours to wait for: a client's descriptors never become ours.
#[test]
fn descriptors_are_not_taken_with_datagrams() {
    let (a, b) = unix::pair(SocketKind::Datagram, true).unwrap();
    unix::set_pass_cred(b.as_fd()).unwrap();
    let mut ring = ReceiveRing::new(65);
    for max in [1, BATCH] {
        let (kept, sent) = unix::pair(SocketKind::Stream, true).unwrap();
        let fds = [sent.as_fd(); 3];
        assert_eq!(unix::send_with_fds(a.as_fd(), b"frame", &fds).unwrap(), 5);
        unix::send_with_fds(a.as_fd(), b"other", &[]).unwrap();
        drop(sent);
        assert_eq!(ring.receive(b.as_fd(), max, 0, 65, true).unwrap(), max.min(2));
        // Not open in this process although nobody has looked at the control data: what holds
        // it is gone.
        assert_eq!(unix::receive(kept.as_fd(), &mut [0; 4]).unwrap(), 0);
        let d = ring.take(0).unwrap();
        assert!(d.descriptors);
        assert_eq!((d.body, d.cred.unwrap().uid), (&b"frame"[..], unix::effective_uid()));
        if max == 1 {
            assert_eq!(ring.receive(b.as_fd(), 1, 0, 65, true).unwrap(), 1);
        }
        let d = ring.take(ring.len() - 1).unwrap();
        assert!(!d.descriptors && d.cred.is_some());
    }
}

#[test]
fn one_at_a_time_is_as_many_at_a_time() {
    let (a, b) = unix::pair(SocketKind::Datagram, true).unwrap();
    let mut ring = ReceiveRing::new(65);
    for head_len in [0, 10] {
        for pieces in [[&[1; 64][..], b"", b""], [&[1; 14][..], &[1; 50][..], b""]] {
            assert_eq!(send(a.as_fd(), None, [pieces, pieces].into_iter()).unwrap(), 2);
            assert_eq!(send(a.as_fd(), None, std::iter::once(pieces)).unwrap(), 1);
            for max in [1, BATCH] {
                let expected = if max == 1 { 1 } else { 2 };
                assert_eq!(ring.receive(b.as_fd(), max, head_len, 65, false).unwrap(), expected);
                for i in 0..expected {
                    let d = ring.take(i).unwrap();
                    assert_eq!(d.head.len(), head_len);
                    assert_eq!([d.head, d.body].concat(), [1; 64]);
                }
                assert!(ring.take(expected).is_none());
            }
            let empty = ring.receive(b.as_fd(), 1, head_len, 65, false).unwrap_err();
            assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
            assert!(ring.is_empty());
        }
    }
    unix::set_pass_cred(b.as_fd()).unwrap();
    send(a.as_fd(), None, std::iter::once([&[2; 100][..], b"", b""])).unwrap();
    assert_eq!(ring.receive(b.as_fd(), 1, 0, 65, true).unwrap(), 1);
    let d = ring.take(0).unwrap();
    assert!(d.truncated);
    assert_eq!(d.body, [2; 65]);
    assert_eq!(d.cred.unwrap().pid, i32::try_from(std::process::id()).unwrap());
}

#[test]
fn slots_are_as_close_as_the_longest_datagram_allows_and_begin_at_lines() {
    let (a, b) = unix::pair(SocketKind::Datagram, true).unwrap();
    let mut ring = ReceiveRing::new(4000);
    for (longest, kept) in [(100, 192), (4000, 4000), (192, 192), (193, 320), (9000, 4000)] {
        for max in [1, BATCH] {
            let messages = [vec![1; 60], vec![2; 4001], vec![3; 192]];
            let pieces = messages.iter().map(|message| [&message[..], b"", b""]);
            assert_eq!(send(a.as_fd(), None, pieces).unwrap(), 3);
            let mut left = messages.iter();
            while left.len() > 0 {
                let count = ring.receive(b.as_fd(), max, 0, longest, false).unwrap();
                for i in 0..count {
                    let (datagram, sent) = (ring.take(i).unwrap(), left.next().unwrap());
                    assert_eq!(datagram.body, &sent[..sent.len().min(kept)]);
                    let whole_lines = kept.is_multiple_of(LINE);
                    assert!(!whole_lines || datagram.body.as_ptr().addr().is_multiple_of(LINE));
                    // Of one datagram alone the kernel is not asked how long it was.
                    assert!(max == 1 || datagram.truncated == (sent.len() > kept));
                }
            }
        }
    }
}

#[test]
fn the_error_of_a_full_or_dead_receiver_is_reported() {
    let (a, b) = unix::pair(SocketKind::Datagram, true).unwrap();
    let mut went = 0;
    let error = loop {
        match send(a.as_fd(), None, std::iter::repeat_n([&[0; 1000][..], b"", b""], BATCH)) {
            Ok(n) => went += n,
            Err(e) => break e,
        }
    };
    assert!(went > 0);
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    drop(b);
    let error = send(a.as_fd(), None, std::iter::once([&b"x"[..], b"", b""])).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}
