//! Resolvers that do not answer, and names about which nobody answers them.

use super::*;

/// All questions that a resolver has got, and where they came from.
fn drain(resolver: &Resolver) -> Vec<(Vec<u8>, SocketAddr)> {
    resolver.udp.set_nonblocking(true).unwrap();
    let mut buffer = [0; 2048];
    let mut all = Vec::new();
    while let Ok((len, from)) = resolver.udp.recv_from(&mut buffer) {
        all.push((buffer[..len].to_vec(), from));
    }
    resolver.udp.set_nonblocking(false).unwrap();
    all
}

/// Two resolvers, the first of either family.
fn pairs() -> [[Resolver; 2]; 2] {
    [false, true].map(|v6| [Resolver::new(v6), Resolver::new(!v6)])
}

/// A guest chooses what it asks, and its own server may be the one that is silent.
#[test]
fn one_slow_name_does_not_cost_a_resolver_its_place() {
    for [first, second] in pairs() {
        let mut world = World::new(&[&first, &second]);
        // Only the first resolver knows this one.
        let asks_the_site = |world: &mut World, id: u16| {
            world.send(&ask(id, "www.site.example", kind::A));
            second.hears_nothing();
            let (question, from) = first.hear();
            first.udp.send_to(&respond(&question, 0, [192, 0, 2, 1]), from).unwrap();
            world.turn();
            assert_eq!(head(&world.answer().unwrap()), (id, 0x8180, [1, 1, 0, 0]));
        };
        for id in 1..=5 {
            world.send(&ask(id, "slow.example", kind::A));
            world.pass(upstream::PATIENCE);
            assert_eq!((drain(&first).len(), drain(&second).len()), (1, 1));
            if id == 1 {
                asks_the_site(&mut world, 10);
            }
            while let Some(due) = world.dns.next_deadline() {
                let step = due.saturating_since(world.now);
                world.pass(step);
            }
            assert_eq!(head(&world.answer().unwrap()), (id, 0x8182, [1, 0, 0, 0]));
            assert_eq!((drain(&first).len(), drain(&second).len()), (1, 1));
        }
        asks_the_site(&mut world, 11);
        let expected =
            [(R::DnsForwarded, 7), (R::DnsAnswered, 2), (R::DnsFailed, 5), (R::DnsRetried, 15)];
        assert_eq!(world.counted(), expected);
    }
}

#[test]
fn a_resolver_that_answers_nothing_at_all_is_left_aside() {
    for [first, second] in pairs() {
        let mut world = World::new(&[&first, &second]);
        let answers_all = |world: &mut World, count: usize| {
            let asked = drain(&second);
            assert_eq!(asked.len(), count);
            for (question, from) in asked {
                second.udp.send_to(&respond(&question, 0, [192, 0, 2, 1]), from).unwrap();
            }
            while world.out.answers.len() < count {
                world.turn();
            }
            world.out.answers.clear();
        };
        for id in 1..=3 {
            world.send(&ask(id, &format!("n{id}.example"), kind::A));
        }
        world.pass(upstream::PATIENCE);
        assert_eq!(drain(&first).len(), 3);
        answers_all(&mut world, 3);
        // For a moment that may be the fault of the names.
        world.pass(Duration::from_secs(3));
        world.send(&ask(4, "n4.example", kind::A));
        assert_eq!((drain(&first).len(), drain(&second).len()), (1, 0));
        world.pass(upstream::PATIENCE);
        answers_all(&mut world, 1);
        let expected = [(R::DnsForwarded, 4), (R::DnsAnswered, 4), (R::DnsRetried, 4)];
        assert_eq!(world.counted(), expected);
        world.send(&ask(5, "n5.example", kind::A));
        answers_all(&mut world, 1);
        first.hears_nothing();
        assert_eq!(world.counted(), [(R::DnsForwarded, 1), (R::DnsAnswered, 1)]);
        // After a while it is asked again.
        world.pass(Duration::from_secs(30));
        world.send(&ask(6, "n6.example", kind::A));
        first.hear();
        second.hears_nothing();
    }
}

/// Who asks little asks one name, or one now and then.
#[test]
fn a_resolver_that_another_outdoes_is_left_aside_until_it_answers() {
    for [first, second] in pairs() {
        let mut world = World::new(&[&first, &second]);
        let is_answered = |world: &mut World, by: &Resolver| {
            let (question, from) = by.hear();
            by.udp.send_to(&respond(&question, 0, [192, 0, 2, 1]), from).unwrap();
            world.turn();
            assert_eq!(head(&world.answer().unwrap()).1, 0x8180);
        };
        // Each of these waits for the first in vain.
        let waits = |world: &mut World, id: u16| {
            world.send(&ask(id, "www.example", kind::A));
            second.hears_nothing();
            world.pass(upstream::PATIENCE);
            is_answered(world, &second);
            assert_eq!(drain(&first).len(), 1);
            let expected = [(R::DnsForwarded, 1), (R::DnsAnswered, 1), (R::DnsRetried, 1)];
            assert_eq!(world.counted(), expected);
        };
        let goes_to = |world: &mut World, id: u16, (there, not_there): (&Resolver, &Resolver)| {
            world.send(&ask(id, "www.example", kind::A));
            is_answered(world, there);
            not_there.hears_nothing();
            assert_eq!(world.counted(), [(R::DnsForwarded, 1), (R::DnsAnswered, 1)]);
        };
        waits(&mut world, 1);
        world.pass(Duration::from_secs(16));
        waits(&mut world, 2);
        goes_to(&mut world, 3, (&second, &first));
        // It comes back, and one time-out is enough.
        world.pass(Duration::from_secs(30));
        waits(&mut world, 4);
        goes_to(&mut world, 5, (&second, &first));
        // An answer, and all is forgotten.
        world.pass(Duration::from_secs(30));
        goes_to(&mut world, 6, (&first, &second));
        waits(&mut world, 7);
        goes_to(&mut world, 8, (&first, &second));
    }
}
