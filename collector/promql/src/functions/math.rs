//! Functions of one number.

use crate::plan::Op;

/// By the name in a query.
pub(crate) fn named(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "abs" => f64::abs,
        "ceil" => f64::ceil,
        "floor" => f64::floor,
        "exp" => f64::exp,
        "ln" => f64::ln,
        "log2" => f64::log2,
        "log10" => f64::log10,
        "sqrt" => f64::sqrt,
        "sgn" => sign,
        "sin" => f64::sin,
        "cos" => f64::cos,
        "tan" => f64::tan,
        "asin" => f64::asin,
        "acos" => f64::acos,
        "atan" => f64::atan,
        "sinh" => f64::sinh,
        "cosh" => f64::cosh,
        "tanh" => f64::tanh,
        "asinh" => f64::asinh,
        "acosh" => f64::acosh,
        "atanh" => f64::atanh,
        "deg" => |radians| radians * 180.0 / std::f64::consts::PI,
        "rad" => |degrees| degrees * std::f64::consts::PI / 180.0,
        _ => return None,
    })
}

/// -1, 0 or 1; NaN and the sign of zero stay.
fn sign(value: f64) -> f64 {
    if value < 0.0 {
        -1.0
    } else if value > 0.0 {
        1.0
    } else {
        value
    }
}

/// To the nearest multiple, halves up. Multiplying by the inverse is more exact than dividing.
pub(crate) fn round(value: f64, to: f64) -> f64 {
    let inverse = 1.0 / to;
    (value * inverse + 0.5).floor() / inverse
}

/// The value within bounds; NaN stays NaN, and a NaN bound makes one. An infinity
/// that settles the matter does so whatever the other is, as in Go.
pub(crate) fn clamp(value: f64, min: f64, max: f64) -> f64 {
    let pick = |a: f64, b: f64, strongest: f64, picked: f64| {
        if a == strongest || b == strongest {
            strongest
        } else if a.is_nan() || b.is_nan() {
            f64::NAN
        } else {
            picked
        }
    };
    let upper = pick(max, value, f64::NEG_INFINITY, max.min(value));
    pick(min, upper, f64::INFINITY, min.max(upper))
}

impl Op {
    /// The result of arithmetic; 1 or 0 of a comparison.
    #[inline]
    pub(crate) fn number(self, left: f64, right: f64) -> f64 {
        match self {
            Op::Add => left + right,
            Op::Sub => left - right,
            Op::Mul => left * right,
            Op::Div => left / right,
            Op::Mod => left % right,
            Op::Pow => left.powf(right),
            Op::Atan2 => left.atan2(right),
            _ => f64::from(u8::from(self.holds(left, right))),
        }
    }

    /// Whether a comparison holds; false for arithmetic.
    #[inline]
    pub(crate) fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Op::Eq => left == right,
            Op::Ne => left != right,
            Op::Gt => left > right,
            Op::Lt => left < right,
            Op::Ge => left >= right,
            Op::Le => left <= right,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_behave_as_in_go() {
        assert_eq!(Op::Mod.number(-5.0, 3.0), -2.0);
        assert!(Op::Mod.number(5.0, 0.0).is_nan());
        assert_eq!(Op::Mod.number(5.0, f64::INFINITY), 5.0);
        assert_eq!(Op::Pow.number(1.0, f64::NAN), 1.0);
        assert_eq!(Op::Pow.number(f64::NAN, 0.0), 1.0);
        assert!(Op::Pow.number(-8.0, 1.0 / 3.0).is_nan());
        assert_eq!(Op::Div.number(1.0, 0.0), f64::INFINITY);
        assert_eq!(Op::Ne.number(f64::NAN, f64::NAN), 1.0);
    }

    #[test]
    fn rounding_and_clamping() {
        assert_eq!(round(2.5, 1.0), 3.0);
        assert_eq!(round(-2.5, 1.0), -2.0);
        assert_eq!(round(17.3, 5.0), 15.0);
        assert_eq!(clamp(5.0, 0.0, 3.0), 3.0);
        assert!(clamp(f64::NAN, 0.0, 3.0).is_nan());
        assert!(clamp(1.0, 0.0, f64::NAN).is_nan());
        assert_eq!(clamp(1.0, f64::INFINITY, f64::NAN), f64::INFINITY);
        assert_eq!(clamp(f64::NAN, f64::NEG_INFINITY, f64::NEG_INFINITY), f64::NEG_INFINITY);
        assert_eq!(sign(-0.0).to_bits(), (-0.0f64).to_bits());
    }
}
