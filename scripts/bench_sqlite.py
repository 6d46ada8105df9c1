"""One-row SQLite transactions on ext4 on a loop device, on some targets in turn."""

import contextlib
import os
import pathlib
import shutil
import sqlite3
import time

import bench_jobs
from bench_targets import OURS, lacking, started
from bench_volume import refuse, run

PEERS = ("host", "qemu-quorum6")
MODES = ("delete", "wal")
# Its FUSE export mixes up the contents of writes that are under way at once (qemu 10.0.2), as those of a loop device
# with direct I/O are: no file system comes up on it. Without direct I/O the kernel has one write at a time.
BUFFERED = ("qemu-quorum6",)
PROGRAMS = ("losetup", "mkfs.ext4", "e2fsck")
# Nothing is left to be written in the background, while another target is measured.
NOTHING_LATER = ("-E", "lazy_itable_init=0,lazy_journal_init=0")


def why_not():
    """Why this cannot be measured here; None where it can."""
    if os.geteuid() != 0:
        return "it takes loop devices, and they take root"
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    return lacking(missing) if missing else None


@contextlib.contextmanager
def loop_device(disk, direct):
    """A loop device on a file; with direct I/O it is past the kernel's cache of the file."""
    device = run("losetup", "-f", "--show", f"--direct-io={'on' if direct else 'off'}", disk).strip()
    try:
        yield device
    finally:
        run("losetup", "-d", device)


@contextlib.contextmanager
def file_system(disk, direct):
    """A folder on ext4 on a file; at the end the file system must be without a fault."""
    with loop_device(disk, direct) as device:
        run("mkfs.ext4", "-q", "-F", *NOTHING_LATER, device)
        point = pathlib.Path(f"{disk.parent}-ext4")
        point.mkdir()
        run("mount", device, point)
        try:
            yield point
        finally:
            run("umount", point)
            point.rmdir()
        run("e2fsck", "-fn", device)


def transactions(path, mode, seconds):
    """Transactions a second that each insert a row; all rows must be there at the end."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as base:
        base.execute(f"pragma journal_mode={mode}")
        base.execute("pragma synchronous=full")
        base.execute("create table t(id integer primary key, k int, v blob)")
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            insert(base, count)
            count += 1
        rate = count / (time.perf_counter() - start)
        check(base, count, path)
        return rate


def insert(base, number):
    base.execute("begin immediate")
    base.execute("insert into t(k, v) values(?, ?)", (number * 7919 % 100003, os.urandom(200)))
    base.execute("commit")


def check(base, count, path):
    """Ends the measurement where the database is not whole."""
    found = base.execute("pragma integrity_check").fetchone()[0]
    rows = base.execute("select count(*) from t").fetchone()[0]
    if (found, rows) != ("ok", count):
        refuse(f"{path}: integrity_check says {found}, and {rows} rows are there of {count}")


def take_turns(folders, mode, options):
    """Transactions on all targets in turn, as often as asked for; the median of each."""
    taken = {name: [] for name in folders}
    for turn in range(options.rounds):
        for name, folder in folders.items():
            time.sleep(options.pause)
            rate = transactions(folder / f"{mode}-{turn}.db", mode, options.secs)
            taken[name].append({"iops": rate})
    return {name: bench_jobs.median(rounds) for name, rounds in taken.items()}


def compare(base, peers, options):
    """Both journal modes on Redoubt and these peers; gives {mode: {target: figures}}."""
    results, folders = {}, {}
    with contextlib.ExitStack() as stack:
        for name in (OURS, *(it for it in PEERS if it in peers)):
            target = stack.enter_context(started(name, base, options.size))
            folders[name] = stack.enter_context(file_system(target.path, direct=name not in BUFFERED))
        for mode in MODES:
            results[mode] = take_turns(folders, mode, options)
            show(mode, results[mode])
    return results


def show(mode, row):
    for name, it in row.items():
        print(f"SQLite, journal {mode:6} {name:14} {it['iops']:9.0f} transactions/s  "
              f"ours/this {bench_jobs.ratio(row, name)}", flush=True)
