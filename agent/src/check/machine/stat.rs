//! The text of `/proc/stat`, parsed: what [`super::cpu`] makes its series of.

use crate::check::columns::Fingerprint;
use crate::check::text::{Fields, lines, number};

/// user nice system idle iowait irq softirq steal guest guest_nice.
pub(crate) const MODES: usize = 10;
/// hi timer net_tx net_rx block irq_poll tasklet sched hrtimer rcu.
pub(crate) const VECTORS: usize = 10;

/// Time of one processor, or of all, in ticks of 1/100 s, by mode.
pub(crate) type Ticks = [u64; MODES];

/// All of `/proc/stat` that is used.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Stat {
    /// All processors together.
    pub(crate) total: Option<Ticks>,
    /// Each processor by its number; offline ones are not listed by the kernel.
    pub(crate) cpus: Vec<(u32, Ticks)>,
    /// Interrupts served.
    pub(crate) interrupts: Option<u64>,
    /// Context switches.
    pub(crate) switches: Option<u64>,
    /// When the machine booted, Unix seconds.
    pub(crate) boot_secs: Option<u64>,
    /// Forks.
    pub(crate) forks: Option<u64>,
    /// Threads that run or could.
    pub(crate) running: Option<u64>,
    /// Threads that wait for a device.
    pub(crate) blocked: Option<u64>,
    /// Soft interrupts by vector.
    pub(crate) softirqs: Option<[u64; VECTORS]>,
}

impl Stat {
    /// Fills `self` from the text, reusing its memory. Unknown lines are passed
    /// over, absent ones give `None`, fields that old kernels lack are 0.
    pub(crate) fn parse(&mut self, text: &[u8]) {
        let cpus = std::mem::take(&mut self.cpus);
        *self = Stat { cpus, ..Stat::default() };
        self.cpus.clear();
        for line in lines(text) {
            let mut fields = Fields::new(line);
            match fields.word() {
                Some(b"cpu") => self.total = Some(ticks(fields)),
                Some(b"intr") => self.interrupts = fields.number(),
                Some(b"ctxt") => self.switches = fields.number(),
                Some(b"btime") => self.boot_secs = fields.number(),
                Some(b"processes") => self.forks = fields.number(),
                Some(b"procs_running") => self.running = fields.number(),
                Some(b"procs_blocked") => self.blocked = fields.number(),
                Some(b"softirq") => self.softirqs = softirqs(fields),
                Some(word) => {
                    let id = word.strip_prefix(b"cpu").and_then(number).and_then(|id| u32::try_from(id).ok());
                    if let Some(id) = id {
                        self.cpus.push((id, ticks(fields)));
                    }
                }
                None => {}
            }
        }
    }

    /// The counters that are single numbers, with node_exporter's names.
    pub(crate) fn counters(&self) -> [(&'static str, Option<u64>); 6] {
        [
            ("node_boot_time_seconds", self.boot_secs),
            ("node_context_switches_total", self.switches),
            ("node_forks_total", self.forks),
            ("node_intr_total", self.interrupts),
            ("node_procs_blocked", self.blocked),
            ("node_procs_running", self.running),
        ]
    }

    /// Of the processors and lines that there are.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let mut print = Fingerprint::new();
        let there = self.counters().iter().fold(0, |bits, (_, value)| bits << 1 | u64::from(value.is_some()));
        print.number(there << 1 | u64::from(self.softirqs.is_some()));
        self.cpus.iter().for_each(|(id, _)| print.number(u64::from(*id)));
        print
    }
}

fn ticks(mut fields: Fields<'_>) -> Ticks {
    std::array::from_fn(|_| fields.number().unwrap_or(0))
}

fn softirqs(mut fields: Fields<'_>) -> Option<[u64; VECTORS]> {
    fields.skip(1)?;
    let mut counts = [0; VECTORS];
    for count in &mut counts {
        *count = fields.number()?;
    }
    Some(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Stat {
        let mut stat = Stat { cpus: vec![(9, [9; MODES])], forks: Some(9), ..Stat::default() };
        stat.parse(text.as_bytes());
        stat
    }

    #[test]
    fn a_present_kernel_is_understood() {
        let stat = parsed(
            "cpu  30 2 40 500 6 0 7 8 1 1\ncpu0 10 1 20 250 3 0 3 4 1 0\ncpu12 20 1 20 250 3 0 4 4 0 1\n\
             intr 608003 0 0 1 22\nctxt 548856\nbtime 1795398540\nprocesses 16024\nprocs_running 3\nprocs_blocked 1\n\
             softirq 178375 0 36484 4 9074 16951 0 188 48299 5 67375\n",
        );
        assert_eq!(stat.total, Some([30, 2, 40, 500, 6, 0, 7, 8, 1, 1]));
        assert_eq!(stat.cpus[1], (12, [20, 1, 20, 250, 3, 0, 4, 4, 0, 1]));
        assert_eq!(stat.counters().map(|(_, value)| value), [1_795_398_540, 548_856, 16_024, 608_003, 1, 3].map(Some));
        assert_eq!(stat.softirqs.map(|counts| (counts[1], counts[9])), Some((36_484, 67_375)));
    }

    #[test]
    fn old_kernels_have_fewer_fields_and_new_ones_more() {
        let old = parsed("cpu 1 2 3 4\ncpu0 1 2 3 4\nctxt 5\n");
        assert_eq!(old.total, Some([1, 2, 3, 4, 0, 0, 0, 0, 0, 0]));
        assert_eq!((old.forks, old.softirqs), (None, None), "what is not told is not there, not 0");
        let new = parsed("cpu 1 2 3 4 5 6 7 8 9 10 11 12\nquantum 7 8\ncpuidle 3\n\ncpu0 1 2 3 4 5 6 7 8 9 10 11\n");
        assert_eq!(new.total, Some([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]));
        assert_eq!(new.cpus.len(), 1, "cpuidle is no processor");
    }

    #[test]
    fn garbage_gives_nothing() {
        assert_eq!(parsed("cpux 1\n\0\0\nctxt many\nbtime\n"), Stat::default());
    }

    #[test]
    fn the_fingerprint_follows_processors_and_lines() {
        let print = |text: &str| parsed(text).fingerprint();
        assert_eq!(print("cpu0 1 1\ncpu1 2 2\n"), print("cpu0 3\ncpu1 4\n"));
        assert_ne!(print("cpu0 1\ncpu1 2\n"), print("cpu0 1\ncpu2 2\n"));
        assert_ne!(print("cpu0 1\n"), print("cpu0 1\nctxt 1\n"));
    }
}
