//! `netherd filter`: which frames may pass a port, what a filter expression becomes, and what it matches.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use bpf::expression::{self, Options};
use bpf::{Program, instruction};
use host::api::message::{Call, Direction, FilterSet, Nothing};
use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, create_reader};
use serde::Serialize;

use super::connect;
use crate::cli::{FilterAction, FilterArgs, FilterDirection, FilterFormat, NetworkArgs};
use crate::output;
use crate::output::style::Style;
use crate::output::tables;

/// Bytes of a capture file that are looked at at a time: more than one block may have.
const WINDOW: usize = 1 << 20;
/// Most interfaces of a capture file.
const INTERFACES_MAX: usize = 65_536;

pub fn run(args: &FilterArgs) -> anyhow::Result<ExitCode> {
    match &args.action {
        FilterAction::Compile { expression, format, snaplen, netmask } => {
            let expression = expression.join(" ");
            let snaplen = if *snaplen == 0 { expression::WHOLE_FRAME } else { *snaplen };
            let options = Options { snaplen, netmask: netmask.map(u32::from) };
            let program = compile(&expression, &options)?;
            output::print(&printed(&program, *format)?)?;
        }
        FilterAction::Set { port, direction, expression, network } => {
            let expression = expression.join(" ");
            check(&expression)?;
            set(network, port, *direction, Some(expression))?;
        }
        FilterAction::Clear { port, direction, network } => {
            let both = [FilterDirection::In, FilterDirection::Out];
            for way in both.into_iter().filter(|way| direction.is_none_or(|only| only == *way)) {
                set(network, port, way, None)?;
            }
        }
        FilterAction::Show { port, network, json } => {
            let report = connect::show(network, port.as_deref())?;
            let rows = tables::filter_rows(&report.ports);
            if *json {
                output::print_json(&rows)?;
            } else {
                output::print(&tables::filters(&rows, Style::of_stdout()))?;
            }
        }
        FilterAction::Test { expression, file, json } => {
            let program = compile(expression, &Options::default())?;
            let count = count(&program, file)?;
            if *json {
                output::print_json(&count)?;
            } else {
                output::print(&format!("{} of {} frames match\n", count.matches, count.frames))?;
                if count.other_links > 0 {
                    output::note(&format!(
                        "{} frames were not looked at, because they are not Ethernet frames.",
                        count.other_links
                    ));
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn set(
    network: &NetworkArgs,
    port: &str,
    direction: FilterDirection,
    expression: Option<String>,
) -> anyhow::Result<()> {
    let direction = match direction {
        FilterDirection::In => Direction::In,
        FilterDirection::Out => Direction::Out,
    };
    let call = Call::FilterSet(FilterSet { port: port.to_owned(), direction, expression });
    let mut client = connect::connect(&network.net, network.dir.as_deref())?;
    client.call::<Nothing>(&call, &[])?;
    Ok(())
}

/// Whether an expression makes sense for some network, whose mask only its hypervisor knows.
pub(super) fn check(expression: &str) -> anyhow::Result<()> {
    compile(expression, &Options { netmask: Some(!0), ..Options::default() }).map(drop)
}

/// The program of an expression, or a sentence and the place in it.
fn compile(expression: &str, options: &Options) -> anyhow::Result<Program> {
    expression::compile(expression, options).map_err(|error| {
        anyhow!("the filter expression is not valid: {error}\n{}", error.excerpt(expression))
    })
}

fn printed(program: &Program, format: FilterFormat) -> anyhow::Result<String> {
    let instructions = program.instructions();
    let mut text = String::new();
    match format {
        FilterFormat::Listing => instruction::listing(instructions, &mut text)?,
        FilterFormat::Decimal => instruction::decimal(instructions, &mut text)?,
        FilterFormat::C => {
            for i in instructions {
                text.push_str(&format!(
                    "{{ 0x{:x}, {}, {}, 0x{:08x} }},\n",
                    i.code, i.jt, i.jf, i.k
                ));
            }
        }
    }
    Ok(text)
}

/// What a filter said of the frames of a file.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Count {
    /// Ethernet frames.
    frames: u64,
    /// Those that the filter wants.
    matches: u64,
    /// Bytes of these, as they were on the network.
    match_bytes: u64,
    /// Frames of interfaces that are not Ethernet.
    other_links: u64,
}

impl Count {
    fn frame(&mut self, program: &Program, ethernet: bool, bytes: &[u8], on_the_network: u32) {
        if !ethernet {
            self.other_links += 1;
            return;
        }
        self.frames += 1;
        if program.accepts(bytes) {
            self.matches += 1;
            self.match_bytes += u64::from(on_the_network);
        }
    }
}

fn count(program: &Program, path: &Path) -> anyhow::Result<Count> {
    let shown = path.display();
    let file: Box<dyn Read + Send> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).with_context(|| format!("cannot read {shown}"))?)
    };
    let mut reader = match create_reader(WINDOW, file) {
        Ok(reader) => reader,
        Err(PcapError::Eof | PcapError::Incomplete(_)) => bail!("{shown} is empty, not a capture"),
        Err(_) => {
            bail!("{shown} is neither pcapng nor pcap: give a file that `netherd capture -w` wrote")
        }
    };
    let mut count = Count::default();
    // Whether each interface of the section is Ethernet.
    let mut interfaces: Vec<bool> = Vec::new();
    loop {
        match reader.next() {
            Ok((used, block)) => {
                match block {
                    PcapBlockOwned::LegacyHeader(header) => {
                        interfaces = vec![header.network == Linktype::ETHERNET];
                    }
                    PcapBlockOwned::Legacy(packet) => {
                        let ethernet = interfaces.first() == Some(&true);
                        let kept = packet.data.get(..packet.caplen as usize).unwrap_or(packet.data);
                        count.frame(program, ethernet, kept, packet.origlen);
                    }
                    PcapBlockOwned::NG(Block::SectionHeader(_)) => interfaces.clear(),
                    PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                        if interfaces.len() == INTERFACES_MAX {
                            bail!("{shown} has more than {INTERFACES_MAX} interfaces");
                        }
                        interfaces.push(interface.linktype == Linktype::ETHERNET);
                    }
                    PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                        let ethernet = interfaces.get(packet.if_id as usize) == Some(&true);
                        let kept = packet.data.get(..packet.caplen as usize).unwrap_or(packet.data);
                        count.frame(program, ethernet, kept, packet.origlen);
                    }
                    PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                        let ethernet = interfaces.first() == Some(&true);
                        let kept =
                            packet.data.get(..packet.origlen as usize).unwrap_or(packet.data);
                        count.frame(program, ethernet, kept, packet.origlen);
                    }
                    PcapBlockOwned::NG(_) => {}
                }
                reader.consume(used);
            }
            Err(PcapError::Eof) => return Ok(count),
            Err(PcapError::UnexpectedEof) => {
                output::note(&format!(
                    "{shown} ends within a block; what is before it was counted."
                ));
                return Ok(count);
            }
            Err(PcapError::Incomplete(_)) => {
                reader.refill().map_err(|_| anyhow!("cannot read {shown}: a block is too long"))?;
            }
            Err(_) => {
                bail!("{shown} is damaged after frame {}", count.frames + count.other_links);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn pcap(link: u32, frames: &[&[u8]]) -> Vec<u8> {
        let mut file = Vec::new();
        for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, link] {
            file.extend(word.to_le_bytes());
        }
        for frame in frames {
            let len = u32::try_from(frame.len()).unwrap();
            for word in [0, 0, len, len + 100] {
                file.extend(word.to_le_bytes());
            }
            file.extend(*frame);
        }
        file
    }

    fn arp() -> [u8; 42] {
        let mut frame = [0; 42];
        frame[12..14].copy_from_slice(&[8, 6]);
        frame
    }

    fn counted(name: &str, bytes: &[u8]) -> anyhow::Result<Count> {
        let path =
            std::env::temp_dir().join(format!("netherd-filter-{}-{name}", std::process::id()));
        File::create(&path).unwrap().write_all(bytes).unwrap();
        let count = count(&expression::compile("arp", &Options::default()).unwrap(), &path);
        std::fs::remove_file(&path).unwrap();
        count
    }

    #[test]
    fn frames_of_a_file_are_counted() {
        let found = counted("two", &pcap(1, &[&arp(), &[0; 60]])).unwrap();
        assert_eq!(found, Count { frames: 2, matches: 1, match_bytes: 142, other_links: 0 });
        let found = counted("other", &pcap(101, &[&arp()])).unwrap();
        assert_eq!(found, Count { other_links: 1, ..Count::default() });
    }

    #[test]
    fn what_is_no_capture_is_told() {
        for (name, bytes, why) in
            [("empty", &b""[..], "empty"), ("text", b"hello, world, hello, world", "neither")]
        {
            let error = counted(name, bytes).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        let mut cut = pcap(1, &[&arp(), &arp()]);
        cut.truncate(cut.len() - 5);
        assert_eq!(counted("cut", &cut).unwrap().frames, 1);
    }

    #[test]
    fn an_error_shows_the_place() {
        let error = compile("tcp port 99999", &Options::default()).unwrap_err().to_string();
        assert!(error.ends_with("tcp port 99999\n         ^^^^^"), "{error}");
    }

    #[test]
    fn programs_are_printed_in_three_forms() {
        let program = compile("arp", &Options::default()).unwrap();
        assert!(printed(&program, FilterFormat::Decimal).unwrap().starts_with("4\n40 0 0 12\n"));
        assert!(
            printed(&program, FilterFormat::C)
                .unwrap()
                .starts_with("{ 0x28, 0, 0, 0x0000000c },\n")
        );
        assert!(
            printed(&program, FilterFormat::Listing).unwrap().starts_with("(000) ldh      [12]\n")
        );
    }
}
