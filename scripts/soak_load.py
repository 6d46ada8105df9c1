#!/usr/bin/env python3
"""The load of scripts/soak, and what its disk may hold afterwards.

    soak_load.py SEED FIRST DISK LEDGER STATE

uses the disk until it fails. LEDGER gets a line `begin N` before each operation and `durable N` AFTER the fsync
that covers it; STATE has the number of the write that each page is of; FIRST is the lowest number to use.
"""

import contextlib
import ctypes
import hashlib
import json
import mmap
import os
import random
import struct
import sys

PAGE = 4096
DISK_PAGES = 32 * 256  # 32 MiB
HOT_PAGES = 256
LOSE_DISK, LOSE_DATA = 3, 4  # exit codes: the disk failed; it gave wrong bytes


class Loss(Exception):
    """Something that must never be."""


# ---- what is written -----------------------------------------------------------------------------


def page_bytes(seed, sequence, page):
    """A page as write `sequence` leaves it; zeros stand for a discard."""
    head = struct.pack("<QQ", sequence, page)
    return head + hashlib.shake_128(struct.pack("<Q", seed) + head).digest(PAGE - len(head))


def operation(seed, sequence):
    """Kind, first page, pages and whether an fsync follows: they depend on seed and number alone."""
    chance = random.Random(f"{seed} {sequence}")
    pages = chance.choice([1, 1, 1, 2, 4, 4, 16, 64, 256])
    area = HOT_PAGES if chance.random() < 0.5 else DISK_PAGES
    first = chance.randrange(max(area - pages, 0) + 1)
    kind = "discard" if chance.random() < 0.08 else "write"
    return kind, first, pages, chance.random() < 0.15


def load(seed, lowest, disk, ledger_path, state_path):
    """Uses the disk until it fails; the exit code."""
    chance = random.Random(os.getpid())
    expected = read_state(state_path)
    buffer = mmap.mmap(-1, 256 * PAGE)
    ledger = os.open(ledger_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    # Numbers are not used again, also those of writes that were lost.
    sequence = max(lowest, max(expected) + 1)
    try:
        fd = os.open(disk, os.O_RDWR | os.O_DIRECT)
        while True:
            kind, first, pages, flush = operation(seed, sequence)
            os.write(ledger, b"begin %d\n" % sequence)
            if kind == "discard":
                punch_hole(fd, first * PAGE, pages * PAGE)
                expected[first:first + pages] = [0] * pages
            else:
                for index in range(pages):
                    buffer[index * PAGE:(index + 1) * PAGE] = page_bytes(seed, sequence, first + index)
                os.pwrite(fd, memoryview(buffer)[:pages * PAGE], first * PAGE)
                expected[first:first + pages] = [sequence] * pages
            if flush:
                os.fdatasync(fd)
                os.write(ledger, b"durable %d\n" % sequence)
            if chance.random() < 0.1:
                page = chance.randrange(DISK_PAGES)
                os.preadv(fd, [memoryview(buffer)[:PAGE]], page * PAGE)
                if bytes(buffer[:PAGE]) != page_of(seed, expected[page], page):
                    print(f"page {page} is not as write {expected[page]} left it", file=sys.stderr)
                    return LOSE_DATA
            sequence += 1
    except OSError as error:
        print(f"write {sequence}: {error}", file=sys.stderr)
        return LOSE_DISK


def page_of(seed, sequence, page):
    return page_bytes(seed, sequence, page) if sequence else bytes(PAGE)


def punch_hole(fd, offset, length):
    libc = ctypes.CDLL(None, use_errno=True)
    keep_size_and_punch = 3
    if libc.fallocate(fd, keep_size_and_punch, ctypes.c_long(offset), ctypes.c_long(length)):
        raise OSError(ctypes.get_errno(), "fallocate")


def read_state(path):
    with open(path) as file:
        return json.load(file)


# ---- what must be there --------------------------------------------------------------------------


def read_ledger(path):
    """Numbers of what was begun, and the last one that was promised."""
    begun, durable = [], 0
    with contextlib.suppress(FileNotFoundError), open(path) as file:
        for line in file:
            if not line.endswith("\n"):
                break
            word, number = line.split()
            if word == "begin":
                begun.append(int(number))
            else:
                durable = int(number)
    return begun, durable


def pages_found(image, seed):
    """The number of the write that each page of the disk is of."""
    found = []
    with open(image, "rb") as file:
        for page in range(DISK_PAGES):
            content = file.read(PAGE)
            sequence = 0 if content == bytes(PAGE) else struct.unpack_from("<Q", content)[0]
            if content != page_of(seed, sequence, page):
                raise Loss(f"page {page} holds bytes that were never written there")
            found.append(sequence)
    return found


def check(seed, base, begun, durable, found):
    """Checks that `found` is `base` after a prefix of the operations that were begun, with those durable."""
    least = sum(1 for sequence in begun if sequence <= durable)
    wrong = [0] * (len(begun) + 2)  # differences: pages that are wrong after so many operations
    value = list(base)
    since = [0] * DISK_PAGES
    touched = set()

    def settle(page, until):
        if value[page] != found[page]:
            wrong[since[page]] += 1
            wrong[until] -= 1

    for index, sequence in enumerate(begun, 1):
        kind, first, pages, _ = operation(seed, sequence)
        for page in range(first, first + pages):
            touched.add(page)
            settle(page, index)
            value[page], since[page] = (0 if kind == "discard" else sequence), index
    for page in range(DISK_PAGES):
        settle(page, len(begun) + 1)
    count, candidates, fewest = 0, [], None
    for prefix in range(len(begun) + 1):
        count += wrong[prefix]
        if count == 0:
            candidates.append(prefix)
        if prefix >= least and (fewest is None or count < fewest[0]):
            fewest = (count, prefix)
    if not any(prefix >= least for prefix in candidates):
        raise Loss(
            f"the disk is no prefix of {len(begun)} operations with the first {least}: they give {candidates}; "
            f"after {fewest[1]} there are {fewest[0]} wrong pages, the fewest")


if __name__ == "__main__":
    seed, first, *paths = sys.argv[1:]
    sys.exit(load(int(seed), int(first), *paths))
