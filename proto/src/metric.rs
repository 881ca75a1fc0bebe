//! What a metric's name says of its values: Prometheus puts the base unit last
//! (`node_memory_MemFree_bytes`, `signalbox_cpu_used_ratio`).

/// The unit of a metric's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Unit {
    /// None, or the name does not say it.
    #[default]
    None,
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
    /// A share of one.
    Ratio,
}

/// Steps of 1024 bytes.
const BYTES: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

impl Unit {
    /// The unit that a name ends with, before `_total` where it counts.
    pub fn of(metric: &str) -> Unit {
        match metric.strip_suffix("_total").unwrap_or(metric).rsplit('_').next() {
            Some("bytes") => Unit::Bytes,
            Some("seconds") => Unit::Seconds,
            Some("ratio") => Unit::Ratio,
            _ => Unit::None,
        }
    }

    /// The value with its unit, `1.5 GiB`, `12 s`, `95.3 %`; `digits` writes the number.
    pub fn show(self, value: f64, digits: impl Fn(f64) -> String) -> String {
        match self {
            _ if !value.is_finite() => digits(value),
            Unit::None => digits(value),
            Unit::Seconds => format!("{} s", digits(value)),
            // Rounded, so that the share 0.07 is not 7.000000000000001 %.
            Unit::Ratio => format!("{} %", digits((value * 1e10).round() / 1e8)),
            Unit::Bytes => {
                let (mut value, mut step) = (value, 0);
                while value.abs() >= 1024.0 && step + 1 < BYTES.len() {
                    value /= 1024.0;
                    step += 1;
                }
                format!("{} {}", digits(value), BYTES[step])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_the_unit_that_its_name_ends_with() {
        for (metric, value, shown) in [
            ("node_memory_MemFree_bytes", 1536.0, "1.5 KiB"),
            ("node_memory_MemFree_bytes", 512.0, "512 B"),
            ("node_network_receive_bytes_total", -3_221_225_472.0, "-3 GiB"),
            ("x_bytes", f64::MAX, &format!("{} PiB", f64::MAX / 1024f64.powi(5))),
            ("signalbox_process_age_seconds", 12.0, "12 s"),
            ("signalbox_cpu_used_ratio", 0.07, "7 %"),
            ("signalbox_cpu_used_ratio", f64::NAN, "NaN"),
            ("node_load1", 0.5, "0.5"),
            ("bytes_written", 2048.0, "2048"),
        ] {
            assert_eq!(Unit::of(metric).show(value, |value| value.to_string()), shown, "{metric}");
        }
    }
}
