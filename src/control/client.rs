//! The client's side of the control socket.

use super::{Answer, Reply, Request, SOCKET_NAME, SocketPath, read_line};
use anyhow::{Context, anyhow};
use std::io::{self, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Bytes of an answer at most: the status of a volume with the most nodes takes a tenth of it.
const ANSWER_BYTES: usize = 4 << 20;

impl Request {
    /// How long the answer may take: flushing waits for the quorum.
    fn patience(&self) -> Duration {
        match self {
            Request::Status | Request::Scrub { .. } => Duration::from_secs(10),
            Request::Resize { .. }
            | Request::ReplaceNode { .. }
            | Request::AbortReplacement { .. }
            | Request::DrainNode { .. }
            | Request::Rebalance => Duration::from_secs(90),
            // Corrupting the most blocks that may be: a look at the six copies of each.
            Request::Fault(_) | Request::Unmount => Duration::from_secs(600),
        }
    }
}

/// Asks the process that serves the volume in this directory; `None` when no process does.
///
/// # Errors
/// What that process refused, or that it does not answer.
pub(crate) fn request(volume: &Path, request: Request) -> anyhow::Result<Option<Reply>> {
    let Some(mut stream) = connect(volume)? else {
        return Ok(None);
    };
    let no_answer = || {
        format!(
            "the process that serves {} does not answer on {SOCKET_NAME}; see its log, and end it if it hangs",
            volume.display()
        )
    };
    stream.set_read_timeout(Some(request.patience()))?;
    stream.set_write_timeout(Some(request.patience()))?;
    let mut line = serde_json::to_vec(&request)?;
    line.push(b'\n');
    stream.write_all(&line).with_context(no_answer)?;
    let line = read_line(&mut BufReader::new(stream), ANSWER_BYTES).with_context(no_answer)?;
    let line = line.ok_or_else(|| anyhow!("{}", no_answer()))?;
    match serde_json::from_slice(&line).with_context(no_answer)? {
        Answer::Done { reply, .. } => Ok(Some(reply)),
        Answer::Error { error, .. } => Err(error.into()),
    }
}

fn connect(volume: &Path) -> anyhow::Result<Option<UnixStream>> {
    let connected = SocketPath::of(volume).and_then(|socket| UnixStream::connect(socket.path()));
    match connected {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if is_nobody(&error) => Ok(None),
        Err(error) => {
            let socket = volume.join(SOCKET_NAME);
            Err(error).with_context(|| format!("{} cannot be used", socket.display()))
        }
    }
}

/// No socket, or one that nobody listens on: left over by a process that was killed.
fn is_nobody(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_that_nobody_serves_has_no_answer() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(request(folder.path(), Request::Status).unwrap(), None);
        let missing = folder.path().join("missing");
        assert_eq!(request(&missing, Request::Status).unwrap(), None);
        drop(std::os::unix::net::UnixListener::bind(
            folder.path().join(SOCKET_NAME),
        ));
        assert_eq!(request(folder.path(), Request::Status).unwrap(), None);
    }
}
