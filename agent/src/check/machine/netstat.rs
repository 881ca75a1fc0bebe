//! Protocol counters of IP, ICMP, TCP and UDP.
//!
//! `/proc/net/netstat` and `/proc/net/snmp` are pairs of lines, names then numbers:
//!
//! ```text
//! TcpExt: SyncookiesSent SyncookiesRecv …
//! TcpExt: 0 0 …
//! ```
//!
//! `/proc/net/snmp6` has a name and a number per line. The files hold some 400
//! numbers, of which node_exporter's default fields and the signs of trouble are
//! told; which columns these are is worked out once per heading.

use crate::check::columns::{Adder, Columns, Fingerprint};
use crate::check::file::KeptFile;
use crate::check::text::{Fields, lines};
use crate::check::{Check, CheckError, Instant, Layout};
use std::path::Path;

/// Watches protocols.
pub(crate) struct Netstat {
    pairs: [(KeptFile, Vec<Heading>); 2],
    columns: Columns,
}

/// Watches the protocols of IPv6: a check of its own, for its source is dear.
pub(crate) struct Netstat6 {
    file: KeptFile,
    told: Vec<Option<Field>>,
    columns: Columns,
}

/// A number that is told.
#[derive(Debug)]
struct Field {
    /// As the file spells it.
    raw: Box<[u8]>,
    /// With protocol and `_`, as in node_exporter: `TcpExt_ListenDrops`.
    name: Box<str>,
}

/// A line of names, and which of its columns are told.
#[derive(Debug)]
struct Heading {
    print: Fingerprint,
    told: Vec<(usize, Field)>,
}

impl Netstat {
    /// `root` is `/`, or a tree like it.
    pub(crate) fn new(root: &Path) -> Netstat {
        let file = |name: &str| KeptFile::new(root.join("proc/net").join(name));
        Netstat { pairs: [(file("netstat"), Vec::new()), (file("snmp"), Vec::new())], columns: Columns::default() }
    }
}

impl Check for Netstat {
    fn name(&self) -> &str {
        "netstat"
    }

    fn sample(&mut self, at: Instant, values: &mut Vec<f64>) -> Result<(), CheckError> {
        values.clear();
        let mut print = Fingerprint::new();
        for (file, headings) in &mut self.pairs {
            let there = file.read_if_there(at.mono, |text| read_pairs(text, headings, values))?;
            if there.is_none() {
                headings.clear();
            }
            headings.iter().for_each(|heading| print.join(heading.print));
            print.number(headings.len() as u64);
        }
        let pairs = &self.pairs;
        self.columns.keep(print, |add| {
            let columns = pairs.iter().flat_map(|(_, headings)| headings).flat_map(|heading| &heading.told);
            columns.for_each(|(_, field)| add_field(add, field));
        });
        self.columns.finish("/proc/net/netstat", values)
    }

    fn layout(&self) -> &Layout {
        self.columns.layout()
    }
}

impl Netstat6 {
    /// `root` is `/`, or a tree like it.
    pub(crate) fn new(root: &Path) -> Netstat6 {
        Netstat6 { file: KeptFile::new(root.join("proc/net/snmp6")), told: Vec::new(), columns: Columns::default() }
    }
}

impl Check for Netstat6 {
    fn name(&self) -> &str {
        "netstat6"
    }

    fn sample(&mut self, at: Instant, values: &mut Vec<f64>) -> Result<(), CheckError> {
        values.clear();
        let told = &mut self.told;
        let there = self.file.read_if_there(at.mono, |text| read_lines(text, told, values))?;
        if there.is_none() {
            self.told.clear();
        }
        let mut print = Fingerprint::new();
        self.told.iter().flatten().for_each(|field| print.text(&field.raw));
        let told = &self.told;
        self.columns.keep(print, |add| told.iter().flatten().for_each(|field| add_field(add, field)));
        self.columns.finish("/proc/net/snmp6", values)
    }

    fn layout(&self) -> &Layout {
        self.columns.layout()
    }
}

fn add_field(add: &mut Adder<'_>, field: &Field) {
    add.add(&format!("node_netstat_{}", field.name), &[]);
}

/// Reads pairs of lines; `headings` remembers which columns of each are told.
fn read_pairs(text: &[u8], headings: &mut Vec<Heading>, values: &mut Vec<f64>) {
    let mut lines = lines(text);
    let mut n_pairs = 0;
    while let (Some(names), Some(numbers)) = (lines.next(), lines.next()) {
        let mut print = Fingerprint::new();
        print.text(names);
        if headings.get(n_pairs).is_none_or(|heading| heading.print != print) {
            let heading = Heading { print, told: told_columns(names, numbers) };
            headings.truncate(n_pairs);
            headings.push(heading);
        }
        let (mut fields, mut at) = (Fields::new(numbers), 0);
        for (column, _) in &headings[n_pairs].told {
            // A line that became shorter than its heading has nothing to tell here;
            // the count of values then shows it.
            let n = fields.skip(column - at).and_then(|()| fields.signed());
            at = column + 1;
            values.extend(n);
        }
        n_pairs += 1;
    }
    headings.truncate(n_pairs);
}

/// Column 0 is the protocol's name.
fn told_columns(names: &[u8], numbers: &[u8]) -> Vec<(usize, Field)> {
    let words = |line| {
        let mut fields = Fields::new(line);
        std::iter::from_fn(move || fields.word())
    };
    let mut names = words(names).zip(words(numbers)).enumerate();
    let Some((_, (protocol, _))) = names.next() else { return Vec::new() };
    let protocol = String::from_utf8_lossy(protocol.strip_suffix(b":").unwrap_or(protocol)).into_owned();
    names
        .filter_map(|(column, (raw, _))| {
            let name = format!("{protocol}_{}", String::from_utf8_lossy(raw));
            is_told(&name).then(|| (column, Field { raw: raw.into(), name: name.into() }))
        })
        .collect()
}

/// Reads lines of a name and a number; `told` remembers, by line, which are told.
fn read_lines(text: &[u8], told: &mut Vec<Option<Field>>, values: &mut Vec<f64>) {
    let start = values.len();
    if !read_told(text, told, values) {
        told.clear();
        told.extend(lines(text).map(|line| {
            let mut fields = Fields::new(line);
            let raw = fields.word()?;
            fields.signed()?;
            let name = name6(&String::from_utf8_lossy(raw))?;
            is_told(&name).then(|| Field { raw: raw.into(), name: name.into() })
        }));
        values.truncate(start);
        read_told(text, told, values);
    }
}

/// False when the lines are others than `told` expects.
fn read_told(text: &[u8], told: &[Option<Field>], values: &mut Vec<f64>) -> bool {
    let mut n_lines = 0;
    for (line, field) in lines(text).zip(told.iter().map(Some).chain(std::iter::repeat(None))) {
        n_lines += 1;
        if let Some(Some(field)) = field {
            let mut fields = Fields::new(line);
            if fields.word() != Some(&field.raw) {
                return false;
            }
            values.extend(fields.signed());
        }
    }
    n_lines == told.len()
}

/// `Udp6NoPorts` becomes `Udp6_NoPorts`.
fn name6(raw: &str) -> Option<String> {
    let (protocol, name) = raw.split_at(raw.find('6')? + 1);
    Some(format!("{protocol}_{name}"))
}

/// node_exporter's default fields, and those that tell of loss, overflow and resets.
fn is_told(name: &str) -> bool {
    let Some((protocol, field)) = name.split_once('_') else { return false };
    if matches!(field, "InErrors" | "InErrs") {
        return true;
    }
    let octets = matches!(protocol, "IpExt" | "Ip6") && matches!(field, "InOctets" | "OutOctets");
    octets
        || match protocol {
            "Ip" | "Ip6" => IP.contains(&field) || (protocol == "Ip" && field == "Forwarding"),
            "IpExt" => matches!(field, "InNoRoutes" | "InTruncatedPkts" | "InCsumErrors" | "InCEPkts"),
            "Icmp" | "Icmp6" => matches!(field, "InMsgs" | "OutMsgs" | "InDestUnreachs" | "OutDestUnreachs"),
            "Tcp" => TCP.contains(&field),
            "Udp" | "Udp6" => UDP.contains(&field),
            "TcpExt" => TCP_EXT.contains(&field) || TCP_EXT_PREFIXES.iter().any(|prefix| field.starts_with(prefix)),
            _ => false,
        }
}

const IP: [&str; 10] = [
    "FragFails",
    "InAddrErrors",
    "InDelivers",
    "InDiscards",
    "InHdrErrors",
    "InReceives",
    "OutDiscards",
    "OutNoRoutes",
    "OutRequests",
    "ReasmFails",
];
const TCP: [&str; 10] = [
    "ActiveOpens",
    "AttemptFails",
    "CurrEstab",
    "EstabResets",
    "InCsumErrors",
    "InSegs",
    "OutRsts",
    "OutSegs",
    "PassiveOpens",
    "RetransSegs",
];
const UDP: [&str; 7] =
    ["InCsumErrors", "InDatagrams", "MemErrors", "NoPorts", "OutDatagrams", "RcvbufErrors", "SndbufErrors"];
const TCP_EXT: [&str; 14] = [
    "OfoPruned",
    "PruneCalled",
    "RcvPruned",
    "TCPBacklogDrop",
    "TCPFastRetrans",
    "TCPLostRetransmit",
    "TCPMemoryPressures",
    "TCPOFOQueue",
    "TCPRcvQDrop",
    "TCPSlowStartRetrans",
    "TCPSynRetrans",
    "TCPTimeouts",
    "TCPZeroWindowDrop",
    "TW",
];
const TCP_EXT_PREFIXES: [&str; 4] = ["Listen", "Syncookies", "TCPAbort", "TCPReqQFull"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{Tree, at};

    const NETSTAT: &str = "TcpExt: SyncookiesSent EmbryonicRsts ListenDrops TCPTimeouts\nTcpExt: 1 2 3 4\n\
        IpExt: InNoRoutes InOctets OutOctets\nIpExt: 0 108783473 466926\n";
    const SNMP: &str = "Ip: Forwarding DefaultTTL InReceives\nIp: 2 64 6310\n\
        Tcp: RtoAlgorithm MaxConn ActiveOpens CurrEstab InErrs\nTcp: 1 -1 101 7 0\nUdpLite: InDatagrams InErrors\nUdpLite: 0 5\n";
    const SNMP6: &str = "Ip6InReceives                   \t1\nIp6InOctets                     \t128\nIcmp6InMsgs \t3\nUdp6NoPorts \t4\n";

    fn tree() -> Tree {
        Tree::new(&[("proc/net/netstat", NETSTAT), ("proc/net/snmp", SNMP), ("proc/net/snmp6", SNMP6)])
    }

    #[test]
    fn fields_are_named_by_protocol_as_in_node_exporter() {
        let tree = tree();
        let mut series = tree.sample(&mut Netstat::new(tree.root()), at(0)).unwrap();
        series.extend(tree.sample(&mut Netstat6::new(tree.root()), at(0)).unwrap());
        let told = [
            ("TcpExt_SyncookiesSent", 1.0),
            ("TcpExt_ListenDrops", 3.0),
            ("TcpExt_TCPTimeouts", 4.0),
            ("IpExt_InNoRoutes", 0.0),
            ("IpExt_InOctets", 108_783_473.0),
            ("IpExt_OutOctets", 466_926.0),
            ("Ip_Forwarding", 2.0),
            ("Ip_InReceives", 6310.0),
            ("Tcp_ActiveOpens", 101.0),
            ("Tcp_CurrEstab", 7.0),
            ("Tcp_InErrs", 0.0),
            ("UdpLite_InErrors", 5.0),
            ("Ip6_InReceives", 1.0),
            ("Ip6_InOctets", 128.0),
            ("Icmp6_InMsgs", 3.0),
            ("Udp6_NoPorts", 4.0),
        ];
        for (name, value) in told {
            assert_eq!(series.get(&format!("node_netstat_{name}")), Some(&value), "{name}");
        }
        assert_eq!(series.len(), told.len(), "{series:?}");
    }

    #[test]
    fn columns_and_lines_that_move_are_noticed() {
        let tree = tree();
        let (mut netstat, mut netstat6) = (Netstat::new(tree.root()), Netstat6::new(tree.root()));
        tree.sample(&mut netstat, at(0)).unwrap();
        tree.sample(&mut netstat6, at(0)).unwrap();
        tree.write(
            "proc/net/netstat",
            "TcpExt: New SyncookiesSent ListenDrops ListenOverflows\nTcpExt: 9 1 3 8\nNewExt: A\nNewExt: 1\n",
        );
        tree.write("proc/net/snmp6", &format!("Icmp6InErrors 6\n{SNMP6}"));
        let series = tree.sample(&mut netstat, at(1)).unwrap();
        assert_eq!(series["node_netstat_TcpExt_ListenDrops"], 3.0);
        assert_eq!(series["node_netstat_TcpExt_ListenOverflows"], 8.0);
        assert!(!series.contains_key("node_netstat_IpExt_InOctets"));
        let series = tree.sample(&mut netstat6, at(1)).unwrap();
        assert_eq!(series["node_netstat_Icmp6_InErrors"], 6.0);
        assert_eq!(series["node_netstat_Udp6_NoPorts"], 4.0);
    }

    #[test]
    fn without_ipv6_there_is_nothing_to_tell() {
        let tree = Tree::new(&[]);
        assert!(tree.sample(&mut Netstat6::new(tree.root()), at(0)).unwrap().is_empty());
    }

    #[test]
    fn a_line_shorter_than_its_heading_tells_what_it_has() {
        let tree = tree();
        tree.write("proc/net/snmp", "Tcp: ActiveOpens PassiveOpens\nTcp: 5\nUdp: NoPorts\n");
        let series = tree.sample(&mut Netstat::new(tree.root()), at(0)).unwrap();
        assert_eq!(series["node_netstat_Tcp_ActiveOpens"], 5.0);
        assert!(!series.contains_key("node_netstat_Tcp_PassiveOpens"));
    }

    #[test]
    fn the_filter_keeps_all_of_node_exporters_default_fields() {
        for name in [
            "Icmp6_InErrors",
            "Icmp_OutMsgs",
            "Ip6_OutOctets",
            "IpExt_InOctets",
            "Tcp_RetransSegs",
            "Tcp_OutRsts",
            "TcpExt_ListenOverflows",
            "TcpExt_SyncookiesFailed",
            "TcpExt_TCPOFOQueue",
            "TcpExt_TCPSynRetrans",
            "Udp6_RcvbufErrors",
            "UdpLite6_InErrors",
            "UdpLite_InErrors",
            "Udp_SndbufErrors",
            "Tcp_InErrs",
        ] {
            assert!(is_told(name), "{name}");
        }
    }
}
