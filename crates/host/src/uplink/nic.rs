//! An uplink through the helper `netherd-nic`: the first words, and which addresses guests may have.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use ::nic::protocol::{self, FromHelper, MESSAGE_MAX, MacRange, SOCKET, VERSION, Welcome};
use ::nic::slots::Slots;
use sys::unix::{Address, SocketKind};
use wire::MacAddr;

use super::{Opened, UplinkError};
use crate::link::LinkSetup;

/// How long the helper may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where the helper is, if not at its usual place: for tests and unusual installations.
const PLACE: &str = "NETHERD_NIC_SOCKET";

pub(super) fn open(device: &str, lent: Option<BorrowedFd<'_>>) -> Result<Opened, UplinkError> {
    let (fd, memory, welcome) = connect(device, lent)?;
    let slots =
        memory.map_or_else(|| Err(io::ErrorKind::InvalidData.into()), |it| Slots::map(it.as_fd()));
    let slots = slots.map_err(|e| {
        UplinkError::passing(format!(
            "The uplink nic:{device} cannot use the memory of the helper netherd-nic: {e}."
        ))
    })?;
    let mtu = welcome.mtu;
    Ok(Opened { link: LinkSetup::Nic { fd, slots, welcome, lent: lent.is_some() }, mtu })
}

/// Connects and asks for a device; `lent` is memory that the helper may read. The second descriptor that is returned is
/// that of the memory that it shares.
fn connect(
    device: &str,
    lent: Option<BorrowedFd<'_>>,
) -> Result<(OwnedFd, Option<OwnedFd>, Welcome), UplinkError> {
    let place = std::env::var_os(PLACE).unwrap_or_else(|| SOCKET.into());
    let place = Path::new(&place);
    let failed = |e: &io::Error| {
        let why = match e.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                "is not running; have the administrator start it: systemctl enable --now \
                 netherd-nic.socket"
                    .to_owned()
            }
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                "does not answer; it may be busy".to_owned()
            }
            _ => format!("cannot be reached: {e}"),
        };
        UplinkError::passing(format!(
            "The uplink nic:{device} needs the helper netherd-nic at {}, which {why}.",
            place.display()
        ))
    };
    let exchange = || -> io::Result<(OwnedFd, Option<OwnedFd>, Vec<u8>)> {
        let fd = sys::unix::socket(SocketKind::Seqpacket, true)?;
        sys::unix::connect(fd.as_fd(), &Address::from_path(place)?)?;
        let hello = protocol::hello(device, lent.is_some())
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
        sys::unix::send_vectored(fd.as_fd(), &[io::IoSlice::new(&hello)])?;
        let (mut answer, mut memory) = answer(fd.as_fd())?;
        if let (Ok(FromHelper::Lend), Some(lent)) = (FromHelper::decode(&answer), lent) {
            sys::unix::send_with_fds(fd.as_fd(), &protocol::memory(), &[lent])?;
            (answer, memory) = self::answer(fd.as_fd())?;
        }
        Ok((fd, memory, answer))
    };
    let (fd, memory, answer) = exchange().map_err(|e| failed(&e))?;
    match FromHelper::decode(&answer) {
        Ok(FromHelper::Welcome(welcome)) if welcome.version == VERSION => Ok((fd, memory, welcome)),
        Ok(FromHelper::Refused(sentence)) => Err(UplinkError::passing(sentence)),
        _ if answer.is_empty() => Err(failed(&io::ErrorKind::ConnectionRefused.into())),
        _ => Err(UplinkError::lasting(format!(
            "The helper netherd-nic at {} has another version than this netherd; install both from one release.",
            place.display()
        ))),
    }
}

/// What the helper says next, and the descriptor that comes with it.
fn answer(helper: BorrowedFd<'_>) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
    if !sys::wait::readable(helper, Some(PATIENCE))? {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let mut answer = vec![0; MESSAGE_MAX];
    let mut received = sys::unix::receive_with_fds(helper, &mut answer, 1)?;
    answer.truncate(received.len);
    Ok((answer, received.fds.pop()))
}

/// Which addresses this user's guests may have on a device.
///
/// # Errors
/// As [`super::open`].
pub fn addresses(device: &str) -> Result<Vec<MacRange>, UplinkError> {
    connect(device, None).map(|(_, _, welcome)| welcome.ranges)
}

/// An address in `ranges` that follows from `wanted` alone: `wanted` itself where it is allowed,
/// else the one that its number falls on, or the next that is not `taken`. `None` when there is
/// none, at most a thousand are tried.
#[must_use]
pub fn address_within(
    ranges: &[MacRange],
    wanted: MacAddr,
    taken: impl Fn(MacAddr) -> bool,
) -> Option<MacAddr> {
    let usable = |mac: MacAddr| mac.is_unicast() && !taken(mac);
    if ranges.iter().any(|range| range.contains(wanted)) && usable(wanted) {
        return Some(wanted);
    }
    let size = |range: &MacRange| range.last.saturating_sub(range.first).saturating_add(1);
    let total: u64 = ranges.iter().map(size).fold(0, u64::saturating_add);
    let start = wanted.as_u64().checked_rem(total)?;
    (0..total.min(1000)).find_map(|step| {
        let mut number = (start + step) % total;
        for range in ranges {
            if number < size(range) {
                let [_, _, bytes @ ..] = (range.first + number).to_be_bytes();
                return Some(MacAddr(bytes)).filter(|mac| usable(*mac));
            }
            number -= size(range);
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(text: &str) -> MacAddr {
        text.parse().expect("a good address")
    }

    fn range(first: &str, last: &str) -> MacRange {
        MacRange { first: mac(first).as_u64(), last: mac(last).as_u64() }
    }

    #[test]
    fn an_allowed_address_stays() {
        let ranges = [range("02:00:00:00:00:00", "02:ff:ff:ff:ff:ff")];
        let wanted = mac("02:12:34:56:78:9a");
        assert_eq!(address_within(&ranges, wanted, |_| false), Some(wanted));
    }

    #[test]
    fn another_falls_into_the_ranges_and_aside_when_taken() {
        let ranges = [
            range("02:00:00:00:00:10", "02:00:00:00:00:11"),
            range("02:00:00:00:01:00", "02:00:00:00:01:00"),
        ];
        let all = ["02:00:00:00:00:10", "02:00:00:00:00:11", "02:00:00:00:01:00"].map(mac);
        let wanted = mac("06:11:22:33:44:55");
        let mut taken = Vec::new();
        for _ in 0..3 {
            let next = address_within(&ranges, wanted, |mac| taken.contains(&mac)).unwrap();
            assert!(all.contains(&next) && !taken.contains(&next));
            taken.push(next);
        }
        assert_eq!(address_within(&ranges, wanted, |mac| taken.contains(&mac)), None);
        assert_eq!(address_within(&[], wanted, |_| false), None);
    }

    #[test]
    fn what_is_no_stations_address_is_never_given() {
        let ranges = [range("00:00:00:00:00:00", "00:00:00:00:00:00")];
        assert_eq!(address_within(&ranges, mac("02:00:00:00:00:01"), |_| false), None);
        let ranges = [range("01:00:00:00:00:00", "01:ff:ff:ff:ff:ff")];
        assert_eq!(address_within(&ranges, mac("02:00:00:00:00:01"), |_| false), None);
    }
}
