//! Top-level domains that guests ask for names of.

use std::collections::{BTreeSet, VecDeque};

use super::Name;

/// So many are remembered; the one that came first makes room for the next. There are about 1,500,
/// of which few are in use at one place.
const TOPS_MAX: usize = 1024;

/// The last labels of names that were passed on.
///
/// A single label is of this network or of none, and is not told to anybody outside. But a guest that
/// validates DNSSEC, having asked for `www.example.com`, asks for the delegation and keys of `com`. That tells
/// nobody anything that the name itself did not.
#[derive(Debug, Default)]
pub(super) struct Tops {
    known: BTreeSet<Vec<u8>>,
    order: VecDeque<Vec<u8>>,
}

impl Tops {
    /// A name was passed on.
    pub(super) fn learn(&mut self, name: &Name) {
        let mut labels = name.labels();
        let Some(mut last) = labels.next() else { return };
        let mut below = false;
        for label in labels {
            (last, below) = (label, true);
        }
        if !below || self.known.contains(last) {
            return;
        }
        if self.order.len() >= TOPS_MAX
            && let Some(first) = self.order.pop_front()
        {
            self.known.remove(&first);
        }
        self.known.insert(last.to_vec());
        self.order.push_back(last.to_vec());
    }

    /// Whether a name below this single label was passed on.
    pub(super) fn knows(&self, name: &Name) -> bool {
        name.labels().next().is_some_and(|label| self.known.contains(label))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::from_text(text).unwrap()
    }

    #[test]
    fn a_name_tells_its_last_label_and_no_other() {
        let mut tops = Tops::default();
        for passed_on in [".", "printer", "www.Example.ORG"] {
            tops.learn(&name(passed_on));
        }
        assert!(tops.knows(&name("org")));
        for other in ["printer", "www", "example", "."] {
            assert!(!tops.knows(&name(other)), "{other}");
        }
    }

    #[test]
    fn they_are_bounded_and_the_first_goes_first() {
        let mut tops = Tops::default();
        for number in 0..=TOPS_MAX {
            tops.learn(&name(&format!("a.t{number}")));
            tops.learn(&name(&format!("b.t{number}")));
        }
        assert_eq!((tops.known.len(), tops.order.len()), (TOPS_MAX, TOPS_MAX));
        assert!(!tops.knows(&name("t0")) && tops.knows(&name("t1")));
    }
}
