//! Facts: kernel, operating system, clock source. They change seldom if ever.

use crate::check::columns::{Adder, Columns, Fingerprint};
use crate::check::file::attribute;
use crate::check::{Check, CheckError, Instant, Layout};
use signalbox_proto::units::Millis;
use std::path::{Path, PathBuf};

/// How often the facts are looked at again: packages and clock sources change.
const FACTS_EVERY: Millis = Millis::from_mins(5);
/// Keys of os-release that are labels of `node_os_info`.
const OS_KEYS: [&str; 12] = [
    "build_id",
    "id",
    "id_like",
    "image_id",
    "image_version",
    "name",
    "pretty_name",
    "variant",
    "variant_id",
    "version",
    "version_codename",
    "version_id",
];

/// Tells facts.
pub(crate) struct Uname {
    root: PathBuf,
    looked: Option<Millis>,
    os_version: Option<f64>,
    columns: Columns,
}

impl Uname {
    /// `root` is `/`, or a tree like it.
    pub(crate) fn new(root: &Path) -> Uname {
        Uname { root: root.to_owned(), looked: None, os_version: None, columns: Columns::default() }
    }

    fn look(&mut self) {
        let os = ["etc/os-release", "usr/lib/os-release"].iter().find_map(|path| attribute(&self.root.join(path)));
        let os = os.unwrap_or_default();
        let folder = self.root.join("sys/devices/system/clocksource/clocksource0");
        let source = |file: &str| attribute(&folder.join(file)).unwrap_or_default();
        let (available, current) = (source("available_clocksource"), source("current_clocksource"));
        let uname = rustix::system::uname();
        let kernel =
            [uname.sysname(), uname.release(), uname.version(), uname.machine(), uname.nodename(), uname.domainname()]
                .map(|text| text.to_string_lossy().into_owned());
        let mut print = Fingerprint::new();
        for text in [&os, &available, &current].into_iter().chain(&kernel) {
            print.text(text.as_bytes());
        }
        self.os_version = version(&os);
        let os_version = self.os_version;
        self.columns.keep(print, |add| {
            let names = ["sysname", "release", "version", "machine", "nodename", "domainname"];
            let labels: Vec<(&str, &str)> = names.into_iter().zip(kernel.iter().map(String::as_str)).collect();
            add.add("node_uname_info", &labels);
            available.split_ascii_whitespace().for_each(|name| add_source(add, "available", name));
            current.split_ascii_whitespace().take(1).for_each(|name| add_source(add, "current", name));
            if !os.is_empty() {
                let values = OS_KEYS.map(|key| (key, os_value(&os, key)));
                add.add("node_os_info", &values.each_ref().map(|(key, value)| (*key, value.as_str())));
            }
            if os_version.is_some() {
                let values = ["id", "id_like", "name"].map(|key| (key, os_value(&os, key)));
                add.add("node_os_version", &values.each_ref().map(|(key, value)| (*key, value.as_str())));
            }
        });
    }
}

fn add_source(add: &mut Adder<'_>, kind: &str, name: &str) {
    add.add(&format!("node_time_clocksource_{kind}_info"), &[("clocksource", name), ("device", "0")]);
}

impl Check for Uname {
    fn name(&self) -> &str {
        "uname"
    }

    fn sample(&mut self, at: Instant, values: &mut Vec<f64>) -> Result<(), CheckError> {
        if self.looked.is_none_or(|then| at.mono >= then + FACTS_EVERY) {
            self.look();
            self.looked = Some(at.mono);
        }
        values.clear();
        values.resize(self.columns.layout().series.len(), 1.0);
        if let (Some(version), Some(last)) = (self.os_version, values.last_mut()) {
            *last = version;
        }
        Ok(())
    }

    fn layout(&self) -> &Layout {
        self.columns.layout()
    }
}

/// `KEY="value"` or `KEY=value`; empty when it is absent.
fn os_value(os_release: &str, key: &str) -> String {
    let value = os_release.lines().find_map(|line| {
        let (own, value) = line.split_once('=')?;
        own.eq_ignore_ascii_case(key).then(|| value.trim())
    });
    value.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
}

/// `VERSION_ID` up to its second dot: 12, 22.04.
fn version(os_release: &str) -> Option<f64> {
    let id = os_value(os_release, "version_id");
    let end = id.match_indices('.').nth(1).map_or(id.len(), |(at, _)| at);
    id[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{Tree, at};

    const OS: &str =
        "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nID=debian\n";

    #[test]
    fn facts_are_labels() {
        let folder = "sys/devices/system/clocksource/clocksource0";
        let tree = Tree::new(&[
            ("etc/os-release", OS),
            (&format!("{folder}/available_clocksource"), "tsc kvm-clock \n"),
            (&format!("{folder}/current_clocksource"), "tsc\n"),
        ]);
        let series = tree.sample(&mut Uname::new(tree.root()), at(0)).unwrap();
        assert_eq!(series[r#"node_os_version{id="debian",name="Debian GNU/Linux"}"#], 12.0);
        assert_eq!(series[r#"node_time_clocksource_current_info{clocksource="tsc",device="0"}"#], 1.0);
        assert_eq!(series[r#"node_time_clocksource_available_info{clocksource="kvm-clock",device="0"}"#], 1.0);
        assert!(series.keys().any(|key| key.starts_with("node_uname_info{") && key.contains(r#"sysname="Linux""#)));
        assert_eq!(series.len(), 6);
    }

    #[test]
    fn a_host_without_os_release_tells_its_kernel() {
        let tree = Tree::new(&[]);
        let series = tree.sample(&mut Uname::new(tree.root()), at(0)).unwrap();
        assert_eq!(series.into_values().collect::<Vec<_>>(), [1.0]);
    }

    #[test]
    fn versions_are_cut_at_the_second_dot() {
        assert_eq!(version("VERSION_ID=22.04"), Some(22.04));
        assert_eq!(version("VERSION_ID='3.18.4'"), Some(3.18));
        assert_eq!(version("VERSION_ID=sid"), None);
    }
}
