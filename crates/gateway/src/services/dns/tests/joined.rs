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

#[test]
fn a_guest_that_asks_again_and_again_leaves_places_for_others() {
    let resolver = Resolver::new(false);
    let mut world = World::new(&[&resolver]);
    for id in 0..40 {
        world.send_as(GuestKey(1), 4001, &ask(id, "example.org", kind::A));
    }
    let busy = |world: &mut World| {
        let mut busy = 0;
        while let Some(answer) = world.answer() {
            assert_eq!(head(&answer).1 & 15, 5, "refused");
            busy += 1;
        }
        busy
    };
    assert_eq!(busy(&mut world), 24);
    let expected = [(R::DnsForwarded, 1), (R::DnsJoined, 15), (R::DnsBusy, 24)];
    assert_eq!(world.counted(), expected);
    // Two that do so, and one that asks once after them.
    for id in 0..40 {
        world.send_as(GuestKey(2), 4002, &ask(100 + id, "example.org", kind::A));
    }
    assert_eq!(busy(&mut world), 32);
    world.send_as(GuestKey(3), 4003, &ask(200, "example.org", kind::A));
    assert_eq!(world.counted(), [(R::DnsJoined, 9), (R::DnsBusy, 32)]);
    let (question, from) = resolver.hear();
    resolver.hears_nothing();
    resolver.udp.send_to(&respond(&question, 0, [192, 0, 2, 1]), from).unwrap();
    world.turn();
    let mut ids = Vec::new();
    while let Some(answer) = world.answer() {
        ids.push(head(&answer).0);
    }
    let of = |range: std::ops::Range<u16>| ids.iter().filter(|id| range.contains(id)).count();
    assert_eq!((of(0..100), of(100..200), of(200..201)), (16, 8, 1));
    assert_eq!(world.counted(), [(R::DnsAnswered, 25)]);
}
