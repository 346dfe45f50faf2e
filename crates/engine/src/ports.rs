//! The ports of one network.

use alloc::vec::Vec;

use crate::plan::PortSpec;
use crate::port::{Port, PortId};

/// A slab of ports. An index is used again after its port went, with another generation.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    slots: Vec<Slot>,
    /// Indices of the live ports, in the order they came; a flood follows it.
    live: Vec<u16>,
    free: Vec<u16>,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    port: Option<Port>,
}

impl Ports {
    pub(crate) fn len(&self) -> usize {
        self.live.len()
    }

    /// Adds a port. None if there is no index left.
    pub(crate) fn insert(&mut self, spec: PortSpec) -> Option<PortId> {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let index = u16::try_from(self.slots.len()).ok()?;
                self.slots.push(Slot::default());
                index
            }
        };
        let slot = self.slots.get_mut(usize::from(index))?;
        let id = PortId { index, generation: slot.generation };
        slot.port = Some(Port::new(id, spec));
        self.live.push(index);
        Some(id)
    }

    pub(crate) fn remove(&mut self, id: PortId) -> Option<Port> {
        self.get(id)?;
        let slot = self.slots.get_mut(usize::from(id.index))?;
        slot.generation = slot.generation.wrapping_add(1);
        self.live.retain(|&index| index != id.index);
        self.free.push(id.index);
        slot.port.take()
    }

    #[inline]
    pub(crate) fn get(&self, id: PortId) -> Option<&Port> {
        self.at(id.index).filter(|port| port.id == id)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: PortId) -> Option<&mut Port> {
        self.at_mut(id.index).filter(|port| port.id == id)
    }

    #[inline]
    pub(crate) fn at(&self, index: u16) -> Option<&Port> {
        self.slots.get(usize::from(index))?.port.as_ref()
    }

    #[inline]
    pub(crate) fn at_mut(&mut self, index: u16) -> Option<&mut Port> {
        self.slots.get_mut(usize::from(index))?.port.as_mut()
    }

    /// The indices of the live ports, in the order they came.
    #[inline]
    pub(crate) fn live(&self) -> &[u16] {
        &self.live
    }

    /// The index of the `nth` live port.
    #[inline]
    pub(crate) fn nth(&self, nth: usize) -> Option<u16> {
        self.live.get(nth).copied()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Port> {
        self.live.iter().filter_map(|&index| self.at(index))
    }
}
