//! Words for headers that are rarely seen: IEEE 802.2, IS-IS and DECnet.

use super::*;

const MACS: [u8; 12] = [2, 0, 0x5e, 0, 0x53, 1, 2, 0, 0x5e, 0, 0x53, 2];

fn frame(rest: &[u8]) -> Vec<u8> {
    let mut frame = MACS.to_vec();
    frame.extend(rest);
    frame.resize(80, 0);
    frame
}

/// The words that want this frame.
fn wanted<'a>(words: &[&'a str], frame: &[u8]) -> Vec<&'a str> {
    let wants = |word: &&&str| compile(word, &Options::default()).unwrap().accepts(frame);
    words.iter().filter(wants).copied().collect()
}

#[test]
fn llc_frames_are_told_apart_by_their_control_byte() {
    let words = [
        "llc",
        "llc i",
        "llc s",
        "llc u",
        "llc rr",
        "llc rnr",
        "llc rej",
        "llc ui",
        "llc ua",
        "llc disc",
        "llc dm",
        "llc sabme",
        "llc test",
        "llc xid",
        "llc frmr",
    ];
    // With the bit that asks for an answer, and without.
    for (controls, wants) in [
        ([0x00, 0x00], &["llc", "llc i"][..]),
        ([0x7e, 0xfe], &["llc", "llc i"]),
        ([0x01, 0x01], &["llc", "llc s", "llc rr"]),
        ([0x05, 0x05], &["llc", "llc s", "llc rnr"]),
        ([0x09, 0x09], &["llc", "llc s", "llc rej"]),
        ([0x0d, 0x0d], &["llc", "llc s"]),
        ([0x03, 0x13], &["llc", "llc u", "llc ui"]),
        ([0x63, 0x73], &["llc", "llc u", "llc ua"]),
        ([0x43, 0x53], &["llc", "llc u", "llc disc"]),
        ([0x6f, 0x7f], &["llc", "llc u", "llc sabme"]),
        ([0xe3, 0xf3], &["llc", "llc u", "llc test"]),
        ([0xaf, 0xbf], &["llc", "llc u", "llc xid"]),
        ([0x87, 0x97], &["llc", "llc u", "llc frmr"]),
        ([0x0f, 0x1f], &["llc", "llc u", "llc dm"]),
        ([0x07, 0x17], &["llc", "llc u"]),
    ] {
        for control in controls {
            let frame = frame(&[0, 40, 0x42, 0x42, control]);
            assert_eq!(wanted(&words, &frame), wants, "{control:#x}");
        }
    }
    let nothing: [&str; 0] = [];
    assert_eq!(wanted(&words, &frame(&[0xff, 0xff, 3])), nothing, "Novell's bare IPX");
    assert_eq!(wanted(&words, &frame(&[8, 0, 0x42, 0x42, 3])), nothing, "a type, not a length");
    let tagged = frame(&[0x81, 0, 0, 5, 0, 40, 0x42, 0x42, 0xaf]);
    assert_eq!(
        wanted(&["vlan and llc xid", "llc xid", "vlan and llc s"], &tagged),
        ["vlan and llc xid"]
    );
}

#[test]
fn isis_packets_are_told_apart_by_their_type() {
    let words = ["isis", "l1", "l2", "iih", "lsp", "snp", "csnp", "psnp", "isis proto 17", "clnp"];
    for (kind, wants) in [
        (15, &["isis", "l1", "iih"][..]),
        (16, &["isis", "l2", "iih"]),
        (17, &["isis", "l1", "l2", "iih", "isis proto 17"]),
        (18, &["isis", "l1", "lsp"]),
        (20, &["isis", "l2", "lsp"]),
        (24, &["isis", "l1", "snp", "csnp"]),
        (25, &["isis", "l2", "snp", "csnp"]),
        (26, &["isis", "l1", "snp", "psnp"]),
        (27, &["isis", "l2", "snp", "psnp"]),
        (19, &["isis"]),
    ] {
        let ethernet = frame(&[0, 40, 0xfe, 0xfe, 3, 0x83, 27, 1, 0, kind]);
        assert_eq!(wanted(&words, &ethernet), wants, "{kind}");
        // In PPP there is no header of IEEE 802.2 before it.
        let ppp = frame(&[0x88, 0x64, 0x11, 0, 0, 3, 0, 50, 0, 0x23, 0x83, 27, 1, 0, kind]);
        let in_ppp: Vec<String> = words.iter().map(|word| format!("pppoes and {word}")).collect();
        let in_ppp: Vec<&str> = in_ppp.iter().map(String::as_str).collect();
        let wants: Vec<String> = wants.iter().map(|word| format!("pppoes and {word}")).collect();
        assert_eq!(wanted(&in_ppp, &ppp), wants, "{kind}");
    }
}

#[test]
fn decnet_addresses_are_found_in_each_form_of_header() {
    let words = ["decnet", "decnet src 1.2", "decnet dst 1.300", "decnet host 1.2"];
    let (from, to) = ([0x02, 0x04], [0x2c, 0x05]);
    let short = |first: &[u8]| [first, &[0x02], &to, &from, &[0]].concat();
    let long = |first: &[u8]| {
        let station = [0, 0, 0xaa, 0, 4, 0];
        [first, &[0x2e], &station, &to, &station, &from].concat()
    };
    for header in [short(&[]), short(&[0x81]), long(&[]), long(&[0x81])] {
        let frame = frame(&[&[0x60, 3, 40, 0][..], &header].concat());
        assert_eq!(wanted(&words, &frame), words, "{header:02x?}");
        let others = ["decnet dst 1.2", "decnet src 1.300", "decnet host 2.2", "decnet src 2.1"];
        assert!(wanted(&others, &frame).is_empty(), "{header:02x?}");
        assert_eq!(
            wanted(&["decnet src and dst 1.2", "decnet host (5.5 or 1.300)"], &frame),
            ["decnet host (5.5 or 1.300)"]
        );
    }
}
