//! Exit codes, and which error has which. A code that is not in this list means failure.

use crate::size::SizeError;
use redoubt_mount::error::{MountError, UnmountError};
use redoubt_mount::options::OptionError;
use redoubt_volume::error::VolumeError;
use redoubt_volume::volume::FaultError;

/// How the command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit(pub u8);

impl Exit {
    /// Done.
    pub(crate) const OK: Exit = Exit(0);
    /// Any failure without a code of its own.
    pub(crate) const FAILURE: Exit = Exit(1);
    /// The command line or a value in it cannot be.
    pub(crate) const USAGE: Exit = Exit(2);
    /// `status --check`: fewer than six copies, still writable. `fsck`: fewer than six copies could
    /// be compared.
    pub(crate) const DEGRADED: Exit = Exit(3);
    /// `status --check`: three copies left of some group.
    pub(crate) const READ_ONLY: Exit = Exit(4);
    /// Fewer than three copies left of some group.
    pub(crate) const UNREADABLE: Exit = Exit(5);
    /// There is no such volume.
    pub(crate) const NO_VOLUME: Exit = Exit(10);
    /// In use by another process, or there already.
    pub(crate) const IN_USE: Exit = Exit(11);
    /// `fsck` found damage that remains.
    pub(crate) const DAMAGED: Exit = Exit(26);

    /// The same outcome in the codes of mount(8): 1 usage, 2 system, 32 mount failure.
    pub(crate) fn for_mount_helper(self) -> Exit {
        match self {
            Exit::OK => Exit::OK,
            Exit::USAGE => Exit(1),
            Exit::FAILURE => Exit(2),
            _ => Exit(32),
        }
    }
}

/// A refusal with a code of its own: one sentence what, why, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refusal {
    /// How the command ends.
    pub exit: Exit,
    /// What to say.
    pub message: String,
}

impl Refusal {
    /// A refusal as an error of the command.
    pub(crate) fn error(exit: Exit, message: impl Into<String>) -> anyhow::Error {
        let message = message.into();
        Refusal { exit, message }.into()
    }
}

/// How the command ends after an error.
pub(crate) fn code_of(error: &anyhow::Error) -> Exit {
    error.chain().find_map(of_cause).unwrap_or(Exit::FAILURE)
}

fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Exit> {
    if let Some(refusal) = cause.downcast_ref::<Refusal>() {
        Some(refusal.exit)
    } else if let Some(error) = cause.downcast_ref() {
        Some(of_volume_error(error))
    } else if let Some(error) = cause.downcast_ref() {
        Some(of_mount_error(error))
    } else if let Some(error) = cause.downcast_ref() {
        Some(of_fault_error(error))
    } else if cause.is::<SizeError>() || cause.is::<OptionError>() {
        Some(Exit::USAGE)
    } else {
        let unmount = cause.downcast_ref::<UnmountError>();
        matches!(
            unmount,
            Some(UnmountError::Busy(_) | UnmountError::Covered(_))
        )
        .then_some(Exit::IN_USE)
    }
}

fn of_mount_error(error: &MountError) -> Exit {
    match error {
        MountError::Missing(_)
        | MountError::NotEmpty(_)
        | MountError::WrongKind(_)
        | MountError::Unusable { .. } => Exit::USAGE,
        MountError::Busy { .. } => Exit::IN_USE,
        MountError::NoDevice(_)
        | MountError::Refused { .. }
        | MountError::Helper(_)
        | MountError::Session(_) => Exit::FAILURE,
    }
}

fn of_volume_error(error: &VolumeError) -> Exit {
    match error {
        VolumeError::NotAVolume(_) => Exit::NO_VOLUME,
        VolumeError::Exists(_) | VolumeError::Locked { .. } => Exit::IN_USE,
        VolumeError::Invalid(_) | VolumeError::Newer { .. } => Exit::USAGE,
        VolumeError::TooFewNodes(_) => Exit::UNREADABLE,
        VolumeError::Io { .. } | VolumeError::Request(_) => Exit::FAILURE,
    }
}

fn of_fault_error(error: &FaultError) -> Exit {
    match error {
        FaultError::NoSuchNode { .. } | FaultError::Invalid(_) => Exit::USAGE,
        FaultError::TooMany | FaultError::NoSuchFault(_) | FaultError::NotAllUp { .. } => {
            Exit::FAILURE
        }
        FaultError::Volume(error) => of_volume_error(error),
    }
}

/// Whether the reader of our output went away (`redoubt inspect ... | head`): no error to speak of.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn an_error_keeps_its_code_under_context() {
        let missing = VolumeError::NotAVolume("/x".into());
        let error = Err::<(), _>(missing).context("mounting").unwrap_err();
        assert_eq!(code_of(&error), Exit::NO_VOLUME);
        let busy = anyhow::Error::from(UnmountError::Busy("/x".into()));
        assert_eq!(code_of(&busy.context("ending")), Exit::IN_USE);
        let missing = MountError::Missing("/x".into());
        assert_eq!(code_of(&missing.into()), Exit::USAGE);
        assert_eq!(code_of(&Refusal::error(Exit::DAMAGED, "x")), Exit::DAMAGED);
        assert_eq!(code_of(&anyhow::anyhow!("x")), Exit::FAILURE);
    }

    #[test]
    fn the_mount_helper_speaks_the_codes_of_mount() {
        for (exit, code) in [(0, 0), (1, 2), (2, 1), (5, 32), (10, 32), (11, 32)] {
            assert_eq!(Exit(exit).for_mount_helper(), Exit(code));
        }
    }
}
