//! One packed column: choice of codec, packing, unpacking.

use super::WHAT;
use crate::format::{FormatError, Reader, put_signed};
use crate::run::Arrived;
use pco::ChunkConfig;
use pco::data_types::Number;
use pco::wrapped::{FileCompressor, FileDecompressor};
use signalbox_proto::columns::{EXPONENT_MAX, mantissa_of, put_varint, value_of};
use std::ops::Range;

const CONSTANT: u8 = 0;
const CONSTANT_RAW: u8 = 1;
const DELTAS: u8 = 2;
const PCO: u8 = 3;
const RAW: u8 = 4;
const PCO_RAW: u8 = 5;

/// Points from which pco is worth its header of some 20 bytes.
const PCO_MIN_POINTS: usize = 32;
/// Points up to which deltas are tried too, and the shorter form is kept.
const BOTH_MAX_POINTS: usize = 256;
/// pco's effort.
const PCO_LEVEL: usize = 8;

/// A packed column.
pub(crate) struct Encoded {
    pub(crate) codec: u8,
    /// The bytes belong into the header.
    pub(crate) inline: bool,
    pub(crate) bytes: Vec<u8>,
}

impl Encoded {
    /// Its entry into a header, its bytes into the data, unless they are in the entry.
    pub(crate) fn put(&self, header: &mut Vec<u8>, data: &mut Vec<u8>) {
        header.push(self.codec);
        if self.inline {
            header.extend_from_slice(&self.bytes);
            return;
        }
        put_varint(header, self.bytes.len() as u64);
        header.extend_from_slice(&crc32c::crc32c(&self.bytes).to_le_bytes());
        data.extend_from_slice(&self.bytes);
    }
}

/// Where a column's values are, as the header tells.
#[derive(Debug)]
pub(crate) enum Place {
    /// One decimal for all points.
    Decimal(i64, u8),
    /// One value for all points.
    Constant(f64),
    /// In the data.
    Packed { codec: u8, exponent: u8, bytes: Range<usize>, crc: u32 },
}

impl Place {
    /// Reads a column's header entry; `at` is the end of the data so far.
    pub(crate) fn read(reader: &mut Reader<'_>, at: &mut usize) -> Result<Place, FormatError> {
        let byte = reader.byte()?;
        let (codec, exponent) = (byte & 15, byte >> 4);
        let decimal = matches!(codec, CONSTANT | DELTAS | PCO);
        if codec > PCO_RAW || exponent > EXPONENT_MAX || (!decimal && exponent > 0) {
            return Err(reader.malformed());
        }
        match codec {
            CONSTANT => Ok(Place::Decimal(reader.signed()?, exponent)),
            CONSTANT_RAW => Ok(Place::Constant(f64::from_le_bytes(reader.array()?))),
            _ => {
                let len = usize::try_from(reader.varint()?).map_err(|_| reader.malformed())?;
                let end = at.checked_add(len).ok_or_else(|| reader.malformed())?;
                let bytes = std::mem::replace(at, end)..end;
                Ok(Place::Packed { codec, exponent, bytes, crc: u32::from_le_bytes(reader.array()?) })
            }
        }
    }

    /// Bytes in the data.
    pub(crate) fn len(&self) -> usize {
        match self {
            Place::Decimal(..) | Place::Constant(_) => 0,
            Place::Packed { bytes, .. } => bytes.len(),
        }
    }
}

/// Packs a time column.
pub(crate) fn encode_times(times: &[i64]) -> Encoded {
    pack_integers(times, 0, deltas_of_deltas)
}

/// Packs one arrival of all points.
pub(crate) fn encode_instant(instant: i64) -> Encoded {
    let mut bytes = Vec::new();
    put_signed(&mut bytes, instant);
    Encoded { codec: CONSTANT, inline: true, bytes }
}

/// Packs the arrivals of at least one point.
pub(crate) fn encode_arrivals(instants: &[i64]) -> Encoded {
    if instants.iter().all(|instant| *instant == instants[0]) {
        return encode_instant(instants[0]);
    }
    pack_integers(instants, 0, deltas_of_deltas)
}

/// Packs a value column of at least one point.
pub(crate) fn encode_values(values: &[f64]) -> Encoded {
    let first = values[0];
    if values.iter().all(|value| value.to_bits() == first.to_bits()) {
        return constant(first);
    }
    if let Some((exponent, mantissas)) = decimals(values) {
        return pack_integers(&mantissas, exponent, deltas);
    }
    if values.len() < PCO_MIN_POINTS {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        return Encoded { codec: RAW, inline: false, bytes };
    }
    Encoded { codec: PCO_RAW, inline: false, bytes: pco_pack(values) }
}

fn constant(value: f64) -> Encoded {
    let exact = (0..=EXPONENT_MAX).find_map(|exponent| Some((exponent, mantissa_of(value, exponent)?)));
    let Some((exponent, mantissa)) = exact else {
        return Encoded { codec: CONSTANT_RAW, inline: true, bytes: value.to_le_bytes().to_vec() };
    };
    let mut bytes = Vec::new();
    put_signed(&mut bytes, mantissa);
    Encoded { codec: CONSTANT | exponent << 4, inline: true, bytes }
}

/// The smallest exponent under which all values are exact, with their mantissas.
fn decimals(values: &[f64]) -> Option<(u8, Vec<i64>)> {
    let mut exponent = 0;
    // A value that needs more digits raises the exponent for all, which a value
    // before it may not bear: hence the second pass.
    for &value in values {
        exponent = (exponent..=EXPONENT_MAX).find(|&exponent| mantissa_of(value, exponent).is_some())?;
    }
    let mantissas: Option<Vec<i64>> = values.iter().map(|&value| mantissa_of(value, exponent)).collect();
    Some((exponent, mantissas?))
}

fn pack_integers(numbers: &[i64], exponent: u8, deltas: fn(&[i64]) -> Vec<u8>) -> Encoded {
    let encoded = |codec, bytes| Encoded { codec: codec | exponent << 4, inline: false, bytes };
    if numbers.len() < PCO_MIN_POINTS {
        return encoded(DELTAS, deltas(numbers));
    }
    let packed = pco_pack(numbers);
    if numbers.len() <= BOTH_MAX_POINTS {
        let deltas = deltas(numbers);
        if deltas.len() <= packed.len() {
            return encoded(DELTAS, deltas);
        }
    }
    encoded(PCO, packed)
}

fn deltas(numbers: &[i64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut previous = 0i64;
    for &number in numbers {
        put_signed(&mut bytes, number.wrapping_sub(previous));
        previous = number;
    }
    bytes
}

fn deltas_of_deltas(numbers: &[i64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (mut previous, mut step) = (0i64, 0i64);
    for &number in numbers {
        let next = number.wrapping_sub(previous);
        put_signed(&mut bytes, next.wrapping_sub(step));
        (previous, step) = (number, next);
    }
    bytes
}

fn pco_pack<T: Number>(numbers: &[T]) -> Vec<u8> {
    let pack = || {
        let file = FileCompressor::default();
        let mut chunk = file.chunk_compressor(numbers, &ChunkConfig::default().with_compression_level(PCO_LEVEL))?;
        let bytes = file.write_header(Vec::new())?;
        let bytes = chunk.write_meta(bytes)?;
        chunk.write_page(0, bytes)
    };
    pack().expect("the level is valid and a vector takes every write")
}

/// Unpacks `n` numbers into `numbers`, whatever it held.
fn pco_unpack_into<T: Number + Default>(bytes: &[u8], n: usize, numbers: &mut Vec<T>) -> Result<(), FormatError> {
    numbers.clear();
    numbers.resize(n, T::default());
    let mut unpack = || {
        let (file, bytes) = FileDecompressor::new(bytes)?;
        let (mut chunk, bytes) = file.chunk_decompressor::<T, _>(bytes)?;
        chunk.page_decompressor(bytes, n)?.read(numbers)
    };
    let progress = unpack().map_err(|why| FormatError::Codec(why.to_string()))?;
    if progress.n_processed != n {
        return Err(FormatError::Codec(format!("{} of {n} numbers", progress.n_processed)));
    }
    Ok(())
}

fn pco_unpack<T: Number + Default>(bytes: &[u8], n: usize) -> Result<Vec<T>, FormatError> {
    let mut numbers = Vec::new();
    pco_unpack_into(bytes, n, &mut numbers)?;
    Ok(numbers)
}

/// The bytes of a packed column, checked.
fn checked<'a>(data: &'a [u8], bytes: &Range<usize>, crc: u32) -> Result<&'a [u8], FormatError> {
    let packed = data.get(bytes.clone()).ok_or(FormatError::Truncated { what: WHAT, at: data.len() })?;
    if crc32c::crc32c(packed) != crc {
        return Err(FormatError::Checksum { what: "chunk column" });
    }
    Ok(packed)
}

/// Unpacks a time column.
pub(crate) fn decode_times(place: &Place, data: &[u8], n: usize) -> Result<Vec<i64>, FormatError> {
    let times = decode_instants(place, data, n)?;
    // Readers search in them.
    if times.windows(2).all(|pair| pair[0] < pair[1]) { Ok(times) } else { Err(BAD_INSTANTS) }
}

/// Unpacks the arrivals of a group.
pub(crate) fn decode_arrivals(place: &Place, data: &[u8], n: usize) -> Result<Arrived, FormatError> {
    match place {
        Place::Decimal(instant, 0) => Ok(Arrived::At(*instant)),
        place => Ok(Arrived::Each(decode_instants(place, data, n)?.into())),
    }
}

/// Unpacks integers, which may all be one.
pub(crate) fn decode_integers(place: &Place, data: &[u8], n: usize) -> Result<Vec<i64>, FormatError> {
    match place {
        Place::Decimal(one, 0) => Ok(vec![*one; n]),
        place => decode_instants(place, data, n),
    }
}

const BAD_INSTANTS: FormatError = FormatError::Malformed { what: "chunk time column", at: 0 };

fn decode_instants(place: &Place, data: &[u8], n: usize) -> Result<Vec<i64>, FormatError> {
    let Place::Packed { codec, exponent: 0, bytes, crc } = place else { return Err(BAD_INSTANTS) };
    let packed = checked(data, bytes, *crc)?;
    match *codec {
        PCO => pco_unpack(packed, n),
        DELTAS => {
            let mut step = 0i64;
            integrate(packed, n, |delta| {
                step = step.wrapping_add(delta);
                step
            })
        }
        _ => Err(BAD_INSTANTS),
    }
}

/// Sums up what `step` makes of each stored delta.
fn integrate(packed: &[u8], n: usize, mut step: impl FnMut(i64) -> i64) -> Result<Vec<i64>, FormatError> {
    let mut reader = Reader::new("chunk column", packed);
    let mut last = 0i64;
    let mut numbers = Vec::with_capacity(n.min(packed.len()));
    for _ in 0..n {
        last = last.wrapping_add(step(reader.signed()?));
        numbers.push(last);
    }
    reader.end()?;
    Ok(numbers)
}

/// Memory for mantissas, used again by the next column.
#[derive(Debug, Default)]
pub(crate) struct Scratch(Vec<i64>);

/// Unpacks the values of `range` of a column of `n` points.
pub(crate) fn decode_values(
    place: &Place,
    data: &[u8],
    n: usize,
    range: Range<usize>,
    scratch: &mut Scratch,
) -> Result<Vec<f64>, FormatError> {
    let (codec, exponent, packed) = match place {
        Place::Decimal(mantissa, exponent) => return Ok(vec![value_of(*mantissa, *exponent); range.len()]),
        Place::Constant(value) => return Ok(vec![*value; range.len()]),
        Place::Packed { codec, exponent, bytes, crc } => (*codec, *exponent, checked(data, bytes, *crc)?),
    };
    match codec {
        DELTAS | PCO => {
            if codec == PCO {
                pco_unpack_into(packed, n, &mut scratch.0)?;
            } else {
                scratch.0 = integrate(packed, n, |delta| delta)?;
            }
            Ok(scratch.0[range].iter().map(|&mantissa| value_of(mantissa, exponent)).collect())
        }
        PCO_RAW => {
            let mut values: Vec<f64> = pco_unpack(packed, n)?;
            values.truncate(range.end);
            values.drain(..range.start);
            Ok(values)
        }
        _ => {
            let (values, rest) = packed.as_chunks::<8>();
            if values.len() != n || !rest.is_empty() {
                return Err(FormatError::Malformed { what: "chunk column", at: packed.len() });
            }
            Ok(values[range].iter().map(|&bytes| f64::from_le_bytes(bytes)).collect())
        }
    }
}
