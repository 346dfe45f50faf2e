//! What the worker keeps for each port of a network.
//!
//! The engine numbers ports, and uses a number again when its port is gone; so a list finds an entry
//! faster than a hash, several times for each frame.

use engine::PortId;

/// Entries by port, each at its port's place.
#[derive(Debug)]
pub(super) struct PortTable<T> {
    places: Vec<Option<(PortId, T)>>,
    len: usize,
}

impl<T> PortTable<T> {
    pub(super) fn new() -> PortTable<T> {
        PortTable { places: Vec::new(), len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds the entry of a port that has none. That of an earlier port with its place was removed
    /// with it.
    pub(super) fn insert(&mut self, port: PortId, entry: T) {
        let place = port.index();
        if self.places.len() <= place {
            self.places.resize_with(place + 1, || None);
        }
        let before = self.places[place].replace((port, entry));
        self.len += usize::from(before.is_none());
    }

    pub(super) fn get(&self, port: PortId) -> Option<&T> {
        let (known, entry) = self.places.get(port.index())?.as_ref()?;
        (*known == port).then_some(entry)
    }

    pub(super) fn get_mut(&mut self, port: PortId) -> Option<&mut T> {
        let (known, entry) = self.places.get_mut(port.index())?.as_mut()?;
        (*known == port).then_some(entry)
    }

    pub(super) fn remove(&mut self, port: PortId) -> Option<T> {
        let place = self.places.get_mut(port.index())?;
        let (_, entry) = place.take_if(|(known, _)| *known == port)?;
        self.len -= 1;
        Some(entry)
    }

    /// The ports that have an entry, in the order of their places.
    pub(super) fn ports(&self) -> impl Iterator<Item = PortId> + '_ {
        self.places.iter().flatten().map(|(port, _)| *port)
    }

    /// All entries.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> + '_ {
        self.places.iter().flatten().map(|(_, entry)| entry)
    }

    /// All entries, to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.places.iter_mut().flatten().map(|(_, entry)| entry)
    }
}

#[cfg(test)]
mod tests {
    use engine::{Engine, NetworkPlan, NetworkSpec, Pool, PoolLimits, PortPlan, PortSpec};

    use super::*;

    #[test]
    fn a_port_that_came_to_the_place_of_another_is_not_taken_for_it() {
        let plan = NetworkPlan::validate(NetworkSpec::default()).unwrap();
        let mut engine = Engine::new(plan.clone(), [0; 16]);
        let mut pool = Pool::new(PoolLimits { small: 8, large: 8, headers: 8 });
        let spec = || PortPlan::validate(PortSpec::default(), &plan).unwrap();
        let [a, b] = [0; 2].map(|_| engine.add_port(spec()).unwrap());
        let mut table = PortTable::new();
        table.insert(b, "b");
        assert_eq!((table.get(a), table.get(b), table.len()), (None, Some(&"b"), 1));
        table.insert(a, "a");
        assert_eq!(table.ports().collect::<Vec<_>>(), [a, b]);
        assert_eq!((table.remove(a), table.remove(a), table.len()), (Some("a"), None, 1));
        engine.remove_port(&mut pool, a);
        let c = engine.add_port(spec()).unwrap();
        assert_eq!((c.index(), c == a), (a.index(), false));
        table.insert(c, "c");
        assert_eq!(table.get(a), None);
        assert_eq!(table.get_mut(a), None);
        assert_eq!(table.remove(a), None);
        assert_eq!((table.get(c), table.len()), (Some(&"c"), 2));
        table.iter_mut().for_each(|entry| *entry = "d");
        assert_eq!(table.iter().collect::<Vec<_>>(), [&"d", &"d"]);
        assert_eq!(table.get_mut(c), Some(&mut "d"));
    }
}
