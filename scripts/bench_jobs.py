"""The jobs that scripts/bench runs on all targets in turn, how fio runs them, and what they cost our process."""

import contextlib
import time
import typing

import bench_volume
from bench_targets import OURS, folder, in_bytes, started
from bench_volume import job_of, run

FIRST_FILL = "first-fill-1M-qd8"
FILL = "--rw=write --bs=1M --iodepth=8 --end_fsync=1"
OVERWRITES, OVERWRITTEN = 4_000_000, 2 << 30  # so many, for a disk of so many bytes
PIECE = 4 << 10


class Preparation(typing.NamedTuple):
    """What is written before a job is measured, as many times as the disk is large."""

    options: str
    told: str
    times: float = 1
    ours_alone: bool = False

    def of(self, size):
        """fio's options for a disk of this size."""
        pieces = round(self.times * in_bytes(size) / PIECE)
        return f"{self.options} --io_size={pieces * PIECE}"


class Job(typing.NamedTuple):
    """fio's options, the directions that count, and what comes before."""

    options: str
    counts: tuple[str, ...]
    after: Preparation | None = None


WRITES, READS = ("write",), ("read",)
AT_RANDOM = Preparation("--rw=randwrite --bs=1M --iodepth=8", "the disk was written once before, completely, in "
                        "pieces of 1 MiB at random")
# The peers overwrite in place and look the same before and after; it would take a quorum of six seven minutes.
WORN = Preparation("--rw=randwrite --bs=4k --iodepth=32 --randrepeat=0 --norandommap",
                   f"{OVERWRITES * PIECE / OVERWRITTEN:.1f} times its size was overwritten before, 4 KiB at a time at "
                   "random (4 million times, for 2 GiB), and it is measured right after that; on Redoubt alone, since "
                   "the others overwrite in place and look the same before and after",
                   times=OVERWRITES * PIECE / OVERWRITTEN, ours_alone=True)
JOBS = {  # those with a preparation are last, so that the others find the disk as the fill left it
    "seq-write-1M-qd8": Job("--rw=write --bs=1M --iodepth=8", WRITES),
    "seq-read-1M-qd8": Job("--rw=read --bs=1M --iodepth=8", READS),
    "rand-write-16k-qd1": Job("--rw=randwrite --bs=16k --iodepth=1", WRITES),
    "rand-write-16k-qd32": Job("--rw=randwrite --bs=16k --iodepth=32", WRITES),
    "rand-read-16k-qd1": Job("--rw=randread --bs=16k --iodepth=1", READS),
    "rand-read-16k-qd32": Job("--rw=randread --bs=16k --iodepth=32", READS),
    "rand-write-4k-qd32": Job("--rw=randwrite --bs=4k --iodepth=32", WRITES),
    "rand-read-4k-qd32": Job("--rw=randread --bs=4k --iodepth=32", READS),
    "sync-write-16k-qd1": Job("--rw=randwrite --bs=16k --iodepth=1 --fdatasync=1", WRITES),
    "sync-write-4k-qd1": Job("--rw=randwrite --bs=4k --iodepth=1 --fdatasync=1", WRITES),
    "sync-write-16k-16jobs": Job(
        "--rw=randwrite --bs=16k --iodepth=1 --fdatasync=1 --numjobs=16 --group_reporting", WRITES),
    "dsync-write-16k-16jobs": Job(
        "--rw=randwrite --bs=16k --ioengine=psync --sync=dsync --numjobs=16 --group_reporting", WRITES),
    "mixed-70-30-16k-qd32": Job("--rw=randrw --rwmixread=70 --bs=16k --iodepth=32", ("read", "write")),
    "seq-read-1M-random-qd8": Job("--rw=read --bs=1M --iodepth=8", READS, AT_RANDOM),
    "rand-read-4k-worn-qd32": Job("--rw=randread --bs=4k --iodepth=32", READS, WORN),
}

STREAM_LIMIT, APPEND_LIMIT = "append 1 MiB, O_DSYNC, QD2", "append 20 KiB, O_DSYNC"
LIMITS = {  # what six durable copies cost on this disk with no program between
    APPEND_LIMIT: "--bs=20k --iodepth=1",
    "append 128 KiB, O_DSYNC": "--bs=128k --iodepth=1",
    STREAM_LIMIT: "--bs=1M --iodepth=2",
}


# ---- fio, and its figures ----------------------------------------------------------------------


def fio(options, seconds):
    """Runs fio for so long, each of its jobs a process; gives the figures of the first."""
    common = (f"fio --name=log --direct=1 --ioengine=io_uring --runtime={seconds} --time_based "
              "--output-format=json")
    return job_of(run(*common.split(), *options))


def figures(job, directions):
    """Operations and megabytes a second, and microseconds (of the first direction)."""
    first = job[directions[0]]["clat_ns"]
    sync = job.get("sync", {}).get("lat_ns", {})  # its total_ios stays 0 under --fdatasync
    return {
        "iops": sum(job[way]["iops"] for way in directions),
        "mb_s": sum(job[way]["bw_bytes"] for way in directions) / 1e6,
        "mean_us": first["mean"] / 1e3,
        "p99_us": first.get("percentile", {}).get("99.000000", 0) / 1e3,
        "sync_us": sync["mean"] / 1e3 if sync.get("N") else 0,
    }


def cost(before, after, job):
    """Our process's time for each request, and bytes written for each of the user's; nothing of others."""
    if before is None:
        return {}
    requests = sum(job[way]["total_ios"] for way in ("read", "write"))
    written = job["write"]["io_bytes"]
    return {
        "cpu_us": 1e6 * (after[0] - before[0]) / requests if requests else None,
        "bytes_per_byte": (after[1] - before[1]) / written if written else None,
    }


def costing(target, directions, patience, work):
    """The figures of some work of fio on a target, with what it cost until its end, and until what it left behind was
    done: collection would slow down the target that is measured next."""
    before = target.spent()
    job = work()
    found = figures(job, directions) | cost(before, target.spent(), job)
    is_settled = target.settle(patience)
    later = {f"{name}_later": value for name, value in cost(before, target.spent(), job).items()}
    return found | later | {"settled": is_settled}


def measure(target, job, options):
    """The figures of a job on a target."""
    place = [f"--filename={target.path}", f"--size={options.size}", "--randrepeat=0", "--norandommap",
             "--refill_buffers"]
    command = [*place, *job.options.split()]
    return costing(target, job.counts, options.settle, lambda: fio(command, options.secs))


# ---- all of them -------------------------------------------------------------------------------


def fill(target, options):
    """Writes all of it once, so that no read is of a hole; the figures of that."""
    return costing(target, WRITES, options.settle, lambda: bench_volume.fio(target.path, options.size, FILL))


def prepare(targets, job, size):
    """Writes what a job is measured after."""
    for name, target in targets.items() if job.after else ():
        if name == OURS or not job.after.ours_alone:
            bench_volume.fio(target.path, size, job.after.of(size))


def take_turns(targets, job, options):
    """A job on all targets, in turn and as often as asked for; the median figures of each."""
    prepare(targets, job, options.size)
    taken = {name: [] for name in targets}
    for _ in range(options.rounds):
        for name, target in targets.items():
            if not job.after:  # a rest would let collection change what was prepared
                time.sleep(options.pause)
            taken[name].append(measure(target, job, options))
    return {name: median(rounds) for name, rounds in taken.items()}


def compare(base, names, options):
    """The first fill and all jobs on all targets in turn; gives {job: {target: median figures}}."""
    results, targets = {FIRST_FILL: {}}, {}
    with contextlib.ExitStack() as stack:
        for name in names:
            targets[name] = stack.enter_context(started(name, base, options.size))
            results[FIRST_FILL][name] = fill(targets[name], options)
        show(FIRST_FILL, results[FIRST_FILL])
        for job in options.jobs:
            results[job] = take_turns(targets, JOBS[job], options)
            show(job, results[job])
        peak = targets[OURS].volume.kernel_figure("status", "VmHWM")
        print(f"{OURS}: peak memory {peak / 1024:.0f} MiB", flush=True)
    return results


def median(rounds):
    return sorted(rounds, key=lambda taken: taken["iops"])[len(rounds) // 2]


def show(job, row):
    for name, it in row.items():
        print(f"{job:22} {name:14} {it['iops']:9.0f} /s {it['mb_s']:8.1f} MB/s  mean {it['mean_us']:7.0f} us"
              f"  p99 {it['p99_us']:7.0f} us  sync {it['sync_us']:6.0f} us  ours/this {ratio(row, name)}", flush=True)


def ratio(row, name):
    """Our operations over a target's, for a table."""
    if OURS not in row or not row[name]["iops"]:
        return "-"
    return f"{row[OURS]['iops'] / row[name]['iops']:.2f}"


def six_copy_limit(base, seconds):
    """Six append-only files written at once, each write durable: per copy, {name: figures}."""
    results = {}
    with folder(base, "limit") as work:
        for copy in range(6):
            run("dd", "if=/dev/zero", f"of={work}/log.{copy}.0", "bs=1M", "count=256", "oflag=direct")
        place = [f"--directory={work}", "--filename_format=$jobname.$jobnum.0", "--size=256M", "--numjobs=6",
                 "--rw=write", "--overwrite=1", "--sync=dsync", "--group_reporting"]
        for name, options in LIMITS.items():
            of_all = figures(fio([*place, *options.split()], seconds), WRITES)
            results[name] = {"iops": of_all["iops"] / 6, "mb_s": of_all["mb_s"] / 6}
            print(f"limit of six copies: {name:28} {results[name]['iops']:8.0f} /s "
                  f"{results[name]['mb_s']:8.1f} MB/s per copy", flush=True)
    return results
