//! What the process does that serves a disk: open, mount, wait, flush, close.

use crate::control::ScrubOrder;
use crate::control::fault::{FaultReply, FaultReport, FaultRequest};
use crate::control::server::{Server, Service};
use crate::disk::VolumeDisk;
use crate::exit::{Exit, Refusal};
use crate::report::VolumeReport;
use crate::scrub_report::ScrubReport;
use anyhow::Context;
use nix::sys::signal::{SigSet, Signal};
use parking_lot::{Condvar, Mutex};
use redoubt_mount::mount_point;
use redoubt_mount::options::{self, MountOptions};
use redoubt_mount::session::{MountRequest, Mounted, Unmount, Unmounter, mount};
use redoubt_volume::error::IoFailure;
use redoubt_volume::volume::{
    CacheMode, FaultError, FaultTarget, OpenOptions, QuorumLoss, RebuildRate, ScrubPolicy, Volume,
};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What to serve where.
#[derive(Clone, Debug)]
pub(crate) struct ServeRequest {
    /// Directory of the volume, absolute.
    pub volume: PathBuf,
    /// Where to mount it, absolute.
    pub mount_point: PathBuf,
    /// How.
    pub options: MountOptions,
}

/// Where the process stands; who wants to end it looks here.
enum Phase {
    /// Nothing is mounted yet.
    Opening,
    /// The disk is in use.
    Mounted(Unmounter),
    /// A signal came: the disk is out of the tree, and served until its last file is closed.
    Detached,
    /// Nobody uses the disk any more; what was written is being made durable.
    Closing {
        /// Whether a signal has asked for the end already.
        asked: bool,
    },
    /// Everything is flushed, or the error says why not.
    Closed(Result<(), String>),
}

/// What the threads of the process share.
struct Shared {
    phase: Mutex<Phase>,
    changed: Condvar,
}

/// Serves the disk until it is unmounted or a signal comes. `ready` is called when the disk can be
/// used; if it fails, nobody wants the disk any more. Call this before there are threads.
///
/// # Errors
/// Why the volume was not opened or mounted, or could not be flushed.
pub(crate) fn serve(
    request: &ServeRequest,
    ready: impl FnOnce(VolumeReport) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let signals = block_signals()?;
    redoubt_mount::process::prepare();
    let shared = Arc::new(Shared {
        phase: Mutex::new(Phase::Opening),
        changed: Condvar::new(),
    });
    watch_signals(signals, Arc::clone(&shared))?;
    // Before the volume is touched: an open starts a new epoch on its nodes.
    mount_point::check(&request.mount_point)?;
    let volume = Volume::open(&request.volume, open_options(&request.options))?;
    let served = serve_open(request, &volume, &shared, ready);
    shared.enter_closing();
    let closed = volume.close().context("the volume was not closed cleanly");
    shared.enter(Phase::Closed(as_told(&served, &closed)));
    // Dropping the server waits for the answers that this phase makes possible.
    let _server = served?;
    closed
}

fn serve_open(
    request: &ServeRequest,
    volume: &Volume,
    shared: &Arc<Shared>,
    ready: impl FnOnce(VolumeReport) -> std::io::Result<()>,
) -> anyhow::Result<Option<Server>> {
    let disk = Arc::new(VolumeDisk::new(volume.clone(), request.mount_point.clone()));
    // Before the mount: whoever sees the disk finds the socket.
    let server = start_control(request, &disk, shared);
    let mounted = shared.mount(&disk, request)?;
    log::info!(
        "{} is mounted at {}",
        request.volume.display(),
        request.mount_point.display()
    );
    if let Err(error) = ready(disk.report()) {
        log::warn!("nobody waits for the disk any more: {error}");
        mounted.unmounter().unmount(Unmount::Lazily)?;
    }
    mounted
        .wait()
        .context("the connection to the kernel broke")?;
    log::info!("{} is unmounted", request.volume.display());
    Ok(server)
}

/// Without the socket the disk works all the same.
fn start_control(
    request: &ServeRequest,
    disk: &Arc<VolumeDisk>,
    shared: &Arc<Shared>,
) -> Option<Server> {
    let service = ControlService {
        disk: Arc::clone(disk),
        shared: Arc::clone(shared),
        allow_faults: request.options.allow_faults,
    };
    let started = Server::start(&request.volume, Arc::new(service));
    started
        .inspect_err(|error| {
            log::warn!(
                "no control socket, so status and umount will not find this process: {error}"
            );
        })
        .ok()
}

/// What clients that wait for the end are told.
fn as_told<T>(served: &anyhow::Result<T>, closed: &anyhow::Result<()>) -> Result<(), String> {
    let error = served.as_ref().err().or(closed.as_ref().err());
    error.map_or(Ok(()), |error| Err(format!("{error:#}")))
}

impl Shared {
    /// Mounts the disk; a signal in between waits until it can be undone.
    fn mount(&self, disk: &Arc<VolumeDisk>, request: &ServeRequest) -> anyhow::Result<Mounted> {
        let mut phase = self.phase.lock();
        let request = MountRequest {
            source_name: request.volume.display().to_string(),
            mountpoint: request.mount_point.clone(),
            options: request.options.clone(),
        };
        let mounted = mount(Arc::clone(disk) as _, &request)?;
        *phase = Phase::Mounted(mounted.unmounter());
        self.changed.notify_all();
        Ok(mounted)
    }

    fn enter(&self, phase: Phase) {
        *self.phase.lock() = phase;
        self.changed.notify_all();
    }

    fn enter_closing(&self) {
        let mut phase = self.phase.lock();
        let asked = matches!(*phase, Phase::Detached);
        *phase = Phase::Closing { asked };
        self.changed.notify_all();
    }

    /// Who can unmount the disk, once it is mounted; `None` if it is not any more.
    fn unmounter(&self) -> Option<Unmounter> {
        let mut phase = self.phase.lock();
        while matches!(*phase, Phase::Opening) {
            self.changed.wait(&mut phase);
        }
        match &*phase {
            Phase::Mounted(unmounter) => Some(unmounter.clone()),
            Phase::Opening | Phase::Detached | Phase::Closing { .. } | Phase::Closed(_) => None,
        }
    }

    /// Blocks until everything is flushed.
    fn wait_until_closed(&self) -> Result<(), String> {
        let mut phase = self.phase.lock();
        loop {
            if let Phase::Closed(result) = &*phase {
                return result.clone();
            }
            self.changed.wait(&mut phase);
        }
    }
}

fn open_options(options: &MountOptions) -> OpenOptions {
    OpenOptions {
        cache: match options.cache {
            options::CacheMode::WriteBack => CacheMode::Writeback,
            options::CacheMode::WriteThrough => CacheMode::Writethrough,
        },
        on_quorum_loss: match options.quorum_wait {
            options::QuorumWait::Forever => QuorumLoss::Wait,
            options::QuorumWait::AtMost(Duration::ZERO) => QuorumLoss::Fail,
            options::QuorumWait::AtMost(time) => QuorumLoss::After(time),
        },
        index_bytes: options.index_bytes,
        read_only: options.read_only,
        rebuild_rate: match options.rebuild_rate {
            Some(rate) => RebuildRate::BytesPerSecond(rate),
            None => RebuildRate::Adaptive,
        },
        scrub: ScrubPolicy {
            interval: options.scrub_interval,
            rate: NonZeroU64::new(options.scrub_rate),
        },
        make_anew: true,
    }
}

/// Blocks the signals that end the process, in this thread and those that it starts.
fn block_signals() -> nix::Result<SigSet> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block()?;
    Ok(signals)
}

fn watch_signals(signals: SigSet, shared: Arc<Shared>) -> std::io::Result<()> {
    let watch = move || {
        while let Ok(signal) = signals.wait() {
            on_signal(signal, &shared);
        }
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(watch)?;
    Ok(())
}

/// The first signal unmounts; the main thread goes on when that is done, flushes and ends. The
/// second one ends the process, whatever it waits for.
fn on_signal(signal: Signal, shared: &Shared) {
    let mut phase = shared.phase.lock();
    if ends_at_once(&phase) {
        log::warn!("{signal}: ending at once");
        std::process::exit(128 + signal as i32);
    }
    match &*phase {
        Phase::Mounted(unmounter) => {
            log::info!("{signal}: unmounting");
            if let Err(busy) = unmounter.unmount(Unmount::IfUnused) {
                log::warn!(
                    "{busy}; it is served until its last file is closed, or a second signal"
                );
                detach(unmounter);
            }
            *phase = Phase::Detached;
        }
        Phase::Closing { .. } => {
            log::info!("{signal}: closing already; a second signal ends at once");
            *phase = Phase::Closing { asked: true };
        }
        Phase::Opening | Phase::Detached | Phase::Closed(_) => {}
    }
}

/// Whether a signal in this phase ends the process there and then: nothing was promised yet, and
/// an open may be cut short at any moment; or it is not the first signal.
fn ends_at_once(phase: &Phase) -> bool {
    match phase {
        Phase::Opening | Phase::Detached | Phase::Closing { asked: true } => true,
        Phase::Mounted(_) | Phase::Closing { asked: false } | Phase::Closed(_) => false,
    }
}

fn detach(unmounter: &Unmounter) {
    if let Err(error) = unmounter.unmount(Unmount::Lazily) {
        log::error!("{error}");
    }
}

/// What the control socket lets others do.
struct ControlService {
    disk: Arc<VolumeDisk>,
    shared: Arc<Shared>,
    allow_faults: bool,
}

impl ControlService {
    fn carry_out(&self, request: &FaultRequest) -> Result<FaultReply, FaultError> {
        let volume = self.disk.volume();
        let mut reply = FaultReply::default();
        match request {
            FaultRequest::Begin {
                fault,
                nodes,
                az,
                for_ms,
            } => {
                let target = az.map_or(FaultTarget::Nodes(nodes.clone()), FaultTarget::Zone);
                let interval = Duration::from_millis(*for_ms);
                let begun = volume.begin_fault((*fault).into(), &target, interval)?;
                reply.faults.push(begun.into());
            }
            FaultRequest::Corrupt { node, blocks } => {
                reply.corrupted = volume.corrupt(node, *blocks)?;
            }
            FaultRequest::List => {
                let faults = volume.faults().into_iter();
                reply.faults = faults.map(FaultReport::from).collect();
            }
            FaultRequest::Clear { id } => {
                let faults = volume.end_faults(*id)?.into_iter();
                reply.faults = faults.map(FaultReport::from).collect();
            }
        }
        Ok(reply)
    }
}

impl Service for ControlService {
    fn status(&self) -> VolumeReport {
        self.disk.report()
    }

    fn resize(&self, bytes: u64) -> anyhow::Result<()> {
        Ok(self.disk.volume().resize(bytes)?)
    }

    fn scrub(&self, order: ScrubOrder, rate: Option<NonZeroU64>) -> anyhow::Result<ScrubReport> {
        let volume = self.disk.volume();
        let is_done = match order {
            ScrubOrder::Status => true,
            ScrubOrder::Start => start_scrub(volume, rate)?,
            ScrubOrder::Pause => volume.pause_scrub(true),
            ScrubOrder::Resume if rate.is_some() => {
                volume.set_scrub_rate(rate) && volume.pause_scrub(false)
            }
            ScrubOrder::Resume => volume.pause_scrub(false),
            ScrubOrder::Cancel => volume.cancel_scrub(),
        };
        if !is_done {
            return Err(Refusal::error(
                Exit::FAILURE,
                "no scrub is under way, so nothing was changed; start one with 'redoubt scrub'",
            ));
        }
        Ok(ScrubReport::from(&volume.scrub_status()))
    }

    fn replace_node(&self, node: &str, directory: &Path) -> anyhow::Result<()> {
        Ok(self.disk.volume().replace_node(node, directory)?)
    }

    fn abort_replacement(&self, node: &str) -> anyhow::Result<PathBuf> {
        Ok(self.disk.volume().abort_replacement(node)?)
    }

    fn drain_node(&self, node: &str) -> anyhow::Result<()> {
        Ok(self.disk.volume().drain_node(node)?)
    }

    fn rebalance(&self) -> anyhow::Result<()> {
        Ok(self.disk.volume().rebalance()?)
    }

    fn fault(&self, request: &FaultRequest) -> anyhow::Result<FaultReply> {
        if !self.allow_faults {
            return Err(Refusal::error(
                Exit::FAILURE,
                "faults do harm to a volume, and this mount does not allow them; mount it with --allow-faults",
            ));
        }
        Ok(self.carry_out(request)?)
    }

    fn unmount(&self) -> anyhow::Result<()> {
        if let Some(unmounter) = self.shared.unmounter() {
            unmounter.unmount(Unmount::IfUnused)?;
        }
        self.shared.wait_until_closed().map_err(anyhow::Error::msg)
    }
}

fn start_scrub(volume: &Volume, rate: Option<NonZeroU64>) -> anyhow::Result<bool> {
    match volume.start_scrub(rate) {
        Ok(_) => Ok(true),
        Err(IoFailure::TooManyWaiting) => Err(Refusal::error(
            Exit::IN_USE,
            "the volume is being scrubbed already; wait for the end of that scrub with --wait",
        )),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_signal_ends_what_the_first_one_began() {
        let shared = |phase| Shared {
            phase: Mutex::new(phase),
            changed: Condvar::new(),
        };
        // After a signal that unmounted.
        let ended = shared(Phase::Detached);
        ended.enter_closing();
        assert!(ends_at_once(&ended.phase.lock()));
        // After an unmount by somebody else the first signal is only noted.
        let unmounted = shared(Phase::Closing { asked: false });
        assert!(!ends_at_once(&unmounted.phase.lock()));
        on_signal(Signal::SIGTERM, &unmounted);
        assert!(ends_at_once(&unmounted.phase.lock()));
    }
}
