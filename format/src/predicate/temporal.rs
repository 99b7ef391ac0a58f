//! Dates, times, instants and intervals: their texts, and where an exact instant lies among a column's units.

use arrow_array::timezone::Tz;
use arrow_array::types::Date32Type;
use arrow_buffer::{IntervalMonthDayNano, i256};
use arrow_cast::parse::{
    Parser, parse_interval_month_day_nano, string_to_datetime, string_to_time_nanoseconds,
};
use arrow_schema::TimeUnit;

use super::number::Position;

/// Nanoseconds of a day.
pub(super) const NANOS_PER_DAY: i128 = 86_400_000_000_000;
/// Digits of a second's fraction that are understood.
const FRACTION_DIGITS_MAX: usize = 9;

/// Nanoseconds of a unit.
pub(super) fn nanos_per(unit: TimeUnit) -> i128 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

/// Where an instant lies among the multiples of a unit.
pub(super) fn among_units(nanos: i128, unit_nanos: i128) -> Position {
    let floor = i256::from_i128(nanos.div_euclid(unit_nanos));
    if nanos.rem_euclid(unit_nanos) == 0 { Position::At(floor) } else { Position::After(floor) }
}

/// The day that starts at an instant.
pub(super) fn day_of(nanos: i128) -> Option<i64> {
    (nanos.rem_euclid(NANOS_PER_DAY) == 0).then(|| i64::try_from(nanos.div_euclid(NANOS_PER_DAY)).ok())?
}

/// Days since 1970 of `YYYY-MM-DD`.
pub(super) fn parse_date(text: &str) -> Option<i64> {
    let text = text.trim();
    // The parser also reads instants as their dates, which would drop the time.
    let date = text.bytes().all(|b| b.is_ascii_digit() || b == b'-' || b == b'+');
    if date { Date32Type::parse(text).map(i64::from) } else { None }
}

/// Nanoseconds since midnight of `HH:MM[:SS[.fraction]]`.
pub(super) fn parse_time(text: &str) -> Result<i128, String> {
    check_fraction(text)?;
    string_to_time_nanoseconds(text.trim())
        .map(i128::from)
        .map_err(|_| format!("'{text}' is not a time; write it as '23:59:59.5'"))
}

/// An interval such as `1 year 2 months 3 days 4 hours`.
pub(super) fn parse_interval(text: &str) -> Result<IntervalMonthDayNano, String> {
    parse_interval_month_day_nano(text.trim())
        .map_err(|_| format!("'{text}' is not an interval; write it as '1 month 2 days 3 hours'"))
}

fn check_fraction(text: &str) -> Result<(), String> {
    let digits =
        text.split_once('.').map_or(0, |(_, rest)| rest.bytes().take_while(u8::is_ascii_digit).count());
    if digits > FRACTION_DIGITS_MAX {
        return Err(format!(
            "'{text}' has {digits} digits after the second; nanoseconds have {FRACTION_DIGITS_MAX}"
        ));
    }
    Ok(())
}

/// Only fixed offsets: rules of named zones change with the data they come from, and a filter must not.
fn zone_of(name: &str) -> Result<Tz, String> {
    let unknown = || {
        format!(
            "what the literal means in the column's zone {name} is not known here; write its offset, as in '2024-12-31T23:59:59+01:00'"
        )
    };
    if ["utc", "z", "gmt", "etc/utc"].iter().any(|z| name.eq_ignore_ascii_case(z)) {
        return "+00:00".parse().map_err(|_| unknown());
    }
    if name.starts_with(['+', '-']) { name.parse().map_err(|_| unknown()) } else { Err(unknown()) }
}

fn instant_in(text: &str, zone: Tz) -> Result<i128, String> {
    check_fraction(text)?;
    let at = string_to_datetime(&zone, text.trim())
        .map_err(|_| format!("'{text}' is not a date or time; write it as '2024-12-31 23:59:59'"))?;
    Ok(i128::from(at.timestamp()) * nanos_per(TimeUnit::Second) + i128::from(at.timestamp_subsec_nanos()))
}

/// Nanoseconds since 1970 of an instant: for a column with a zone in UTC, where a text without an offset is on the zone's wall
/// clock; for a column without one on the wall clock.
pub(super) fn parse_instant(text: &str, zone: Option<&str>) -> Result<i128, String> {
    // A text without an offset means different instants to the east and at Greenwich.
    let (greenwich, east) = (instant_in(text, zone_of("+00:00")?)?, instant_in(text, zone_of("+01:00")?)?);
    match zone {
        _ if greenwich != east => instant_in_zone(greenwich, zone),
        Some(_) => Ok(greenwich),
        None => Err(format!("'{text}' has a time zone, but the column has none; leave the zone away")),
    }
}

/// The instant at which a zone's wall clock shows `wall` (nanoseconds since 1970); `wall` itself without a zone.
pub(super) fn instant_in_zone(wall: i128, zone: Option<&str>) -> Result<i128, String> {
    let Some(name) = zone else { return Ok(wall) };
    // Zones without rules have one offset, so any instant tells it.
    let midnight = instant_in("1970-01-02T00:00:00", zone_of(name)?)?;
    Ok(wall - NANOS_PER_DAY + midnight)
}
