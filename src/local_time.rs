//! Times for people: in the time zone of the machine.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Milliseconds since 1970 as a date and a time of day.
pub(crate) fn local_time(time_ms: u64) -> String {
    in_zone(time_ms, TimeZone::system())
}

fn in_zone(time_ms: u64, zone: TimeZone) -> String {
    let time = i64::try_from(time_ms).ok();
    match time.and_then(|time| Timestamp::from_millisecond(time).ok()) {
        Some(time) => time
            .to_zoned(zone)
            .strftime("%Y-%m-%d %H:%M:%S")
            .to_string(),
        None => "at no known time".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_their_zone() {
        let east = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(in_zone(1_795_160_000_000, east), "2026-11-20 09:33:20");
        assert_eq!(in_zone(0, TimeZone::UTC), "1970-01-01 00:00:00");
        assert_eq!(in_zone(u64::MAX, TimeZone::UTC), "at no known time");
    }
}
