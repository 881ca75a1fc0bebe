//! Layouts that are made anew only when the set of series changes.
//!
//! A check computes, with its values, a fingerprint of what its series are (names
//! of fields, devices, counts). As long as that stays the same the layout stays the
//! same, and no label is touched. The fingerprint has 64 bits: two sets that follow
//! each other on one host are mistaken for one another once in 10^19 changes.

use crate::check::{CheckError, Layout};
use signalbox_proto::limits::LABEL_VALUE_MAX_BYTES;
use signalbox_proto::names::Labels;

/// A running hash of what makes up a layout (the multiply-rotate of rustc's FxHash).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint(u64);

impl Fingerprint {
    /// Of nothing.
    pub(crate) fn new() -> Fingerprint {
        // Not zero, so that leading zeros count.
        Fingerprint(1)
    }

    /// Adds a number.
    pub(crate) fn number(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(5) ^ n).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    /// Adds another fingerprint.
    pub(crate) fn join(&mut self, other: Fingerprint) {
        self.number(other.0);
    }

    /// Adds a text, its length included.
    pub(crate) fn text(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.number(u64::from_le_bytes(*word));
        }
        let tail = rest.iter().fold(0u64, |n, byte| n << 8 | u64::from(*byte));
        // A tail has at most 56 bits, so the length of the rest fits above them.
        self.number(tail | (rest.len() as u64) << 56);
    }
}

/// A layout and the fingerprint that it was made for.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    layout: Layout,
    made_for: Option<Fingerprint>,
}

impl Columns {
    /// The layout of now.
    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// True while the layout is the one for `fingerprint`.
    pub(crate) fn fit(&self, fingerprint: Fingerprint) -> bool {
        self.made_for == Some(fingerprint)
    }

    /// Makes the layout anew if it is not the one for `fingerprint`.
    pub(crate) fn keep(&mut self, fingerprint: Fingerprint, fill: impl FnOnce(&mut Adder<'_>)) {
        if self.fit(fingerprint) {
            return;
        }
        let mut series = Vec::with_capacity(self.layout.series.len());
        fill(&mut Adder(&mut series));
        series.shrink_to_fit();
        if series != self.layout.series || self.layout.generation == 0 {
            self.layout = Layout { generation: self.layout.generation + 1, series };
        }
        self.made_for = Some(fingerprint);
    }

    /// The last step of every sample: as many values as series, or nothing at all.
    ///
    /// # Errors
    /// [`CheckError::Parse`] when a source changed its form while it was read; the
    /// next sample makes the layout anew.
    pub(crate) fn finish(&mut self, source: &str, values: &mut Vec<f64>) -> Result<(), CheckError> {
        if values.len() == self.layout.series.len() {
            return Ok(());
        }
        let what = format!("{} values for {} series", values.len(), self.layout.series.len());
        values.clear();
        self.made_for = None;
        Err(CheckError::Parse { path: source.to_owned(), what })
    }
}

/// Adds series to a layout.
pub(crate) struct Adder<'a>(&'a mut Vec<Labels>);

impl Adder<'_> {
    /// One series. What comes from the system is made to fit: characters that a
    /// metric's name cannot have become `_`, values over the limit are cut.
    pub(crate) fn add(&mut self, name: &str, labels: &[(&str, &str)]) {
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let name: String = name.chars().map(|c| if valid(c) { c } else { '_' }).collect();
        let cut: Vec<(&str, &str)> = labels.iter().map(|(label, value)| (*label, cut(value))).collect();
        let series = Labels::series(&name, &cut).expect("label names are ours, the rest was made to fit");
        self.0.push(series);
    }

    /// Several series with the same labels.
    pub(crate) fn add_all(&mut self, names: &[&str], labels: &[(&str, &str)]) {
        for name in names {
            self.add(name, labels);
        }
    }
}

fn cut(value: &str) -> &str {
    &value[..value.floor_char_boundary(LABEL_VALUE_MAX_BYTES)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(texts: &[&str]) -> Fingerprint {
        let mut fingerprint = Fingerprint::new();
        texts.iter().for_each(|text| fingerprint.text(text.as_bytes()));
        fingerprint
    }

    #[test]
    fn fingerprints_tell_texts_cuts_and_order_apart() {
        let all = [&["ab", "c"][..], &["a", "bc"], &["abc"], &["c", "ab"], &["abc", ""], &[], &["abcdefgh"]];
        for (i, one) in all.iter().enumerate() {
            for (j, other) in all.iter().enumerate() {
                assert_eq!(print(one) == print(other), i == j, "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn the_generation_grows_only_when_the_series_change() {
        let mut columns = Columns::default();
        assert_eq!(columns.layout().generation, 0);
        columns.keep(print(&["a"]), |add| add.add("a", &[]));
        assert_eq!(columns.layout().generation, 1);
        columns.keep(print(&["a"]), |_| panic!("the same fingerprint needs no labels"));
        columns.keep(print(&["b"]), |add| add.add("a", &[]));
        assert_eq!(columns.layout().generation, 1, "other fingerprint, same series");
        columns.keep(print(&["c"]), |add| add.add("c", &[]));
        assert_eq!(columns.layout().generation, 2);
    }

    #[test]
    fn an_empty_layout_is_a_layout() {
        let mut columns = Columns::default();
        columns.keep(Fingerprint::new(), |_| ());
        assert_eq!(columns.layout().generation, 1);
        assert!(columns.finish("x", &mut Vec::new()).is_ok());
    }

    #[test]
    fn too_few_values_are_an_error_and_no_sample() {
        let mut columns = Columns::default();
        columns.keep(print(&["a"]), |add| add.add_all(&["a", "b"], &[]));
        let mut values = vec![1.0];
        assert!(columns.finish("/proc/x", &mut values).is_err());
        assert!(values.is_empty());
        assert!(!columns.fit(print(&["a"])));
    }

    #[test]
    fn odd_names_and_long_values_are_made_to_fit() {
        let mut columns = Columns::default();
        let long = "ä".repeat(LABEL_VALUE_MAX_BYTES);
        columns.keep(print(&["a"]), |add| add.add("node_memory_Odd-Name(x)", &[("mountpoint", &long)]));
        let series = &columns.layout().series[0];
        assert_eq!(series.metric(), Some("node_memory_Odd_Name_x_"));
        assert_eq!(series.get("mountpoint").map(str::len), Some(LABEL_VALUE_MAX_BYTES));
    }
}
