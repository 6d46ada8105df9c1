//! Mount options: what follows `-o`.

use redoubt_volume::limits::{INDEX_BYTES, QUORUM_WAIT, SCRUB_INTERVAL, SCRUB_RATE};
use std::num::NonZeroU64;
use std::time::Duration;

/// When a write is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheMode {
    /// When it is admitted, like a disk with a volatile cache; fsync makes it durable.
    WriteBack,
    /// When it is durable.
    WriteThrough,
}

/// How long requests wait for a lost quorum before they fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuorumWait {
    /// Until it is back.
    Forever,
    /// This long; zero fails at once.
    AtMost(Duration),
}

/// What a mount was asked to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountOptions {
    /// `ro`: nothing may be written.
    pub read_only: bool,
    /// `allow_other`: other users than the one who mounts may enter.
    pub allow_other: bool,
    /// `direct_io`: no open file uses the kernel's page cache.
    pub direct_io: bool,
    /// `cache=writeback` or `cache=writethrough`.
    pub cache: CacheMode,
    /// `on-quorum-loss=wait`, `=fail` or seconds.
    pub quorum_wait: QuorumWait,
    /// `allow_faults`: others may ask for faults.
    pub allow_faults: bool,
    /// `index-memory=SIZE`: bytes of memory for the block index of all nodes.
    pub index_bytes: usize,
    /// `scrub=INTERVAL` or `scrub=off`: how often all copies are read and compared.
    pub scrub_interval: Option<Duration>,
    /// `scrub-rate=SIZE`: bytes a second that such a scrub reads at most.
    pub scrub_rate: u64,
    /// `rebuild-rate=SIZE`: bytes a second that are copied to nodes that lack something, at most;
    /// none for `rebuild-rate=adaptive`, which yields to the user's requests.
    pub rebuild_rate: Option<NonZeroU64>,
}

impl Default for MountOptions {
    fn default() -> MountOptions {
        MountOptions {
            read_only: false,
            allow_other: false,
            direct_io: false,
            allow_faults: false,
            cache: CacheMode::WriteBack,
            quorum_wait: QuorumWait::AtMost(QUORUM_WAIT),
            index_bytes: INDEX_BYTES,
            scrub_interval: Some(SCRUB_INTERVAL),
            scrub_rate: SCRUB_RATE,
            rebuild_rate: None,
        }
    }
}

/// Why mount options are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// No such option.
    #[error("the mount option '{0}' is not known; known are {KNOWN}, and those of every mount")]
    Unknown(String),
    /// The option takes another value.
    #[error("the mount option '{option}' cannot be '{value}': it takes {takes}; change the value")]
    Value {
        /// Name of the option.
        option: &'static str,
        /// What was given.
        value: String,
        /// What it takes.
        takes: &'static str,
    },
}

const KNOWN: &str = "ro, rw, sync, allow_other, direct_io, allow_faults, \
                     cache=writeback, cache=writethrough, on-quorum-loss=wait, \
                     on-quorum-loss=fail, on-quorum-loss=SECONDS, index-memory=SIZE, \
                     scrub=INTERVAL, scrub=off, scrub-rate=SIZE, rebuild-rate=adaptive, \
                     rebuild-rate=SIZE";

/// Options of every mount that say nothing to this one, or that mount(8) and systemd act on. The
/// mount is always nosuid and nodev; mount.fuse appends `dev,suid` on its own.
const IGNORED: [&str; 24] = [
    "defaults",
    "dev",
    "nodev",
    "suid",
    "nosuid",
    "exec",
    "noexec",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "lazytime",
    "async",
    "auto",
    "noauto",
    "user",
    "nouser",
    "users",
    "nofail",
    "_netdev",
    "default_permissions",
];

impl MountOptions {
    /// Parses one or more lists as they follow `-o`: names and `name=value`, with commas between.
    /// What comes later wins.
    ///
    /// # Errors
    /// [`OptionError`] names the option that is not known, or whose value is not.
    pub fn parse<'a>(
        lists: impl IntoIterator<Item = &'a str>,
    ) -> Result<MountOptions, OptionError> {
        let mut options = MountOptions::default();
        for option in lists.into_iter().flat_map(|list| list.split(',')) {
            options.set(option)?;
        }
        Ok(options)
    }

    fn set(&mut self, option: &str) -> Result<(), OptionError> {
        match option.split_once('=') {
            Some(("cache", value)) => self.cache = cache(value)?,
            Some(("on-quorum-loss", value)) => self.quorum_wait = quorum_wait(value)?,
            Some(("index-memory", value)) => self.index_bytes = index_bytes(value)?,
            Some(("scrub", value)) => self.scrub_interval = scrub_interval(value)?,
            Some(("scrub-rate", value)) => self.scrub_rate = scrub_rate(value)?,
            Some(("rebuild-rate", value)) => self.rebuild_rate = rebuild_rate(value)?,
            _ => return self.set_flag(option),
        }
        Ok(())
    }

    fn set_flag(&mut self, option: &str) -> Result<(), OptionError> {
        match option {
            "ro" => self.read_only = true,
            "rw" => self.read_only = false,
            "allow_other" => self.allow_other = true,
            "direct_io" => self.direct_io = true,
            "allow_faults" => self.allow_faults = true,
            // What mount(8) says of it: all I/O is done synchronously.
            "sync" => self.cache = CacheMode::WriteThrough,
            "" => {}
            other if other.starts_with("x-") || IGNORED.contains(&other) => {}
            other => return Err(OptionError::Unknown(other.to_owned())),
        }
        Ok(())
    }
}

fn cache(value: &str) -> Result<CacheMode, OptionError> {
    match value {
        "writeback" => Ok(CacheMode::WriteBack),
        "writethrough" => Ok(CacheMode::WriteThrough),
        _ => Err(OptionError::Value {
            option: "cache",
            value: value.to_owned(),
            takes: "writeback or writethrough",
        }),
    }
}

fn quorum_wait(value: &str) -> Result<QuorumWait, OptionError> {
    let refused = || OptionError::Value {
        option: "on-quorum-loss",
        value: value.to_owned(),
        takes: "wait, fail, or a number of seconds",
    };
    match value {
        "wait" => Ok(QuorumWait::Forever),
        "fail" => Ok(QuorumWait::AtMost(Duration::ZERO)),
        seconds => {
            let seconds: u32 = seconds.parse().map_err(|_| refused())?;
            Ok(QuorumWait::AtMost(Duration::from_secs(u64::from(seconds))))
        }
    }
}

fn index_bytes(value: &str) -> Result<usize, OptionError> {
    let size = size(value).and_then(|size| usize::try_from(size.get()).ok());
    size.ok_or_else(|| OptionError::Value {
        option: "index-memory",
        value: value.to_owned(),
        takes: "a size such as 64M or 1G",
    })
}

fn scrub_rate(value: &str) -> Result<u64, OptionError> {
    let size = size(value).map(NonZeroU64::get);
    size.ok_or_else(|| OptionError::Value {
        option: "scrub-rate",
        value: value.to_owned(),
        takes: "bytes a second, such as 64M",
    })
}

fn rebuild_rate(value: &str) -> Result<Option<NonZeroU64>, OptionError> {
    let refused = || OptionError::Value {
        option: "rebuild-rate",
        value: value.to_owned(),
        takes: "adaptive, or bytes a second such as 100M",
    };
    match value {
        "adaptive" => Ok(None),
        rate => Ok(Some(size(rate).ok_or_else(refused)?)),
    }
}

/// Sizes are powers of 1024: `64M`, `64MiB`, `1G`, or plain bytes; not zero.
fn size(value: &str) -> Option<NonZeroU64> {
    let digits = value.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let shift = match value[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        _ => return None,
    };
    let bytes = digits.parse::<u64>().ok()?.checked_mul(1 << shift)?;
    NonZeroU64::new(bytes)
}

/// Times are seconds, or have a unit: `7d`, `12h`, `30m`, `90s`, `2w`.
fn scrub_interval(value: &str) -> Result<Option<Duration>, OptionError> {
    if value == "off" {
        return Ok(None);
    }
    let digits = value.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let seconds = match &value[digits.len()..] {
        "" | "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        "d" => Some(24 * 3600),
        "w" => Some(7 * 24 * 3600),
        _ => None,
    };
    let interval = |unit: u64| {
        let number: u32 = digits.parse().ok()?;
        (number > 0).then(|| Duration::from_secs(u64::from(number) * unit))
    };
    let interval = seconds.and_then(interval);
    let refused = || OptionError::Value {
        option: "scrub",
        value: value.to_owned(),
        takes: "off, or a time such as 7d, 12h or 30m",
    };
    interval.map(Some).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(list: &str) -> Result<MountOptions, OptionError> {
        MountOptions::parse([list])
    }

    #[test]
    fn options_of_every_mount_change_nothing() {
        let list = "rw,dev,suid,nodev,nosuid,exec,noexec,noatime,relatime,defaults,_netdev,nofail,\
                    auto,noauto,user,users,,x-systemd.requires=a,x-gvfs-hide";
        assert_eq!(parse(list), Ok(MountOptions::default()));
        assert_eq!(MountOptions::parse([]), Ok(MountOptions::default()));
    }

    #[test]
    fn our_own_options_are_read_and_the_last_wins() {
        let options = MountOptions::parse([
            "ro,allow_other,direct_io,allow_faults",
            "cache=writethrough,on-quorum-loss=wait,on-quorum-loss=5,index-memory=128M",
            "scrub=12h,scrub-rate=50M,rebuild-rate=70M",
        ]);
        let expected = MountOptions {
            read_only: true,
            allow_other: true,
            direct_io: true,
            allow_faults: true,
            cache: CacheMode::WriteThrough,
            quorum_wait: QuorumWait::AtMost(Duration::from_secs(5)),
            index_bytes: 128 << 20,
            scrub_interval: Some(Duration::from_secs(12 * 3600)),
            scrub_rate: 50 << 20,
            rebuild_rate: NonZeroU64::new(70 << 20),
        };
        assert_eq!(options, Ok(expected));
        assert!(!parse("ro,rw").unwrap().read_only);
        assert_eq!(parse("sync").unwrap().cache, CacheMode::WriteThrough);
        let fail = parse("on-quorum-loss=fail").unwrap().quorum_wait;
        assert_eq!(fail, QuorumWait::AtMost(Duration::ZERO));
        let interval = |list: &str| parse(list).unwrap().scrub_interval;
        assert_eq!(interval("scrub=off"), None);
        for (text, seconds) in [("1w", 604_800), ("2d", 172_800), ("5m", 300), ("9", 9)] {
            let expected = Some(Duration::from_secs(seconds));
            assert_eq!(interval(&format!("scrub={text}")), expected);
        }
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        for unknown in ["auto_unmount", "cache", "direct_io=1", "xattr", "writeback"] {
            let error = parse(unknown).unwrap_err();
            assert!(error.to_string().contains(unknown), "{error}");
            assert!(error.to_string().contains("index-memory=SIZE"), "{error}");
        }
    }

    #[test]
    fn values_that_cannot_be_are_refused() {
        for bad in [
            "cache=none",
            "on-quorum-loss=-1",
            "on-quorum-loss=",
            "index-memory=0",
            "index-memory=M",
            "index-memory=1T5",
            "index-memory=99999999999999999999",
            "index-memory=99999999999G",
            "index-memory=5µ",
            "rebuild-rate=0",
            "rebuild-rate=fast",
            "scrub=",
            "scrub=0",
            "scrub=0d",
            "scrub=d",
            "scrub=7 d",
            "scrub=1y",
            "scrub=4294967296s",
            "scrub=never",
            "scrub-rate=0",
            "scrub-rate=fast",
            "scrub-rate=99999999999G",
        ] {
            assert!(
                matches!(parse(bad), Err(OptionError::Value { .. })),
                "{bad}"
            );
        }
        assert_eq!(parse("index-memory=4096").unwrap().index_bytes, 4096);
        let adaptive = parse("rebuild-rate=1K,rebuild-rate=adaptive").unwrap();
        assert_eq!(adaptive.rebuild_rate, None);
        assert_eq!(parse("index-memory=1GiB").unwrap().index_bytes, 1 << 30);
    }
}
