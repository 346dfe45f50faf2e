//! A network without a way out.

use super::*;

/// A question leads out as any message does.
#[test]
fn where_nothing_leads_out_no_name_is_asked_there() {
    let resolver = Resolver::new(false);
    let mut world = World::with(|plan| {
        plan.outside_names = false;
        plan.resolvers = vec![resolver.address()];
    });
    world.send(&ask(1, "secret.example.com", kind::A));
    assert_eq!(head(&world.answer().unwrap()), (1, 0x8185, [1, 0, 0, 0]));
    world.send(&ask(2, "web.lab.internal", kind::A));
    assert_eq!(head(&world.answer().unwrap()), (2, 0x8580, [1, 1, 0, 0]));
    assert_eq!(world.counted(), [(R::DnsLocal, 1), (R::DnsRefused, 1)]);
    assert!(world.dns.resolvers().is_empty());
    resolver.hears_nothing();
}
