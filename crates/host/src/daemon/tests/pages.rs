//! Tables in pages: what may be asked for.

use super::*;
use crate::api::message::{PAGE_MAX, Page};
use serde_json::Value;

/// Whoever asks for no rows, or for more than there are in a page, is told so, whichever table it is.
#[test]
fn a_page_has_the_rows_that_it_may_have() {
    let daemon = Daemon::start("pages", "").ready();
    let mut client = daemon.client("default");
    type Table = fn(Page) -> Call;
    let tables: [Table; 6] =
        [Call::Flows, Call::Leases, Call::Routes, Call::Neighbours, Call::Bindings, Call::Guard];
    let page = |limit| Page { limit: Some(limit), ..Page::default() };
    for table in tables {
        for limit in [0, PAGE_MAX + 1, 1 << 40, usize::MAX] {
            let (code, message) = refusal(client.call::<Value>(&table(page(limit)), &[]));
            assert_eq!(code, Code::BadArgument);
            assert!(message.contains("1 to 1024 rows") && message.contains(&limit.to_string()));
        }
        for limit in [1, PAGE_MAX] {
            let answer: Value = client.call(&table(page(limit)), &[]).expect("a page").value;
            assert!(answer["rows"].as_array().is_some_and(|rows| rows.len() <= limit), "{answer}");
        }
    }
}
