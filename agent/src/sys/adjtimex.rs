//! `adjtimex(2)`: how the kernel's clock is disciplined.
#![allow(unsafe_code, reason = "rustix has no adjtimex")]

use std::io;

/// The kernel's clock discipline, in the units of the system call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Discipline {
    /// Offset from the reference, ns if `in_nanos`, else µs.
    pub(crate) offset: i64,
    /// Unit of `offset` and `pps_jitter`.
    pub(crate) in_nanos: bool,
    /// ppm with 16 bits of fraction.
    pub(crate) frequency: i64,
    /// Upper bound of the error, µs.
    pub(crate) max_error_us: i64,
    /// Estimated error, µs.
    pub(crate) estimated_error_us: i64,
    /// Status bits.
    pub(crate) status: i32,
    /// Time constant of the loop.
    pub(crate) time_constant: i64,
    /// Length of a tick, µs.
    pub(crate) tick_us: i64,
    /// ppm with 16 bits of fraction.
    pub(crate) pps_frequency: i64,
    /// ns if `in_nanos`, else µs.
    pub(crate) pps_jitter: i64,
    /// Interval, as a power of two of seconds.
    pub(crate) pps_shift: i64,
    /// ppm with 16 bits of fraction.
    pub(crate) pps_stability: i64,
    /// Times that the jitter's limit was exceeded.
    pub(crate) pps_jitters: i64,
    /// Calibration intervals.
    pub(crate) pps_calibrations: i64,
    /// Calibration errors.
    pub(crate) pps_errors: i64,
    /// Times that the stability's limit was exceeded.
    pub(crate) pps_stability_exceeded: i64,
    /// Seconds between TAI and UTC.
    pub(crate) tai_offset_secs: i32,
    /// The kernel holds its clock to be synchronised.
    pub(crate) synchronised: bool,
}

/// Asks the kernel and changes nothing.
///
/// # Errors
/// A sandbox that forbids the call.
#[allow(clippy::useless_conversion, reason = "the fields have 32 bits on some architectures")]
pub(crate) fn read() -> io::Result<Discipline> {
    // SAFETY: timex is plain numbers, for which all zeros is a value.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a timex that lives and is ours; modes = 0 only reads.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Discipline {
        offset: timex.offset.into(),
        in_nanos: timex.status & libc::STA_NANO != 0,
        frequency: timex.freq.into(),
        max_error_us: timex.maxerror.into(),
        estimated_error_us: timex.esterror.into(),
        status: timex.status,
        time_constant: timex.constant.into(),
        tick_us: timex.tick.into(),
        pps_frequency: timex.ppsfreq.into(),
        pps_jitter: timex.jitter.into(),
        pps_shift: timex.shift.into(),
        pps_stability: timex.stabil.into(),
        pps_jitters: timex.jitcnt.into(),
        pps_calibrations: timex.calcnt.into(),
        pps_errors: timex.errcnt.into(),
        pps_stability_exceeded: timex.stbcnt.into(),
        tai_offset_secs: timex.tai,
        synchronised: state != libc::TIME_ERROR,
    })
}
