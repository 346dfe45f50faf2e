//! Filters of ports.

use serde::{Deserialize, Serialize};

/// Arguments of `filter-set`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilterSet {
    pub port: String,
    pub direction: Direction,
    /// Frames that may pass, in the language of pcap-filter(7); without it, or with an empty one, all.
    #[serde(default)]
    pub expression: Option<String>,
}

/// Which frames a filter is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Those that come from the guest.
    In,
    /// Those that are to go to the guest.
    Out,
}
