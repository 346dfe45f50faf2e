//! The shapes of values on the command line, and what is said of those that have another.

use std::time::Duration;

use host::directory::OWNER_MODE;

/// Reads an address that one station can have.
pub(super) fn parse_mac(text: &str) -> Result<wire::MacAddr, String> {
    let mac: wire::MacAddr = text.parse().map_err(|_| {
        format!("`{text}` is not a MAC address; write six bytes in hexadecimal, such as 02:00:5e:10:00:01")
    })?;
    if mac.is_zero() {
        return Err(format!(
            "{mac} stands for no address at all; choose one such as 02:00:5e:10:00:01"
        ));
    }
    if mac.is_multicast() {
        return Err(format!(
            "{mac} cannot be the address of one interface; choose one whose first byte is even, such as \
            02:00:5e:10:00:01"
        ));
    }
    Ok(mac)
}

/// Reads the name of a guest.
pub(super) fn parse_guest(text: &str) -> Result<String, String> {
    match host::names::Name::of_guest(text) {
        Ok(name) => Ok(name.as_str().to_owned()),
        Err(why) => Err(format!("`{text}` is not a valid guest name: {why}")),
    }
}

/// Reads the number of a process.
pub(super) fn parse_pid(text: &str) -> Result<i32, String> {
    match text.parse() {
        Ok(pid) if pid > 0 => Ok(pid),
        _ => Err(format!("`{text}` is not a process id; ps shows them")),
    }
}

/// Reads a number of bytes.
pub(super) fn parse_bytes(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number of bytes; write one such as 96"))
}

/// Reads permission bits, as chmod writes them.
pub(super) fn parse_mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 && mode & OWNER_MODE == OWNER_MODE => Ok(mode),
        Ok(mode) if mode <= 0o777 => {
            Err(format!("`{text}` locks you out of your own network; begin it with 6, such as 660"))
        }
        _ => Err(format!(
            "`{text}` is not a set of permissions; write three octal digits, such as 660"
        )),
    }
}

/// The help on `--uplink`, of `run` and `up`.
pub(super) const UPLINK_HELP: &str = "\
The way out of the network: `nat`, the default, through the host's own sockets, without privilege; \
`none`; `nic:IFNAME`, a device of the host, through netherd-nic; `tap:IFNAME` or `macvtap:IFNAME` that \
an administrator made for you; inside a guest of another network, `net` or `net:nat` through the \
guest's own address, `net:bridged` (the guest needs `run --macs N`) or `net:routed` (`run --route PREFIX`)";

pub(super) fn parse_uplink(text: &str) -> Result<String, String> {
    text.parse::<host::config::Uplink>().map(|uplink| uplink.to_string())
}

/// Reads a port number after an optional protocol.
pub(super) fn parse_host_port(text: &str) -> Result<String, String> {
    if is_port(without_protocol(text)) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "`{text}` is not a port; write a number from 1 to 65535, such as 5432, tcp/5432 or udp/53"
    ))
}

/// Reads a forward into the guest that is being started, which it does not name.
pub(super) fn parse_forward(text: &str) -> Result<String, String> {
    // Any guest will do to see whether the rest is right.
    let own = host::names::Name::from_command("guest");
    let wrong = |why: &dyn std::fmt::Display| {
        format!(
            "`{text}` is not a forward into the guest: {why}; write the host's port and the guest's, such as \
            8080:80, udp/5353:53, 192.0.2.1:8080:80 or [::1]:8080:80"
        )
    };
    match host::config::Forward::parse(text, Some(&own)) {
        Ok(forward) if forward.guest == own => Ok(text.to_owned()),
        Ok(_) => Err(wrong(&"it names a guest")),
        Err(why) => Err(wrong(&why)),
    }
}

fn without_protocol(text: &str) -> &str {
    text.strip_prefix("tcp/").or_else(|| text.strip_prefix("udp/")).unwrap_or(text)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Reads a prefix behind the guest that is being started.
pub(super) fn parse_prefix(text: &str) -> Result<String, String> {
    match host::config::outside::parse_behind(text) {
        Ok(net) => Ok(net.to_string()),
        Err(why) => Err(format!("`{text}` {why}")),
    }
}

pub(super) fn parse_seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=1e9).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("`{text}` is not a number of seconds; write one such as 30 or 0.5")),
    }
}
