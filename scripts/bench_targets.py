"""The disks that scripts/bench compares: Redoubt and its peers, each served as one file that fio works on."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import typing

from bench_volume import UP_WITHIN_SECONDS, Volume, end_process, refuse

OURS = "redoubt"
ENDS_WITHIN_SECONDS = 60
LOOK_SECONDS, QUIET_BYTES = 0.5, 1 << 20  # read and written in this time


class Target(typing.NamedTuple):
    """A disk that is served, and the volume behind it where it is ours."""

    path: pathlib.Path
    volume: Volume | None = None

    def spent(self):
        """Processor seconds and bytes written of our process so far; None of others."""
        return self.volume and (self.volume.processor_seconds(), self.volume.bytes_written())

    def settle(self, patience):
        """Returns when our process has done what work left behind, as seen from its reads and writes, or after so many
        seconds; whether it has. Of others there is nothing to await."""
        deadline, is_quiet = time.monotonic() + patience, self.volume is None
        while not is_quiet and time.monotonic() < deadline:
            before = self.volume.bytes_read() + self.volume.bytes_written()
            time.sleep(LOOK_SECONDS)
            is_quiet = self.volume.bytes_read() + self.volume.bytes_written() - before < QUIET_BYTES
        return is_quiet


# ---- processes of peers ------------------------------------------------------------------------


@contextlib.contextmanager
def serving(command, disk, log):
    """A process of ours that serves `disk` through FUSE; ended and unmounted by its pid and path."""
    with open(log, "w") as errors:
        # Ctrl-C is for the script, which ends the process when its own work on the disk has ended.
        process = subprocess.Popen(command, stdout=errors, stderr=errors, start_new_session=True)
    try:
        await_disk(process, disk, log)
        yield
    finally:
        end_process(process, signal.SIGTERM, disk, ENDS_WITHIN_SECONDS)


def await_disk(process, disk, log):
    """Returns when the disk has its size."""
    deadline = time.monotonic() + UP_WITHIN_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            if os.stat(disk).st_size > 0:
                return
        time.sleep(0.005)
    refuse(f"{process.args[0]} did not come up: {log.read_text()[-500:]}")


# ---- how each is served ------------------------------------------------------------------------


def in_bytes(size):
    """The bytes of a size such as 512M or 2G."""
    return int(size[:-1]) << {"M": 20, "G": 30, "T": 40}[size[-1]]


def sparse(path, size):
    """A file of holes."""
    with open(path, "w") as file:
        file.truncate(in_bytes(size))
    return path


def empty(path):
    """A file that a disk can be mounted on."""
    path.touch()
    return path


@contextlib.contextmanager
def mounted(work, size):
    """A new volume of ours that is mounted; one that was killed and not mounted again ends, too."""
    volume = Volume(work, size)
    try:
        yield volume
    finally:
        volume.go_down(signal.SIGTERM)


@contextlib.contextmanager
def redoubt(work, size):
    with mounted(work, size) as volume:
        yield Target(volume.disk, volume)


@contextlib.contextmanager
def host(work, size):
    yield Target(sparse(work / "disk", size))


def raw_drivers(work, copies, size):
    files = [sparse(work / f"copy{n}.img", size) for n in range(copies)]
    return [f"driver=file,node-name=f{n},filename={file},cache.direct=on,aio=io_uring"
            for n, file in enumerate(files)]


@contextlib.contextmanager
def qemu(work, drivers, node):
    disk = empty(work / "disk")
    command = ["qemu-storage-daemon"]
    for driver in drivers:
        command += ["--blockdev", driver]
    command += ["--export", f"type=fuse,id=export,node-name={node},mountpoint={disk},writable=on"]
    with serving(command, disk, work / "log"):
        yield Target(disk)


def qemu_raw(work, size):
    return qemu(work, raw_drivers(work, 1, size), "f0")


def qemu_quorum6(work, size):
    children = ",".join(f"children.{n}=f{n}" for n in range(6))
    quorum = f"driver=quorum,node-name=quorum,vote-threshold=4,read-pattern=fifo,{children}"
    return qemu(work, [*raw_drivers(work, 6, size), quorum], "quorum")


@contextlib.contextmanager
def nbdfuse(work, size):
    disk, image = empty(work / "disk"), sparse(work / "copy.img", size)
    command = ["nbdfuse", "-C", "4", disk, "--command", "nbdkit", "-s", "--exit-with-parent", "file", image]
    with serving(command, disk, work / "log"):
        yield Target(disk)


TARGETS = {  # name: (what it is, programs it needs, how to start it)
    OURS: ("Redoubt: 6 copies, durable at 4", [], redoubt),
    "host": ("a plain sparse file on the same disk: 1 copy, no FUSE", [], host),
    "qemu-raw": ("qemu-storage-daemon, FUSE export of a raw file: 1 copy", ["qemu-storage-daemon"], qemu_raw),
    "qemu-quorum6": ("qemu quorum of six raw files, threshold 4, FUSE export: 6 copies",
                     ["qemu-storage-daemon"], qemu_quorum6),
    "nbdfuse": ("nbdkit file plugin behind nbdfuse: 1 copy", ["nbdkit", "nbdfuse"], nbdfuse),
}


@contextlib.contextmanager
def folder(base, name):
    """A directory for one thing that is measured, removed with all that is in it."""
    work = pathlib.Path(tempfile.mkdtemp(prefix=f"{name}-", dir=base))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def started(name, base, size):
    """A target of this name, in a directory of its own."""
    with folder(base, name) as work, TARGETS[name][2](work, size) as target:
        yield target


def split_by_programs(peers):
    """Peers that can run here, and why the others cannot."""
    missing = {name: [it for it in TARGETS[name][1] if not shutil.which(it)] for name in peers}
    skipped = {name: lacking(lack) for name, lack in missing.items() if lack}
    return [name for name in peers if name not in skipped], skipped


def lacking(programs):
    """Why nothing that needs these programs can be measured."""
    return f"{' and '.join(programs)} {'is' if len(programs) == 1 else 'are'} not installed"
