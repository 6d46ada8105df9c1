"""Tests of bench_history.py: python3 -m unittest scripts/bench_history_test.py"""

import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import bench_history


def run(revision, machine="here", **ratios):
    return {"machine": machine, "revision": revision, "date": "2026-01-01", "ratios": ratios}


class History(unittest.TestCase):
    def test_the_last_run_of_the_machine_is_found_behind_damage(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "state" / "bench.jsonl"
            self.assertIsNone(bench_history.last(path, "here"))
            for entry in (run("a", read=1.0), run("b", read=2.0), run("c", machine="there", read=3.0)):
                bench_history.add(path, entry)
            with path.open("a") as lines:
                lines.write('{"machine": "here", "revi\n[]\n')
            self.assertEqual(bench_history.last(path, "here")["revision"], "b")
            self.assertIsNone(bench_history.last(path, "elsewhere"))

    def test_a_slower_build_is_named_and_a_noisy_one_is_not(self):
        before = run("a", read=1.0, write=0.5)
        self.assertIn("no slower", bench_history.comparison(before, run("b", read=0.85, write=0.6)))
        told = bench_history.comparison(before, run("b", read=1.0, write=0.3))
        self.assertIn("slower: write (0.60)", told)
        self.assertNotIn("read (", told)

    def test_a_job_that_is_new_and_a_first_run_are_no_errors(self):
        self.assertIn("not measured then", bench_history.comparison(run("a", read=1.0), run("b", read=1.0, write=1.0)))
        self.assertIn("the first run", bench_history.comparison(None, run("a", read=1.0)))


if __name__ == "__main__":
    unittest.main()
