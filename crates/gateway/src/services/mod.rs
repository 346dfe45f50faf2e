//! The network's own services: DHCP, router advertisement, DNS.
