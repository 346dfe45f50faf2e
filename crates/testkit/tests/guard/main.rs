//! The guard, check by check: what it refuses and for what reason, what it lets through, with every
//! counter that moved. Cases run from an access port and behind a VLAN tag from a trunk port, and in
//! both IP versions where there are two.
#![forbid(unsafe_code)]

mod arp;
mod claims;
mod dhcp;
mod ethernet;
mod first_come;
mod forwarders;
mod groups;
mod ipv4;
mod ipv6;
mod leases;
mod macs;
mod nd;
mod outside;
mod ports;
mod prefixes;
mod probes;
mod property;
mod quarantine;
mod queriers;
mod trunks;
mod vlans;
mod world;
