use ::nic::protocol::{ToHelper, claimed, frames_header, record_header};
use engine::{PoolLimits, RxBatch};
use sys::unix::SocketKind;
use wire::{Gso, GsoKind, HEADER_MAX, Offload, OffloadSet};

use super::super::Lost;
use super::*;
use crate::link::scratch::Scratch;

const LIMITS: PoolLimits = PoolLimits { small: 256, large: 16, headers: 16 };

struct Bench {
    link: NicLink,
    helper: OwnedFd,
    /// The helper's view of the memory.
    slots: Slots,
    /// Its view of the pool.
    view: Option<sys::shared::Memory>,
    pool: Pool,
    scratch: Scratch,
}

fn mac(last: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, last])
}

fn frame(source: u8, len: usize) -> Vec<u8> {
    let mut frame = vec![source; len];
    frame[..6].copy_from_slice(&[0xff; 6]);
    frame[6..12].copy_from_slice(&mac(source).0);
    frame
}

/// What the helper saw: claims, releases, and the frames of each message.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Claim(MacAddr),
    Release(MacAddr),
    Frames(Vec<Vec<u8>>),
    /// The same, in slots.
    Large(Vec<Vec<u8>>),
    Counters,
}

impl Bench {
    fn new(max_macs: u16) -> Bench {
        Bench::with(max_macs, Pool::new(LIMITS), None)
    }

    /// The helper can read the pool.
    fn lending(max_macs: u16) -> Bench {
        let len = Pool::memory_for(LIMITS.large);
        let (memory, fd) = sys::shared::lend(len).unwrap();
        let view = sys::shared::Memory::map_lent(fd.as_fd(), len).unwrap();
        Bench::with(max_macs, Pool::with_memory(LIMITS, memory), Some(view))
    }

    fn with(max_macs: u16, pool: Pool, view: Option<sys::shared::Memory>) -> Bench {
        let (ours, helper) = sys::unix::pair(SocketKind::Seqpacket, true).unwrap();
        let welcome = Welcome {
            version: protocol::VERSION,
            mtu: 1500,
            offloads: OffloadSet::all(),
            own: mac(0),
            max_macs,
            ranges: Vec::new(),
        };
        let (slots, memory) = Slots::create().unwrap();
        let mapped = Slots::map(memory.as_fd()).unwrap();
        Bench {
            link: NicLink::new(ours, mapped, &welcome, view.is_some()).unwrap(),
            helper,
            slots,
            view,
            pool,
            scratch: Scratch::new(),
        }
    }

    fn transmit(&mut self, frames: &[Vec<u8>]) -> Sent {
        let mut batch = TxBatch::new();
        for frame in frames {
            batch.push(self.pool.copy_in(frame, Offload::NONE).unwrap());
        }
        let sent = self.link.transmit(&mut self.pool, &mut batch);
        let left = batch.len();
        release_front(&mut self.pool, &mut batch, left);
        sent
    }

    fn seen(&mut self) -> Vec<Seen> {
        let mut seen = Vec::new();
        let mut buffer = vec![0; MESSAGE_MAX];
        while let Ok((len, false)) = sys::unix::receive_message(self.helper.as_fd(), &mut buffer) {
            seen.push(match ToHelper::decode(&buffer[..len]).unwrap() {
                ToHelper::Claim(mac) => Seen::Claim(mac),
                ToHelper::Release(mac) => Seen::Release(mac),
                ToHelper::Frames(records) => {
                    Seen::Frames(records.map(|record| record.frame.to_vec()).collect())
                }
                ToHelper::Places(places) => Seen::Large(
                    places
                        .map(|place| {
                            let mut frame = vec![0; place.len];
                            let front = place.lent.map_or(place.len, |lent| lent.front);
                            let (front, rest) = frame.split_at_mut(front);
                            assert!(self.slots.read(Way::Out, place.slot, front));
                            if let (Some(view), Some(lent)) = (&self.view, place.lent) {
                                view.read(lent.at, rest).unwrap();
                            }
                            self.slots.give_back(Way::Out, place.slot);
                            frame
                        })
                        .collect(),
                ),
                ToHelper::Counters => Seen::Counters,
                ToHelper::Hello(_) | ToHelper::Memory => panic!("that was said before"),
            });
        }
        seen
    }

    fn say(&self, message: &[u8]) {
        sys::unix::send_vectored(self.helper.as_fd(), &[IoSlice::new(message)]).unwrap();
    }

    /// A frame in a slot, as the helper tells of it.
    fn place(&self, frame: &[u8]) -> Place {
        let slot = self.slots.take(Way::In).expect("a free slot");
        assert!(self.slots.write(Way::In, slot, 0, frame));
        Place { slot, len: frame.len(), header: [0; 12], lent: None }
    }

    /// The frames of one visit, as they are.
    fn batch(&mut self) -> RxBatch {
        let mut batch = RxBatch::new();
        let mut intake = Intake {
            pool: &mut self.pool,
            batch: &mut batch,
            scratch: &mut self.scratch,
            mtu: 1500,
            limit: BATCH,
            lost: Lost::default(),
        };
        self.link.receive(&mut intake).unwrap();
        batch
    }

    /// What one visit reads.
    fn receive(&mut self) -> (Result<Progress, CloseReason>, Vec<Vec<u8>>, Lost) {
        let mut batch = RxBatch::new();
        let mut intake = Intake {
            pool: &mut self.pool,
            batch: &mut batch,
            scratch: &mut self.scratch,
            mtu: 1500,
            limit: BATCH,
            lost: Lost::default(),
        };
        let result = self.link.receive(&mut intake);
        let lost = intake.lost;
        let frames = batch.frames().map(|frame| {
            let [front, rest] = self.pool.pieces(frame);
            [front, rest].concat()
        });
        let frames: Vec<Vec<u8>> = frames.collect();
        batch.clear(&mut self.pool);
        (result, frames, lost)
    }
}

fn message(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut message = frames_header(frames.len().try_into().unwrap()).to_vec();
    for frame in frames {
        message.extend_from_slice(&record_header(frame.len().try_into().unwrap(), [0; 12]));
        message.extend_from_slice(frame);
    }
    message
}

const FREE: Sent = Sent { state: Ok(LinkState::Free), refused: 0 };

#[test]
fn an_address_is_claimed_in_front_of_its_first_frame_and_small_frames_share_a_message() {
    let mut b = Bench::new(4);
    let frames = [frame(1, 60), frame(1, 61), frame(2, 62), frame(1, 63)];
    assert_eq!(b.transmit(&frames), FREE);
    let [a, b1, c, d] = frames;
    assert_eq!(
        b.seen(),
        [
            Seen::Claim(mac(1)),
            Seen::Frames(vec![a, b1]),
            Seen::Claim(mac(2)),
            Seen::Frames(vec![c, d.clone()]),
        ]
    );
    assert_eq!(b.transmit(std::slice::from_ref(&d)), FREE);
    assert_eq!(b.seen(), [Seen::Frames(vec![d])]);
}

#[test]
fn large_frames_travel_in_slots_and_too_long_ones_not_at_all() {
    let mut b = Bench::new(4);
    b.link.address(mac(1), true);
    let frames = [frame(1, 60), frame(1, 3000), frame(1, FRAME_MAX), frame(1, 9000), frame(1, 60)];
    assert_eq!(b.transmit(&frames), FREE);
    let [small, a, c, d, last] = frames;
    let expected = [
        Seen::Claim(mac(1)),
        Seen::Frames(vec![small]),
        Seen::Large(vec![a, c, d]),
        Seen::Frames(vec![last]),
    ];
    assert!(b.seen() == expected);
    assert_eq!(b.transmit(&[frame(1, FRAME_MAX + 1)]), Sent { refused: 1, ..FREE });
    assert_eq!(b.seen(), []);
    let many = vec![frame(1, 3000); LARGE_BATCH + 1];
    assert_eq!(b.transmit(&many), FREE);
    let (first, rest) = many.split_at(LARGE_BATCH);
    assert!(b.seen() == [Seen::Large(first.to_vec()), Seen::Large(rest.to_vec())]);
}

/// Frames that are sent from where they lie have their buffers until the helper gives their slots back.
#[test]
fn what_is_lent_is_kept_until_it_is_given_back() {
    let mut b = Bench::lending(4);
    b.link.address(mac(1), true);
    let frames = [frame(1, 3000), frame(1, 60_000), frame(1, FRAME_MAX)];
    for _ in 0..3 {
        assert_eq!(b.transmit(&frames), FREE);
        assert_eq!(b.pool.usage().large.used, 3);
        assert!(b.seen().last() == Some(&Seen::Large(frames.to_vec())));
        assert_eq!(b.pool.usage().large.used, 3, "it has not looked yet");
        assert_eq!(b.receive().1, Vec::<Vec<u8>>::new());
        assert_eq!(b.pool.usage().large.used, 0);
    }
    // A slot that is taken again the moment it was given back ends what it stood for.
    assert_eq!(b.transmit(&frames), FREE);
    assert_eq!(b.seen().len(), 1);
    assert_eq!(b.transmit(&frames[..2]), FREE);
    assert_eq!(b.pool.usage().large.used, 2);
    // The link ends, and the helper perhaps still reads.
    let lent = b.link.lent();
    assert_eq!((lent.len(), b.link.lent().len()), (2, 0));
    lent.into_iter().for_each(|frame| b.pool.release(frame));
    assert_eq!(b.pool.usage().large.used, 0);
}

#[test]
fn full_slots_are_waited_for_ever_longer_and_used_again_when_they_are_free() {
    let mut b = Bench::new(4);
    b.link.address(mac(1), true);
    let retry = |pause| Sent { state: Ok(LinkState::RetryAfter(pause)), refused: 0 };
    let large = frame(1, 5000);
    for _ in 0..::nic::slots::SLOTS {
        assert_eq!(b.transmit(std::slice::from_ref(&large)), FREE);
    }
    assert_eq!(b.transmit(std::slice::from_ref(&large)), retry(RETRY_FIRST));
    assert_eq!(b.transmit(std::slice::from_ref(&large)), retry(RETRY_FIRST * 2));
    for _ in 0..10 {
        b.transmit(std::slice::from_ref(&large));
    }
    assert_eq!(b.transmit(std::slice::from_ref(&large)), retry(RETRY_LAST));
    // Small ones need no slot.
    assert_eq!(b.transmit(&[frame(1, 60)]), FREE);
    assert_eq!(b.seen().len(), 1 + usize::from(::nic::slots::SLOTS) + 1);
    assert_eq!(b.transmit(&[large.clone(), large.clone()]), FREE);
    assert_eq!(b.seen(), [Seen::Large(vec![large.clone(), large.clone()])]);
    for _ in 0..::nic::slots::SLOTS {
        assert_eq!(b.transmit(std::slice::from_ref(&large)), FREE);
    }
    assert_eq!(b.transmit(&[large]), retry(RETRY_FIRST));
}

#[test]
fn what_comes_in_slots_is_copied_and_the_slots_are_free_again() {
    let mut b = Bench::new(2);
    for _ in 0..3 {
        let frames = [frame(1, 60_000), frame(2, 100), frame(3, FRAME_MAX), frame(4, 3000)];
        let mut message = protocol::places_header(3).to_vec();
        for frame in &frames[..3] {
            message.extend_from_slice(&b.place(frame).encode());
        }
        b.say(&message);
        let mut bad = b.place(&frames[3]);
        bad.header[0] = 0xff;
        b.say(&[&protocol::places_header(1)[..], &bad.encode()].concat());
        let (progress, got, lost) = b.receive();
        assert_eq!(progress, Ok(Progress::Done));
        assert!(got == frames[..3], "{} frames", got.len());
        assert_eq!(lost, Lost { bad_framing: 1, ..Lost::default() });
        let free = std::iter::from_fn(|| b.slots.take(Way::In)).count();
        assert_eq!(free, usize::from(::nic::slots::SLOTS));
        (0..::nic::slots::SLOTS).for_each(|slot| b.slots.give_back(Way::In, slot));
    }
    assert_eq!(b.pool.usage().large.used, 0);
}

/// The rest of a large TCP frame stays where it is: a tap's link writes it from there, whoever else looks gets a copy,
/// and the place is free when the frame ends. What the helper does to the front afterwards changes nothing.
#[test]
fn tcp_to_be_segmented_stays_in_its_slot_until_it_is_written() {
    let mut b = Bench::new(2);
    let mut large = frame(1, 60_000);
    large[12..14].copy_from_slice(&[0x08, 0x00]);
    let gso = Gso { kind: GsoKind::Tcp4, size: 1448, ecn: false };
    let checksum = wire::PartialChecksum { start: 34, offset: 16 };
    let offload = Offload { checksum: Some(checksum), gso: Some(gso) };
    let mut header = [0; VNET_HDR_LEN];
    vnet::encode(&offload, &large, &mut header);
    let mut tagged = large.clone();
    tagged[12..14].copy_from_slice(&[0x81, 0x00]);
    let all = 0..usize::from(SLOTS);
    let mut message = protocol::places_header(SLOTS).to_vec();
    for i in all.clone() {
        let place = b.place(if i == 0 { &tagged } else { &large });
        message.extend_from_slice(&Place { header, ..place }.encode());
    }
    b.say(&message);
    let mut batch = b.batch();
    let frames: Vec<&Frame> = batch.frames().collect();
    assert_eq!(frames.len(), all.len());
    let foreign =
        |b: &Bench| frames.iter().map(|frame| b.pool.foreign(frame).is_some()).collect::<Vec<_>>();
    let kept: Vec<bool> = all.map(|i| (1..13).contains(&i)).collect();
    assert_eq!(foreign(&b), kept, "a tag has to be taken out, and some places stay free");
    let free: Vec<u16> = std::iter::from_fn(|| b.slots.take(Way::In)).collect();
    assert_eq!(free, [0, 13, 14, 15]);
    for slot in free {
        b.slots.give_back(Way::In, slot);
    }
    assert!(b.slots.write(Way::In, 1, 0, &[0xee; HEADER_MAX]));
    let (tap, guest) = sys::unix::pair(SocketKind::Seqpacket, true).unwrap();
    crate::link::tap::write_one(tap.as_fd(), VNET_HDR_LEN, &b.pool, frames[1]).unwrap();
    let mut got = vec![0; MESSAGE_MAX];
    let (len, _) = sys::unix::receive_message(guest.as_fd(), &mut got).unwrap();
    assert!(got[..VNET_HDR_LEN] == header && got[VNET_HDR_LEN..len] == large);
    assert_eq!(foreign(&b), kept, "it was not fetched");
    let [front, rest] = b.pool.pieces(frames[2]);
    assert!([front, rest].concat() == large);
    assert_eq!(b.slots.take(Way::In), Some(0));
    assert_eq!(b.slots.take(Way::In), Some(2), "what was fetched is needed there no more");
    batch.clear(&mut b.pool);
    assert_eq!(std::iter::from_fn(|| b.slots.take(Way::In)).count(), usize::from(SLOTS) - 2);
    assert_eq!(b.pool.usage().large.used, 0);
}

#[test]
fn more_places_than_the_batch_has_room_wait_and_keep_their_slots() {
    let mut b = Bench::new(2);
    let small: Vec<Vec<u8>> = (0..63).map(|i| frame(i, 60)).collect();
    b.say(&message(&small));
    let large = [frame(1, 5000), frame(2, 5000)];
    let places = [b.place(&large[0]), b.place(&large[1])].map(|place| place.encode());
    b.say(&[&protocol::places_header(2)[..], places.as_flattened()].concat());
    let (progress, got, _) = b.receive();
    assert_eq!((progress, got.len()), (Ok(Progress::More), 64));
    assert!(got[63] == large[0]);
    assert_eq!(b.slots.take(Way::In), Some(0), "the other slot is still needed");
    assert_eq!(b.slots.take(Way::In), Some(2));
    let (progress, got, lost) = b.receive();
    assert_eq!((progress, lost), (Ok(Progress::Done), Lost::default()));
    assert!(got == large[1..]);
}

#[test]
fn frames_of_a_refused_address_are_given_up_until_it_is_asked_for_again() {
    let mut b = Bench::new(4);
    assert_eq!(b.transmit(&[frame(1, 60)]), FREE);
    b.seen();
    b.say(&claimed(mac(1), Err(ClaimRefusal::NotAllowed)));
    assert_eq!(b.receive(), (Ok(Progress::Done), vec![], Lost::default()));
    for _ in 0..ASK_AGAIN / 64 {
        assert_eq!(b.transmit(&vec![frame(1, 60); 64]), Sent { refused: 64, ..FREE });
    }
    assert_eq!(b.seen(), []);
    assert_eq!(b.transmit(&[frame(1, 60)]), FREE);
    assert_eq!(b.seen(), [Seen::Claim(mac(1)), Seen::Frames(vec![frame(1, 60)])]);
}

#[test]
fn the_address_that_was_silent_for_longest_makes_room() {
    let mut b = Bench::new(2);
    for source in [1, 2, 1] {
        b.transmit(&[frame(source, 60)]);
    }
    b.seen();
    assert_eq!(
        b.transmit(&[frame(3, 60)]),
        Sent { refused: 1, ..FREE },
        "both were heard just now"
    );
    assert_eq!(b.seen(), []);
    for claim in b.link.claims.values_mut() {
        claim.used = claim.used.saturating_sub(SILENT);
        claim.state =
            if claim.state == State::Ours { State::Ours } else { State::Refused(ASK_AGAIN) };
    }
    // The last one to send is not silent, however long ago it began.
    assert_eq!(b.transmit(&[frame(1, 60), frame(3, 60)]), FREE);
    assert_eq!(
        b.seen(),
        [
            Seen::Frames(vec![frame(1, 60)]),
            Seen::Release(mac(2)),
            Seen::Claim(mac(3)),
            Seen::Frames(vec![frame(3, 60)])
        ]
    );
    b.link.address(mac(3), false);
    b.link.address(mac(3), false);
    assert_eq!(b.seen(), [Seen::Release(mac(3))]);
}

/// One client of a node that sends from ever more addresses takes no guest's, which only listens, and none that is used.
#[test]
fn a_client_with_many_addresses_makes_nobody_deaf() {
    let mut b = Bench::new(3);
    b.link.address(mac(1), true);
    assert_eq!(b.seen(), [Seen::Claim(mac(1))]);
    for source in 10..60 {
        let refused = u64::from(source >= 12);
        assert_eq!(b.transmit(&[frame(source, 60)]), Sent { refused, ..FREE });
    }
    let claims = b.seen().into_iter().filter(|it| matches!(it, Seen::Claim(_) | Seen::Release(_)));
    assert_eq!(claims.collect::<Vec<_>>(), [Seen::Claim(mac(10)), Seen::Claim(mac(11))]);
    // Another guest comes: its place is one of the client's.
    b.link.address(mac(2), true);
    assert_eq!(b.seen(), [Seen::Release(mac(10)), Seen::Claim(mac(2))]);
    // Even silent guests keep their places.
    for claim in b.link.claims.values_mut() {
        claim.used = claim.used.saturating_sub(SILENT);
    }
    assert_eq!(b.transmit(&[frame(70, 60)]).refused, 0);
    assert_eq!(b.seen().first(), Some(&Seen::Release(mac(11))));
    for claim in b.link.claims.values_mut() {
        claim.used = claim.used.saturating_sub(SILENT);
    }
    assert_eq!(b.transmit(&[frame(70, 60), frame(71, 60)]).refused, 1, "70 is not silent");
    assert_eq!(b.seen(), [Seen::Frames(vec![frame(70, 60)])]);
}

#[test]
fn an_address_that_was_asked_for_too_soon_is_asked_for_again_soon() {
    let mut b = Bench::new(4);
    assert_eq!(b.transmit(&[frame(1, 60)]), FREE);
    b.seen();
    b.say(&claimed(mac(1), Err(ClaimRefusal::TooFast)));
    assert!(b.receive().0.is_ok());
    assert_eq!(b.transmit(&[frame(1, 60)]), Sent { refused: 1, ..FREE });
    assert_eq!(b.seen(), []);
    for claim in b.link.claims.values_mut() {
        let State::Later(until) = &mut claim.state else { panic!("{claim:?}") };
        *until -= TOO_SOON;
    }
    assert_eq!(b.transmit(&[frame(1, 60)]), FREE);
    assert_eq!(b.seen(), [Seen::Claim(mac(1)), Seen::Frames(vec![frame(1, 60)])]);
}

#[test]
fn a_stuck_helper_blocks_and_loses_nothing() {
    let mut b = Bench::new(2);
    let many = vec![frame(1, 1500); 64];
    let blocked = (0..1000).find_map(|_| {
        let mut batch = TxBatch::new();
        batch.extend(many.iter().map(|frame| b.pool.copy_in(frame, Offload::NONE).unwrap()));
        let sent = b.link.transmit(&mut b.pool, &mut batch);
        let left = batch.len();
        release_front(&mut b.pool, &mut batch, left);
        (sent.state != Ok(LinkState::Free)).then_some((sent, left))
    });
    let (sent, left) = blocked.expect("the socket's buffer is bounded");
    assert_eq!(sent, Sent { state: Ok(LinkState::Blocked), refused: 0 });
    assert!(left > 0);
}

#[test]
fn more_frames_than_a_batch_come_in_two_visits() {
    let mut b = Bench::new(2);
    let first: Vec<Vec<u8>> = (0..60).map(|i| frame(i, 60)).collect();
    let second: Vec<Vec<u8>> = (100..120).map(|i| frame(i, 60)).collect();
    b.say(&message(&first));
    b.say(&message(&second));
    let (progress, got, lost) = b.receive();
    assert_eq!((progress, got.len(), lost), (Ok(Progress::More), 64, Lost::default()));
    assert_eq!(got[..60], first);
    assert_eq!(got[60..], second[..4]);
    let (progress, got, lost) = b.receive();
    assert_eq!((progress, lost), (Ok(Progress::Done), Lost::default()));
    assert_eq!(got, second[4..]);
}

#[test]
fn large_and_small_frames_arrive_whichever_way_they_are_read() {
    let mut b = Bench::new(2);
    let frames = [frame(1, 60_000), frame(1, 60), frame(2, 2048), frame(2, 65_000), frame(3, 60)];
    for _ in 0..2 {
        for frame in &frames {
            b.say(&message(std::slice::from_ref(frame)));
        }
        b.say(&message(&frames[1..3]));
        let (progress, got, lost) = b.receive();
        assert_eq!((progress, lost), (Ok(Progress::Done), Lost::default()));
        let expected: Vec<_> = frames.iter().chain(&frames[1..3]).cloned().collect();
        assert!(got == expected, "{} frames", got.len());
    }
    assert_eq!(b.pool.usage().large.used, 0);
}

#[test]
fn the_end_of_the_helper_and_its_last_words_end_the_link() {
    let mut b = Bench::new(2);
    b.say(&message(&[frame(1, 60)]));
    b.say(&protocol::refused("Enough."));
    let (result, got, _) = b.receive();
    assert_eq!(result, Err(CloseReason::Protocol("Enough.".into())));
    assert_eq!(got, [frame(1, 60)]);
    let mut b = Bench::new(2);
    drop(std::mem::replace(&mut b.helper, sys::unix::socket(SocketKind::Stream, true).unwrap()));
    assert_eq!(b.receive().0, Err(CloseReason::PeerClosed));
    assert_eq!(b.transmit(&[frame(1, 60)]).state, Err(CloseReason::PeerClosed));
}

#[test]
fn a_bad_header_costs_its_frame_only() {
    let mut b = Bench::new(2);
    let mut message = message(&[frame(1, 60), frame(2, 60)]);
    message[HEADER_LEN + 4] = 0xff;
    b.say(&message);
    let (progress, got, lost) = b.receive();
    assert_eq!((progress, got), (Ok(Progress::Done), vec![frame(2, 60)]));
    assert_eq!(lost, Lost { bad_framing: 1, ..Lost::default() });
}

#[test]
fn guests_that_are_not_heard_are_known_with_the_reason() {
    let mut b = Bench::new(2);
    for guest in [1, 2, 3] {
        b.link.address(mac(guest), true);
    }
    let refusals = |b: &Bench| {
        let mut refusals = b.link.refusals();
        refusals.sort();
        refusals
    };
    let too_many = ClaimRefusal::TooMany.sentence();
    assert_eq!(refusals(&b), [(mac(3), too_many)]);
    b.say(&claimed(mac(1), Ok(())));
    b.say(&claimed(mac(2), Err(ClaimRefusal::NotAllowed)));
    assert!(b.receive().0.is_ok());
    let not_allowed = ClaimRefusal::NotAllowed.sentence();
    assert_eq!(refusals(&b), [(mac(2), not_allowed), (mac(3), too_many)]);
    // Who is no guest of the network, or has gone, is nobody's to be told of.
    b.transmit(&[frame(4, 60)]);
    b.link.address(mac(2), false);
    assert_eq!(refusals(&b), [(mac(3), too_many)]);
}
