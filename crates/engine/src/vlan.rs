//! VLANs of IEEE 802.1Q: which frames a port takes, and how they leave it.
//!
//! Inside the engine a frame has no outer tag: its VLAN stands beside it. An *access* port belongs
//! to one VLAN and never sees a tag; a *trunk* port carries several, tagged, and at most one (its
//! native VLAN) untagged. An inner tag is payload, and only trunk ports see payload that is tagged.

use alloc::boxed::Box;
use core::fmt;

/// The VLAN that ports belong to unless told otherwise (IEEE 802.1Q table 9-2: the default PVID).
pub const DEFAULT_VLAN: u16 = 1;

/// The largest usable VLAN identifier; 0 is the priority tag and 4095 is reserved.
pub const VLAN_MAX: u16 = 4094;

const WORDS: usize = 64;

/// A set of VLAN identifiers, 1 to 4094.
#[derive(Clone, PartialEq, Eq)]
pub struct VlanSet(Box<[u64; WORDS]>);

impl VlanSet {
    /// The empty set.
    #[must_use]
    pub fn new() -> Self {
        Self(Box::new([0; WORDS]))
    }

    /// Every usable VLAN.
    #[must_use]
    pub fn all() -> Self {
        (1..=VLAN_MAX).collect()
    }

    /// Adds `vid`; false, and nothing changes, if it is not usable (0, 4095 and above).
    pub fn insert(&mut self, vid: u16) -> bool {
        let usable = is_usable(vid);
        if usable && let Some(word) = self.0.get_mut(usize::from(vid / 64)) {
            *word |= 1 << (vid % 64);
        }
        usable
    }

    /// Whether `vid` is in the set.
    #[inline]
    #[must_use]
    pub fn contains(&self, vid: u16) -> bool {
        self.0.get(usize::from(vid / 64)).is_some_and(|word| word >> (vid % 64) & 1 == 1)
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    /// The members, smallest first.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        (1..=VLAN_MAX).filter(|&vid| self.contains(vid))
    }
}

impl Default for VlanSet {
    fn default() -> Self {
        Self::new()
    }
}

impl FromIterator<u16> for VlanSet {
    /// Identifiers that are not usable are left out.
    fn from_iter<I: IntoIterator<Item = u16>>(vids: I) -> Self {
        let mut set = Self::new();
        for vid in vids {
            set.insert(vid);
        }
        set
    }
}

impl fmt::Debug for VlanSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// Whether `vid` names a VLAN that a port can belong to.
#[must_use]
pub const fn is_usable(vid: u16) -> bool {
    vid >= 1 && vid <= VLAN_MAX
}

/// How a port takes part in VLANs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VlanMode {
    /// One VLAN, untagged on the link. Tagged frames are dropped, except a priority tag (VID 0),
    /// which is removed.
    Access(u16),
    /// Several VLANs, tagged on the link.
    Trunk {
        /// The VLAN that travels untagged, if any; it need not be repeated in `allowed`.
        native: Option<u16>,
        /// The VLANs that travel tagged.
        allowed: VlanSet,
    },
}

impl Default for VlanMode {
    fn default() -> Self {
        Self::Access(DEFAULT_VLAN)
    }
}

impl VlanSet {
    /// Whether two sets have an identifier in common.
    fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0.iter()).any(|(one, other)| one & other != 0)
    }
}

impl VlanMode {
    /// Whether ports of the two exchange frames of some VLAN.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Access(vid), other) | (other, Self::Access(vid)) => other.carries(*vid, false),
            (
                Self::Trunk { allowed, native },
                Self::Trunk { allowed: others, native: other_native },
            ) => {
                allowed.meets(others)
                    || native.is_some_and(|vid| other.carries(vid, false))
                    || other_native.is_some_and(|vid| self.carries(vid, false))
            }
        }
    }

    /// How many VLANs the port is in.
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Access(_) => 1,
            Self::Trunk { native, allowed } => {
                let more = native.is_some_and(|vid| !allowed.contains(vid));
                allowed.iter().count() + usize::from(more)
            }
        }
    }

    /// The VLAN of the port's frames without a tag, or else the first that it carries.
    pub(crate) fn first(&self) -> Option<u16> {
        match self {
            Self::Access(vid) | Self::Trunk { native: Some(vid), .. } => Some(*vid),
            Self::Trunk { native: None, allowed } => allowed.iter().next(),
        }
    }

    /// Whether frames of VLAN `vid` may leave by the port. `tagged_payload`: the frame carries an
    /// inner tag.
    #[inline]
    #[must_use]
    pub fn carries(&self, vid: u16, tagged_payload: bool) -> bool {
        match self {
            Self::Access(own) => *own == vid && !tagged_payload,
            Self::Trunk { native, allowed } => allowed.contains(vid) || *native == Some(vid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    #[test]
    fn sets_hold_usable_identifiers_only() {
        let mut set: VlanSet = [0, 1, 64, 4094, 4095, 9000].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), vec![1, 64, 4094]);
        assert!(!set.insert(4095) && !set.contains(4095) && !set.contains(u16::MAX));
        assert!(set.insert(2) && set.contains(2));
        assert_eq!(VlanSet::all().iter().count(), 4094);
        assert!(VlanSet::new().is_empty() && !set.is_empty());
    }

    #[test]
    fn only_trunks_carry_tagged_payload() {
        let access = VlanMode::Access(7);
        assert!(access.carries(7, false) && !access.carries(7, true) && !access.carries(8, false));
        let trunk = VlanMode::Trunk { native: Some(3), allowed: [5].into_iter().collect() };
        assert!(trunk.carries(3, false) && trunk.carries(3, true) && trunk.carries(5, true));
        assert!(!trunk.carries(7, false));
        assert_eq!((access.count(), trunk.count()), (1, 2));
        assert_eq!((access.first(), trunk.first()), (Some(7), Some(3)));
        let trunk = VlanMode::Trunk { native: None, allowed: [9, 300, 5].into_iter().collect() };
        assert_eq!((trunk.count(), trunk.first()), (3, Some(5)));
    }
}
