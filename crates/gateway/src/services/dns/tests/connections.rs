//! Questions by TCP.

use super::*;

/// A connection of a guest, whose own end is given.
fn connect(world: &mut World, guest: GuestKey) -> UnixStream {
    let (own, local) = UnixStream::pair().unwrap();
    own.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    world.dns.stream(world.now, guest, local.into(), &mut world.out);
    own
}

fn framed(message: &[u8]) -> Vec<u8> {
    [(message.len() as u16).to_be_bytes().as_slice(), message].concat()
}

fn read_framed(stream: &mut UnixStream) -> Vec<u8> {
    let mut len = [0; 2];
    stream.read_exact(&mut len).unwrap();
    let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut message).unwrap();
    message
}

#[test]
fn a_connection_carries_many_questions() {
    let resolver = Resolver::new(false);
    let mut world = World::new(&[&resolver]);
    let mut stream = connect(&mut world, GUEST);
    let outside = framed(&ask(1, "example.org", kind::A));
    let inside = framed(&ask(2, "web", kind::A));
    stream.write_all(&outside[..9]).unwrap();
    world.turn();
    stream.write_all(&outside[9..]).unwrap();
    stream.write_all(&inside).unwrap();
    world.turn();
    // The one that is known is answered first.
    assert_eq!(head(&read_framed(&mut stream)), (2, 0x8580, [1, 1, 0, 0]));
    let (question, from) = resolver.hear();
    // The guest asks no more, and still gets its answer; by TCP, since it is cut.
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    world.turn();
    resolver.udp.send_to(&respond(&question, 0x0200, [0; 4]), from).unwrap();
    world.turn();
    world.turn();
    let (question, mut tcp) = resolver.accept();
    tcp.write_all(&framed(&respond(&question, 0, [192, 0, 2, 1]))).unwrap();
    world.turn();
    world.turn();
    assert_eq!(head(&read_framed(&mut stream)), (1, 0x8180, [1, 1, 0, 0]));
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "closed in good order");
    let expected = [
        (R::DnsLocal, 1),
        (R::DnsForwarded, 1),
        (R::DnsAnswered, 1),
        (R::DnsOverTcp, 1),
        (R::DnsStream, 1),
    ];
    assert_eq!(world.counted(), expected);
}

#[test]
fn connections_are_bounded_and_end_when_idle() {
    let mut world = World::new(&[]);
    let mut streams: Vec<UnixStream> =
        (0..=stream::PER_GUEST).map(|_| connect(&mut world, GUEST)).collect();
    assert_eq!(streams.pop().unwrap().read(&mut [0]).unwrap(), 0, "one too many");
    connect(&mut world, GuestKey(8));
    assert_eq!(
        world.counted(),
        [(R::DnsStream, stream::PER_GUEST as u64 + 1), (R::DnsStreamRefused, 1)]
    );
    // One asks in between, and stays.
    world.pass(stream::IDLE / 2);
    streams[0].write_all(&framed(&ask(2, "web", kind::A))).unwrap();
    while world.counted() != [(R::DnsLocal, 1)] {
        world.turn();
    }
    read_framed(&mut streams[0]);
    world.pass(stream::IDLE / 2);
    // That of the other guest was ended by its owner, which is not counted.
    assert_eq!(world.counted(), [(R::DnsStreamEnded, stream::PER_GUEST as u64 - 1)]);
    assert_eq!(world.dns.next_deadline(), Some(world.now + stream::IDLE / 2));
    // What cannot be a question ends its connection.
    streams[0].write_all(&[0xff, 0xff, 0]).unwrap();
    world.turn();
    assert_eq!(streams[0].read(&mut [0]).unwrap(), 0);
    assert_eq!(world.counted(), [(R::DnsStreamEnded, 1)]);
    // A guest that is gone takes its connections along.
    let mut last = connect(&mut world, GUEST);
    world.dns.guest_gone(GUEST);
    assert_eq!(last.read(&mut [0]).unwrap(), 0);
    assert_eq!(world.dns.next_deadline(), None);
}

/// Nobody asks twice on a connection.
#[test]
fn a_question_too_many_is_refused_where_it_is_not_asked_again() {
    for v6 in [false, true] {
        let resolver = Resolver::new(v6);
        let mut world = World::new(&[&resolver]);
        let mut stream = connect(&mut world, GUEST);
        for number in 0..upstream::WAITING_PER_GUEST {
            world.send(&ask(1, &format!("n{number}.example"), kind::A));
        }
        stream.write_all(&framed(&ask(2, "example.org", kind::A))).unwrap();
        world.turn();
        assert_eq!(head(&read_framed(&mut stream)), (2, 0x8185, [1, 0, 0, 0]));
        world.send(&ask(3, "example.org", kind::A));
        assert_eq!(world.answer(), None);
        let waiting = u64::from(upstream::WAITING_PER_GUEST);
        let expected = [(R::DnsForwarded, waiting), (R::DnsBusy, 2), (R::DnsStream, 1)];
        assert_eq!(world.counted(), expected);
    }
}
