//! What functions compute, apart from where their input comes from.
//!
//! - [`window`]: of the samples in a window; [`rate`], [`over_time`], [`regression`] hold the arithmetic.
//! - [`element`]: of one value; [`math`] and [`calendar`] hold the arithmetic.
//! - [`histogram`]: of the buckets of a classic histogram.
//! - [`label`], [`info`]: of labels.
//! - [`sum`], [`quantile`]: sums that keep what rounding loses, and quantiles.

pub(crate) mod calendar;
pub(crate) mod element;
pub(crate) mod histogram;
pub(crate) mod info;
pub(crate) mod label;
pub(crate) mod math;
pub(crate) mod over_time;
pub(crate) mod quantile;
pub(crate) mod rate;
pub(crate) mod regression;
pub(crate) mod sliding;
pub(crate) mod sum;
pub(crate) mod window;
