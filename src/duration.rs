//! Times as people write them: `500ms`, `10s`, `5m`, `1h`.

use std::time::Duration;

/// The longest time that is understood: a day.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Why a text is no time: what, why and what to do in one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DurationError {
    /// Not a number with a unit.
    #[error(
        "'{0}' is not a time: write a whole number with ms, s, m, h or d, such as 500ms or 10s"
    )]
    NotUnderstood(String),
    /// Nothing, or more than a day.
    #[error("'{0}' cannot be: the time lies between 1 ms and a day; choose one such as 60s")]
    OutOfRange(String),
}

/// Parses a time of up to a day; a number alone is seconds.
///
/// # Errors
/// [`DurationError`] with what to write instead.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let end = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let unit_ms = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(DurationError::NotUnderstood(text.to_owned())),
    };
    if number.is_empty() {
        return Err(DurationError::NotUnderstood(text.to_owned()));
    }
    let ms = number
        .parse()
        .ok()
        .and_then(|number: u64| number.checked_mul(unit_ms));
    ms.map(Duration::from_millis)
        .filter(|time| !time.is_zero() && *time <= LONGEST)
        .ok_or_else(|| DurationError::OutOfRange(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_units() {
        for (text, ms) in [
            ("500ms", 500),
            ("10", 10_000),
            ("10s", 10_000),
            ("5m", 300_000),
            ("5min", 300_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(ms)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "s", "-1s", "1.5s", "1 s", "1w", "١s", "1é"] {
            let refused = Err(DurationError::NotUnderstood(text.to_owned()));
            assert_eq!(parse_duration(text), refused, "{text}");
        }
        for text in ["0", "0ms", "86401s", "2d", "99999999999999999999h"] {
            let refused = Err(DurationError::OutOfRange(text.to_owned()));
            assert_eq!(parse_duration(text), refused, "{text}");
        }
    }
}
