//! Places for flows of guests, and who gives one up when there is none.
//!
//! A place is one in the table of all flows, or a descriptor of this process. Whoever has most of
//! them pays for one more, whatever it has them for: guests with many connections leave room for the
//! datagrams of another, and the other way round. Connections that guests have left behind go first.

use super::Call;
use crate::backend::Backend;
use crate::counters::Reason;
use crate::gateway::{Gateway, ctx};
use crate::guests::GuestKey;
use crate::udp::Key;

impl<B: Backend> Gateway<B> {
    /// Sends the datagrams that wait for more of their batch: what a guest has just sent leaves, and its flow is
    /// young, before one is chosen to end.
    pub(super) fn send_waiting(&mut self, call: &mut Call<'_>) {
        let mut ctx = ctx!(self, call.pool, call.room);
        self.datagrams.flush(call.now, &mut ctx, &mut self.host);
    }

    /// Makes room for the port of the host that one more flow of datagrams has, if it has one.
    ///
    /// # Errors
    /// Which bound is met, if there is nobody to give.
    pub(super) fn make_port(&mut self, call: &mut Call<'_>, key: &Key) -> Result<(), Reason> {
        let mut ctx = ctx!(self, call.pool, call.room);
        self.datagrams.make_port(&mut ctx, call.guest, key)
    }

    /// Makes room for one more flow: a guest that has as many as it may gives its oldest flow of
    /// datagrams, and when all together have as many as there may be, the guest that has most gives
    /// one.
    ///
    /// # Errors
    /// Which bound is met, if there is nobody to give.
    pub(super) fn make_room(&mut self, call: &mut Call<'_>) -> Result<(), Reason> {
        let (of_guest, of_all) = (self.tcp.len_of(call.guest), self.tcp.len());
        let Err(reason) = self.guests.may_open_beside(call.guest, of_guest, of_all) else {
            return Ok(());
        };
        self.send_waiting(call);
        let given = if reason == Reason::FlowLimit {
            self.take_from_richest(call)
        } else {
            let mut ctx = ctx!(self, call.pool, call.room);
            self.datagrams.evict_oldest(&mut ctx, call.guest)
        };
        if given { Ok(()) } else { Err(reason) }
    }

    /// Ends a connection that was left behind. If there is none, the guest that has most gives a flow,
    /// of the kind that it has more of. If nobody has more than the guest that wants one, it gives its
    /// own oldest flow of datagrams. False if nobody gives.
    pub(super) fn take_from_richest(&mut self, call: &mut Call<'_>) -> bool {
        if self.tcp.give_up_orphan(&mut ctx!(self, call.pool, call.room)) {
            return true;
        }
        self.send_waiting(call);
        let of = |guest: GuestKey| (self.tcp.len_of(guest), self.guests.flows_of(guest));
        let sum = |(connections, datagrams): (usize, usize)| connections + datagrams;
        let all = self.guests.all().chain(self.tcp.owners());
        let Some(richest) = all.max_by_key(|guest| sum(of(*guest))) else { return false };
        let (own, (connections, datagrams)) = (sum(of(call.guest)), of(richest));
        let mut ctx = ctx!(self, call.pool, call.room);
        // A connection costs its guest more than a mapping, and is not ended to be even.
        if connections > datagrams && connections + datagrams > own + 1 {
            if self.tcp.evict_of(call.now, &mut ctx, richest) {
                return true;
            }
        } else if connections + datagrams > own && self.datagrams.evict_oldest(&mut ctx, richest) {
            return true;
        }
        self.datagrams.evict_oldest(&mut ctx, call.guest)
    }
}
