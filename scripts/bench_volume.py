"""A mounted volume for scripts that measure one, and the commands around it."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
REDOUBT = os.environ.get("REDOUBT", str(TARGET / "release" / "redoubt"))
BASE = os.environ.get("TMPDIR", "/var/tmp")
UP_WITHIN_SECONDS = 60
HEALTHY_WITHIN_SECONDS = 1800
ENDS_WITHIN_SECONDS = 120
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def refuse(why):
    """Ends the measurement with a sentence of the script that runs."""
    raise SystemExit(f"{pathlib.Path(sys.argv[0]).name}: {why}")


def run(*command):
    """Runs a command to its end; its error output ends the measurement."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        refuse(f"{' '.join(map(str, command))}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def clean_up_on_signals():
    """Has signals end the measurement without a word, and after what it made is removed."""
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, lambda number, _: sys.exit(128 + number))


def need_fio():
    """Ends the measurement where there is no fio."""
    if not shutil.which("fio"):
        refuse("fio is not installed, and it makes the load that is measured; on Debian: apt-get install fio")


def fio_command(path, size, options):
    """fio on all of a file; as one process, so that none of it is left when it is killed."""
    place = f"fio --name=job --thread --size={size} --direct=1 --ioengine=io_uring --refill_buffers"
    return [*place.split(), f"--filename={path}", "--output-format=json", *options.split()]


def fio(path, size, options):
    """Runs fio on all of a file, and gives the figures of its job."""
    return job_of(run(*fio_command(path, size, options)))


def job_of(output):
    """The figures of the first job in what fio printed; ValueError where there are none."""
    return json.loads(output[output.index("{"):])["jobs"][0]


def fill(path, size):
    """Writes all of a file once, so that no read is of a hole."""
    fio(path, size, "--rw=write --bs=1M --iodepth=4 --end_fsync=1")


def end_process(process, number, mountpoint, seconds):
    """Ends a process by a signal, by force after so many seconds, and removes what it may have left mounted; nothing to
    remove after a clean end."""
    process.send_signal(number)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    unmount = ["umount", "-l"] if os.geteuid() == 0 else ["fusermount3", "-uz"]
    subprocess.run([*unmount, str(mountpoint)], capture_output=True, check=False)


class Volume:
    """A new volume, mounted; ended by the pid of its process."""

    def __init__(self, folder, size, *mount_arguments, create_arguments=()):
        if not shutil.which(REDOUBT):
            refuse(f"there is no program {REDOUBT} to measure; run cargo build --release, or name one in REDOUBT")
        self.path = folder / "volume"
        self.mountpoint = folder / "mnt"
        self.mountpoint.mkdir()
        self.disk = self.mountpoint / "disk"
        self.log = folder / "daemon.log"
        self.mount_arguments = mount_arguments
        run(REDOUBT, "create", self.path, "--size", str(size), *create_arguments)
        self.mount()

    def mount(self):
        """Starts its process, and returns when the disk can be used: after so many seconds."""
        command = [REDOUBT, "mount", self.path, self.mountpoint, "-f", *self.mount_arguments]
        began = time.monotonic()
        with open(self.log, "w") as file:
            # Ctrl-C is for the script, which unmounts when its own work on the disk has ended.
            self.process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
        try:
            self.await_mounted()
        except BaseException:
            self.end()
            raise
        return time.monotonic() - began

    def await_mounted(self):
        """Returns when the disk can be used."""
        deadline = time.monotonic() + UP_WITHIN_SECONDS
        while "is mounted at" not in self.log.read_text():
            if self.process.poll() is not None or time.monotonic() > deadline:
                refuse(f"the volume did not come up: {self.log.read_text()}")
            time.sleep(0.01)

    def status(self):
        """What `redoubt status` says of the volume."""
        return json.loads(run(REDOUBT, "--json", "status", self.path))["volume"]

    def await_healthy(self, every=0.05):
        """Returns when the volume is healthy; nodes that are slow do not count against it."""
        self.await_status(lambda status: status["state"] == "healthy", "not healthy", every)

    def await_all_up(self):
        """Returns when every node is as good as the others, too."""
        self.await_healthy()
        self.await_status(lambda status: all(node["state"] == "up" for node in status["nodes"]), "not every node up")

    def await_state(self, word):
        """Returns when the volume is in this state."""
        self.await_status(lambda status: status["state"] == word, f"not {word}")

    def await_status(self, holds, what, every=0.05):
        """Returns when something holds of the status, asked for every so many seconds; says what does not after a long
        time."""
        deadline = time.monotonic() + HEALTHY_WITHIN_SECONDS
        while not holds(self.status()):
            if time.monotonic() > deadline:
                refuse(f"{what} in {HEALTHY_WITHIN_SECONDS} s")
            time.sleep(every)

    def processor_seconds(self):
        """Processor time that the mount's process has used."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def bytes_written(self):
        """Bytes that the mount's process has had written, by the kernel's count."""
        return self.kernel_figure("io", "write_bytes")

    def bytes_read(self):
        """Bytes that the mount's process has had read, by the kernel's count."""
        return self.kernel_figure("io", "read_bytes")

    def memory_bytes(self):
        """Memory of the mount's process that is resident."""
        return self.kernel_figure("status", "VmRSS") << 10

    def kernel_figure(self, file, name):
        """A number of a named row in a file of /proc about the mount's process."""
        rows = pathlib.Path(f"/proc/{self.process.pid}/{file}").read_text().splitlines()
        return next(int(row.split()[1]) for row in rows if row.startswith(name))

    def mount_after_kill(self, size, options, seconds):
        """Mounts it again after a kill -9 in the middle of a load that fio makes, so many seconds after its begin;
        gives the seconds that the mount took."""
        load = fio_command(self.disk, size, options)
        with subprocess.Popen(load, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as writing:
            try:
                time.sleep(seconds)
                self.go_down(signal.SIGKILL)
            finally:
                writing.kill()
        return self.mount()

    def lose_node(self, name):
        """Takes a node's directory away, and returns where it is now."""
        path = self.path / "nodes" / name
        away = path.with_name(name + ".away")
        path.rename(away)
        return away

    def end(self):
        """Ends the process and removes what it may have left mounted; a second Ctrl-C does not come between."""
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)
        self.go_down(signal.SIGTERM)

    def go_down(self, number):
        """Ends the process by a signal, and what it may have left mounted; gives how it ended."""
        end_process(self.process, number, self.mountpoint, ENDS_WITHIN_SECONDS)
        return self.process.returncode
