"""Whether the judge of scripts/soak condemns what it must."""

import tempfile
import unittest

from soak_load import DISK_PAGES, Loss, check, operation, page_bytes, pages_found

SEED, COUNT = 7, 40
BEGUN = list(range(1, COUNT + 1))


def apply(disk, sequence):
    kind, first, pages, _ = operation(SEED, sequence)
    disk[first:first + pages] = [0 if kind == "discard" else sequence] * pages


def disk_after(count):
    disk = [0] * DISK_PAGES
    for sequence in BEGUN[:count]:
        apply(disk, sequence)
    return disk


class Judge(unittest.TestCase):
    def judge(self, disk, durable=0):
        check(SEED, [0] * DISK_PAGES, BEGUN, durable, disk)

    def test_every_prefix_with_what_was_promised_is_good(self):
        for count in range(COUNT + 1):
            self.judge(disk_after(count), durable=count)

    def test_a_write_less_than_promised_is_a_loss(self):
        shown = max(number for number in BEGUN if operation(SEED, number)[0] == "write")
        with self.assertRaises(Loss):
            self.judge(disk_after(shown - 1), durable=shown)

    def test_a_gap_is_a_loss(self):
        whole = disk_after(COUNT)
        lost = min(number for number in set(whole) if number)
        gap = [0 if number == lost else number for number in whole]
        with self.assertRaises(Loss):
            self.judge(gap)

    def test_a_page_at_another_place_is_a_loss(self):
        with tempfile.NamedTemporaryFile() as image:
            image.write(page_bytes(SEED, 3, 1))
            image.truncate(DISK_PAGES * 4096)
            image.flush()
            with self.assertRaises(Loss):
                pages_found(image.name, SEED)


if __name__ == "__main__":
    unittest.main()
