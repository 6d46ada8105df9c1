//! Sizes as people write them (`10G` is 10 GiB) and as they are printed (always IEC).

use redoubt_volume::geometry::MAX_DISK_BYTES;
use std::str::FromStr;

/// Why a text is no size: what, why and what to do in one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SizeError {
    /// Not a number with a unit.
    #[error(
        "'{0}' is not a size: write a number with K, M, G, T or P (or KiB, MiB ...: powers of 1024; KB, MB ...: powers of 1000), such as 10G or 1.5TiB"
    )]
    NotUnderstood(String),
    /// A disk of no bytes.
    #[error("a disk of 0 bytes cannot hold anything; choose a size such as 10G")]
    Zero,
    /// Past the largest disk.
    #[error("'{0}' is too large: a disk has at most 128 TiB; choose a smaller size")]
    TooLarge(String),
}

/// A number of bytes that a user wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub u64);

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Size, SizeError> {
        let not_understood = || SizeError::NotUnderstood(text.to_owned());
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, suffix) = text.split_at(end.unwrap_or(text.len()));
        let unit = unit_bytes(suffix).ok_or_else(not_understood)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let fraction_fits = fraction.len() <= 12 && fraction.bytes().all(|c| c.is_ascii_digit());
        let plain_fraction = unit == 1 && number.contains('.');
        if whole.is_empty() || !fraction_fits || plain_fraction || number.ends_with('.') {
            return Err(not_understood());
        }
        scaled(whole, fraction, unit)
            .map(Size)
            .ok_or_else(|| SizeError::TooLarge(text.to_owned()))
    }
}

/// `whole.fraction` times `unit`, rounded down; `None` when it does not fit.
fn scaled(whole: &str, fraction: &str, unit: u64) -> Option<u64> {
    let scale = 10_u128.pow(fraction.len() as u32);
    let whole: u64 = whole.parse().ok()?;
    let fraction: u128 = format!("0{fraction}").parse().ok()?;
    let bytes = u128::from(whole) * u128::from(unit) + fraction * u128::from(unit) / scale;
    u64::try_from(bytes).ok()
}

fn unit_bytes(suffix: &str) -> Option<u64> {
    let upper = suffix.to_ascii_uppercase();
    let (base, power) = match upper.as_str() {
        "" | "B" => return Some(1),
        other if other.len() == 1 || other.ends_with("IB") && other.len() == 3 => (1024_u64, other),
        other if other.ends_with('B') && other.len() == 2 => (1000, other),
        _ => return None,
    };
    let exponent = "KMGTP".find(&power[..1])? as u32 + 1;
    Some(base.pow(exponent))
}

/// Parses the size of a disk: over zero, at most 128 TiB.
///
/// # Errors
/// [`SizeError`] with what to write instead.
pub(crate) fn parse_disk_size(text: &str) -> Result<u64, SizeError> {
    match text.parse::<Size>()? {
        Size(0) => Err(SizeError::Zero),
        Size(bytes) if bytes > MAX_DISK_BYTES => Err(SizeError::TooLarge(text.to_owned())),
        Size(bytes) => Ok(bytes),
    }
}

/// Parses any number of bytes.
///
/// # Errors
/// [`SizeError`] with what to write instead.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, SizeError> {
    text.parse().map(|Size(bytes)| bytes)
}

/// The size that a disk shall have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NewSize {
    /// So many bytes in all.
    Absolute(u64),
    /// So many bytes more than it has.
    More(u64),
}

impl NewSize {
    /// Bytes of the disk afterwards, when it has `current` bytes now.
    ///
    /// # Errors
    /// [`SizeError::TooLarge`] past 128 TiB.
    pub(crate) fn resolve(self, current: u64) -> Result<u64, SizeError> {
        let bytes = match self {
            NewSize::Absolute(bytes) => bytes,
            NewSize::More(bytes) => current.saturating_add(bytes),
        };
        if bytes > MAX_DISK_BYTES {
            return Err(SizeError::TooLarge(iec(bytes)));
        }
        Ok(bytes)
    }
}

/// Parses `20G` or `+10G`.
///
/// # Errors
/// [`SizeError`] with what to write instead.
pub(crate) fn parse_new_size(text: &str) -> Result<NewSize, SizeError> {
    match text.strip_prefix('+') {
        Some(more) => parse_disk_size(more).map(NewSize::More),
        None => parse_disk_size(text).map(NewSize::Absolute),
    }
}

/// Bytes for people: `10 GiB`, `1.5 TiB`, `512 B`.
pub(crate) fn iec(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let power = bytes.checked_ilog2().map_or(0, |log| log / 10) as usize;
    let value = bytes as f64 / 1024_f64.powi(power as i32);
    let digits = format!("{value:.1}");
    let digits = digits.strip_suffix(".0").unwrap_or(&digits);
    format!("{digits} {}", UNITS[power])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_storage_users_mean_them() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("512B", 512),
            ("10G", 10 << 30),
            ("10g", 10 << 30),
            ("10GiB", 10 << 30),
            ("10GB", 10_000_000_000),
            ("1kB", 1000),
            ("1.5T", 3 << 39),
            ("0.5K", 512),
            ("0.1G", 107_374_182),
            ("1P", 1 << 50),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "", "G", "10g?", "10 G", "-1", "+1", "1.5", "1.", ".5G", "1..5G", "1.5.5G", "1,5G",
            "10X", "10GG", "10iB", "0x10", "1e9", "10Gib/s", "١G", "10é", "ééé",
        ] {
            let refused = Err(SizeError::NotUnderstood(text.to_owned()));
            assert_eq!(text.parse::<Size>(), refused, "{text}");
        }
    }

    #[test]
    fn disks_have_a_least_and_a_largest_size() {
        assert_eq!(parse_disk_size("0G"), Err(SizeError::Zero));
        assert_eq!(parse_disk_size("128T"), Ok(128 << 40));
        for text in ["129T", "99999999999P", "99999999999999999999999"] {
            let refused = Err(SizeError::TooLarge(text.to_owned()));
            assert_eq!(parse_disk_size(text), refused, "{text}");
        }
    }

    #[test]
    fn a_plus_is_relative() {
        let more = parse_new_size("+50G").unwrap();
        assert_eq!(more.resolve(10 << 30), Ok(60 << 30));
        let absolute = parse_new_size("50G").unwrap();
        assert_eq!(absolute.resolve(10 << 30), Ok(50 << 30));
        assert!(NewSize::More(1).resolve(128 << 40).is_err());
        assert!(parse_new_size("++1G").is_err());
    }

    #[test]
    fn bytes_are_printed_in_powers_of_1024() {
        for (bytes, text) in [
            (0, "0 B"),
            (512, "512 B"),
            (1536, "1.5 KiB"),
            (10 << 30, "10 GiB"),
            (128 << 40, "128 TiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(iec(bytes), text);
        }
    }
}
