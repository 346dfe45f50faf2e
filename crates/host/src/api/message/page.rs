//! Tables that may be long, in pages.

use serde::{Deserialize, Serialize};

/// Arguments of a report in pages: a part of what there is, so that no answer takes long.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// [`crate::report::Paged::next`] of the page before; nothing for the first.
    #[serde(default)]
    pub after: Option<u64>,
    /// Most rows to answer with, 1 to [`PAGE_MAX`].
    #[serde(default)]
    pub limit: Option<usize>,
    /// Only what belongs to the port or guest of this name.
    #[serde(default)]
    pub port: Option<String>,
}

/// Most rows of a page.
pub const PAGE_MAX: usize = 1024;
