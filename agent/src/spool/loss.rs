//! Samples that were taken and will never arrive: counted, then told.

use signalbox_proto::samples::AgentEventKind;
use signalbox_proto::units::UnixMillis;

/// Why samples were lost. Its name goes over the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The spool met its limit of bytes or of files.
    SpoolFull,
    /// They lay in the spool longer than `max_age`.
    SpoolAge,
    /// A segment was damaged.
    SpoolCorrupt,
    /// The disk took nothing and the memory that bridges that was full.
    DiskFailed,
    /// The batch would not fit into a message.
    TooLarge,
    /// The collector called a batch malformed each time that it came.
    Refused,
}

impl Reason {
    const ALL: [Reason; 6] = [
        Reason::SpoolFull,
        Reason::SpoolAge,
        Reason::SpoolCorrupt,
        Reason::DiskFailed,
        Reason::TooLarge,
        Reason::Refused,
    ];

    fn name(self) -> &'static str {
        match self {
            Reason::SpoolFull => "spool_full",
            Reason::SpoolAge => "spool_age",
            Reason::SpoolCorrupt => "spool_corrupt",
            Reason::DiskFailed => "disk_failed",
            Reason::TooLarge => "too_large",
            Reason::Refused => "refused",
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Span {
    n_samples: u64,
    from: UnixMillis,
    to: UnixMillis,
}

/// Losses that were not told yet: one line for each reason, so it is bounded.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    pending: [Option<Span>; Reason::ALL.len()],
    n_samples_total: u64,
}

impl Losses {
    /// Notes a loss.
    pub(crate) fn add(&mut self, reason: Reason, n_samples: u64, from: UnixMillis, to: UnixMillis) {
        if n_samples == 0 {
            return;
        }
        self.n_samples_total += n_samples;
        let pending = &mut self.pending[reason as usize];
        let before = pending.unwrap_or(Span { n_samples: 0, from, to });
        *pending =
            Some(Span { n_samples: before.n_samples + n_samples, from: before.from.min(from), to: before.to.max(to) });
    }

    /// Takes what is to be told.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = AgentEventKind> {
        let pending = std::mem::take(&mut self.pending);
        Reason::ALL.into_iter().zip(pending).filter_map(|(reason, span)| {
            let Span { n_samples, from, to } = span?;
            Some(AgentEventKind::SamplesDropped { n_samples, from, to, reason: reason.name().to_owned() })
        })
    }

    /// Samples lost since the process began.
    pub(crate) fn n_samples_total(&self) -> u64 {
        self.n_samples_total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_of_one_reason_become_one_line() {
        let mut losses = Losses::default();
        losses.add(Reason::SpoolFull, 5, UnixMillis(10), UnixMillis(20));
        losses.add(Reason::SpoolFull, 7, UnixMillis(21), UnixMillis(30));
        losses.add(Reason::DiskFailed, 0, UnixMillis(1), UnixMillis(2));
        let told: Vec<_> = losses.take().collect();
        let (from, to) = (UnixMillis(10), UnixMillis(30));
        assert_eq!(told, [AgentEventKind::SamplesDropped { n_samples: 12, from, to, reason: "spool_full".to_owned() }]);
        assert_eq!(losses.take().count(), 0);
        assert_eq!(losses.n_samples_total(), 12);
    }
}
