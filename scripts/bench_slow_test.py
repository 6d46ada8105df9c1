"""Tests of bench_slow.py: python3 -m unittest scripts/bench_slow_test.py"""

import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import bench_slow


def times(p50, p99, mean):
    """Nanoseconds as fio gives them."""
    return {"mean": mean, "N": 100, "percentile": {"50.000000": p50, "99.000000": p99, "99.900000": 10 * p99}}


def job(scale=1):
    return {
        "read": {"iops": 300.0 / scale, "clat_ns": times(70_000 * scale, 90_000 * scale, 1)},
        "write": {"iops": 200.0 / scale, "clat_ns": times(100_000 * scale, 400_000 * scale, 1)},
        "sync": {"total_ios": 0, "lat_ns": times(1_000_000, 3_000_000, 1_500_000.0)},
    }


class Figures(unittest.TestCase):
    def test_they_are_taken_from_where_fio_puts_them(self):
        self.assertEqual(bench_slow.figures(job()), {
            "read_p50": 70, "read_p99": 90, "write_p50": 100, "write_p99": 400,
            "sync_mean": 1500, "sync_p99": 3000, "rate": 500,
        })

    def test_a_job_without_answers_is_no_fast_one(self):
        for kind, field in (("read", "clat_ns"), ("write", "clat_ns"), ("sync", "lat_ns")):
            stuck = job()
            stuck[kind][field] = {"mean": 0.0, "N": 0}
            with self.assertRaisesRegex(ValueError, f"no {kind} answered"):
                bench_slow.figures(stuck)

    def test_a_ratio_says_how_many_times_as_much_the_slow_one_is(self):
        ratios = bench_slow.ratios(bench_slow.figures(job()), bench_slow.figures(job(2)))
        self.assertEqual(ratios, {"read_p99": 2, "write_p99": 2, "sync_p99": 1, "rate": 0.5})

    def test_each_median_is_of_its_own_figure(self):
        rounds = [dict(zip(bench_slow.COMPARED, row)) for row in ((1, 9, 4, 7), (3, 7, 6, 8), (2, 8, 5, 1))]
        self.assertEqual(bench_slow.medians(rounds), {"read_p99": 2, "write_p99": 8, "sync_p99": 5, "rate": 7})

    def test_the_target_is_for_each_p99_and_not_for_the_rate(self):
        within = {"read_p99": 1.5, "write_p99": 1, "sync_p99": 0.9, "rate": 2}
        self.assertIn("reached", bench_slow.verdict(within))
        self.assertEqual(bench_slow.missed(within), [])
        self.assertEqual(bench_slow.missed({**within, "sync_p99": 1.6}), ["sync p99"])
        self.assertIn("missed: read p99", bench_slow.verdict({**within, "read_p99": 1.51}))
        self.assertNotIn("write", bench_slow.verdict({**within, "read_p99": 1.51}))

    def test_cells_stand_below_their_heads(self):
        taken = bench_slow.figures(job())
        below = bench_slow.ratios_line("ratio", bench_slow.ratios(taken, taken))
        at = bench_slow.head().index("write p99") + len("write p99")
        self.assertEqual(bench_slow.figures_line("1 alike", taken)[at - 3:at], "400")
        self.assertEqual(below[at - 4:at], "1.00")


if __name__ == "__main__":
    unittest.main()
