//! Who asks what is being asked already.

use super::*;

#[test]
fn the_same_question_is_asked_once() {
    let resolver = Resolver::new(false);
    let mut world = World::new(&[&resolver]);
    world.send_as(GuestKey(1), 4001, &ask(1, "example.org", kind::A));
    world.send_as(GuestKey(2), 4002, &ask(2, "EXAMPLE.org", kind::A));
    let (question, from) = resolver.hear();
    resolver.hears_nothing();
    // Another type is another question.
    world.send_as(GuestKey(2), 4002, &ask(3, "example.org", kind::AAAA));
    resolver.hear();
    resolver.udp.send_to(&respond(&question, 0, [192, 0, 2, 1]), from).unwrap();
    world.turn();
    let one = world.answer().unwrap();
    let two = world.answer().unwrap();
    assert_eq!((head(&one).0, head(&two).0), (1, 2));
    assert_eq!(&one[12..20], b"\x07example");
    assert_eq!(&two[12..20], b"\x07EXAMPLE");
    assert_eq!(one[one.len() - 4..], two[two.len() - 4..]);
    let expected = [(R::DnsForwarded, 2), (R::DnsJoined, 1), (R::DnsAnswered, 2)];
    assert_eq!(world.counted(), expected);
}

/// Who waits costs no socket, so that a guest's programs may all ask the same at once.
#[test]
fn a_guest_that_asks_again_and_again_leaves_places_for_others() {
    const MINE: u16 = upstream::WAITING_PER_GUEST as u16;
    for v6 in [false, true] {
        let resolver = Resolver::new(v6);
        let mut world = World::new(&[&resolver]);
        let ask_often = |world: &mut World, guest: u16| {
            for id in 0..MINE + 6 {
                let message = ask(1000 * guest + id, "example.org", kind::A);
                world.send_as(GuestKey(guest.into()), 4000 + guest, &message);
            }
        };
        ask_often(&mut world, 1);
        let joined = u64::from(MINE - 1);
        let expected = [(R::DnsForwarded, 1), (R::DnsJoined, joined), (R::DnsBusy, 6)];
        assert_eq!(world.counted(), expected);
        // Nobody is told no: whoever finds no place asks again.
        assert_eq!(world.answer(), None);
        // More than there are places for, and one that asks once after them.
        (2..=9).for_each(|guest| ask_often(&mut world, guest));
        world.send_as(GuestKey(30), 4030, &ask(30_000, "example.org", kind::A));
        let (question, from) = resolver.hear();
        resolver.hears_nothing();
        resolver.udp.send_to(&respond(&question, 0, [192, 0, 2, 1]), from).unwrap();
        world.turn();
        let mut answered = vec![0; 31];
        while let Some(answer) = world.answer() {
            answered[usize::from(head(&answer).0 / 1000)] += 1;
        }
        let all: usize = answered.iter().sum();
        assert!(all < upstream::WAITERS_MAX && answered[1..=7].iter().all(|its| *its == 64));
        assert_eq!((answered[8], answered[9], answered[30]), (32, 16, 1));
        let moved = world.counted();
        assert!(moved.contains(&(R::DnsAnswered, all as u64)), "{moved:?}");
        assert_eq!(world.dns.next_deadline(), None);
        // All their places are free again.
        ask_often(&mut world, 9);
        assert_eq!(world.counted(), expected);
    }
}

/// The C library sends its question again after five seconds, others sooner.
#[test]
fn who_repeats_a_question_while_it_is_open_is_answered_once() {
    for v6 in [false, true] {
        let resolver = Resolver::new(v6);
        let mut world = World::new(&[&resolver]);
        let question = ask(1, "example.org", kind::A);
        for _ in 0..3 {
            world.send_as(GuestKey(1), 4001, &question);
        }
        // Another identifier, port or guest is another question.
        world.send_as(GuestKey(1), 4001, &ask(2, "example.org", kind::A));
        world.send_as(GuestKey(1), 4002, &question);
        world.send_as(GuestKey(2), 4001, &question);
        let (asked, from) = resolver.hear();
        resolver.hears_nothing();
        resolver.udp.send_to(&respond(&asked, 0, [192, 0, 2, 1]), from).unwrap();
        world.turn();
        let ids: Vec<u16> =
            std::iter::from_fn(|| world.answer()).map(|answer| head(&answer).0).collect();
        assert_eq!(ids, [1, 2, 1, 1]);
        let expected =
            [(R::DnsForwarded, 1), (R::DnsJoined, 3), (R::DnsRepeated, 2), (R::DnsAnswered, 4)];
        assert_eq!(world.counted(), expected);
        // Once it was answered, it is a question as any.
        world.send_as(GuestKey(1), 4001, &question);
        resolver.hear();
        assert_eq!(world.counted(), [(R::DnsForwarded, 1)]);
    }
}
