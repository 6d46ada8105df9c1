//! Mounting in the background: this program runs itself again, and waits until the disk answers.
//!
//! The second process has no thread before it is on its own; it reports on its standard output,
//! which is a pipe to the first one, and logs on its standard error, which is the log file.

use crate::cli::{Global, Mount};
use crate::control::{Answer, Reply, read_line};
use crate::exit::{Exit, Refusal};
use crate::report::VolumeReport;
use anyhow::Context;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, PipeReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Name of the log in the volume's directory.
pub(crate) const LOG_NAME: &str = "redoubt.log";
/// Bytes of the report at most.
const REPORT_BYTES: usize = 4 << 20;

/// Starts the process that serves the disk, and waits until the disk can be used. The paths of
/// `mount` are absolute.
///
/// # Errors
/// What kept the other process from serving the disk, in its own words.
pub(crate) fn start(global: &Global, mount: &Mount) -> anyhow::Result<VolumeReport> {
    let log_path = mount.log_file.clone();
    let log_path = log_path.unwrap_or_else(|| mount.volume.join(LOG_NAME));
    let log = open_log(&log_path)?;
    let (reader, writer) = io::pipe().context("no pipe could be made")?;
    let child = Command::new(std::env::current_exe().context("this program has no file")?)
        .arg0("redoubt")
        .args(arguments(global, mount))
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(log)
        .spawn()
        .context("no second process could be started")?;
    wait_until_ready(reader, child, &log_path)
}

fn open_log(path: &Path) -> anyhow::Result<File> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.map_err(|error| {
        Refusal::error(
            Exit::FAILURE,
            format!(
                "the log {} cannot be written: {error}; name another file with --log-file",
                path.display()
            ),
        )
    })
}

fn arguments(global: &Global, mount: &Mount) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["mount".into()];
    arguments.extend([
        mount.volume.clone().into(),
        mount.mount_point.clone().into(),
    ]);
    arguments.extend(["--foreground", "--background-process"].map(OsString::from));
    for options in &mount.options {
        arguments.extend(["-o".into(), options.into()]);
    }
    if mount.allow_faults {
        arguments.push("--allow-faults".into());
    }
    arguments.extend((0..global.verbose).map(|_| "-v".into()));
    if global.quiet {
        arguments.push("-q".into());
    }
    arguments
}

fn wait_until_ready(
    reader: PipeReader,
    mut child: Child,
    log_path: &Path,
) -> anyhow::Result<VolumeReport> {
    let line = read_line(&mut BufReader::new(reader), REPORT_BYTES)?;
    match line.as_deref().map(serde_json::from_slice) {
        Some(Ok(Answer::Done {
            reply: Reply::Status { volume },
            ..
        })) => Ok(*volume),
        Some(Ok(Answer::Error { error, .. })) => {
            // It holds the volume until it has ended.
            child.wait()?;
            Err(error.into())
        }
        _ => {
            let ended = child.wait()?;
            Err(Refusal::error(
                Exit::FAILURE,
                format!(
                    "the background process ended before the disk could be used ({ended}); read {}",
                    log_path.display()
                ),
            ))
        }
    }
}

/// Makes the background process independent of whoever started it. Call it before there are
/// threads.
///
/// # Errors
/// What the operating system says.
pub(crate) fn detach() -> io::Result<()> {
    nix::unistd::setsid()?;
    nix::unistd::chdir("/")?;
    Ok(())
}

/// Reports the outcome of starting to the process that waits for it; it stops waiting then.
///
/// # Errors
/// Nobody waits any more.
pub(crate) fn report(result: anyhow::Result<VolumeReport>) -> io::Result<()> {
    let reply = result.map(|volume| Reply::Status {
        volume: Box::new(volume),
    });
    let mut line = serde_json::to_vec(&Answer::from(reply))?;
    line.push(b'\n');
    io::stdout().write_all(&line)?;
    io::stdout().flush()?;
    nix::unistd::dup2_stdout(OpenOptions::new().write(true).open("/dev/null")?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command as Verb};
    use crate::control::Problem;
    use crate::report::{SCHEMA, tests::example};
    use clap::Parser;

    fn outcome(script: &str, answer: Option<&Answer>) -> anyhow::Result<VolumeReport> {
        let (reader, writer) = io::pipe().unwrap();
        let line = answer.map(|answer| serde_json::to_string(answer).unwrap());
        let child = Command::new("sh")
            .args(["-c", script, "sh", &line.unwrap_or_default()])
            .stdout(writer)
            .spawn()
            .unwrap();
        wait_until_ready(reader, child, Path::new("/the/log"))
    }

    #[test]
    fn the_second_process_gets_what_the_first_was_asked_for() {
        let line = "redoubt -vv mount /v /mnt -o ro -o allow_other --allow-faults";
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let Verb::Mount(mount) = &cli.command else {
            panic!("no mount");
        };
        let mut again = vec![OsString::from("redoubt")];
        again.extend(arguments(&cli.global, mount));
        let again = Cli::try_parse_from(again).unwrap();
        let Verb::Mount(second) = again.command else {
            panic!("no mount");
        };
        assert!(second.foreground && second.background_process);
        assert_eq!(second.options, mount.options);
        assert!(second.allow_faults);
        assert_eq!(again.global.verbose, 2);
    }

    #[test]
    fn the_first_process_learns_how_it_went() {
        let ready = Answer::Done {
            schema: SCHEMA,
            reply: Reply::Status {
                volume: Box::new(example()),
            },
        };
        let report = outcome("echo \"$1\"; exec sleep 0.1", Some(&ready)).unwrap();
        assert_eq!(report, example());
        let refused = Answer::Error {
            schema: SCHEMA,
            error: Problem {
                code: 11,
                message: "in use".into(),
            },
        };
        let error = outcome("echo \"$1\"", Some(&refused)).unwrap_err();
        assert_eq!(crate::exit::code_of(&error), Exit::IN_USE);
        let error = outcome("exit 3", None).unwrap_err();
        assert!(error.to_string().contains("exit status: 3"), "{error}");
        assert!(error.to_string().contains("/the/log"), "{error}");
        assert!(outcome("echo garbage", None).is_err());
    }
}
