"""Tests of bench_sqlite.py, on a plain folder: python3 -m unittest scripts/bench_sqlite_test.py"""

import argparse
import contextlib
import pathlib
import sqlite3
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import bench_sqlite


class Transactions(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name) / "some.db"

    def rows(self):
        with contextlib.closing(sqlite3.connect(self.path)) as base:
            return base.execute("select id, k, length(v) from t").fetchall()

    def test_each_counts_a_row_that_is_there(self):
        for mode in bench_sqlite.MODES:
            self.path = self.path.with_name(f"{mode}.db")
            self.assertGreater(bench_sqlite.transactions(self.path, mode, 0.02), 0)
            self.assertEqual(self.rows()[0], (1, 0, 200))

    def test_a_lost_row_ends_the_measurement(self):
        bench_sqlite.transactions(self.path, "delete", 0.02)
        count = len(self.rows())
        with contextlib.closing(sqlite3.connect(self.path)) as base:
            bench_sqlite.check(base, count, self.path)
            with self.assertRaisesRegex(SystemExit, f"{count} rows are there of {count + 1}"):
                bench_sqlite.check(base, count + 1, self.path)

    def test_targets_take_turns(self):
        folders = {name: self.path.with_name(name) for name in ("redoubt", "host")}
        for folder in folders.values():
            folder.mkdir()
        options = argparse.Namespace(rounds=2, pause=0, secs=0.01)
        found = bench_sqlite.take_turns(folders, "wal", options)
        self.assertEqual(list(found), ["redoubt", "host"])
        self.assertEqual(sorted(it.name for it in folders["host"].glob("*.db")), ["wal-0.db", "wal-1.db"])


if __name__ == "__main__":
    unittest.main()
