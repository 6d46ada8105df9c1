"""Tests of bench_loss.py: python3 -m unittest scripts/bench_loss_test.py"""

import os
import pathlib
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import bench_loss
from bench_loss import BLOCK, Load, Seen, Tally, content, wrong_bytes

BLOCKS = 64
# A real disk: O_DIRECT does not work in every /tmp.
BASE = os.environ.get("TMPDIR", "/var/tmp")


class Content(unittest.TestCase):
    def test_each_write_that_may_be_there_is_right(self):
        for version in (4, 5, 6):
            self.assertEqual(wrong_bytes(content(9, version), 9, 4, 6), 0)

    def test_what_is_too_old_or_was_never_begun_is_wrong(self):
        for version in (3, 7):
            self.assertGreater(wrong_bytes(content(9, version), 9, 4, 6), BLOCK / 2)

    def test_another_block_a_page_of_another_write_and_one_bit_are_wrong(self):
        page, good = 4096, content(9, 5)
        self.assertGreater(wrong_bytes(content(8, 5), 9, 5, 5), 0)
        for begins in range(0, BLOCK, page):
            other = content(9, 4)[begins:begins + page]
            torn = good[:begins] + other + good[begins + page:]
            self.assertGreater(wrong_bytes(torn, 9, 4, 5), 0, f"page at {begins}")
        self.assertEqual(wrong_bytes(good[:-1] + bytes([good[-1] ^ 1]), 9, 5, 5), 1)


class OnAFile(unittest.TestCase):
    def setUp(self):
        file = tempfile.NamedTemporaryFile(dir=BASE)
        self.addCleanup(file.close)
        file.truncate(BLOCKS * BLOCK)
        self.file, self.load = file, Load(file.name, BLOCKS * BLOCK)
        self.load.fill()

    def overwrite(self, block, bytes):
        os.pwrite(self.file.fileno(), bytes, block * BLOCK)
        os.fsync(self.file.fileno())

    def run_until(self, reached):
        self.load.start()
        deadline = time.monotonic() + 30
        while not reached(self.load.tally) and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertTrue(self.load.stop(30))
        self.assertEqual(self.load.broken, [])
        self.assertTrue(reached(self.load.tally))

    def test_a_disk_that_does_what_it_must_is_right_and_counted(self):
        self.run_until(lambda tally: tally.reads > 100 and tally.writes > 20)
        tally = self.load.tally
        self.assertEqual((tally.errors, tally.wrong, self.load.wrong_at_end()), (0, 0, 0))
        self.assertGreater(tally.longest_read, 0)
        self.assertGreater(tally.longest_write, 0)

    def test_a_write_that_is_lost_is_seen(self):
        self.run_until(lambda tally: tally.writes > 20)
        block = next(block for block, version in enumerate(self.load.ended) if version > 1)
        self.overwrite(block, content(block, self.load.ended[block] - 1))
        self.assertGreater(self.load.wrong_at_end(), 0)

    def test_wrong_bytes_are_seen_while_the_load_runs(self):
        for block in range(BLOCKS):
            self.overwrite(block, bytes(BLOCK))
        self.run_until(lambda tally: tally.wrong > 0)

    def test_errors_are_counted(self):
        class Failing(Load):
            def write(self, *_):
                raise OSError("as planned")

        self.load = Failing(self.file.name, BLOCKS * BLOCK)
        self.run_until(lambda tally: tally.errors > 5 and tally.reads > 5)


class Verdict(unittest.TestCase):
    def seen(self, waited_ms=None, **fields):
        tally = Tally(**{"reads": 9, "writes": 9, **fields})
        if waited_ms is not None:
            tally.returned_at, tally.resumed_at = 50, 50 + waited_ms / 1e3
        return Seen("case", tally, 1.5, None if waited_ms is None else 5)

    def test_what_failed_was_wrong_or_told_nothing_is_broken(self):
        self.assertEqual(self.seen().missed(), ([], []))
        for fields in ({"errors": 1}, {"wrong": 1}, {"reads": 0}, {"writes": 0}):
            broken, late = self.seen(**fields).missed()
            self.assertEqual((len(broken), late), (1, []), fields)
        unread = self.seen(waited_ms=3)
        unread.reads_without_quorum = 0
        self.assertEqual(len(unread.missed()[0]), 1)

    def test_writes_that_wait_longer_than_a_second_are_late(self):
        self.assertEqual(self.seen(waited_ms=999).missed(), ([], []))
        broken, late = self.seen(waited_ms=1200).missed()
        self.assertEqual((broken, len(late)), ([], 1))

    def test_only_the_first_write_behind_the_return_counts(self):
        tally = Tally(returned_at=50)
        for ends in (49, 51, 52):
            tally.add_write(1, ends)
        self.assertEqual(tally.resumed_at, 51)

    def test_rows_have_a_cell_for_each_head(self):
        lines = [*bench_loss.head().splitlines(), bench_loss.row(self.seen()), bench_loss.row(self.seen(waited_ms=7))]
        self.assertEqual({text.count("|") for text in lines}, {len(bench_loss.HEADS) + 1})


if __name__ == "__main__":
    unittest.main()
