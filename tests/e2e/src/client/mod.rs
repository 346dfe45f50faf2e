//! Clients of the published nodes, written to the protocols' own letter: for tests that count single frames or
//! misbehave as no real client does.

pub mod dgram;
pub mod frame;
pub mod seqpacket;
pub mod stream;
pub mod vde;
