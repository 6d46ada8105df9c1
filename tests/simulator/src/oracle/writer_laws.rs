//! The writer's watermarks: they never go back, in one life or from one to the next.

use redoubt_volume::ids::VolumeEpoch;
use redoubt_volume::lsn::Lsn;
use redoubt_volume::writer::Writer;

/// What one writer has shown of its watermarks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watermarks {
    /// Volume durable LSN.
    pub vdl: Lsn,
    vcl: Lsn,
    /// Its epoch, once it is open.
    pub epoch: VolumeEpoch,
}

impl Watermarks {
    /// Looks at an open writer.
    ///
    /// # Errors
    /// The law that is broken.
    pub fn look(&mut self, writer: &Writer) -> Result<(), String> {
        let (vdl, vcl, last) = (writer.vdl(), writer.vcl(), writer.last_lsn());
        if vdl < self.vdl || vcl < self.vcl {
            return Err(format!(
                "the writer's watermarks went back: VDL {} to {vdl}, VCL {} to {vcl}",
                self.vdl, self.vcl
            ));
        }
        // Right after an open the VDL is the top of the newest range, above the last record.
        if vdl > vcl {
            return Err(format!("VDL {vdl} is above VCL {vcl} (last LSN {last})"));
        }
        (self.vdl, self.vcl, self.epoch) = (vdl, vcl, writer.epoch());
        Ok(())
    }

    /// Whether the other writer opened after this one.
    pub fn precedes(&self, other: &Watermarks) -> bool {
        self.epoch < other.epoch
    }

    /// A writer has opened after this one: everything of it is higher.
    ///
    /// # Errors
    /// The law that is broken.
    pub fn succeed(&self, next: &Watermarks) -> Result<(), String> {
        if next.epoch <= self.epoch || next.vdl < self.vdl {
            return Err(format!(
                "a writer opened with epoch {} and VDL {} after epoch {} and VDL {}",
                next.epoch, next.vdl, self.epoch, self.vdl
            ));
        }
        Ok(())
    }
}
