//! The server's side of the control socket: a few threads that answer one client each.

use super::fault::{FaultReply, FaultRequest};
use super::{Answer, Reply, Request, ScrubOrder, SocketPath, read_line};
use crate::exit::{Exit, Refusal};
use crate::report::VolumeReport;
use crate::scrub_report::ScrubReport;
use parking_lot::RwLock;
use std::io::{self, BufRead, BufReader, Write};
use std::num::NonZeroU64;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Bytes of a request: one with the longest path (PATH_MAX), and each of its bytes escaped.
const REQUEST_BYTES: usize = 32 << 10;
/// How long a client may be silent, or not read, before it is dropped: it holds one of the threads.
const CLIENT_PATIENCE: Duration = Duration::from_secs(5);
/// Clients that are answered at the same time: one that unmounts, one that resizes, one that is
/// slow, and two more.
const THREADS: usize = 5;
/// How long the end of the process waits for answers that are being sent.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// What the socket lets others do.
pub(crate) trait Service: Send + Sync {
    /// How the volume is.
    fn status(&self) -> VolumeReport;

    /// Gives the disk another size.
    ///
    /// # Errors
    /// Why it kept its size.
    fn resize(&self, bytes: u64) -> anyhow::Result<()>;

    /// Starts to read and compare every copy, or does something about that; returns at once.
    ///
    /// # Errors
    /// Why it was not done.
    fn scrub(&self, order: ScrubOrder, rate: Option<NonZeroU64>) -> anyhow::Result<ScrubReport>;

    /// Begins to fill a directory that is to take a node's place.
    ///
    /// # Errors
    /// Why it was not begun.
    fn replace_node(&self, node: &str, directory: &Path) -> anyhow::Result<()>;

    /// Calls that off; the directory that was removed.
    ///
    /// # Errors
    /// Why it goes on.
    fn abort_replacement(&self, node: &str) -> anyhow::Result<PathBuf>;

    /// Has all groups leave a node.
    ///
    /// # Errors
    /// Why they stay.
    fn drain_node(&self, node: &str) -> anyhow::Result<()>;

    /// Has all groups spread over all nodes.
    ///
    /// # Errors
    /// Why they stay.
    fn rebalance(&self) -> anyhow::Result<()>;

    /// Begins, names or ends faults.
    ///
    /// # Errors
    /// Why that cannot be, or must not.
    fn fault(&self, request: &FaultRequest) -> anyhow::Result<FaultReply>;

    /// Flushes and unmounts; returns when both are done.
    ///
    /// # Errors
    /// Why it stays mounted.
    fn unmount(&self) -> anyhow::Result<()>;
}

/// The running server. The socket's file goes away with it.
pub(crate) struct Server {
    socket: SocketPath,
    answering: Arc<RwLock<()>>,
}

impl Server {
    /// Makes the socket in the volume's directory and answers from then on. The caller holds the
    /// volume's lock, so a socket that is there already is a leftover.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn start(volume: &Path, service: Arc<dyn Service>) -> io::Result<Server> {
        let socket = SocketPath::of(volume)?;
        match std::fs::remove_file(socket.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = Arc::new(UnixListener::bind(socket.path())?);
        std::fs::set_permissions(socket.path(), std::fs::Permissions::from_mode(0o600))?;
        let answering = Arc::new(RwLock::new(()));
        for _ in 0..THREADS {
            let (listener, service) = (Arc::clone(&listener), Arc::clone(&service));
            let answering = Arc::clone(&answering);
            thread::Builder::new()
                .name("control".into())
                .spawn(move || accept_clients(&listener, service.as_ref(), &answering))?;
        }
        Ok(Server { socket, answering })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.answering.try_write_for(LAST_ANSWERS).is_none() {
            log::warn!("a client of the control socket did not take its answer");
        }
        if let Err(error) = std::fs::remove_file(self.socket.path()) {
            log::debug!("the control socket could not be removed: {error}");
        }
    }
}

fn accept_clients(listener: &UnixListener, service: &dyn Service, answering: &RwLock<()>) {
    loop {
        let client = listener.accept().map(|(client, _)| client);
        if let Err(error) = client.and_then(|client| serve(&client, service, answering)) {
            log::debug!("a client of the control socket: {error}");
            // An error of accept itself (no file handles left) must not spin.
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Answers one client until it goes, or is silent for too long.
fn serve(client: &UnixStream, service: &dyn Service, answering: &RwLock<()>) -> io::Result<()> {
    client.set_read_timeout(Some(CLIENT_PATIENCE))?;
    client.set_write_timeout(Some(CLIENT_PATIENCE))?;
    let (mut requests, mut answers) = (BufReader::new(client), client);
    converse(&mut requests, &mut answers, service, answering)
}

/// Answers requests until they end, or one is too long.
///
/// # Errors
/// What the streams say.
pub(crate) fn converse(
    requests: &mut impl BufRead,
    answers: &mut impl Write,
    service: &dyn Service,
    answering: &RwLock<()>,
) -> io::Result<()> {
    loop {
        let line = match read_line(requests, REQUEST_BYTES) {
            Ok(Some(line)) => line,
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return send(answers, Err(not_understood(&error.to_string())));
            }
            Err(error) => return Err(error),
        };
        let _answering = answering.read();
        send(answers, answer(&line, service))?;
    }
}

fn send(answers: &mut impl Write, result: anyhow::Result<Reply>) -> io::Result<()> {
    let mut line = serde_json::to_vec(&Answer::from(result))?;
    line.push(b'\n');
    answers.write_all(&line)
}

fn answer(line: &[u8], service: &dyn Service) -> anyhow::Result<Reply> {
    let request = serde_json::from_slice(line);
    match request.map_err(|error| not_understood(&error.to_string()))? {
        Request::Status => Ok(Reply::Status {
            volume: Box::new(service.status()),
        }),
        Request::Resize { bytes } => service
            .resize(bytes)
            .map(|()| Reply::Resize { size: bytes }),
        Request::Scrub { order, rate } => {
            let done = service.scrub(order, rate);
            done.map(|report| Reply::Scrub(Box::new(report)))
        }
        Request::ReplaceNode { node, directory } => service
            .replace_node(&node, &directory)
            .map(|()| Reply::ReplaceNode { node, directory }),
        Request::AbortReplacement { node } => service
            .abort_replacement(&node)
            .map(|directory| Reply::AbortReplacement { node, directory }),
        Request::DrainNode { node } => service
            .drain_node(&node)
            .map(|()| Reply::DrainNode { node }),
        Request::Rebalance => service.rebalance().map(|()| Reply::Rebalance),
        Request::Fault(request) => service.fault(&request).map(Reply::Fault),
        Request::Unmount => service.unmount().map(|()| Reply::Unmount {
            pid: std::process::id(),
        }),
    }
}

fn not_understood(why: &str) -> anyhow::Error {
    let what_to_do = r#"send one JSON object a line, such as {"command":"status"}"#;
    Refusal::error(
        Exit::USAGE,
        format!("the request is not understood: {why}; {what_to_do}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::client;
    use crate::report::tests::example;
    use std::io::Read;

    struct Example;

    impl Service for Example {
        fn status(&self) -> VolumeReport {
            example()
        }

        fn resize(&self, bytes: u64) -> anyhow::Result<()> {
            anyhow::ensure!(bytes > 10 << 30, "a disk cannot shrink");
            Ok(())
        }

        fn scrub(
            &self,
            order: ScrubOrder,
            rate: Option<NonZeroU64>,
        ) -> anyhow::Result<ScrubReport> {
            anyhow::ensure!(order == ScrubOrder::Status, "another scrub is under way");
            Ok(ScrubReport {
                next: rate.map(NonZeroU64::get),
                ..ScrubReport::default()
            })
        }

        fn replace_node(&self, node: &str, _: &Path) -> anyhow::Result<()> {
            anyhow::ensure!(node == "b2", "no such node");
            Ok(())
        }

        fn abort_replacement(&self, _: &str) -> anyhow::Result<PathBuf> {
            Ok(PathBuf::from("/new"))
        }

        fn drain_node(&self, node: &str) -> anyhow::Result<()> {
            anyhow::ensure!(node == "b2", "no such node");
            Ok(())
        }

        fn rebalance(&self) -> anyhow::Result<()> {
            anyhow::bail!("nothing to rebalance")
        }

        fn fault(&self, request: &FaultRequest) -> anyhow::Result<FaultReply> {
            anyhow::ensure!(*request == FaultRequest::List, "not allowed");
            Ok(FaultReply::default())
        }

        fn unmount(&self) -> anyhow::Result<()> {
            Err(Refusal::error(Exit::IN_USE, "busy"))
        }
    }

    fn with_server(test: impl FnOnce(&Path)) {
        let parent = tempfile::tempdir().unwrap();
        // Deeper than a socket address is long.
        let folder = parent.path().join("x".repeat(120));
        std::fs::create_dir(&folder).unwrap();
        let server = Server::start(&folder, Arc::new(Example)).unwrap();
        test(&folder);
        drop(server);
        assert!(!folder.join(super::super::SOCKET_NAME).exists());
    }

    fn raw(volume: &Path, bytes: &[u8]) -> String {
        let mut stream = UnixStream::connect(SocketPath::of(volume).unwrap().path()).unwrap();
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn requests_are_answered_as_asked() {
        with_server(|volume| {
            let status = client::request(volume, Request::Status).unwrap();
            let expected = Reply::Status {
                volume: Box::new(example()),
            };
            assert_eq!(status, Some(expected));
            let grown = client::request(volume, Request::Resize { bytes: 20 << 30 }).unwrap();
            assert_eq!(grown, Some(Reply::Resize { size: 20 << 30 }));
            let refused = client::request(volume, Request::Unmount).unwrap_err();
            assert_eq!(crate::exit::code_of(&refused), Exit::IN_USE);
            assert_eq!(refused.to_string(), "busy");
        });
    }

    #[test]
    fn an_order_about_scrubs_is_answered_at_once() {
        with_server(|volume| {
            let rate = NonZeroU64::new(7);
            let order = ScrubOrder::Status;
            let found = client::request(volume, Request::Scrub { order, rate }).unwrap();
            let Some(Reply::Scrub(report)) = found else {
                panic!("{found:?}");
            };
            assert_eq!(report.next, Some(7));
            // As programs of before there were orders ask.
            let refused = raw(volume, b"{\"command\":\"scrub\",\"rate\":null}");
            assert!(refused.contains("another scrub is under way"), "{refused}");
        });
    }

    #[test]
    fn a_replacement_names_its_node_and_directory() {
        with_server(|volume| {
            let replace = |node: &str| Request::ReplaceNode {
                node: node.to_owned(),
                directory: PathBuf::from("/new"),
            };
            let (node, directory) = ("b2".to_owned(), PathBuf::from("/new"));
            let begun = client::request(volume, replace("b2")).unwrap();
            let expected = Reply::ReplaceNode { node, directory };
            assert_eq!(begun, Some(expected));
            let refused = client::request(volume, replace("b9")).unwrap_err();
            assert_eq!(refused.to_string(), "no such node");
            let answer = raw(
                volume,
                b"{\"command\":\"abort-replacement\",\"node\":\"b2\"}\n",
            );
            assert!(
                answer.contains(r#""node":"b2","directory":"/new""#),
                "{answer}"
            );
        });
    }

    #[test]
    fn a_drained_node_is_named() {
        with_server(|volume| {
            let answer = raw(volume, b"{\"command\":\"drain-node\",\"node\":\"b2\"}\n");
            assert!(
                answer.contains(r#""command":"drain-node","node":"b2""#),
                "{answer}"
            );
            let refused = client::request(volume, Request::Rebalance).unwrap_err();
            assert_eq!(refused.to_string(), "nothing to rebalance");
        });
    }

    #[test]
    fn a_fault_is_asked_for_by_its_own_words() {
        with_server(|volume| {
            let ask = |request| client::request(volume, Request::Fault(request));
            let listed = ask(FaultRequest::List).unwrap();
            assert_eq!(listed, Some(Reply::Fault(FaultReply::default())));
            let refused = ask(FaultRequest::Clear { id: Some(3) }).unwrap_err();
            assert_eq!(refused.to_string(), "not allowed");
        });
    }

    #[test]
    fn several_requests_go_over_one_connection() {
        with_server(|volume| {
            let answers = raw(volume, b"{\"command\":\"resize\",\"bytes\":1}\n{\"command\":\"resize\",\"bytes\":99999999999}");
            let expected = concat!(
                r#"{"schema":1,"error":{"code":1,"message":"a disk cannot shrink"}}"#,
                "\n",
                r#"{"schema":1,"command":"resize","size":99999999999}"#,
                "\n"
            );
            assert_eq!(answers, expected);
        });
    }

    #[test]
    fn garbage_is_answered_with_an_error_and_does_no_harm() {
        let long = vec![b'['; REQUEST_BYTES];
        let garbage: [&[u8]; 10] = [
            b"\n",
            b"\0\xff\xfe\n",
            b"hello\n",
            b"{}\n",
            b"[]\n",
            b"{\"command\":\"explode\"}\n",
            b"{\"command\":\"resize\"}\n",
            b"{\"command\":\"resize\",\"bytes\":-1}\n",
            b"{\"command\":\"resize\",\"bytes\":1e99}",
            &long,
        ];
        with_server(|volume| {
            for line in garbage {
                let answer: Answer = serde_json::from_str(&raw(volume, line)).unwrap();
                let Answer::Error { error, .. } = answer else {
                    panic!("{answer:?}");
                };
                assert_eq!(error.code, 2);
                assert!(error.message.starts_with("the request is not understood"));
            }
            let refused = raw(volume, &vec![b'x'; REQUEST_BYTES + 1]);
            assert!(refused.contains("longer than 32768 bytes"), "{refused}");
            assert_eq!(raw(volume, b""), "");
            assert!(client::request(volume, Request::Status).unwrap().is_some());
        });
    }
}
