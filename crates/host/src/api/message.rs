//! Requests, answers and events of the control interface, version 1.
//!
//! ```text
//! request  {"v":1,"id":7,"call":"show","args":{"port":"web"}}
//! answer   {"v":1,"id":7,"ok":{...}}
//! answer   {"v":1,"id":7,"error":{"code":"name-taken","message":"..."}}
//! event    {"v":1,"event":"closed","args":{...}}
//! ```
//!
//! Unknown members of a request are refused, so that a misspelt one is never silently ignored. Members of
//! answers may be added within a version: readers ignore those that they do not know.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::wording;

mod call;
mod failure;
mod filter;
mod page;

pub use call::{About, Answer, Audience, Call};
pub use failure::{Code, Failure};
pub use filter::{Direction, FilterSet};
pub use page::{PAGE_MAX, Page};

/// Version of the interface; a request that names another one is refused.
pub const VERSION: u32 = 1;
/// Longest request in bytes, newline included; a longer one ends the connection.
pub const LINE_MAX: usize = 64 * 1024;
/// Longest answer line in bytes. Reports of many ports are longer than any request may be.
pub const ANSWER_MAX: usize = 8 * 1024 * 1024;
/// Most descriptors that ride with one line.
pub const FDS_MAX: usize = 10;

/// No arguments, or nothing to answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// Answer to `hello`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// Always `netherd`.
    pub server: String,
    /// Version of the program.
    pub version: String,
    /// Version of this interface.
    pub api: u32,
    /// The network that this socket belongs to.
    pub network: String,
    /// Its directory.
    pub directory: PathBuf,
    /// Process of the daemon.
    pub pid: u32,
    /// Whether the caller may make every call, or only look after his own guests and ports.
    pub control: bool,
    /// How the network is started again on demand, for its owner; none for one that `netherd up` serves with a
    /// configuration, which only `netherd up` can start as it was.
    #[serde(default)]
    pub restart: Option<Restart>,
}

/// How a network is started that serves on demand: what [`crate::start::StartOptions`] takes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Restart {
    /// The network stays when its last guest has gone.
    pub stay: bool,
    /// Seconds without guests after which it ends.
    #[serde(default)]
    pub idle: Option<f64>,
    /// Group of the directory and its nodes, by name or number.
    #[serde(default)]
    pub group: Option<String>,
    /// Mode of the nodes.
    #[serde(default)]
    pub mode: Option<u32>,
    /// The way out, where it is not the default, as the configuration has it.
    #[serde(default)]
    pub uplink: Option<String>,
}

/// How a guest was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuestKind {
    #[default]
    /// By `netherd run`: its namespaces are its own.
    Run,
    /// By `netherd attach`: the namespaces existed before.
    Attach,
}

impl fmt::Display for GuestKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Run => "run",
            Self::Attach => "attach",
        })
    }
}

/// Arguments of `join`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// The name of the guest; without it one is derived from `command`, then `-2`, `-3`.
    #[serde(default)]
    pub guest: Option<String>,
    /// Path or name of the command that the guest runs.
    #[serde(default)]
    pub command: String,
    /// A MAC address to use instead of the planned one: `02:00:5e:00:53:01`.
    #[serde(default)]
    pub mac: Option<String>,
    /// How the guest is made.
    pub kind: GuestKind,
    /// The guest lived in this network before the daemon ended and keeps its name.
    #[serde(default)]
    pub resume: bool,
    /// Ports of the host that are forwarded to the guest while it is in the network: `8080:80`, `udp/5353:53`,
    /// `192.0.2.1:8080:80`. A port that cannot be had refuses the guest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub publish: Vec<String>,
    /// Ports of the host that this guest reaches as `host.internal`: `80`, `udp/53`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_host: Vec<String>,
    /// MAC addresses that the guest may use beside its own, first come first served: for a network behind it. Their
    /// users may have as many first-come IP addresses.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub macs: u16,
    /// Prefixes that are behind the guest: they are bound to its port and routed to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<String>,
    /// The way out that the guest counts on, as the configuration has it: a network with another one refuses the
    /// guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uplink: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
fn is_zero(number: &u16) -> bool {
    *number == 0
}

/// Answer to `join`: what the guest is to configure.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Joined {
    pub network: String,
    pub guest: String,
    /// `02:..` in lower case.
    pub mac: String,
    /// Address and prefix length: `10.1.2.3/20`.
    pub ipv4: String,
    /// Address and prefix length: `fd12:..:1/64`.
    pub ipv6: String,
    /// Largest payload of an Ethernet frame, in bytes.
    pub mtu: u16,
    /// Directories of networks that the sandbox has to cover: this one's, the default and the fallback
    /// places, and all `--dir` directories of this user.
    pub covers: Vec<PathBuf>,
    /// As in [`Hello::restart`]: without it, a keeper whose hypervisor has died waits for the next one.
    #[serde(default)]
    pub restart: Option<Restart>,
    /// The router's addresses in the network; none where there is no router, and so no default route.
    #[serde(default)]
    pub gateway4: Option<Ipv4Addr>,
    #[serde(default)]
    pub gateway6: Option<Ipv6Addr>,
    /// Whether IPv6 has a way out of the network: without it no default route is wanted, or programs would try and
    /// wait.
    #[serde(default)]
    pub outside6: bool,
    /// Addresses of the network's name server, the best first; none where there is none.
    #[serde(default)]
    pub resolvers: Vec<IpAddr>,
    /// Domains to search for bare names, the network's own first.
    #[serde(default)]
    pub search: Vec<String>,
    /// Addresses that `host.internal` stands for; none where the host cannot be reached.
    #[serde(default)]
    pub host4: Option<Ipv4Addr>,
    #[serde(default)]
    pub host6: Option<Ipv6Addr>,
    /// Domains that are taken for a network inside the guest: this network's, and those of networks around it.
    #[serde(default)]
    pub domains: Vec<String>,
    /// Prefixes that a network inside the guest must not have: this network's, and what is reached around it.
    #[serde(default)]
    pub occupied: Vec<IpNet>,
}

/// Answer to `publish`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The forward in its full form, by which it is ended.
    pub forward: String,
}

/// The mechanism that carries a guest's frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkMechanism {
    /// A tap with vnet headers.
    Tap,
    /// A packet socket with vnet headers on the outer end of a veth pair.
    Packet,
}

/// Arguments of `link`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkArgs {
    pub link: LinkMechanism,
    /// Bytes of the vnet header before each frame: 10 or 12.
    pub vnet_hdr_len: u8,
    /// What the link takes: of `csum`, `tso4`, `tso6`, `tso-ecn`, `uso4`, `uso6`.
    #[serde(default)]
    pub offloads: Vec<String>,
    /// The guest's init as the caller numbers processes, for show.
    #[serde(default)]
    pub init_pid: Option<i32>,
    /// What the descriptors after the link's are: of [`NAMESPACES`], each at most once.
    #[serde(default)]
    pub namespaces: Vec<String>,
}

/// Names of descriptors that enter a guest: its namespaces, and `init`, a pidfd of its init.
/// `outer` is the user namespace around `user`: it owns `pid`, so it has to be entered first.
pub const NAMESPACES: [&str; 9] =
    ["outer", "user", "mnt", "net", "pid", "ipc", "uts", "cgroup", "init"];

/// Answer to `link`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Linked {
    /// The name of the port: the guest's.
    pub port: String,
    /// What the guest's user is to be told: that its address is not heard outside, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Answer to `exec`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entrance {
    pub guest: String,
    pub kind: GuestKind,
    /// The guest's init, as its keeper numbered processes.
    pub init_pid: Option<i32>,
    /// What the descriptors of the answer are, in their order.
    pub namespaces: Vec<String>,
}

/// Arguments of `capture`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptureArgs {
    /// Only frames that came in at this port, or were forwarded to it.
    #[serde(default)]
    pub port: Option<String>,
    /// Bytes to keep of each frame; 0 keeps all that can be.
    #[serde(default = "default_snaplen")]
    pub snaplen: u32,
    /// Only frames that this expression wants, in the language of pcap-filter(7).
    #[serde(default)]
    pub filter: Option<String>,
}

impl Default for CaptureArgs {
    fn default() -> Self {
        Self { port: None, snaplen: default_snaplen(), filter: None }
    }
}

fn default_snaplen() -> u32 {
    262_144
}

/// Answer to `capture`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capturing {
    pub snaplen: u32,
}

/// Answer to `metrics`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metrics {
    /// Media type of the text.
    pub content_type: String,
    pub text: String,
}

/// Answer to `reload`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// What changed, a sentence each.
    pub changes: Vec<String>,
}

/// One line of a request, decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub id: u64,
    pub call: Call,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestLine {
    v: u32,
    id: u64,
    call: String,
    #[serde(default)]
    args: Option<Value>,
}

fn said(why: &serde_json::Error) -> String {
    wording::of_json(&why.to_string())
}

impl Request {
    /// Decodes a line, with or without its newline.
    ///
    /// # Errors
    /// The failure to answer with, and the request's id where it could be read (else 0).
    pub fn decode(line: &[u8]) -> Result<Self, (u64, Failure)> {
        let bad = |id, message: String| (id, Failure::new(Code::BadRequest, message));
        // The version is looked at before the rest: another version may have other members.
        let value: Value = serde_json::from_slice(line)
            .map_err(|why| bad(0, format!("The request is not a JSON object: {why}.")))?;
        let id = value.get("id").and_then(Value::as_u64).unwrap_or(0);
        match value.get("v").and_then(Value::as_u64) {
            Some(v) if v == u64::from(VERSION) => {}
            Some(v) => {
                let message = format!(
                    "The request has version {v}; this netherd speaks version {VERSION}: use the \
                     netherd command of the version that runs, or restart the network."
                );
                return Err((id, Failure::new(Code::BadVersion, message)));
            }
            None => {
                return Err(bad(id, format!("The request has no version: add \"v\":{VERSION}.")));
            }
        }
        let line: RequestLine = serde_json::from_value(value)
            .map_err(|why| bad(id, format!("The request is not understood: {}.", said(&why))))?;
        if !Call::NAMES.contains(&line.call.as_str()) {
            let message =
                format!("There is no call {:?}; there are {}.", line.call, Call::NAMES.join(", "));
            return Err(bad(id, message));
        }
        let args = line.args.unwrap_or_else(|| json!({}));
        let call =
            serde_json::from_value(json!({ "call": line.call, "args": args })).map_err(|why| {
                bad(id, format!("The arguments of {:?} are wrong: {}.", line.call, said(&why)))
            })?;
        Ok(Self { id: line.id, call })
    }

    /// Encodes the request as a line with its newline.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut value = serde_json::to_value(&self.call).unwrap_or_default();
        value["v"] = VERSION.into();
        value["id"] = self.id.into();
        to_line(&value)
    }
}

/// What a server sends: an answer, or an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    Answer { id: u64, result: Result<Value, Failure> },
    Event(Event),
}

/// What a server tells without being asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", content = "args", rename_all = "kebab-case")]
pub enum Event {
    /// The guest's port is gone.
    Closed(Closed),
    /// An event of a newer version.
    #[serde(other)]
    Other,
}

/// Arguments of the event `closed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "ClosedLine", into = "ClosedLine")]
pub struct Closed {
    pub guest: String,
    /// A sentence.
    pub why: String,
    pub ending: Ending,
}

/// What the end of a guest's port means for its keeper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The link failed; the keeper may bring it again.
    LinkLost,
    /// Somebody asked for the end (`detach`, `down`): the keeper is not to come back with the link. The guest may live
    /// on without it.
    Unlinked,
    /// The guest itself is to end as well, not only its port: `detach` of a guest of `run`.
    GuestEnds,
}

/// [`Closed`] as it is in a line.
#[derive(Serialize, Deserialize)]
struct ClosedLine {
    guest: String,
    why: String,
    wanted: bool,
    #[serde(default)]
    end: bool,
}

impl From<ClosedLine> for Closed {
    fn from(line: ClosedLine) -> Self {
        let ending = match (line.wanted, line.end) {
            (false, _) => Ending::LinkLost,
            (true, false) => Ending::Unlinked,
            (true, true) => Ending::GuestEnds,
        };
        Self { guest: line.guest, why: line.why, ending }
    }
}

impl From<Closed> for ClosedLine {
    fn from(closed: Closed) -> Self {
        let (wanted, end) = match closed.ending {
            Ending::LinkLost => (false, false),
            Ending::Unlinked => (true, false),
            Ending::GuestEnds => (true, true),
        };
        Self { guest: closed.guest, why: closed.why, wanted, end }
    }
}

#[derive(Deserialize)]
struct ReplyLine {
    v: u32,
    #[serde(default)]
    id: Option<u64>,
    #[serde(default)]
    ok: Option<Value>,
    #[serde(default)]
    error: Option<Failure>,
    #[serde(default)]
    event: Option<Value>,
    #[serde(default)]
    args: Option<Value>,
}

/// Why a line of a server cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum ReplyError {
    #[error("the daemon's line is not a JSON object: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the daemon speaks version {0} of the interface, this program version {VERSION}")]
    Version(u32),
    #[error("the daemon's line is neither an answer nor an event")]
    Shape,
}

impl Reply {
    /// Decodes a line of a server.
    ///
    /// # Errors
    /// When it is no line of this version.
    pub fn decode(line: &[u8]) -> Result<Self, ReplyError> {
        let line: ReplyLine = serde_json::from_slice(line)?;
        if line.v != VERSION {
            return Err(ReplyError::Version(line.v));
        }
        match (line.id, line.ok, line.error, line.event) {
            (Some(id), Some(ok), None, None) => Ok(Self::Answer { id, result: Ok(ok) }),
            (Some(id), None, Some(error), None) => Ok(Self::Answer { id, result: Err(error) }),
            (None, None, None, Some(event)) => {
                let args = line.args.unwrap_or_else(|| json!({}));
                let event = serde_json::from_value(json!({ "event": event, "args": args }));
                Ok(Self::Event(event.unwrap_or(Event::Other)))
            }
            _ => Err(ReplyError::Shape),
        }
    }

    /// Encodes the reply as a line with its newline.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let value = match self {
            Self::Answer { id, result: Ok(ok) } => json!({ "v": VERSION, "id": id, "ok": ok }),
            Self::Answer { id, result: Err(error) } => {
                json!({ "v": VERSION, "id": id, "error": error })
            }
            Self::Event(event) => {
                let mut value = serde_json::to_value(event).unwrap_or_default();
                value["v"] = VERSION.into();
                value
            }
        };
        to_line(&value)
    }
}

fn to_line(value: &Value) -> Vec<u8> {
    let mut line = value.to_string().into_bytes();
    line.push(b'\n');
    line
}

/// Reads the value of an answer as the type that belongs to its call.
///
/// # Errors
/// When the value has another shape.
pub fn value_as<T: DeserializeOwned>(value: Value) -> Result<T, serde_json::Error> {
    serde_json::from_value(value)
}

/// For fuzzing: decoding any bytes as a request or a reply ends without a panic, and what was understood
/// survives encoding.
pub fn fuzz_decode(data: &[u8]) {
    if let Ok(request) = Request::decode(data) {
        let again = Request::decode(&request.encode());
        assert_eq!(again.ok().as_ref(), Some(&request), "a request survives its own encoding");
    }
    if let Ok(reply) = Reply::decode(data) {
        let _encoded = reply.encode();
    }
}

#[cfg(test)]
mod tests;
