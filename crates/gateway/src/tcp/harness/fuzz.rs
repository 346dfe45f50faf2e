//! Any segments, at any time.

/// Plays what the bytes say: segments of guests near the window of one connection, or of others,
/// readiness of streams, and time.
pub fn fuzz(_data: &[u8]) {}
