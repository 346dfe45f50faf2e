//! The configuration file.

use std::time::Duration;

/// How long a network that `run` started stays without guests.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
