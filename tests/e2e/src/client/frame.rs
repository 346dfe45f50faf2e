//! Ethernet frames for the clients.

/// An EtherType for local experiments (IEEE 802, 88B5): no stack answers it.
pub const EXPERIMENT: u16 = 0x88b5;

/// The broadcast address.
pub const BROADCAST: [u8; 6] = [0xff; 6];

/// A locally administered unicast address with `number` in its low bytes.
#[must_use]
pub fn mac(number: u32) -> [u8; 6] {
    let [a, b, c, d] = number.to_be_bytes();
    [0x06, 0x4e, a, b, c, d]
}

/// A frame of the experimental type, padded to the 60 bytes of the shortest Ethernet frame.
#[must_use]
pub fn frame(destination: [u8; 6], source: [u8; 6], payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(60.max(14 + payload.len()));
    bytes.extend_from_slice(&destination);
    bytes.extend_from_slice(&source);
    bytes.extend_from_slice(&EXPERIMENT.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes.resize(bytes.len().max(60), 0);
    bytes
}

/// The payload of an experimental frame, if it is one.
#[must_use]
pub fn payload(frame: &[u8]) -> Option<&[u8]> {
    (frame.get(12..14)? == EXPERIMENT.to_be_bytes()).then(|| &frame[14..])
}
