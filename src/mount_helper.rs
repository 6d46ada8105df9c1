//! The forms in which mount(8) and fstab call us, beside the normal command line:
//!
//! * `mount.redoubt SOURCE DIR [-sfnv] [-o OPTIONS]`, the program that `mount -t redoubt` runs, and
//!   `mount.fuse.redoubt` alike: links to this program.
//! * `redoubt SOURCE DIR -o OPTIONS`, which mount.fuse runs for `mount -t fuse.redoubt`.
//!
//! Both end with the codes of mount(8): 1 usage, 2 system, 32 mount failure.

use crate::cli::{Cli, ColorChoice, Command, Global, Mount};
use crate::exit::Exit;
use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory, Parser};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// What the user asked for, in whichever form.
#[derive(Debug)]
pub(crate) struct Invocation {
    /// The command to run; `None` when there is nothing to do.
    pub cli: Option<Cli>,
    is_helper: bool,
}

/// Why the command line cannot be run.
#[derive(Debug)]
pub(crate) struct UsageError {
    /// What clap says; help and version are errors to it too.
    pub error: clap::Error,
    is_helper: bool,
}

/// The command line of a mount helper, as mount(8) describes it.
#[derive(Debug, Parser)]
#[command(name = "mount.redoubt", version)]
struct Helper {
    /// Directory of the volume.
    source: PathBuf,
    /// Where to mount it.
    mount_point: PathBuf,
    /// Mount options, separated by commas.
    #[arg(short = 'o')]
    options: Vec<String>,
    /// Type of the file system; ours whatever it says.
    #[arg(short = 't', value_name = "TYPE")]
    _file_system: Option<String>,
    /// Tolerate unknown options: ours refuses them all the same.
    #[arg(short = 's')]
    _sloppy: bool,
    /// Do everything but the mount.
    #[arg(short = 'f')]
    fake: bool,
    /// Do not write /etc/mtab: we never do.
    #[arg(short = 'n')]
    _no_mtab: bool,
    /// Print more.
    #[arg(short = 'v', action = ArgAction::Count)]
    verbose: u8,
}

impl Invocation {
    /// Understands the arguments of the process, its own name first.
    ///
    /// # Errors
    /// [`UsageError`] when they cannot be run; also for `--help` and `--version`.
    pub(crate) fn parse(arguments: Vec<OsString>) -> Result<Invocation, UsageError> {
        let is_helper = is_helper_form(&arguments);
        let cli = if is_helper {
            Helper::try_parse_from(arguments).map(Helper::into_cli)
        } else {
            Cli::try_parse_from(arguments).map(Some)
        };
        match cli {
            Ok(cli) => Ok(Invocation { cli, is_helper }),
            Err(error) => Err(UsageError { error, is_helper }),
        }
    }

    /// The exit in the codes of whoever called.
    pub(crate) fn exit(&self, exit: Exit) -> Exit {
        if self.is_helper {
            exit.for_mount_helper()
        } else {
            exit
        }
    }
}

impl UsageError {
    /// Says what is wrong, or the help that was asked for.
    pub(crate) fn report(&self) -> Exit {
        let error = &self.error;
        let exit = Exit(u8::try_from(error.exit_code()).unwrap_or(Exit::USAGE.0));
        let source = std::error::Error::source(error);
        match (error.kind(), source) {
            (ErrorKind::ValueValidation, Some(source)) => crate::output::note(source.to_string()),
            _ if error.use_stderr()
                && error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand =>
            {
                let text = error.render().to_string();
                crate::output::note(text.strip_prefix("error: ").unwrap_or(&text).trim_end());
            }
            // A closed standard output is nothing to speak of.
            _ => drop(error.print()),
        }
        if self.is_helper {
            exit.for_mount_helper()
        } else {
            exit
        }
    }
}

impl Helper {
    fn into_cli(self) -> Option<Cli> {
        let mount = Mount {
            volume: self.source,
            mount_point: self.mount_point,
            foreground: false,
            options: self.options,
            allow_faults: false,
            log_file: None,
            background_process: false,
        };
        let global = Global {
            json: false,
            quiet: false,
            verbose: self.verbose,
            color: ColorChoice::Auto,
        };
        (!self.fake).then_some(Cli {
            global,
            command: Command::Mount(mount),
        })
    }
}

fn is_helper_form(arguments: &[OsString]) -> bool {
    let name = arguments
        .first()
        .and_then(|name| Path::new(name).file_name());
    let named = name.is_some_and(|name| name == "mount.redoubt" || name == "mount.fuse.redoubt");
    named || is_wordless_mount(arguments)
}

/// `redoubt SOURCE DIR -o OPTIONS`: no verb, but the shape of a mount.
fn is_wordless_mount(arguments: &[OsString]) -> bool {
    let [_, source, mount_point, option, ..] = arguments else {
        return false;
    };
    let is_flag = |argument: &OsStr| argument.as_encoded_bytes().starts_with(b"-");
    let is_verb = source.to_str().is_some_and(is_verb);
    option == "-o" && !is_flag(source) && !is_flag(mount_point) && !is_verb
}

fn is_verb(word: &str) -> bool {
    word == "help" || Cli::command().find_subcommand(word).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Invocation, UsageError> {
        Invocation::parse(line.split_whitespace().map(OsString::from).collect())
    }

    fn mount_of(line: &str) -> (Mount, bool) {
        let invocation = parse(line).unwrap();
        let Some(Command::Mount(mount)) = invocation.cli.map(|cli| cli.command) else {
            panic!("{line} is no mount");
        };
        (mount, invocation.is_helper)
    }

    #[test]
    fn the_forms_of_mount_are_mounts() {
        for line in [
            "/sbin/mount.redoubt demo /mnt -o rw,nofail",
            "/sbin/mount.fuse.redoubt demo /mnt -n -v -o rw,nofail",
            "mount.redoubt -o rw,nofail -t fuse.redoubt demo /mnt",
            "/usr/bin/redoubt demo /mnt -o rw,nofail",
        ] {
            let (mount, is_helper) = mount_of(line);
            assert!(is_helper, "{line}");
            assert_eq!(mount.volume, Path::new("demo"));
            assert_eq!(mount.mount_point, Path::new("/mnt"));
            assert_eq!(mount.options, ["rw,nofail"]);
            assert!(!mount.foreground);
        }
    }

    #[test]
    fn a_verb_is_a_verb() {
        let (mount, is_helper) = mount_of("redoubt mount demo /mnt -o ro");
        assert!(!is_helper && mount.options == ["ro"]);
        let error = parse("redoubt demo /mnt").unwrap_err();
        assert!(!error.is_helper && error.error.exit_code() == 2);
    }

    #[test]
    fn a_fake_mount_does_nothing() {
        assert!(parse("mount.redoubt demo /mnt -f").unwrap().cli.is_none());
        let usage = parse("mount.redoubt demo").unwrap_err();
        assert_eq!(
            Exit(usage.error.exit_code() as u8).for_mount_helper(),
            Exit(1)
        );
    }
}
