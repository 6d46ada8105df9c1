"""Tests of bench_steady.py: python3 -m unittest scripts/bench_steady_test.py"""

import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import bench_steady

WITHIN = {"flat": 0.9, "bytes": 8.0, "clean_open": 1.0, "killed_open": 1.0, "idle": 200}


class Figures(unittest.TestCase):
    def test_the_last_minute_is_held_against_the_first(self):
        self.assertEqual(bench_steady.flatness([200.0, 999.0, 150.0], [400.0, 400.0]), 0.75)

    def test_a_disk_that_grew_slower_is_no_fault_of_the_volume(self):
        self.assertEqual(bench_steady.flatness([200.0, 100.0], [400.0, 200.0]), 1)
        self.assertEqual(bench_steady.flatness([200.0, 200.0], [200.0, 400.0]), 0.5)

    def test_what_cannot_be_held_against_anything_is_refused(self):
        with self.assertRaisesRegex(ValueError, "neither the first nor the last"):
            bench_steady.flatness([200.0], [400.0, 400.0])
        for rates, plain in (([0, 1], [1, 1]), ([1, 1], [0, 1]), ([1, 1], [1, 0])):
            with self.assertRaisesRegex(ValueError, "nothing was written"):
                bench_steady.flatness(rates, plain)

    def test_processor_time_is_shared_by_all_requests(self):
        self.assertEqual(bench_steady.per_request_us(2.0, 100_000), 20)


class Targets(unittest.TestCase):
    def test_what_is_at_its_bound_is_within_it(self):
        self.assertEqual(bench_steady.missed(WITHIN), [])
        self.assertEqual(bench_steady.verdict(WITHIN), "all targets reached")

    def test_each_figure_can_miss_its_own(self):
        for name, bound in WITHIN.items():
            beyond = bound * (0.99 if name == "flat" else 1.01)
            figures = WITHIN | {name: beyond}
            self.assertEqual(bench_steady.missed(figures), [name])
            self.assertIn(bench_steady.TARGETS[name][0], bench_steady.verdict(figures))

    def test_the_table_says_what_is_asked_for(self):
        rows = list(bench_steady.table(WITHIN))
        self.assertEqual(len(rows), len(bench_steady.TARGETS))
        self.assertTrue(rows[0].endswith("0.90   at least 0.9"))
        self.assertTrue(rows[1].endswith("8.00   at most 8"))


if __name__ == "__main__":
    unittest.main()
