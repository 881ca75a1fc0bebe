//! The clock: what it says and how well it is kept; and the kernel's entropy.

use crate::check::columns::{Columns, Fingerprint};
use crate::check::file::KeptFile;
use crate::check::text::{number, trim};
use crate::check::{Check, CheckError, Instant, Layout};
use crate::sys::adjtimex::{Discipline, read as read_discipline};
use signalbox_proto::units::Millis;
use std::path::Path;

const TIMEX: [&str; 17] = [
    "node_timex_estimated_error_seconds",
    "node_timex_frequency_adjustment_ratio",
    "node_timex_loop_time_constant",
    "node_timex_maxerror_seconds",
    "node_timex_offset_seconds",
    "node_timex_pps_calibration_total",
    "node_timex_pps_error_total",
    "node_timex_pps_frequency_hertz",
    "node_timex_pps_jitter_seconds",
    "node_timex_pps_jitter_total",
    "node_timex_pps_shift_seconds",
    "node_timex_pps_stability_exceeded_total",
    "node_timex_pps_stability_hertz",
    "node_timex_status",
    "node_timex_sync_status",
    "node_timex_tai_offset_seconds",
    "node_timex_tick_seconds",
];
/// Frequencies come in parts per million with 16 bits of fraction.
const PPM: f64 = 1e6 * 65_536.0;

/// How often entropy is read. It stands at 256 since Linux 5.18, and its files are
/// among the dearest of their size.
const ENTROPY_EVERY: Millis = Millis::from_secs(30);

/// Watches the clock.
pub(crate) struct Time {
    files: [KeptFile; 2],
    /// Available and size of the pool, bits.
    entropy: [Option<f64>; 2],
    entropy_read: Option<Millis>,
    columns: Columns,
}

impl Time {
    /// `root` is `/`, or a tree like it.
    pub(crate) fn new(root: &Path) -> Time {
        let file = |name: &str| KeptFile::new(root.join("proc/sys/kernel/random").join(name));
        Time {
            files: [file("entropy_avail"), file("poolsize")],
            entropy: [None; 2],
            entropy_read: None,
            columns: Columns::default(),
        }
    }

    fn read_entropy(&mut self, now: Millis) -> Result<(), CheckError> {
        if self.entropy_read.is_none_or(|then| now >= then + ENTROPY_EVERY) {
            for (file, bits) in self.files.iter_mut().zip(&mut self.entropy) {
                *bits = file.read_if_there(now, |text| number(trim(text)))?.flatten().map(|n| n as f64);
            }
            self.entropy_read = Some(now);
        }
        Ok(())
    }
}

impl Check for Time {
    fn name(&self) -> &str {
        "time"
    }

    fn sample(&mut self, at: Instant, values: &mut Vec<f64>) -> Result<(), CheckError> {
        values.clear();
        values.push(at.wall.0 as f64 / 1000.0);
        self.read_entropy(at.mono)?;
        values.extend(self.entropy.iter().flatten());
        // A sandbox may forbid the call; then the host does not tell.
        let discipline = read_discipline().ok();
        values.extend(discipline.iter().flat_map(timex));
        let [available, size] = self.entropy;
        let shown = [true, available.is_some(), size.is_some(), discipline.is_some()];
        let mut print = Fingerprint::new();
        shown.iter().for_each(|shown| print.number(u64::from(*shown)));
        self.columns.keep(print, |add| {
            let single = ["node_time_seconds", "node_entropy_available_bits", "node_entropy_pool_size_bits"];
            single.iter().zip(shown).filter(|(_, shown)| *shown).for_each(|(name, _)| add.add(name, &[]));
            if discipline.is_some() {
                add.add_all(&TIMEX, &[]);
            }
        });
        self.columns.finish("adjtimex", values)
    }

    fn layout(&self) -> &Layout {
        self.columns.layout()
    }
}

/// Values in the order of [`TIMEX`], computed as node_exporter does.
fn timex(clock: &Discipline) -> [f64; TIMEX.len()] {
    // Offset and jitter are in ns or µs, which a bit of the status tells.
    let fine = if clock.in_nanos { 1e9 } else { 1e6 };
    let number = |n: i64| n as f64;
    [
        number(clock.estimated_error_us) / 1e6,
        1.0 + number(clock.frequency) / PPM,
        number(clock.time_constant),
        number(clock.max_error_us) / 1e6,
        number(clock.offset) / fine,
        number(clock.pps_calibrations),
        number(clock.pps_errors),
        number(clock.pps_frequency) / PPM,
        number(clock.pps_jitter) / fine,
        number(clock.pps_jitters),
        number(clock.pps_shift),
        number(clock.pps_stability_exceeded),
        number(clock.pps_stability) / PPM,
        f64::from(clock.status),
        f64::from(u8::from(clock.synchronised)),
        f64::from(clock.tai_offset_secs),
        number(clock.tick_us) / 1e6,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{Tree, at};

    #[test]
    fn time_is_that_of_the_sample() {
        let tree = Tree::new(&[("proc/sys/kernel/random/entropy_avail", "256\n")]);
        let series = tree.sample(&mut Time::new(tree.root()), at(250)).unwrap();
        assert_eq!(series["node_time_seconds"], 1_795_398_540.25);
        assert_eq!(series["node_entropy_available_bits"], 256.0);
        assert!(!series.contains_key("node_entropy_pool_size_bits"));
    }

    #[test]
    fn the_disciplines_units_become_seconds_and_ratios() {
        let clock = Discipline {
            offset: 1500,
            in_nanos: true,
            frequency: 65_536,
            max_error_us: 16_000_000,
            tick_us: 10_000,
            status: 64,
            ..Discipline::default()
        };
        let named =
            |clock: &Discipline| TIMEX.into_iter().zip(timex(clock)).collect::<std::collections::BTreeMap<_, _>>();
        let nanos = named(&clock);
        assert_eq!(nanos["node_timex_offset_seconds"], 1.5e-6);
        assert_eq!(nanos["node_timex_frequency_adjustment_ratio"], 1.000_001);
        assert_eq!(nanos["node_timex_maxerror_seconds"], 16.0);
        assert_eq!(nanos["node_timex_tick_seconds"], 0.01);
        assert_eq!(nanos["node_timex_sync_status"], 0.0);
        assert_eq!(named(&Discipline { in_nanos: false, ..clock })["node_timex_offset_seconds"], 1.5e-3);
    }
}
