//! Network devices: traffic and errors from `/proc/net/dev`, state from `/sys/class/net`.
//!
//! Counters are read at every sample. The operational state is when the kernel says that
//! a device changed ([`super::news`]); when it changes, or after a minute, the other
//! attributes are read again, so that a link that fails shows at the next sample and a
//! quiet host pays for one call. Where the kernel may not tell, the state is read at
//! every sample.
//!
//! Devices that come and go with containers and virtual machines are left out: each
//! would bring a set of series of its own, and its traffic shows at the host's too.

use super::link::Link;
use super::news::News;
use crate::check::columns::{Adder, Columns, Fingerprint};
use crate::check::file::KeptFile;
use crate::check::roster::{DEVICES_MAX, Entry, LEFT_OUT, Roster};
use crate::check::text::{Fields, lines, round4};
use crate::check::{Check, CheckError, Instant, Layout};
use signalbox_proto::units::Millis;
use std::path::{Path, PathBuf};

/// The sixteen fields of a line, in order.
const COUNTERS: [&str; 16] = [
    "node_network_receive_bytes_total",
    "node_network_receive_packets_total",
    "node_network_receive_errs_total",
    "node_network_receive_drop_total",
    "node_network_receive_fifo_total",
    "node_network_receive_frame_total",
    "node_network_receive_compressed_total",
    "node_network_receive_multicast_total",
    "node_network_transmit_bytes_total",
    "node_network_transmit_packets_total",
    "node_network_transmit_errs_total",
    "node_network_transmit_drop_total",
    "node_network_transmit_fifo_total",
    "node_network_transmit_colls_total",
    "node_network_transmit_carrier_total",
    "node_network_transmit_compressed_total",
];
/// Errors and drops of both directions.
const ERRORS: [usize; 4] = [2, 3, 10, 11];

/// Watches network devices.
pub(crate) struct Network {
    ignore: Vec<DevicePattern>,
    class: PathBuf,
    file: KeptFile,
    news: News,
    devices: Roster<Memory>,
    columns: Columns,
}

struct Memory {
    link: Link,
    before: Option<(Millis, u64)>,
    errors_per_sec: Option<f64>,
}

impl Network {
    /// `root` is `/`, or a tree like it. Devices that one of `ignore` means are left out.
    pub(crate) fn new(root: &Path, ignore: &[DevicePattern]) -> Network {
        Network {
            ignore: ignore.to_vec(),
            class: root.join("sys/class/net"),
            file: KeptFile::new(root.join("proc/net/dev")),
            news: News::listen(root),
            devices: Roster::new(),
            columns: Columns::default(),
        }
    }

    /// Returns how many devices were left out.
    fn read_counters(&mut self, now: Millis, values: &mut Vec<f64>) -> Result<u64, CheckError> {
        let (class, devices, ignore) = (&self.class, &mut self.devices, &self.ignore);
        devices.begin();
        let mut n_left_out = 0;
        self.file.read(|text| {
            let told = |line: &&[u8]| !split(line).is_some_and(|(name, _)| ignore.iter().any(|own| own.means(name)));
            for (n, line) in lines(text).filter(told).filter_map(Line::parse).enumerate() {
                if n >= DEVICES_MAX {
                    n_left_out += 1;
                    continue;
                }
                let memory = devices.meet(line.name, || Memory {
                    link: Link::new(class.join(&*String::from_utf8_lossy(line.name))),
                    before: None,
                    errors_per_sec: None,
                });
                memory.note(&line, now);
                values.extend(line.counters.iter().map(|n| *n as f64));
                values.extend(memory.errors_per_sec);
            }
        })?;
        self.devices.end();
        Ok(n_left_out)
    }
}

impl Check for Network {
    fn name(&self) -> &str {
        "network"
    }

    fn sample(&mut self, at: Instant, values: &mut Vec<f64>) -> Result<(), CheckError> {
        values.clear();
        let n_left_out = self.read_counters(at.mono, values)?;
        let mut print = Fingerprint::new();
        print.number(u64::from(n_left_out > 0));
        let is_news = self.news.take();
        for device in self.devices.iter_mut() {
            device.memory.link.look(at.mono, is_news)?;
            print.text(&device.name);
            print.number(u64::from(device.memory.errors_per_sec.is_some()));
            print.number(device.memory.link.generation());
            device.memory.link.extend(values);
        }
        values.extend((n_left_out > 0).then_some(n_left_out as f64));
        let devices = &self.devices;
        self.columns.keep(print, |add| {
            devices.iter().for_each(|device| add_counters(add, device));
            devices.iter().for_each(|device| device.memory.link.lay_out(&device.label(), add));
            if n_left_out > 0 {
                add.add(LEFT_OUT, &[("check", "network")]);
            }
        });
        self.columns.finish("/proc/net/dev", values)
    }

    fn layout(&self) -> &Layout {
        self.columns.layout()
    }
}

fn add_counters(add: &mut Adder<'_>, device: &Entry<Memory>) {
    let labels = [("device", &*device.label())];
    add.add_all(&COUNTERS, &labels);
    if device.memory.errors_per_sec.is_some() {
        add.add("signalbox_network_errors_per_second", &labels);
    }
}

impl Memory {
    fn note(&mut self, line: &Line<'_>, now: Millis) {
        let errors = ERRORS.iter().fold(0u64, |sum, field| sum.saturating_add(line.counters[*field]));
        match self.before {
            Some((then, before)) if now > then => {
                let secs = (now.0 - then.0) as f64 / 1000.0;
                self.errors_per_sec = Some(round4(errors.saturating_sub(before) as f64 / secs));
                self.before = Some((now, errors));
            }
            Some(_) => {}
            None => self.before = Some((now, errors)),
        }
    }
}

/// The bytes that a pattern may have; the kernel keeps 15 of a device's name.
const PATTERN_MAX_BYTES: usize = 64;
/// Devices of containers and virtual machines.
const IGNORED: [&str; 8] = ["veth*", "docker*", "br-*", "cali*", "cni*", "flannel*", "virbr*", "vnet*"];

/// Which devices are meant: a name, or how names begin, with `*` behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevicePattern {
    text: String,
    is_prefix: bool,
}

impl DevicePattern {
    /// Parses `eth0` or `veth*`.
    ///
    /// # Errors
    /// A sentence with the reason.
    pub fn parse(pattern: &str) -> Result<DevicePattern, String> {
        let text = pattern.strip_suffix('*').unwrap_or(pattern);
        if pattern.is_empty() || pattern.len() > PATTERN_MAX_BYTES || text.contains('*') {
            return Err(format!(
                "network device {pattern:?} must be 1 to {PATTERN_MAX_BYTES} bytes with * at most at the end; \
                 write for example veth*"
            ));
        }
        Ok(DevicePattern { text: text.to_owned(), is_prefix: text.len() < pattern.len() })
    }

    /// What is left out unless the operator says otherwise.
    pub fn defaults() -> Vec<DevicePattern> {
        IGNORED.iter().map(|text| DevicePattern::parse(text).expect("the defaults are patterns")).collect()
    }

    fn means(&self, name: &[u8]) -> bool {
        let text = self.text.as_bytes();
        if self.is_prefix { name.starts_with(text) } else { name == text }
    }
}

struct Line<'a> {
    name: &'a [u8],
    counters: [u64; COUNTERS.len()],
}

/// Name and numbers. Old kernels put no blank after the colon, and an alias has a
/// colon of its own.
fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = line.trim_ascii_start();
    let colon = line.iter().rposition(|byte| *byte == b':')?;
    Some((&line[..colon], &line[colon + 1..]))
}

impl Line<'_> {
    /// `  eth0: 108868692 6290 …`; the two lines of headings have no such form.
    fn parse(line: &[u8]) -> Option<Line<'_>> {
        let (name, numbers) = split(line)?;
        let mut fields = Fields::new(numbers);
        let mut counters = [0; COUNTERS.len()];
        for counter in &mut counters {
            *counter = fields.number()?;
        }
        Some(Line { name, counters })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{Tree, at};

    const HEADINGS: &str = "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n";
    const ETH0: &str = "  eth0: 1000 10    1    2    0     0          0         3     2000    20    4    5    0     0       0          0\n";

    fn network(tree: &Tree) -> Network {
        Network::new(tree.root(), &DevicePattern::defaults())
    }

    fn tree(lines: &str) -> Tree {
        Tree::new(&[("proc/net/dev", &format!("{HEADINGS}{lines}"))])
    }

    #[test]
    fn counters_have_node_exporters_names() {
        let tree = tree(&format!(
            "    lo:    3193      29    0    0    0     0          0         0     3193      29    0    0    0     0       0          0\n{ETH0}"
        ));
        let series = tree.sample(&mut network(&tree), at(0)).unwrap();
        assert_eq!(series[r#"node_network_receive_bytes_total{device="eth0"}"#], 1000.0);
        assert_eq!(series[r#"node_network_receive_multicast_total{device="eth0"}"#], 3.0);
        assert_eq!(series[r#"node_network_transmit_drop_total{device="eth0"}"#], 5.0);
        assert_eq!(series[r#"node_network_transmit_packets_total{device="lo"}"#], 29.0);
        assert_eq!(series.len(), 32, "no rates yet, no attributes in this tree");
    }

    #[test]
    fn errors_and_drops_of_both_directions_make_a_rate() {
        let tree = tree(ETH0);
        let mut network = network(&tree);
        tree.sample(&mut network, at(0)).unwrap();
        tree.write("proc/net/dev", &format!("{HEADINGS}{}", ETH0.replace("1    2    0", "4    5    0")));
        let rate = r#"signalbox_network_errors_per_second{device="eth0"}"#;
        assert_eq!(tree.sample(&mut network, at(2000)).unwrap()[rate], 3.0);
        tree.write("proc/net/dev", &format!("{HEADINGS}{ETH0}"));
        assert_eq!(tree.sample(&mut network, at(3000)).unwrap()[rate], 0.0, "a counter that was reset is no error");
    }

    #[test]
    fn devices_of_containers_and_virtual_machines_are_left_out() {
        let ignored = ["veth1a2b", "docker0", "br-9f", "cali12", "cni0", "flannel.1", "virbr0", "vnet3"];
        let all: String = ignored.iter().chain(&["eth0", "br0"]).map(|name| ETH0.replace("eth0", name)).collect();
        let tree = tree(&all);
        let devices = |network: &mut Network| {
            let series = tree.sample(network, at(0)).unwrap();
            let bytes = series.keys().filter_map(|key| key.strip_prefix("node_network_receive_bytes_total"));
            bytes.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(devices(&mut network(&tree)), [r#"{device="br0"}"#, r#"{device="eth0"}"#]);
        assert_eq!(devices(&mut Network::new(tree.root(), &[])).len(), 10);
        let own = DevicePattern::parse("eth0").unwrap();
        assert_eq!(devices(&mut Network::new(tree.root(), &[own])).len(), 9, "a list replaces the defaults");
        assert!(DevicePattern::parse("ve*th").is_err() && DevicePattern::parse("").is_err());
    }

    #[test]
    fn lines_of_old_kernels_and_short_lines() {
        let old = Line::parse(b"eth0:1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16").map(|line| line.counters[15]);
        assert_eq!(old, Some(16));
        let alias = Line::parse(b" eth0:1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17").map(|line| line.name.to_vec());
        assert_eq!(alias, Some(b"eth0:1".to_vec()));
        assert!(Line::parse(b"eth0: 1 2 3").is_none());
        assert!(HEADINGS.lines().all(|line| Line::parse(line.as_bytes()).is_none()));
    }

    #[test]
    fn a_state_that_changes_shows_at_the_next_sample() {
        let tree = tree(ETH0);
        for (name, text) in [("operstate", "up\n"), ("mtu", "1400\n"), ("flags", "0x1003\n"), ("speed", "-1\n")] {
            tree.write(&format!("sys/class/net/eth0/{name}"), text);
        }
        let mut network = network(&tree);
        let series = tree.sample(&mut network, at(0)).unwrap();
        assert_eq!(series[r#"node_network_up{device="eth0"}"#], 1.0);
        assert_eq!(series[r#"node_network_mtu_bytes{device="eth0"}"#], 1400.0);
        assert_eq!(series[r#"node_network_flags{device="eth0"}"#], 4099.0);
        assert_eq!(series[r#"node_network_info{device="eth0",operstate="up"}"#], 1.0);
        assert!(!series.keys().any(|key| key.contains("speed")), "an unknown speed is not minus one");
        tree.write("sys/class/net/eth0/mtu", "9000\n");
        tree.write("sys/class/net/eth0/operstate", "down\n");
        let series = tree.sample(&mut network, at(1000)).unwrap();
        assert_eq!(series[r#"node_network_up{device="eth0"}"#], 0.0);
        assert_eq!(series[r#"node_network_mtu_bytes{device="eth0"}"#], 9000.0);
        assert!(series.contains_key(r#"node_network_info{device="eth0",operstate="down"}"#));
    }

    #[test]
    fn the_state_is_read_when_the_kernel_tells_of_a_change_and_every_minute() {
        let tree = tree(ETH0);
        let state = |text: &str| tree.write("sys/class/net/eth0/operstate", text);
        let (kernel, own) = std::os::unix::net::UnixDatagram::pair().unwrap();
        let mut network = Network { news: News::of(own.into()), ..network(&tree) };
        let mut is_up = |ms: u64| tree.sample(&mut network, at(ms)).unwrap()[r#"node_network_up{device="eth0"}"#];
        state("up\n");
        assert_eq!(is_up(0), 1.0, "the first look needs no news");
        state("down\n");
        assert_eq!(is_up(1000), 1.0);
        kernel.send(b"news").unwrap();
        assert_eq!(is_up(2000), 0.0);
        state("up\n");
        assert_eq!(is_up(61_999), 0.0);
        assert_eq!(is_up(62_000), 1.0);
    }

    #[test]
    fn the_other_attributes_are_read_every_minute() {
        let tree = tree(ETH0);
        tree.write("sys/class/net/eth0/operstate", "up\n");
        tree.write("sys/class/net/eth0/mtu", "1400\n");
        let mut network = network(&tree);
        tree.sample(&mut network, at(0)).unwrap();
        tree.write("sys/class/net/eth0/mtu", "9000\n");
        let mtu = r#"node_network_mtu_bytes{device="eth0"}"#;
        assert_eq!(tree.sample(&mut network, at(59_999)).unwrap()[mtu], 1400.0);
        assert_eq!(tree.sample(&mut network, at(60_000)).unwrap()[mtu], 9000.0);
    }
}
