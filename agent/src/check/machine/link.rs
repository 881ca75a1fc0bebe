//! What `/sys/class/net/DEVICE` tells of one network device.

use crate::check::CheckError;
use crate::check::columns::Adder;
use crate::check::file::{Folder, KeptFile};
use crate::check::text::{hex, number, trim};
use signalbox_proto::units::Millis;
use std::path::PathBuf;

/// How old attributes may get while the state stays the same. They are twenty-one
/// small files a device, and configuration: what fails shows in the state.
const ATTRIBUTES_EVERY: Millis = Millis::from_secs(60);
/// Longer states are cut; the kernel's longest is `lowerlayerdown`.
const STATE_MAX_BYTES: usize = 16;

/// Attribute file and metric.
const ATTRIBUTES: [(&str, &str); 17] = [
    ("addr_assign_type", "node_network_address_assign_type"),
    ("carrier", "node_network_carrier"),
    ("carrier_changes", "node_network_carrier_changes_total"),
    ("carrier_down_count", "node_network_carrier_down_changes_total"),
    ("carrier_up_count", "node_network_carrier_up_changes_total"),
    ("dev_id", "node_network_device_id"),
    ("dormant", "node_network_dormant"),
    ("flags", "node_network_flags"),
    ("ifindex", "node_network_iface_id"),
    ("iflink", "node_network_iface_link"),
    ("link_mode", "node_network_iface_link_mode"),
    ("mtu", "node_network_mtu_bytes"),
    ("name_assign_type", "node_network_name_assign_type"),
    ("netdev_group", "node_network_net_dev_group"),
    ("type", "node_network_protocol_type"),
    ("speed", SPEED),
    ("tx_queue_len", "node_network_transmit_queue_length"),
];
const SPEED: &str = "node_network_speed_bytes";
/// Attributes that are labels of `node_network_info`.
const INFO: [&str; 4] = ["address", "broadcast", "duplex", "ifalias"];

/// State and attributes of one device.
#[derive(Debug)]
pub(crate) struct Link {
    folder: PathBuf,
    state_file: KeptFile,
    state: State,
    read_at: Option<Millis>,
    values: [Option<f64>; ATTRIBUTES.len()],
    info: [String; INFO.len()],
    generation: u64,
}

/// The operational state as the kernel writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct State {
    bytes: [u8; STATE_MAX_BYTES],
    length: usize,
}

impl State {
    fn of(text: &[u8]) -> State {
        let text = trim(text);
        let length = text.len().min(STATE_MAX_BYTES);
        let mut state = State { length, ..State::default() };
        state.bytes[..length].copy_from_slice(&text[..length]);
        state
    }

    fn text(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Link {
    /// `folder` is `/sys/class/net/DEVICE`.
    pub(crate) fn new(folder: PathBuf) -> Link {
        Link {
            state_file: KeptFile::new(folder.join("operstate")),
            folder,
            state: State::default(),
            read_at: None,
            values: [None; ATTRIBUTES.len()],
            info: Default::default(),
            generation: 0,
        }
    }

    /// Reads the state if it may have changed; the rest too when it has, or a minute has
    /// passed.
    ///
    /// # Errors
    /// [`CheckError::Read`] when the state is there and cannot be read.
    pub(crate) fn look(&mut self, now: Millis, is_news: bool) -> Result<(), CheckError> {
        let due = self.read_at.is_none_or(|at| now >= at + ATTRIBUTES_EVERY);
        if !is_news && !due {
            return Ok(());
        }
        let state = self.state_file.read_if_there(now, State::of)?.unwrap_or_default();
        if state == self.state && !due {
            return Ok(());
        }
        let mut values = [None; ATTRIBUTES.len()];
        let mut info = INFO.map(|_| String::new());
        if let Some(folder) = Folder::open(&self.folder) {
            for ((file, name), value) in ATTRIBUTES.iter().zip(&mut values) {
                *value = folder.attribute(file, |text| parse(name, text)).flatten();
            }
            for (file, text) in INFO.iter().zip(&mut info) {
                let lossy = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
                *text = folder.attribute(file, lossy).unwrap_or_default();
            }
        }
        let shown = |values: &[Option<f64>]| values.iter().map(Option::is_some).collect::<Vec<_>>();
        if state != self.state || info != self.info || shown(&values) != shown(&self.values) || self.generation == 0 {
            self.generation += 1;
        }
        (self.state, self.values, self.info, self.read_at) = (state, values, info, Some(now));
        Ok(())
    }

    /// Changes whenever [`Link::lay_out`] would give other series.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Values in the order of [`Link::lay_out`].
    pub(crate) fn extend(&self, values: &mut Vec<f64>) {
        values.extend(self.values.iter().flatten());
        if self.state.length > 0 {
            values.extend([f64::from(u8::from(self.state.text() == b"up")), 1.0]);
        }
    }

    /// The series of this device.
    pub(crate) fn lay_out(&self, device: &str, add: &mut Adder<'_>) {
        let shown = ATTRIBUTES.iter().zip(&self.values).filter(|(_, value)| value.is_some());
        shown.for_each(|((_, name), _)| add.add(name, &[("device", device)]));
        if self.state.length > 0 {
            add.add("node_network_up", &[("device", device)]);
            let state = String::from_utf8_lossy(self.state.text());
            let info = INFO.iter().copied().zip(self.info.iter().map(String::as_str));
            let labels: Vec<(&str, &str)> = info.chain([("device", device), ("operstate", &*state)]).collect();
            add.add("node_network_info", &labels);
        }
    }
}

/// Plain or hexadecimal; a speed is told in Mbit/s, and as -1 when it is not known.
fn parse(name: &str, text: &[u8]) -> Option<f64> {
    let n = if text.starts_with(b"0x") { hex(text)? } else { number(text)? } as f64;
    Some(if name == SPEED { n * 1e6 / 8.0 } else { n })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_numbers_in_base_units() {
        assert_eq!(parse("node_network_flags", b"0x1003"), Some(4099.0));
        assert_eq!(parse(SPEED, b"10000"), Some(1.25e9));
        assert_eq!(parse(SPEED, b"-1"), None);
        assert_eq!(parse("node_network_carrier", b""), None);
    }

    #[test]
    fn states_are_compared_without_line_feeds_and_cut_when_long() {
        assert_eq!(State::of(b"up\n"), State::of(b"up"));
        assert_eq!(State::of(b"lowerlayerdown\n").text(), b"lowerlayerdown");
        assert_eq!(State::of(&[b'x'; 99]).text().len(), STATE_MAX_BYTES);
    }
}
