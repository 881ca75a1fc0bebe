//! The published message `prometheus.WriteRequest`, read in place.
//!
//! ```text
//! WriteRequest := (1: TimeSeries | 3: metadata)*
//! TimeSeries   := (1: Label)* (2: Sample | 3: exemplar | 4: native histogram)*
//! Label        := 1: name, 2: value          Sample := 1: value double, 2: Unix milliseconds int64
//! ```
//!
//! Fields are borrowed from the request: nothing is allocated. Labels come before
//! samples, as every writer of protocol buffers has them. Unknown fields are skipped.

use thiserror::Error;

/// What is wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum Malformed {
    /// It ends in the middle of a field.
    #[error("it ends inside a field")]
    Truncated,
    /// A number or a kind of field that is none.
    #[error("a field is not what its number says")]
    Field,
    /// A label after a sample.
    #[error("labels of a series must come before its samples")]
    Order,
    /// A name or value that is no UTF-8.
    #[error("a label is not UTF-8")]
    Text,
}

/// One field's value.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Value<'a> {
    Varint(u64),
    Fixed([u8; 8]),
    Bytes(&'a [u8]),
    Skipped,
}

/// Fields one after the other.
#[derive(Debug, Clone)]
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or(Malformed::Truncated)?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed::Field)
    }

    /// The next field; none at the end.
    #[inline]
    fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                let mut fixed = [0; 8];
                fixed.copy_from_slice(self.take(8)?);
                Value::Fixed(fixed)
            }
            2 => {
                let n = usize::try_from(self.varint()?).map_err(|_| Malformed::Truncated)?;
                Value::Bytes(self.take(n)?)
            }
            5 => {
                self.take(4)?;
                Value::Skipped
            }
            _ => return Err(Malformed::Field),
        };
        Ok(Some((tag >> 3, value)))
    }
}

/// A series of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeSeries<'a> {
    /// Its label fields as they came: equal bytes, equal labels.
    pub(super) labels: &'a [u8],
    rest: &'a [u8],
}

/// What a series holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Part {
    /// A number.
    Sample {
        /// Unix milliseconds.
        time: i64,
        /// Bit for bit as sent.
        value: f64,
    },
    /// Not stored.
    Exemplar,
    /// Not stored.
    Histogram,
}

/// Visits the series of a request.
pub(super) fn each_series<'a, E: From<Malformed>>(
    request: &'a [u8],
    mut visit: impl FnMut(TimeSeries<'a>) -> Result<(), E>,
) -> Result<(), E> {
    let mut fields = Fields { rest: request };
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1, Value::Bytes(bytes)) => visit(TimeSeries::of(bytes)?)?,
            (1, _) => return Err(Malformed::Field.into()),
            _ => {}
        }
    }
    Ok(())
}

impl<'a> TimeSeries<'a> {
    fn of(bytes: &'a [u8]) -> Result<TimeSeries<'a>, Malformed> {
        let mut fields = Fields { rest: bytes };
        let mut end = 0;
        // One byte says what follows: labels are field 1 of kind 2.
        while fields.rest.first() == Some(&0x0a) {
            fields.next()?;
            end = bytes.len() - fields.rest.len();
        }
        let (labels, rest) = bytes.split_at(end);
        Ok(TimeSeries { labels, rest })
    }

    /// Visits samples and what else it holds.
    #[inline]
    pub(super) fn each_part(&self, mut visit: impl FnMut(Part)) -> Result<(), Malformed> {
        let mut fields = Fields { rest: self.rest };
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (1, _) => return Err(Malformed::Order),
                (2, Value::Bytes(bytes)) => visit(sample(bytes)?),
                (2, _) => return Err(Malformed::Field),
                (3, _) => visit(Part::Exemplar),
                (4, _) => visit(Part::Histogram),
                _ => {}
            }
        }
        Ok(())
    }
}

#[inline]
fn sample(bytes: &[u8]) -> Result<Part, Malformed> {
    let mut fields = Fields { rest: bytes };
    let (mut time, mut value) = (0, 0.0);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Fixed(bytes)) => value = f64::from_le_bytes(bytes),
            (2, Value::Varint(millis)) => time = millis.cast_signed(),
            (1 | 2, _) => return Err(Malformed::Field),
            _ => {}
        }
    }
    Ok(Part::Sample { time, value })
}

/// The pairs of a series' label fields.
pub(super) fn pairs(labels: &[u8]) -> Result<Vec<(String, String)>, Malformed> {
    let mut fields = Fields { rest: labels };
    let mut pairs = Vec::new();
    while let Some((_, Value::Bytes(label))) = fields.next()? {
        let mut fields = Fields { rest: label };
        let mut pair = (String::new(), String::new());
        while let Some((number, value)) = fields.next()? {
            let text = |value| match value {
                Value::Bytes(bytes) => String::from_utf8(bytes.to_vec()).map_err(|_| Malformed::Text),
                _ => Err(Malformed::Field),
            };
            match number {
                1 => pair.0 = text(value)?,
                2 => pair.1 = text(value)?,
                _ => {}
            }
        }
        pairs.push(pair);
    }
    Ok(pairs)
}
