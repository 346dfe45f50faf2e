//! Names of a node's ports: `stream-1`, `stream-2`, the lowest number whose name nobody has.

use std::collections::BTreeSet;

/// The numbers that one node has not given out.
#[derive(Debug)]
pub(super) struct Numbers {
    /// Never given out, nor any above it.
    next: usize,
    /// Given back, or passed over because another port had the name.
    free: BTreeSet<usize>,
}

impl Numbers {
    /// From 1.
    pub(super) fn new() -> Numbers {
        Numbers { next: 1, free: BTreeSet::new() }
    }

    /// The lowest number whose name is not taken, given out.
    pub(super) fn take(&mut self, is_taken: impl Fn(usize) -> bool) -> usize {
        let lowest = self.free.iter().copied().find(|&number| !is_taken(number));
        if let Some(number) = lowest {
            self.free.remove(&number);
            return number;
        }
        loop {
            let number = self.next;
            self.next += 1;
            if !is_taken(number) {
                return number;
            }
            self.free.insert(number);
        }
    }

    pub(super) fn give_back(&mut self, number: usize) {
        self.free.insert(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_number_that_nobody_has_is_next() {
        let mut numbers = Numbers::new();
        assert_eq!([(); 3].map(|()| numbers.take(|_| false)), [1, 2, 3]);
        numbers.give_back(2);
        numbers.give_back(1);
        assert_eq!([(); 3].map(|()| numbers.take(|_| false)), [1, 2, 4]);
        // A guest has the names 5 and 6; when it is gone they are free.
        assert_eq!(numbers.take(|n| n == 5 || n == 6), 7);
        assert_eq!(numbers.take(|n| n == 5), 6);
        assert_eq!(numbers.take(|_| false), 5);
        assert_eq!(numbers.take(|_| false), 8);
    }
}
