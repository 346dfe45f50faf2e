//! The list of ports that have something for their links.

use alloc::vec::Vec;

/// First in, first out; each port is in it once at most (the `listed` of its queue says whether it
/// is), so the list is never longer than there are ports.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    /// As many as a power of two, or none.
    places: Vec<u16>,
    head: usize,
    len: usize,
}

impl Ready {
    /// Adds a port if `wanted`. Whether it is depends on what came before, and cannot be guessed; so
    /// there is no branch on it.
    #[inline]
    pub(crate) fn push_if(&mut self, wanted: bool, port: u16) {
        if self.len == self.places.len() {
            self.grow();
        }
        let place = (self.head + self.len) & self.places.len().wrapping_sub(1);
        if let Some(room) = self.places.get_mut(place) {
            *room = port;
            self.len += usize::from(wanted);
        }
    }

    /// Adds a port.
    pub(crate) fn push(&mut self, port: u16) {
        self.push_if(true, port);
    }

    /// Takes the port that has been in it for longest.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<u16> {
        if self.len == 0 {
            return None;
        }
        let port = self.places.get(self.head).copied();
        self.len -= 1;
        self.head = (self.head + 1) & self.places.len().wrapping_sub(1);
        port
    }

    /// Takes a port out of it, wherever it is.
    pub(crate) fn remove(&mut self, port: u16) {
        for _ in 0..self.len {
            match self.pop() {
                Some(other) if other != port => self.push(other),
                _ => {}
            }
        }
    }

    #[cold]
    fn grow(&mut self) {
        let size = (self.places.len() * 2).max(64);
        let mut places = Vec::with_capacity(size);
        while let Some(port) = self.pop() {
            places.push(port);
        }
        self.len = places.len();
        places.resize(size, 0);
        self.places = places;
        self.head = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn ports_come_out_in_the_order_in_which_they_came() {
        let mut ready = Ready::default();
        assert_eq!(ready.pop(), None);
        (0..50).for_each(|port| ready.push(port));
        assert!((0..30).all(|port| ready.pop() == Some(port)));
        (50..200).for_each(|port| ready.push(port));
        ready.remove(31);
        ready.remove(7);
        let rest: Vec<u16> = core::iter::from_fn(|| ready.pop()).collect();
        assert_eq!(rest, [vec![30], (32..200).collect()].concat());
    }
}
