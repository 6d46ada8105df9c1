//! ext4 and xfs on a loop device on the disk: made, used, checked, and checked after kill -9.

use crate::support::{LoopDevice, Mounted, TempVolume, root, shell};
use std::path::Path;

/// How a file system is made and checked. Its check leaves the device as it is.
struct Kind {
    make: &'static str,
    check: &'static str,
}

const EXT4: Kind = Kind {
    make: "mkfs.ext4 -q -F \"$device\"",
    check: "e2fsck -fn \"$device\"",
};
const XFS: Kind = Kind {
    make: "mkfs.xfs -q -f \"$device\"",
    check: "xfs_repair -n \"$device\"",
};

/// Files of many sizes, some removed again, and their checksums in `$sums`, outside of the disk.
const FILL: &str = r#"
    cd "$data"
    for number in $(seq 120); do
        mkdir -p "d$((number % 7))"
        head -c $((number * number * 37)) /dev/urandom > "d$((number % 7))/f$number"
    done
    rm -r d3 && mv d4 d3
    find . -type f -print0 | xargs -0 sha256sum > "$sums"
    sync -f .
"#;

impl Kind {
    fn on_a_mounted_volume(&self) {
        let volume = TempVolume::create("512M");
        let (data, sums) = (volume.home().join("data"), volume.home().join("sums"));
        let mounted = volume.mount();
        let device = LoopDevice::attach(&mounted.disk());
        shell(self.make, &[("device", device.path())]);
        let file_system = device.mount(&data);
        shell(FILL, &[("data", &data), ("sums", &sums)]);
        drop(file_system);
        self.checked(&mounted, &data, &sums);
        mounted.unmount();

        let mounted = volume.mount();
        let file_system = LoopDevice::attach(&mounted.disk()).mount(&data);
        shell(
            "cp -r \"$data/d1\" \"$data/copy\"; sync -f \"$data\"",
            &[("data", &data)],
        );
        mounted.kill();
        drop(file_system);
        let mounted = volume.mount();
        drop(LoopDevice::attach(&mounted.disk()).mount(&data)); // replays its journal
        self.checked(&mounted, &data, &sums);
        mounted.unmount();
        volume.check();
    }

    fn checked(&self, mounted: &Mounted, data: &Path, sums: &Path) {
        let device = LoopDevice::attach(&mounted.disk());
        shell(self.check, &[("device", device.path())]);
        let _file_system = device.mount(data);
        shell(
            "cd \"$data\" && sha256sum --quiet -c \"$sums\"",
            &[("data", data), ("sums", sums)],
        );
    }
}

#[test]
fn ext4_is_whole_after_use_and_after_a_kill() {
    let Some(_turn) = root(&["mkfs.ext4", "e2fsck", "losetup"]) else {
        return;
    };
    EXT4.on_a_mounted_volume();
}

#[test]
fn xfs_is_whole_after_use_and_after_a_kill() {
    let Some(_turn) = root(&["mkfs.xfs", "xfs_repair", "losetup"]) else {
        return;
    };
    XFS.on_a_mounted_volume();
}
