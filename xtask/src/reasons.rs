//! docs/reasons.md, from the tables of reasons of the engine, the router and the gateway.

use std::fmt::Write;

use engine::router::RouterReason;
use engine::{Reason, Side};
use gateway::services::ServiceReason;

/// Where the page is, from the root of the repository.
pub(crate) const PATH: &str = "docs/reasons.md";

const HEAD: &str = "\
# Why a frame was dropped

Every frame that netherd reads ends in a verdict, and a frame that goes no further has one of these
reasons. The same names are used in `netherd show PORT`, in `netherd metrics` (as the label `reason`) and in
the comments of a capture; the numbers are those of the verdict option of a capture.

*Ingress* reasons are counted on the port that the frame came from: the frame itself was refused.
*Egress* reasons are counted on the port that it was to leave by: it was let through, and this copy
met a limit on its way out.

This page is generated: `cargo xtask reasons` writes it from the engine's tables.

Where a reason belongs to one of the guard's checks, the check's number is given; [guard.md](guard.md)
explains it.

| number | name | check | counted at | what happened |
|---:|---|---:|---|---|
";

const ROUTER: &str = "
## In the router

What happened to a packet that reached the virtual router ([routing.md](routing.md)). These are counted
for the network that the packet came from; `netherd show counters` has them as `drop.NAME`.

| name | what happened |
|---|---|
";

const GATEWAY: &str = "
## At the gateway

What the gateway of a network did with packets and with flows, then what its services did. Not all of
these are drops. `netherd show counters` has those that are not zero.

| name | what happened |
|---|---|
";

/// The whole page.
pub(crate) fn page() -> String {
    let mut page = HEAD.to_owned();
    for reason in Reason::ALL {
        let side = match reason.side() {
            Side::Ingress => "ingress",
            Side::Egress => "egress",
        };
        let _ = writeln!(
            page,
            "| {} | `{}` | {} | {side} | {} |",
            reason.number(),
            reason.name(),
            reason.check().map_or_else(String::new, |check| check.to_string()),
            reason.describe()
        );
    }
    page.push_str(ROUTER);
    for reason in RouterReason::ALL {
        let _ = writeln!(page, "| `{}` | {} |", reason.name(), reason.describe());
    }
    page.push_str(GATEWAY);
    let gateway = gateway::Reason::ALL.iter().map(|reason| (reason.name(), reason.describe()));
    let services = ServiceReason::ALL.iter().map(|reason| (reason.name(), reason.describe()));
    for (name, sentence) in gateway.chain(services) {
        let _ = writeln!(page, "| `{name}` | {sentence} |");
    }
    page
}
