//! The machine layer: what every Linux host tells, with no configuration at all.
//!
//! Names, labels and units are node_exporter's; the `signalbox_*` gauges beside them
//! are what rules put thresholds on. One check per source: what stands in one file
//! is read once.

mod cpu;
mod disk;
mod filefd;
mod filesystem;
mod link;
mod load;
mod memory;
mod mounts;
mod netstat;
mod network;
mod news;
mod pressure;
mod probe;
mod sockstat;
mod softnet;
mod stat;
mod time;
mod uname;
mod vmstat;

use crate::check::Check;
pub use network::DevicePattern;
use std::path::Path;

/// All machine checks. `root` is `/`, or a host's root seen from a container, or a
/// tree of a test; `ignore` are the network devices that are left out.
pub fn machine_checks(root: &Path, ignore: &[DevicePattern]) -> Vec<Box<dyn Check>> {
    vec![
        Box::new(cpu::Cpu::new(root)),
        Box::new(load::Load::new(root)),
        Box::new(memory::Memory::new(root)),
        Box::new(disk::Disk::new(root)),
        Box::new(filesystem::Filesystem::new(root)),
        Box::new(network::Network::new(root, ignore)),
        Box::new(pressure::Pressure::new(root)),
        Box::new(filefd::FileFd::new(root)),
        Box::new(vmstat::VmStat::new(root)),
        Box::new(netstat::Netstat::new(root)),
        Box::new(netstat::Netstat6::new(root)),
        Box::new(sockstat::Sockstat::new(root)),
        Box::new(softnet::Softnet::new(root)),
        Box::new(time::Time::new(root)),
        Box::new(uname::Uname::new(root)),
    ]
}
