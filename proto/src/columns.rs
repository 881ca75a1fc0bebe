//! Packed value columns: how samples cross the wire and lie in spool and journal.
//!
//! A payload is a row of *ticks*. A tick holds one value for each series of one
//! shape at one instant; what did not change costs one bit.
//!
//! ```text
//! payload := tick*
//! tick    := varint shape                 which series, in which order
//!            zigzag dt                    ms since the previous tick of the payload
//!                                         (the first: since the batch's wall time)
//!            bitmap                       ceil(n/8) bytes, bit i (LSB first) set:
//!                                         column i differs from its last value
//!            value*                       one for each bit set
//! value   := varint u
//!            u & 1 == 0                   mantissa += unzigzag(u >> 1), exponent stays
//!            u & 1 == 1, u >> 1 <= 15     exponent = u >> 1, then zigzag mantissa
//!            u & 1 == 1, u >> 1 == 31     8 bytes, IEEE 754 little endian
//! ```
//!
//! A value is `mantissa / 10^exponent` when that gives back the very same bits,
//! and raw bytes when not: the round trip is exact for every bit pattern. A *key*
//! payload starts from cells that are all +0.0 with exponent 0; any other starts
//! where the payload before it ended. Machine metrics take about 0.8 B a sample.

use crate::units::UnixMillis;
use thiserror::Error;

/// Largest decimal exponent that is tried.
pub const EXPONENT_MAX: u8 = 15;
/// Marks a cell whose last value was raw.
const EXPONENT_RAW: u8 = 31;
/// Mantissas beyond 2^53 are not exact.
const MANTISSA_MAX: f64 = 9_007_199_254_740_992.0;
/// 10^0 … 10^15, all exact in f64.
const POW10: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// Why a payload was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ColumnsError {
    /// The payload ends inside a tick.
    #[error("columns end inside a tick at byte {at}")]
    Truncated {
        /// Offset in the payload.
        at: usize,
    },
    /// A number is longer than 64 bits, or a code is not known.
    #[error("columns are malformed at byte {at}")]
    Malformed {
        /// Offset in the payload.
        at: usize,
    },
    /// A tick uses a shape that was not declared.
    #[error("columns use shape {shape}, which was not declared")]
    UnknownShape {
        /// Which.
        shape: u32,
    },
    /// More samples than one batch may hold.
    #[error("columns hold more than {limit} samples")]
    TooMany {
        /// The limit.
        limit: usize,
    },
}

/// The last value of one series, as both ends remember it.
#[derive(Debug, Clone, Copy)]
struct Cell {
    bits: u64,
    mantissa: i64,
    exponent: u8,
}

const ZERO: Cell = Cell { bits: 0, mantissa: 0, exponent: 0 };

/// Packs ticks into payloads. One per epoch.
#[derive(Debug, Default)]
pub struct Encoder {
    cells: Vec<Cell>,
    out: Vec<u8>,
    at_ms: i64,
}

impl Encoder {
    /// Starts a payload for a batch cut at `wall`; a key payload forgets all
    /// earlier values.
    pub fn begin(&mut self, wall: UnixMillis, key: bool) {
        if key {
            self.cells.fill(ZERO);
        }
        self.out.clear();
        self.at_ms = wall.0;
    }

    /// Appends one tick. `refs` and `values` have the same length.
    ///
    /// # Panics
    /// When the lengths differ: a fault of the caller, not of its input.
    pub fn tick(&mut self, shape: u32, time: UnixMillis, refs: &[u32], values: &[f64]) {
        assert_eq!(refs.len(), values.len(), "one value for each column");
        put_varint(&mut self.out, u64::from(shape));
        put_varint(&mut self.out, zigzag(time.0.wrapping_sub(self.at_ms)));
        self.at_ms = time.0;
        let bitmap = self.out.len();
        self.out.resize(bitmap + refs.len().div_ceil(8), 0);
        for (column, (&series_ref, &value)) in refs.iter().zip(values).enumerate() {
            let at = series_ref as usize;
            if at >= self.cells.len() {
                self.cells.resize(at + 1, ZERO);
            }
            if self.cells[at].bits != value.to_bits() {
                self.out[bitmap + column / 8] |= 1 << (column % 8);
                put_value(&mut self.out, &mut self.cells[at], value);
            }
        }
    }

    /// The payload so far.
    pub fn payload(&self) -> &[u8] {
        &self.out
    }
}

/// One decoded tick.
#[derive(Debug)]
pub struct Tick<'a> {
    /// Which series were sampled.
    pub shape: u32,
    /// When.
    pub time: UnixMillis,
    /// Refs of the shape in column order.
    pub refs: &'a [u32],
    /// What differs from the tick before: (series ref, value).
    pub changed: &'a [(u32, f64)],
}

/// Unpacks payloads. One per epoch and stream.
#[derive(Debug, Clone, Default)]
pub struct Decoder {
    cells: Vec<Cell>,
    changed: Vec<(u32, f64)>,
}

impl Decoder {
    /// Visits every tick of a payload, in order. `shapes` gives the refs of a
    /// shape. The state after an error is undefined: start again from a key.
    ///
    /// # Errors
    /// [`ColumnsError`]; ticks before the fault were visited.
    pub fn decode<'s>(
        &mut self,
        wall: UnixMillis,
        key: bool,
        payload: &[u8],
        shapes: impl Fn(u32) -> Option<&'s [u32]>,
        mut visit: impl FnMut(&Tick<'_>, &Values<'_>),
    ) -> Result<(), ColumnsError> {
        if key {
            self.cells.fill(ZERO);
        }
        let mut input = Input { bytes: payload, at: 0 };
        let mut at_ms = wall.0;
        let mut n_samples = 0usize;
        while input.at < payload.len() {
            let shape = u32::try_from(input.varint()?).map_err(|_| ColumnsError::Malformed { at: input.at })?;
            let refs = shapes(shape).ok_or(ColumnsError::UnknownShape { shape })?;
            // An empty tick still counts, so that a payload of them is bounded too.
            n_samples += refs.len().max(1);
            if n_samples > crate::limits::SAMPLES_PER_BATCH_MAX {
                return Err(ColumnsError::TooMany { limit: crate::limits::SAMPLES_PER_BATCH_MAX });
            }
            at_ms = at_ms.wrapping_add(unzigzag(input.varint()?));
            self.read_columns(&mut input, refs)?;
            let tick = Tick { shape, time: UnixMillis(at_ms), refs, changed: &self.changed };
            visit(&tick, &Values(&self.cells));
        }
        Ok(())
    }

    /// Appends the state, from which [`Decoder::load`] goes on bit for bit: one
    /// value in absolute form for each series ref from 0. The exponent in use is
    /// part of it, because the deltas that follow count in its unit.
    pub fn save(&self, out: &mut Vec<u8>) {
        put_varint(out, self.cells.len() as u64);
        for cell in &self.cells {
            put_varint(out, u64::from(cell.exponent) << 1 | 1);
            if cell.exponent == EXPONENT_RAW {
                out.extend_from_slice(&cell.bits.to_le_bytes());
            } else {
                put_varint(out, zigzag(cell.mantissa));
            }
        }
    }

    /// The decoder that [`Decoder::save`] saw.
    ///
    /// # Errors
    /// [`ColumnsError`] when these are not the bytes of one saved state.
    pub fn load(saved: &[u8]) -> Result<Decoder, ColumnsError> {
        let mut input = Input { bytes: saved, at: 0 };
        let n_cells = input.varint()?;
        let mut cells = Vec::new();
        for _ in 0..n_cells {
            let mut cell = ZERO;
            input.value(&mut cell)?;
            cells.push(cell);
        }
        if input.at < saved.len() {
            return Err(ColumnsError::Malformed { at: input.at });
        }
        Ok(Decoder { cells, changed: Vec::new() })
    }

    /// The values as they stand.
    pub fn values(&self) -> Values<'_> {
        Values(&self.cells)
    }

    fn read_columns(&mut self, input: &mut Input<'_>, refs: &[u32]) -> Result<(), ColumnsError> {
        self.changed.clear();
        let bitmap = input.take(refs.len().div_ceil(8))?;
        let high = refs.iter().copied().max().map_or(0, |high| high as usize + 1);
        if high > self.cells.len() {
            self.cells.resize(high, ZERO);
        }
        for (byte, &bits) in bitmap.iter().enumerate() {
            let mut bits = bits;
            while bits != 0 {
                let column = byte * 8 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let series_ref = *refs.get(column).ok_or(ColumnsError::Malformed { at: input.at })?;
                let cell = &mut self.cells[series_ref as usize];
                input.value(cell)?;
                self.changed.push((series_ref, f64::from_bits(cell.bits)));
            }
        }
        Ok(())
    }
}

/// The values of all series after a tick.
#[derive(Debug, Clone, Copy)]
pub struct Values<'a>(&'a [Cell]);

impl Values<'_> {
    /// The last value of a series; +0.0 for one that was never sampled.
    pub fn get(&self, series_ref: u32) -> f64 {
        self.0.get(series_ref as usize).map_or(0.0, |cell| f64::from_bits(cell.bits))
    }
}

fn put_value(out: &mut Vec<u8>, cell: &mut Cell, value: f64) {
    cell.bits = value.to_bits();
    if cell.exponent != EXPONENT_RAW
        && let Some(mantissa) = mantissa_of(value, cell.exponent)
        && let Some(delta) = zigzag_delta(mantissa, cell.mantissa)
    {
        put_varint(out, delta << 1);
        cell.mantissa = mantissa;
        return;
    }
    let exact = (0..=EXPONENT_MAX).find_map(|exponent| Some((exponent, mantissa_of(value, exponent)?)));
    if let Some((exponent, mantissa)) = exact {
        put_varint(out, u64::from(exponent) << 1 | 1);
        put_varint(out, zigzag(mantissa));
        (cell.exponent, cell.mantissa) = (exponent, mantissa);
    } else {
        put_varint(out, u64::from(EXPONENT_RAW) << 1 | 1);
        out.extend_from_slice(&value.to_le_bytes());
        cell.exponent = EXPONENT_RAW;
    }
}

/// The mantissa under which `value` comes back bit for bit, if there is one.
/// `exponent` is at most [`EXPONENT_MAX`].
pub fn mantissa_of(value: f64, exponent: u8) -> Option<i64> {
    let rounded = (value * POW10[usize::from(exponent)]).round();
    if rounded.is_nan() || rounded.abs() > MANTISSA_MAX {
        return None;
    }
    #[allow(clippy::cast_possible_truncation, reason = "at most 2^53")]
    let mantissa = rounded as i64;
    (value_of(mantissa, exponent).to_bits() == value.to_bits()).then_some(mantissa)
}

/// `mantissa / 10^exponent`; `exponent` is at most [`EXPONENT_MAX`].
#[allow(clippy::cast_precision_loss, reason = "mantissas written by us are at most 2^53")]
pub fn value_of(mantissa: i64, exponent: u8) -> f64 {
    mantissa as f64 / POW10[usize::from(exponent)]
}

/// The zigzag of `new - old` if it leaves room for the tag bit.
fn zigzag_delta(new: i64, old: i64) -> Option<u64> {
    let delta = zigzag(new.checked_sub(old)?);
    (delta < 1 << 63).then_some(delta)
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], ColumnsError> {
        let end = self.at.checked_add(n).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or(ColumnsError::Truncated { at: self.at })?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, ColumnsError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            if shift == 63 && byte > 1 {
                return Err(ColumnsError::Malformed { at: self.at });
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ColumnsError::Malformed { at: self.at })
    }

    fn value(&mut self, cell: &mut Cell) -> Result<(), ColumnsError> {
        let head = self.varint()?;
        if head & 1 == 0 {
            if cell.exponent == EXPONENT_RAW {
                return Err(ColumnsError::Malformed { at: self.at });
            }
            cell.mantissa = cell.mantissa.wrapping_add(unzigzag(head >> 1));
            cell.bits = value_of(cell.mantissa, cell.exponent).to_bits();
            return Ok(());
        }
        match u8::try_from(head >> 1) {
            Ok(exponent @ 0..=EXPONENT_MAX) => {
                cell.exponent = exponent;
                cell.mantissa = unzigzag(self.varint()?);
                cell.bits = value_of(cell.mantissa, exponent).to_bits();
                Ok(())
            }
            Ok(EXPONENT_RAW) => {
                let mut raw = [0; 8];
                raw.copy_from_slice(self.take(8)?);
                cell.exponent = EXPONENT_RAW;
                cell.bits = u64::from_le_bytes(raw);
                Ok(())
            }
            _ => Err(ColumnsError::Malformed { at: self.at }),
        }
    }
}

/// Appends a LEB128 number.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        #[allow(clippy::cast_possible_truncation, reason = "seven bits and a flag")]
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    #[allow(clippy::cast_possible_truncation, reason = "under 0x80")]
    out.push(value as u8);
}

/// Small magnitudes to small numbers: 0, -1, 1, -2 … become 0, 1, 2, 3 …
pub fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// The inverse of [`zigzag`].
pub fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Ticks = Vec<(i64, Vec<f64>)>;

    fn decode_all(payloads: &[(bool, Vec<u8>)], refs: &[u32]) -> Result<Ticks, ColumnsError> {
        let mut decoder = Decoder::default();
        let mut ticks = Vec::new();
        for (key, payload) in payloads {
            let shapes = |shape| (shape == 0).then_some(refs);
            decoder.decode(UnixMillis(1_000), *key, payload, shapes, |tick, values| {
                let row = tick.refs.iter().map(|&series_ref| values.get(series_ref)).collect();
                ticks.push((tick.time.0, row));
            })?;
        }
        Ok(ticks)
    }

    fn encode_all(batches: &[Ticks], refs: &[u32]) -> Vec<(bool, Vec<u8>)> {
        let mut encoder = Encoder::default();
        let mut payloads = Vec::new();
        for (n, batch) in batches.iter().enumerate() {
            encoder.begin(UnixMillis(1_000), n == 0);
            for (time, values) in batch {
                encoder.tick(0, UnixMillis(*time), refs, values);
            }
            payloads.push((n == 0, encoder.payload().to_vec()));
        }
        payloads
    }

    fn bits(ticks: &Ticks) -> Vec<(i64, Vec<u64>)> {
        ticks.iter().map(|(time, row)| (*time, row.iter().map(|v| v.to_bits()).collect())).collect()
    }

    fn check(batches: &[Ticks]) {
        let refs: Vec<u32> = (0..4).map(|i| i * 3).collect();
        let decoded = decode_all(&encode_all(batches, &refs), &refs).unwrap();
        assert_eq!(bits(&decoded), bits(&batches.concat()));
    }

    #[test]
    fn odd_values_come_back_bit_for_bit() {
        let odd = [0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.1, 1e300, 5e-324];
        let more = [f64::from_bits(0x7ff0_0000_0000_0002), 9_007_199_254_740_993.0, -1e15, 12345.67];
        for a in odd.iter().chain(&more) {
            for b in odd.iter().chain(&more) {
                check(&[vec![(1_000, vec![*a, *b, 0.0, 1.0])], vec![(2_000, vec![*b, *a, *a, *b])]]);
            }
        }
    }

    #[test]
    fn what_does_not_change_costs_one_bit() {
        let refs: Vec<u32> = (0..80).collect();
        let tick = |time| vec![(time, vec![42.5; 80])];
        let payloads = encode_all(&[tick(1_000), tick(2_000)], &refs);
        assert_eq!(payloads[1].1.len(), 1 + 2 + 10);
    }

    #[test]
    fn a_saved_state_decodes_what_follows_bit_for_bit() {
        let refs = [0, 1, 2];
        let mut encoder = Encoder::default();
        let mut decoder = Decoder::default();
        let mut rows = [[1.5, -0.0, 7.0], [2.0, 3.0, f64::NAN], [2.1, 3.25, 8.0]].into_iter().enumerate();
        let mut next = |decoder: &mut Decoder| {
            let (n, row) = rows.next().unwrap();
            encoder.begin(UnixMillis(0), n == 0);
            encoder.tick(0, UnixMillis(0), &refs, &row);
            decoder.decode(UnixMillis(0), n == 0, encoder.payload(), |_| Some(&refs[..]), |_, _| {}).unwrap();
            (row, decoder.values().0.iter().map(|cell| cell.bits).collect::<Vec<_>>())
        };
        for _ in 0..3 {
            let (row, bits) = next(&mut decoder);
            assert_eq!(bits, row.map(f64::to_bits));
            let mut saved = Vec::new();
            decoder.save(&mut saved);
            decoder = Decoder::load(&saved).unwrap();
            assert!(Decoder::load(&saved[..saved.len() - 1]).is_err());
        }
    }

    #[test]
    fn an_undeclared_shape_is_refused() {
        let mut encoder = Encoder::default();
        encoder.begin(UnixMillis(0), true);
        encoder.tick(7, UnixMillis(0), &[0], &[1.0]);
        let shapes = |_| None;
        let error = Decoder::default().decode(UnixMillis(0), true, encoder.payload(), shapes, |_, _| {});
        assert_eq!(error, Err(ColumnsError::UnknownShape { shape: 7 }));
    }

    proptest! {
        #[test]
        fn any_bits_round_trip(rows in proptest::collection::vec(
            (any::<i64>(), proptest::collection::vec(any::<u64>().prop_map(f64::from_bits), 4)), 1..20), cut in 0usize..20) {
            let cut = cut.min(rows.len());
            check(&[rows[..cut].to_vec(), rows[cut..].to_vec()]);
        }

        #[test]
        fn decimals_round_trip(rows in proptest::collection::vec(
            (0i64..1 << 40, proptest::collection::vec((-1_000_000i64..1_000_000, 0i32..6), 4)), 1..20)) {
            #[allow(clippy::cast_precision_loss)]
            let row = |cells: &Vec<(i64, i32)>| cells.iter().map(|(m, e)| *m as f64 / 10f64.powi(*e)).collect();
            check(&[rows.iter().map(|(time, cells)| (*time, row(cells))).collect()]);
        }

        #[test]
        fn any_bytes_decode_or_are_refused(payload in proptest::collection::vec(any::<u8>(), 0..300)) {
            let refs = [0, 5, 2, 9, 11, 1, 3, 4, 8];
            let shapes = |shape| (shape < 4).then(|| &refs[..shape as usize * 3]);
            let _ = Decoder::default().decode(UnixMillis(0), true, &payload, shapes, |_, _| {});
        }
    }
}
