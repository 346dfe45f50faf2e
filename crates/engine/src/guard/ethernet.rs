//! Ethernet: groups and EtherTypes of bridges, 802.3 frames, wrapped frames (checks 4 to 9).
//!
//! The addresses, the length and the outer tag were checked by `classify` and `ingress`, which know
//! the MAC table (checks 1, 2, 7, 10 and 11). What follows runs behind every tag.

use wire::ethernet::{ETHERTYPE_MIN, ethertype};
use wire::vlan;

use crate::guard::multicast::Group;
use crate::guard::{Judge, Outcome};
use crate::reason::Reason;

/// EtherTypes of bridges and authenticators: PAUSE, slow protocols (LACP, OAM), EAPOL, LLDP, MRP,
/// MVRP, MMRP.
const CONTROL: [u16; 8] = [0x8808, 0x8809, 0x888e, 0x88c7, 0x88cc, 0x88e3, 0x88f5, 0x88f6];

/// EtherTypes that wrap frames or packets with addresses of their own: MPLS (RFC 3032), PPPoE
/// (RFC 2516), MACsec (IEEE 802.1AE), PBB (IEEE 802.1ah), NSH (RFC 8300), TRILL (RFC 6325).
const WRAPPERS: [u16; 8] = [0x8847, 0x8848, 0x8863, 0x8864, 0x88e5, 0x88e7, 0x894f, 0x22f3];

/// 01:00:0c:cc:cc:cc (CDP, VTP, UDLD, PAgP) and 01:00:0c:cc:cc:cd (PVST).
const CISCO: u64 = 0x0100_0ccc_cccc;

/// 01:80:c2:00:00:20 to 2f: MRP, MVRP, MMRP (IEEE 802.1Q table 10-1).
const MRP: u64 = 0x0180_c200_0020;

/// 01:80:c2:00:00:00: the spanning tree of customer bridges.
const CUSTOMER: u64 = 0x0180_c200_0000;

/// 01:80:c2:00:00:08: that of provider bridges.
const PROVIDER: u64 = 0x0180_c200_0008;

/// Whether frames to this group are a spanning tree's: of either kind of bridges, or of one VLAN (PVST).
pub(crate) fn is_spanning_tree(group: u64) -> bool {
    matches!(group, CUSTOMER | PROVIDER) || group == CISCO | 1
}

impl Judge<'_> {
    /// Everything that is asked of a guest's frame.
    pub(super) fn guest(&mut self) -> Result<Outcome, Reason> {
        let destination = self.parsed.dst.as_u64();
        // A hub would pass them on.
        if is_spanning_tree(destination) {
            self.refuse(Reason::Bpdu)?;
        } else if self.parsed.dst.is_link_local() {
            self.refuse(Reason::ReservedGroup)?;
        } else if destination & !1 == CISCO || destination & !0xf == MRP {
            self.refuse(Reason::ControlGroup)?;
        }
        if self.parsed.tags > 0 {
            // Whatever ports carry it, what is behind a second tag is somebody else's network.
            self.refuse(Reason::VlanDouble)?;
        }
        match self.parsed.ethertype {
            ethertype::IPV4 => self.ipv4(),
            ethertype::IPV6 => self.ipv6(),
            ethertype::ARP => self.arp(),
            ethertype::RARP => self.rarp(),
            other => self.other_ethertype(other),
        }
    }

    fn other_ethertype(&mut self, number: u16) -> Result<Outcome, Reason> {
        if self.me.spec.ethertypes.contains(&number) {
            return self.flooded(Group::Other);
        }
        let reason = if number < ETHERTYPE_MIN {
            Reason::Llc
        } else if vlan::is_tag(number) {
            Reason::VlanDouble
        } else if CONTROL.contains(&number) {
            Reason::ControlEthertype
        } else if WRAPPERS.contains(&number) {
            Reason::Encapsulation
        } else {
            Reason::Ethertype
        };
        self.refuse(reason)?;
        self.flooded(Group::Other)
    }
}
