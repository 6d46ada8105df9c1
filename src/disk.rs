//! A volume as the disk that is mounted.

use crate::control::fault::FaultReport;
use crate::history;
use crate::output::json_text;
use crate::report::{VolumeBody, VolumeReport};
use redoubt_mount::disk::{Disk, DiskBytes, Done};
use redoubt_volume::error::IoFailure;
use redoubt_volume::io::event_history;
use redoubt_volume::volume::Volume;
use std::path::{Path, PathBuf};

/// An open volume with the place where it is mounted.
pub(crate) struct VolumeDisk {
    volume: Volume,
    mount_point: PathBuf,
}

impl VolumeDisk {
    /// The disk of `volume`, to be mounted at `mount_point`.
    pub(crate) fn new(volume: Volume, mount_point: PathBuf) -> VolumeDisk {
        VolumeDisk {
            volume,
            mount_point,
        }
    }

    /// The volume.
    pub(crate) fn volume(&self) -> &Volume {
        &self.volume
    }

    /// How it is.
    pub(crate) fn report(&self) -> VolumeReport {
        let place: &Path = &self.mount_point;
        let status = self.volume.status();
        let mut report = VolumeReport::of_mounted(&status, Some(place));
        history::tell(&mut report, &event_history::read(&status.path));
        let faults = self.volume.faults().into_iter();
        report.tell_faults(faults.map(FaultReport::from).collect());
        report
    }
}

impl Disk for VolumeDisk {
    fn disk_bytes(&self) -> u64 {
        self.volume.disk_bytes()
    }

    fn write(&self, offset: u64, data: &[u8], durable: bool, done: Done<()>) {
        self.volume.write(offset, data, durable, done);
    }

    fn read(&self, offset: u64, length: usize, may_block: bool, done: Done<DiskBytes>) {
        let done = Box::new(|result: Result<_, _>| done(result.map(DiskBytes::new)));
        self.volume.read(offset, length, may_block, done);
    }

    fn flush(&self, done: Done<()>) {
        self.volume.flush(done);
    }

    fn discard(&self, offset: u64, length: u64, done: Done<()>) {
        self.volume.discard(offset, length, done);
    }

    fn next_data(&self, offset: u64) -> Result<Option<u64>, IoFailure> {
        self.volume.next_data(offset)
    }

    fn next_hole(&self, offset: u64) -> Result<u64, IoFailure> {
        self.volume.next_hole(offset)
    }

    fn live_bytes(&self) -> u64 {
        self.volume.live_bytes()
    }

    fn status_json(&self) -> String {
        let report = self.report();
        let text = json_text("status", &VolumeBody { volume: &report });
        // Numbers and strings: JSON holds them all.
        text.unwrap_or_default() + "\n"
    }
}
