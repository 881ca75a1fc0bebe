//! Label sets that are cheap to hash, to cut down and to compare.
//!
//! ```text
//! Labels := Arc<[u8]>:  (name length varint, name, value length varint, value)*   sorted by name, no empty value
//! ```
//!
//! One allocation per set, one memcmp to compare, one pass over flat bytes to
//! hash: what a query does to thousands of series at a time. A clone is a count.

use signalbox_proto::names::METRIC_NAME;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// A label set, sorted by name, each name once; an empty value means absent.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Labels(Arc<[u8]>);

impl Labels {
    /// No label at all.
    pub fn empty() -> Labels {
        Labels(Arc::new([]))
    }

    /// Sorts; of a name that comes twice the last value stays.
    pub fn new<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Labels {
        let mut pairs: Vec<(&str, &str)> = pairs.into_iter().collect();
        pairs.reverse();
        pairs.sort_by_key(|(name, _)| *name);
        pairs.dedup_by_key(|(name, _)| *name);
        Labels::sorted(pairs)
    }

    /// From pairs that are sorted by name, each name once; empty values are left out.
    pub fn sorted<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Labels {
        let mut bytes = Vec::with_capacity(128);
        for (name, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
            put(&mut bytes, name);
            put(&mut bytes, value);
        }
        Labels(bytes.into())
    }

    /// All pairs, sorted by name.
    pub fn iter(&self) -> Pairs<'_> {
        Pairs { rest: &self.0 }
    }

    /// The value of a label.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut pairs = self.iter();
        while !pairs.rest.is_empty() {
            let own = pairs.bytes();
            let value = pairs.bytes();
            match own.cmp(name.as_bytes()) {
                Ordering::Less => {}
                Ordering::Equal => return Some(text(value)),
                Ordering::Greater => return None,
            }
        }
        None
    }

    /// The metric's name.
    pub fn metric(&self) -> Option<&str> {
        self.get(METRIC_NAME)
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Estimated size in memory, bytes.
    pub fn bytes(&self) -> usize {
        self.0.len() + 32
    }

    /// Without the metric's name; the same set when there is none.
    #[must_use]
    pub fn nameless(&self) -> Labels {
        if self.metric().is_none() { self.clone() } else { self.keep(|name| name != METRIC_NAME.as_bytes()) }
    }

    /// Only labels whose name, as bytes, passes.
    #[must_use]
    pub fn keep(&self, keep: impl Fn(&[u8]) -> bool) -> Labels {
        let mut bytes = Vec::with_capacity(self.0.len());
        self.write_kept(&mut bytes, keep);
        Labels(bytes.into())
    }

    /// With one label set, or taken away when the value is empty.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Labels {
        let before = self.iter().take_while(|(own, _)| *own < name);
        let after = self.iter().skip_while(|(own, _)| *own <= name);
        Labels::sorted(before.chain([(name, value)]).chain(after))
    }

    /// The same number for the same labels, in every run: FNV-1a, its bits then spread (Vigna 2015).
    pub(crate) fn fingerprint(&self) -> u64 {
        let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        let mut hash = self.0.iter().fold(0xcbf2_9ce4_8422_2325, fnv);
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^ (hash >> 31)
    }

    /// Appends the labels whose name passes to `key`: equal bytes, equal labels.
    pub(crate) fn write_kept(&self, key: &mut Vec<u8>, keep: impl Fn(&[u8]) -> bool) {
        let mut pairs = self.iter();
        while !pairs.rest.is_empty() {
            let before = pairs.rest;
            let name = pairs.bytes();
            pairs.bytes();
            if keep(name) {
                key.extend_from_slice(&before[..before.len() - pairs.rest.len()]);
            }
        }
    }

    /// The labels that [`Labels::write_kept`] wrote.
    pub(crate) fn from_key(key: &[u8]) -> Labels {
        Labels(key.into())
    }
}

fn put(bytes: &mut Vec<u8>, text: &str) {
    let mut len = text.len();
    while len >= 0x80 {
        bytes.push((len as u8) | 0x80);
        len >>= 7;
    }
    bytes.push(len as u8);
    bytes.extend_from_slice(text.as_bytes());
}

/// The pairs of a label set.
#[derive(Clone)]
pub struct Pairs<'a> {
    rest: &'a [u8],
}

impl<'a> Pairs<'a> {
    /// The next name or value.
    #[inline]
    fn bytes(&mut self) -> &'a [u8] {
        let (mut len, mut shift) = (0usize, 0);
        while let Some((&byte, rest)) = self.rest.split_first() {
            self.rest = rest;
            len |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        let (bytes, rest) = self.rest.split_at(len);
        self.rest = rest;
        bytes
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("only str is ever written")
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let name = self.bytes();
        Some((text(name), text(self.bytes())))
    }
}

impl From<&signalbox_proto::names::Labels> for Labels {
    fn from(labels: &signalbox_proto::names::Labels) -> Labels {
        Labels::sorted(labels.iter())
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Labels) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By name, then value, of the first pair that differs; then the shorter set.
impl Ord for Labels {
    fn cmp(&self, other: &Labels) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `name{label="value", other="value"}`, as Prometheus prints a series.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.metric().unwrap_or(""))?;
        let mut rest = self.iter().filter(|(name, _)| *name != METRIC_NAME).peekable();
        if rest.peek().is_none() {
            return if self.metric().is_some() { Ok(()) } else { f.write_str("{}") };
        }
        f.write_str("{")?;
        while let Some((name, value)) = rest.next() {
            write!(f, "{name}={value:?}")?;
            if rest.peek().is_some() {
                f.write_str(", ")?;
            }
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_sorted_and_keeps_the_last_of_a_name() {
        let labels = Labels::new([("b", "1"), ("a", "2"), ("b", "3"), ("gone", ""), ("__name__", "up")]);
        assert_eq!(labels.to_string(), r#"up{a="2", b="3"}"#);
        assert_eq!(labels.get("b"), Some("3"));
        assert_eq!(labels.get("aa"), None);
        assert_eq!(labels.nameless().to_string(), r#"{a="2", b="3"}"#);
    }

    #[test]
    fn one_label_is_set_and_taken_away_in_its_place() {
        let labels = Labels::new([("a", "1"), ("c", "3")]);
        assert_eq!(labels.with("b", "2").to_string(), r#"{a="1", b="2", c="3"}"#);
        assert_eq!(labels.with("a", "9").with("d", "4").to_string(), r#"{a="9", c="3", d="4"}"#);
        assert_eq!(labels.with("c", "").to_string(), r#"{a="1"}"#);
    }

    #[test]
    fn long_values_and_keys_come_back() {
        let long = "x".repeat(40_000);
        let labels = Labels::new([("a", long.as_str()), ("b", "2")]);
        assert_eq!(labels.get("a"), Some(long.as_str()));
        let mut key = Vec::new();
        labels.write_kept(&mut key, |name| name == b"b");
        assert_eq!(Labels::from_key(&key), Labels::new([("b", "2")]));
    }

    #[test]
    fn order_is_by_name_and_value_not_by_length() {
        let set = |a: &str| Labels::new([("a", a)]);
        assert!(set("bb") > set("b") && set("c") > set("bb"));
        assert!(Labels::empty() < set("a"));
    }
}
