//! Clients of the published nodes, written to the protocols' own letter: for tests that count single frames or
//! misbehave as no real client does.

pub mod dgram;
pub mod frame;
pub mod seqpacket;
pub mod stream;
pub mod vde;

/// Lets the network, which may run as another user than the test, send to a client's socket.
fn open_to_all(socket: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o777))
        .expect("the socket is ours");
}
