//! What a port is to its network.

/// What a port is to its network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Role {
    /// A guest is behind it: it may be what its bindings say, and nothing else.
    #[default]
    Guest,
    /// The outside is behind it: it may be anybody, but nobody who is inside.
    Uplink,
    /// The network's own router is behind it. It may announce routes, serve DHCP, and send from any
    /// address, because it forwards for others.
    Router,
}
