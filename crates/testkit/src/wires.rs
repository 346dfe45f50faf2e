//! Where a smoltcp stack ends: frames, or packets, that wait in both directions.

use std::collections::VecDeque;

use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

/// Frames on their way to and from a stack.
#[derive(Debug)]
pub struct Wires {
    /// For the stack, oldest first.
    pub rx: VecDeque<Vec<u8>>,
    /// From it.
    pub tx: VecDeque<Vec<u8>>,
    medium: Medium,
    /// As smoltcp counts: with the Ethernet header where there is one.
    longest: usize,
}

impl Wires {
    /// Wires of Ethernet, for IP packets of `mtu` bytes.
    #[must_use]
    pub fn ethernet(mtu: usize) -> Self {
        Self::of(Medium::Ethernet, mtu + wire::ethernet::HEADER_LEN)
    }

    /// Wires that have no frames, but packets.
    #[must_use]
    pub fn of(medium: Medium, longest: usize) -> Self {
        Self { rx: VecDeque::new(), tx: VecDeque::new(), medium, longest }
    }
}

impl Device for Wires {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sending<'_>)> {
        let frame = self.rx.pop_front()?;
        Some((Received(frame), Sending(&mut self.tx)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        Some(Sending(&mut self.tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = self.medium;
        capabilities.max_transmission_unit = self.longest;
        capabilities
    }
}

/// A frame that was received.
#[derive(Debug)]
pub struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

/// A place for a frame to be sent.
#[derive(Debug)]
pub struct Sending<'a>(&'a mut VecDeque<Vec<u8>>);

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.push_back(frame);
        result
    }
}
