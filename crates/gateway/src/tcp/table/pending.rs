//! Connections of guests that are not open yet.
//!
//! The kernel goes on with a connection that was begun, for minutes, and to whoever has the address by
//! then. So those that wait are judged again when the host's addresses have changed.

use std::net::SocketAddr;

use engine::Instant;

use super::{Table, flow_mut};
use crate::backend::{StreamBackend, StreamError};
use crate::ctx::Ctx;
use crate::poll::Token;
use crate::tcp::flow::State;

impl<B: StreamBackend> Table<B> {
    /// Where a guest's connection that is not open yet was to lead, as the guest sees it.
    pub(crate) fn pending(&self, token: Token) -> Option<SocketAddr> {
        let slot = self.slots.get(token.index as usize)?;
        let flow = slot.flow.as_ref().filter(|_| token.is_of(slot.generation))?;
        (flow.state == State::Connecting && flow.owner.is_some()).then(|| flow.key.remote())
    }

    /// Ends the connections that are not open yet and may not be, and tells their guests so.
    pub(crate) fn refuse_pending(
        &mut self,
        now: Instant,
        ctx: &mut Ctx<'_>,
        mut refuses: impl FnMut(SocketAddr) -> bool,
    ) {
        for index in 0..self.slots.len() as u32 {
            let Some(flow) = flow_mut(&mut self.slots, index) else { continue };
            if flow.state == State::Connecting
                && flow.owner.is_some()
                && refuses(flow.key.remote())
                && let Some(mut flow) = self.take(ctx, index)
            {
                self.tell_failed(now, ctx, &mut flow, StreamError::Prohibited, None);
            }
        }
    }
}
