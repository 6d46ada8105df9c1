"""What scripts/bench measures of opening a volume: after a kill, and the largest that there is."""

import time

import bench_volume
from bench_targets import folder, mounted

OVERWRITE = "--rw=randwrite --bs=16k --iodepth=32 --time_based --runtime=60"
LOAD_SECONDS = 3


def after_kill(base):
    """Seconds of `mount` after kill -9 under load, with 4 GiB written before."""
    with folder(base, "open") as work, mounted(work, "8G") as volume:
        bench_volume.fill(volume.disk, "4G")
        return volume.mount_after_kill("4G", OVERWRITE, LOAD_SECONDS)


def largest_volume(base):
    """Seconds to create and mount 128 TiB, and the daemon's peak memory in MiB."""
    start = time.perf_counter()
    with folder(base, "largest") as work, mounted(work, "128T") as volume:
        return time.perf_counter() - start, volume.kernel_figure("status", "VmHWM") / 1024


def measure(base):
    """Both, {what: as it is told}."""
    found = {"mount after kill -9, 4 GiB written": f"{after_kill(base):.2f} s"}
    took, memory = largest_volume(base)
    found["create and mount 128 TiB"] = f"{took:.2f} s, {memory:.0f} MiB memory"
    for name, value in found.items():
        print(f"{name}: {value}", flush=True)
    return found
