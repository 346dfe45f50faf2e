//! The state of a network's way out, for `show` and `metrics`.

use crate::daemon::served::Served;
use crate::report;
use crate::worker::Worker;

impl Served {
    /// What `show` says about the way out.
    pub(in crate::daemon) fn outside_report(&self, worker: &Worker) -> report::Outside {
        let outside = &self.config.outside;
        let mut report = report::Outside {
            uplink: outside.uplink.to_string(),
            domain: self.domain(),
            troubles: self.troubles.sentences().map(str::to_owned).collect(),
            routed: outside.routed,
            ..report::Outside::default()
        };
        report.troubles.extend(self.unheard(worker));
        report.troubles.extend(self.route_troubles(worker));
        if let Some(iface) = worker.interface(self.id) {
            if let Some(interface) = worker.router().interface(iface) {
                let v4 = interface.v4.iter().map(|(address, _)| address.to_string());
                let v6 = interface.v6.iter().map(|(address, _)| address.to_string());
                report.router_addresses = v4.chain(v6).collect();
            }
            if let Some(counters) = worker.router().counters(iface) {
                report.router = counters
                    .iter()
                    .filter(|(_, count)| *count > 0)
                    .map(|(name, count)| (name.to_owned(), count))
                    .collect();
            }
        }
        let Some(gateway) = worker.gateway(self.id) else { return report };
        let (plan, status) = (gateway.plan(), gateway.status());
        if plan.nat {
            report.ipv4 = status.outside_v4;
            report.ipv6 = status.outside_v6 && plan.prefix.is_some();
            report.ping_refused = status.echo_v4.or(status.echo_v6);
            report.ping = report.ping_refused.is_none();
        }
        if status.out_of_descriptors {
            report.troubles.push(
                "A connection could not be opened because this process has as many descriptors as it may: raise \
                 its hard limit (ulimit -Hn, or LimitNOFILE of its unit)."
                    .to_owned(),
            );
        }
        report.resolvers = status.resolvers.iter().map(ToString::to_string).collect();
        report.services = [
            (plan.dhcp, "dhcp"),
            (plan.advertise, "advertise"),
            (plan.dhcpv6, "dhcpv6"),
            (plan.dns, "dns"),
        ]
        .into_iter()
        .filter(|(on, _)| *on)
        .map(|(_, name)| name.to_owned())
        .collect();
        let [tcp, udp, echo] = status.flows;
        report.flows = tcp + udp + echo;
        report.tcp = tcp;
        report.udp = udp;
        report.echo = echo;
        report.flows_max = status.flows_max;
        let gateway_counters = gateway.counters().iter().map(|(reason, n)| (reason.name(), n));
        report.counters = gateway_counters.map(|(name, n)| (name.to_owned(), n)).collect();
        let services = gateway.services().counters().iter();
        report.service_counters =
            services.map(|(reason, n)| (reason.name().to_owned(), n)).collect();
        report
    }
}
