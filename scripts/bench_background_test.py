"""Tests of bench_background.py: python3 -m unittest scripts/bench_background_test.py"""

import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import bench_background
from bench_background import COLLECTION, REBUILD, REST, YOUNG, Phase

RATE = 40e6


def job(writes=1000, write_us=100, sync_us=700):
    """What fio tells of the prober."""
    return {"write": {"total_ios": writes, "io_bytes": writes << 14,
                      "clat_ns": {"percentile": {"99.000000": write_us * 1000}}},
            "sync": {"lat_ns": {"percentile": {"99.000000": sync_us * 1000}}}}


def phases(**changed):
    """Four phases in which nothing is wrong; those that are named are changed."""
    p99s = {"plain": 100.0, "synced": 120.0, "sync": 700.0}
    quiet = Phase(p99s, 1000, read=0, written=700, of_user=100)
    loaded = quiet._replace(load=RATE)
    found = {REST: quiet, YOUNG: loaded, COLLECTION: loaded._replace(read=50), REBUILD: quiet._replace(read=500)}
    return found | {name: found[name]._replace(**changes) for name, changes in changed.items()}


class Probes(unittest.TestCase):
    def test_both_measurements_make_a_phase(self):
        probes = [bench_background.probe(job(write_us=90), False), bench_background.probe(job(writes=10), True)]
        found = bench_background.phase(probes, read=5, written=6, load={"io_bytes": 1, "bw_bytes": 2})
        self.assertEqual(found.p99s, {"plain": 90, "synced": 100, "sync": 700})
        self.assertEqual(found[1:], (10, 5, 6, (1010 << 14) + 1, 2))

    def test_without_a_load_the_prober_is_all_there_is(self):
        probes = [bench_background.probe(job(writes=1), is_synced) for is_synced in (False, True)]
        found = bench_background.phase(probes, read=0, written=0)
        self.assertEqual((found.of_user, found.load), (2 << 14, None))

    def test_a_prober_without_a_write_is_refused(self):
        with self.assertRaisesRegex(ValueError, "no write of the prober ended"):
            bench_background.probe(job(writes=0), False)


class Verdict(unittest.TestCase):
    def test_what_is_wrong_nowhere_is_said_so(self):
        self.assertEqual(bench_background.missed(phases()), [])
        self.assertEqual(bench_background.doubts(phases(), RATE), [])
        self.assertEqual(bench_background.verdict(phases(), RATE), "all p99s are under 5 times those at rest")

    def test_five_times_is_too_much_in_collection_and_rebuild(self):
        for name in (COLLECTION, REBUILD):
            for times, count in ((4.99, 0), (5, 1)):
                late = phases(**{name: {"p99s": {"plain": 100.0 * times, "synced": 1.0, "sync": 1.0}}})
                self.assertEqual(len(bench_background.missed(late)), count)
        self.assertIn("write p99, rebuild: 5.0 times", bench_background.verdict(late, RATE))

    def test_a_load_alone_may_be_late(self):
        late = phases(**{YOUNG: {"p99s": {"plain": 9e9, "synced": 9e9, "sync": 9e9}}})
        self.assertEqual(bench_background.missed(late), [])

    def test_figures_that_do_not_show_what_they_are_to_are_in_doubt(self):
        for name, changes, said in (
                (COLLECTION, {"read": 0}, "collection did not run"),
                (YOUNG, {"read": 50}, "collection ran already"),
                (YOUNG, {"load": RATE / 2}, "reached 20.0 MB/s"),
                (COLLECTION, {"load": RATE / 2}, "reached 20.0 MB/s"),
                (REBUILD, {"writes": 99}, "the rebuild ended when the prober had 99 writes")):
            doubts = bench_background.doubts(phases(**{name: changes}), RATE)
            self.assertEqual(len(doubts), 1, said)
            self.assertIn(said, doubts[0])
            self.assertIn("in doubt: ", bench_background.verdict(phases(**{name: changes}), RATE))


class Table(unittest.TestCase):
    def test_each_phase_is_held_against_rest_and_collection_against_the_load(self):
        found = phases(**{COLLECTION: {"p99s": {"plain": 250.0, "synced": 240.0, "sync": 1400.0}, "written": 1234},
                          YOUNG: {"p99s": {"plain": 125.0, "synced": 120.0, "sync": 700.0}}})
        rows = list(bench_background.table(found))
        self.assertEqual(len(rows), 6)
        self.assertRegex(rows[1], r"^at rest +1000 +100 \( 1\.00x\) +120 \( 1\.00x\) +700 \( 1\.00x\) +- +0\.0 +7\.00$")
        self.assertRegex(rows[3], r"^load, collection .*250 \( 2\.50x\).* 2\.00x\) +40\.0 +0\.0 +12\.34$")
        self.assertEqual(rows[5], "load, collection over load, young log: write 2.00, synced write 2.00, "
                                  "its fdatasync 2.00")
        self.assertEqual(len({len(row) for row in rows[:5]}), 1, "columns stand below each other")


if __name__ == "__main__":
    unittest.main()
