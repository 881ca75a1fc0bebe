//! Parts of a date in UTC (Hinnant 2013, "chrono-compatible low-level date algorithms").

const DAY_SECS: i64 = 86_400;

/// A part of a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Year,
    Month,
    DayOfMonth,
    DayOfWeek,
    DayOfYear,
    DaysInMonth,
    Hour,
    Minute,
}

struct Date {
    year: i64,
    month: i64,
    day: i64,
}

impl Part {
    /// By the name in a query.
    pub(crate) fn named(name: &str) -> Option<Part> {
        Some(match name {
            "year" => Part::Year,
            "month" => Part::Month,
            "day_of_month" => Part::DayOfMonth,
            "day_of_week" => Part::DayOfWeek,
            "day_of_year" => Part::DayOfYear,
            "days_in_month" => Part::DaysInMonth,
            "hour" => Part::Hour,
            "minute" => Part::Minute,
            _ => return None,
        })
    }

    /// Of seconds since 1970, fractions cut off; NaN of NaN.
    pub(crate) fn of(self, seconds: f64) -> f64 {
        if seconds.is_nan() {
            return f64::NAN;
        }
        let seconds = seconds as i64;
        let (days, second) = (seconds.div_euclid(DAY_SECS), seconds.rem_euclid(DAY_SECS));
        let part = match self {
            Part::Year => date(days).year,
            Part::Month => date(days).month,
            Part::DayOfMonth => date(days).day,
            // 1970-01-01 was a Thursday; Sunday is 0.
            Part::DayOfWeek => (days + 4).rem_euclid(7),
            Part::DayOfYear => days - days_before(date(days).year, 1) + 1,
            Part::DaysInMonth => {
                let date = date(days);
                let next = if date.month == 12 {
                    days_before(date.year + 1, 1)
                } else {
                    days_before(date.year, date.month + 1)
                };
                next - days_before(date.year, date.month)
            }
            Part::Hour => second / 3600,
            Part::Minute => second / 60 % 60,
        };
        part as f64
    }
}

/// The civil date of a number of days since 1970-01-01. Years are counted from March.
fn date(days: i64) -> Date {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Date { year, month, day: day_of_year - (153 * shifted + 2) / 5 + 1 }
}

/// Days from 1970-01-01 to the first of a month.
fn days_before(year: i64, month: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + (153 * shifted + 2) / 5;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_their_parts() {
        // 2024-02-29T13:45:59Z, a Thursday in a leap year.
        let of = |part: Part| part.of(1_709_214_359.9);
        assert_eq!(of(Part::Year), 2024.0);
        assert_eq!(of(Part::Month), 2.0);
        assert_eq!(of(Part::DayOfMonth), 29.0);
        assert_eq!(of(Part::DayOfWeek), 4.0);
        assert_eq!(of(Part::DayOfYear), 60.0);
        assert_eq!(of(Part::DaysInMonth), 29.0);
        assert_eq!(of(Part::Hour), 13.0);
        assert_eq!(of(Part::Minute), 45.0);
    }

    #[test]
    fn dates_before_1970_and_absurd_ones() {
        assert_eq!(Part::Year.of(-0.5), 1970.0, "fractions of a second are cut");
        assert_eq!(Part::Year.of(-2.0), 1969.0);
        assert_eq!(Part::DaysInMonth.of(-2.0), 31.0);
        assert!(Part::Year.of(f64::NAN).is_nan());
        assert!(Part::Year.of(f64::MAX).is_finite() && Part::DayOfYear.of(f64::MIN).is_finite());
    }
}
