"""Tests of bench_requirements.py and bench_report.py: python3 -m unittest scripts/bench_requirements_test.py"""

import copy
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import bench_report
import bench_requirements
import bench_sqlite
from bench_jobs import FIRST_FILL, JOBS, LIMITS
from bench_requirements import REQUIREMENTS, is_reached, row, told, worst
from bench_targets import OURS, TARGETS

OF_OURS = {"cpu_us": 12.34, "bytes_per_byte": 6.5, "cpu_us_later": 20, "bytes_per_byte_later": None, "settled": True}
PEERS = [name for name in TARGETS if name != OURS]


def figures(iops, ours=False):
    found = {"iops": iops, "mb_s": iops / 64, "mean_us": 1, "p99_us": 2, "sync_us": 0}
    return found | (OF_OURS if ours else {})


def results(ours=100.0, theirs=10.0, limit=1.0):
    """A run in which every figure of ours, of the peers and of the limit is the same."""
    all_of_them = {OURS: figures(ours, True)} | {name: figures(theirs) for name in PEERS}
    return {
        "date": "2026-12-01 10:30", "machine": "a machine", "revision": "abc1234", "seconds": 6, "rounds": 2,
        "settle": 60, "size": "2G", "targets": [OURS, *PEERS], "skipped": {"nothing": "it is not there"},
        "limit": {name: {"iops": limit, "mb_s": limit / 64} for name in LIMITS},
        "jobs": {job: copy.deepcopy(all_of_them) for job in (FIRST_FILL, *JOBS)},
        "sqlite": {mode: {name: {"iops": it["iops"]} for name, it in all_of_them.items()}
                   for mode in bench_sqlite.MODES},
        "other": {"mount": "0.40 s"},
    }


def named(part):
    return next(it for it in REQUIREMENTS if part in it.name)


class Ratios(unittest.TestCase):
    def test_every_requirement_has_its_own_ratio(self):
        self.assertEqual(len(REQUIREMENTS), len({it.name for it in REQUIREMENTS}))
        for it in REQUIREMENTS:
            self.assertEqual(it.ratio(results()), 100 if "six-copy limit" in it.name else 10, it.name)

    def test_what_is_held_against_the_limit_in_bytes_is_not_held_against_its_operations(self):
        run = results()
        run["limit"]["append 1 MiB, O_DSYNC, QD2"] = {"iops": 1e9, "mb_s": 2.0}
        run["jobs"]["rand-write-16k-qd1"][OURS]["mb_s"] = 1.5
        self.assertEqual(named("16 KiB QD1 / the six-copy limit").ratio(run), 0.75)

    def test_commits_are_held_against_appends(self):
        run = results()
        run["limit"]["append 20 KiB, O_DSYNC"] = {"iops": 25.0, "mb_s": 1e9}
        self.assertEqual(named("O_DSYNC, 16 jobs").ratio(run), 4)
        self.assertTrue(is_reached(named("O_DSYNC, 16 jobs"), [run]))

    def test_every_requirement_looks_at_a_job_and_a_peer_that_there_are(self):
        for job in {job for _, job, *_ in bench_requirements.TABLE}:
            self.assertIn(job, (FIRST_FILL, *JOBS, *bench_sqlite.MODES))


class Worst(unittest.TestCase):
    def test_the_least_of_all_runs_counts(self):
        it = named("DELETE / `qemu-quorum6`")
        runs = [results(ours=ours, theirs=10) for ours in (20, 14, 30)]
        self.assertEqual(row(it, runs), [f"{it.name} ≥ 1.5", "2.00", "1.40", "3.00", "1.40", "no"])
        self.assertEqual(row(it, [runs[0], runs[2]])[-2:], ["2.00", "yes"])

    def test_what_is_at_its_bound_is_reached_and_what_is_below_is_not_shown_so(self):
        it = named("16 KiB QD1 / the six-copy limit")
        self.assertTrue(is_reached(it, [results(ours=0.9)]))
        self.assertEqual(row(it, [results(ours=0.8999)])[1:], ["0.89", "no"])
        self.assertEqual([told(0.29), told(1.1), told(None)], ["0.29", "1.10", "-"])

    def test_a_peer_that_was_skipped_in_one_run_leaves_it_unmeasured(self):
        it, run = named("WAL / `host`"), results()
        del run["sqlite"]["wal"]["host"]
        self.assertIsNone(worst([it.ratio(run), it.ratio(results())]))
        self.assertEqual(row(it, [run, results()])[1:], ["-", "10.00", "-", "not measured"])
        run["sqlite"] = {}
        self.assertEqual(row(it, [run])[1:], ["-", "not measured"])

    def test_without_a_limit_what_is_held_against_it_is_not_measured(self):
        run = results() | {"limit": {}}
        self.assertIsNone(is_reached(named("first fill"), [run]))


class Report(unittest.TestCase):
    def test_one_run_has_one_column_and_all_tables(self):
        text = bench_report.report([results()])
        self.assertIn("on 2026-12-01 10:30; every figure was measured in that one run", text)
        self.assertIn("| asked | run 1 | reached |", text)
        for title in ("What must be reached", "Jobs", "Cost", "The limit of six copies", "SQLite", "Opening and size"):
            self.assertIn(f"\n## {title}\n", text)
        self.assertIn(f"{len(REQUIREMENTS)} of {len(REQUIREMENTS)} are reached", text)
        self.assertIn(f"| {FIRST_FILL} | 12.3 | 20.0 | 6.50 | - |", text)
        self.assertIn("on Redoubt alone", text)

    def test_several_runs_are_named_and_the_last_is_shown(self):
        runs = [results() | {"date": f"2026-12-0{day} 10:30", "revision": f"abc{day}"} for day in (1, 2, 3)]
        runs[2]["jobs"]["seq-write-1M-qd8"][OURS]["iops"] = 77777
        text = bench_report.report(runs)
        self.assertIn("Three runs of `scripts/bench` were made, on 2026-12-01 10:30, 2026-12-02 10:30 and "
                      "2026-12-03 10:30, at revision abc1, abc2, abc3", text)
        self.assertIn("| asked | run 1 | run 2 | run 3 | worst | reached |", text)
        self.assertIn("77777", text)
        self.assertEqual(text.count("- Machine: "), 1)

    def test_collection_that_was_not_over_is_said(self):
        run = results()
        self.assertIn("up to 60 s, before the next target.", bench_report.report([run]))
        run["jobs"]["rand-write-4k-qd32"][OURS]["settled"] = False
        self.assertIn("it was not over then after `rand-write-4k-qd32`.", bench_report.report([run]))

    def test_what_was_not_measured_has_no_table(self):
        text = bench_report.report([results() | {"limit": {}, "sqlite": {}, "other": {}}])
        for title in ("limit of six", "SQLite", "Opening"):
            self.assertNotIn(f"\n## The {title}" if title == "limit of six" else f"\n## {title}", text)

    def test_rows_have_as_many_cells_as_their_head(self):
        for line_of_head in (text := bench_report.report([results(), results()]).splitlines()):
            if line_of_head.startswith("|---"):
                at = text.index(line_of_head)
                self.assertEqual(text[at - 1].count("|"), line_of_head.count("|"))
                self.assertEqual(text[at + 1].count("|"), line_of_head.count("|"))


if __name__ == "__main__":
    unittest.main()
