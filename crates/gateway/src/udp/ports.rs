//! Ports of the host: each flow of UDP has one, whoever it speaks to, and other programs need some too.
//!
//! A bound for each IP version holds for all guests together, and half of it for one guest. It is that
//! guest who pays where its own is met; where that of all is met, or the host has no port left although it is
//! not, whoever has most of them gives one to a guest that has fewer.

use super::{Datagrams, Key};
use crate::GuestKey;
use crate::backend::datagram::DatagramBackend;
use crate::counters::Reason;
use crate::ctx::Ctx;
use crate::flow_table::FlowKey;

impl<B: DatagramBackend> Datagrams<B> {
    /// Makes room for the port of one more flow.
    ///
    /// # Errors
    /// [`Reason::FlowLimit`]: nobody has one to give.
    pub(crate) fn make_port(
        &mut self,
        ctx: &mut Ctx<'_>,
        guest: GuestKey,
        key: &Key,
    ) -> Result<(), Reason> {
        let kind = key.kind();
        if kind == 0 {
            return Ok(());
        }
        let limits = ctx.guests.limits();
        let (own, all) = self.flows.count_of_kind(guest, kind);
        if own >= limits.ports_of_guest() {
            self.give_port(ctx, guest, kind);
        } else if all >= limits.ports && !self.take_port(ctx, guest, key) {
            return Err(Reason::FlowLimit);
        }
        Ok(())
    }

    /// Takes a port from whoever has most, if that is more than this guest has, or else from this guest.
    /// False if nobody gives.
    pub(crate) fn take_port(&mut self, ctx: &mut Ctx<'_>, guest: GuestKey, key: &Key) -> bool {
        let kind = key.kind();
        let (own, _) = self.flows.count_of_kind(guest, kind);
        let richest = self.flows.richest_of_kind(kind).filter(|(_, flows)| *flows > own);
        self.give_port(ctx, richest.map_or(guest, |(richest, _)| richest), kind)
    }

    /// Ends the flow of a kind that this guest used longest ago; false if it has none.
    fn give_port(&mut self, ctx: &mut Ctx<'_>, guest: GuestKey, kind: usize) -> bool {
        let Some(at) = self.flows.oldest_of_kind(guest, kind) else { return false };
        self.close(ctx, at);
        ctx.counters.count(Reason::Evicted);
        true
    }
}
