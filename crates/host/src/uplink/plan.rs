//! The words `nic:IFNAME`, `tap:IFNAME` and `macvtap:IFNAME`.

use std::fmt;
use std::str::FromStr;

use super::parent::Routed;

/// Which device an uplink is, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UplinkPlan {
    /// A device of the host, through `netherd-nic`.
    Nic(String),
    /// A persistent tap of ours.
    Tap(String),
    /// A macvtap whose character device is ours.
    Macvtap(String),
    /// The Ethernet of the guest that we are in.
    Bridged,
    /// The routing of the guest that we are in, for a network of this MTU.
    Routed { prefixes: Routed, mtu: u16 },
}

impl UplinkPlan {
    /// The device's name.
    #[must_use]
    pub fn device(&self) -> &str {
        match self {
            Self::Nic(device) | Self::Tap(device) | Self::Macvtap(device) => device,
            Self::Bridged | Self::Routed { .. } => "eth0",
        }
    }
}

/// The text names no device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("\"{0}\" is not an uplink of a device: write nic:IFNAME, tap:IFNAME or macvtap:IFNAME")]
    Kind(String),
    #[error(
        "\"{0}\" cannot be the name of a network device, which has 1 to 15 characters without / and spaces"
    )]
    Device(String),
}

impl FromStr for UplinkPlan {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let (kind, device) = text.split_once(':').ok_or_else(|| PlanError::Kind(text.into()))?;
        let plan = match kind {
            "nic" => Self::Nic,
            "tap" => Self::Tap,
            "macvtap" => Self::Macvtap,
            _ => return Err(PlanError::Kind(text.into())),
        };
        if sys::device::is_name(device) {
            Ok(plan(device.to_owned()))
        } else {
            Err(PlanError::Device(device.into()))
        }
    }
}

impl fmt::Display for UplinkPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nic(device) => write!(f, "nic:{device}"),
            Self::Tap(device) => write!(f, "tap:{device}"),
            Self::Macvtap(device) => write!(f, "macvtap:{device}"),
            Self::Bridged => f.write_str("net:bridged"),
            Self::Routed { .. } => f.write_str("net:routed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_plans_and_back() {
        for (word, plan) in [
            ("nic:eth0", UplinkPlan::Nic("eth0".into())),
            ("tap:tap0", UplinkPlan::Tap("tap0".into())),
            ("macvtap:mv-1", UplinkPlan::Macvtap("mv-1".into())),
        ] {
            assert_eq!(word.parse(), Ok(plan.clone()));
            assert_eq!(plan.to_string(), word);
        }
        for word in ["eth0", "nat", "nat:x", "NIC:eth0", ":eth0"] {
            assert_eq!(word.parse::<UplinkPlan>(), Err(PlanError::Kind(word.into())));
        }
        for word in ["nic:", "tap:a/b", "macvtap:sixteen-letters-"] {
            assert!(matches!(word.parse::<UplinkPlan>(), Err(PlanError::Device(_))), "{word}");
        }
    }
}
