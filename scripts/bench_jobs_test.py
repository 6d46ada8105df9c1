"""Tests of bench_jobs.py: python3 -m unittest scripts/bench_jobs_test.py"""

import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import bench_jobs
import bench_targets
from bench_jobs import AT_RANDOM, JOBS, WORN


def of_fio(**writes):
    """fio's figures of a job."""
    latency = {"mean": 2000.0, "percentile": {"99.000000": 9000}}
    nothing = {"iops": 0, "bw_bytes": 0, "total_ios": 0, "io_bytes": 0, "clat_ns": latency}
    return {"read": nothing, "write": nothing | writes}


class Preparations(unittest.TestCase):
    def test_the_whole_disk_is_written_once(self):
        self.assertTrue(AT_RANDOM.of("512M").endswith(f" --io_size={512 << 20}"))
        self.assertNotIn("norandommap", AT_RANDOM.options, "each piece is written once")

    def test_overwrites_grow_with_the_disk(self):
        self.assertTrue(WORN.of("2G").endswith(f" --io_size={4_000_000 * 4096}"))
        self.assertTrue(WORN.of("512M").endswith(f" --io_size={1_000_000 * 4096}"))

    def test_what_is_prepared_comes_last(self):
        prepared = [job.after is not None for job in JOBS.values()]
        self.assertEqual(prepared, sorted(prepared))
        self.assertIn(True, prepared)


class Figures(unittest.TestCase):
    def test_directions_that_count_are_added(self):
        job = of_fio(iops=100, bw_bytes=3e6)
        job["read"] = job["read"] | {"iops": 300, "bw_bytes": 1e6}
        found = bench_jobs.figures(job, ("read", "write"))
        self.assertEqual((found["iops"], found["mb_s"], found["mean_us"], found["p99_us"]), (400, 4, 2, 9))
        self.assertEqual(bench_jobs.figures(job, ("write",))["iops"], 100)

    def test_a_sync_is_told_where_there_was_one(self):
        self.assertEqual(bench_jobs.figures(of_fio(), ("write",))["sync_us"], 0)
        job = of_fio() | {"sync": {"total_ios": 0, "lat_ns": {"N": 3, "mean": 5000.0}}}
        self.assertEqual(bench_jobs.figures(job, ("write",))["sync_us"], 5)

    def test_cost_is_shared_by_requests_and_bytes(self):
        found = bench_jobs.cost((1.0, 1000), (3.0, 8000), of_fio(total_ios=100_000, io_bytes=1000))
        self.assertEqual(found, {"cpu_us": 20, "bytes_per_byte": 7})

    def test_no_bytes_are_written_for_reads_and_none_are_known_of_others(self):
        self.assertEqual(bench_jobs.cost((1.0, 0), (1.0, 0), of_fio()), {"cpu_us": None, "bytes_per_byte": None})
        self.assertEqual(bench_jobs.cost(None, None, of_fio(total_ios=1)), {})

    def test_the_median_of_rounds_counts(self):
        self.assertEqual(bench_jobs.median([{"iops": 3}, {"iops": 9}, {"iops": 1}]), {"iops": 3})

    def test_a_ratio_is_of_ours(self):
        row = {"redoubt": {"iops": 30}, "host": {"iops": 40}, "qemu-raw": {"iops": 0}}
        self.assertEqual([bench_jobs.ratio(row, name) for name in row], ["1.00", "0.75", "-"])
        self.assertEqual(bench_jobs.ratio({"host": {"iops": 40}}, "host"), "-")


class Worker:
    """A volume whose process works for some looks, and then is quiet."""

    def __init__(self, looks):
        self.looks, self.read = looks, 0

    def bytes_read(self):
        self.looks -= 1
        self.read += 0 if self.looks < 0 else 1 << 30
        return self.read

    def bytes_written(self):
        return 7


class Targets(unittest.TestCase):
    def setUp(self):
        self.addCleanup(setattr, bench_targets, "LOOK_SECONDS", bench_targets.LOOK_SECONDS)
        bench_targets.LOOK_SECONDS = 0.001

    def test_our_work_is_awaited_for_a_while_and_that_of_others_is_not(self):
        self.assertTrue(bench_targets.Target("disk").settle(0))
        self.assertTrue(bench_targets.Target("disk", Worker(5)).settle(60))
        self.assertFalse(bench_targets.Target("disk", Worker(10**9)).settle(0.01))
        self.assertFalse(bench_targets.Target("disk", Worker(0)).settle(0), "not looked at")

    def test_sizes_are_binary(self):
        self.assertEqual(bench_targets.in_bytes("512M"), 512 << 20)
        self.assertEqual(bench_targets.in_bytes("2G"), 2 << 30)

    def test_what_lacks_a_program_is_skipped_and_says_which(self):
        kept = bench_targets.TARGETS | {"none": ("nothing", ["no-such-program", "nor-this"], None)}
        self.addCleanup(setattr, bench_targets, "TARGETS", bench_targets.TARGETS)
        bench_targets.TARGETS = kept
        peers, skipped = bench_targets.split_by_programs(["host", "none"])
        self.assertEqual(peers, ["host"])
        self.assertEqual(skipped, {"none": "no-such-program and nor-this are not installed"})


if __name__ == "__main__":
    unittest.main()
