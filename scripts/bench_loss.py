"""The load of scripts/bench-loss, which knows what it must read, and what is made of what it saw."""

import dataclasses
import mmap
import os
import random
import struct
import threading
import time

BLOCK = 16 << 10
HEAD = struct.Struct("<QQ")
NOISE_BYTES = 1 << 20
NOISE = random.Random(1).randbytes(NOISE_BYTES + BLOCK)
REST_AFTER_ERROR_SECONDS = 0.01
RESUMED_TARGET_MS = 1000


def content(block, version):
    """What a block holds after its write of this number: no two of them have a page in common."""
    begins = (block * 7919 + version * 104_729) % NOISE_BYTES
    return HEAD.pack(block, version) + NOISE[begins:begins + BLOCK - HEAD.size]


def wrong_bytes(found, block, oldest, newest):
    """How many bytes are not those of one write between two of a block."""
    _, version = HEAD.unpack_from(found)
    expected = content(block, min(max(version, oldest), newest))
    return 0 if found == expected else sum(one != two for one, two in zip(found, expected))


@dataclasses.dataclass
class Tally:
    """What the load saw in one case."""

    reads: int = 0
    writes: int = 0
    errors: int = 0
    wrong: int = 0
    longest_read: float = 0
    longest_write: float = 0
    resumed_at: float = 0  # when the first write ended behind `returned_at`
    returned_at: float = float("inf")

    def add_read(self, seconds, wrong):
        self.reads += 1
        self.wrong += wrong
        self.longest_read = max(self.longest_read, seconds)

    def add_write(self, seconds, now):
        self.writes += 1
        self.longest_write = max(self.longest_write, seconds)
        if now > self.returned_at and not self.resumed_at:
            self.resumed_at = now


class Load:
    """Writes blocks at random, each followed by fdatasync, and reads others, past every cache, until it ends."""

    WRITERS, READERS = 2, 2

    def __init__(self, disk, size):
        self.disk, self.blocks = disk, size // BLOCK
        self.begun, self.ended = [0] * self.blocks, [0] * self.blocks  # the writes of each block
        self.lock = threading.Lock()
        self.tally = Tally()
        self.ends = threading.Event()
        self.broken = []
        writers = [threading.Thread(target=self.work, args=(self.write, n), daemon=True) for n in range(self.WRITERS)]
        readers = [threading.Thread(target=self.work, args=(self.read, n), daemon=True) for n in range(self.READERS)]
        self.threads = [*writers, *readers]

    def fill(self):
        """Writes every block once, so that no read is of a hole."""
        with open(self.disk, "r+b", buffering=0) as file:
            for first in range(0, self.blocks, 64):
                blocks = range(first, min(first + 64, self.blocks))
                file.write(b"".join(content(block, 1) for block in blocks))
            os.fsync(file.fileno())
        self.begun, self.ended = [1] * self.blocks, [1] * self.blocks

    def start(self):
        for thread in self.threads:
            thread.start()

    def stop(self, seconds):
        """Whether the requests that are under way end in so many seconds, and the threads with them."""
        self.ends.set()
        deadline = time.monotonic() + seconds
        for thread in self.threads:
            thread.join(max(0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self.threads)

    def begin_case(self):
        """A tally that counts from now on, also what is under way."""
        with self.lock:
            self.tally = Tally()
            return self.tally

    def work(self, request, number):
        """One thread: one request after the other."""
        try:
            source = random.Random(number)
            buffer = mmap.mmap(-1, BLOCK)  # aligned, as O_DIRECT has it
            fd = os.open(self.disk, os.O_RDWR | os.O_DIRECT)
            try:
                while not self.ends.is_set():
                    self.once(request, fd, buffer, number, source)
            finally:
                os.close(fd)
        except Exception as error:  # else a thread that ends would look like a load without errors
            self.broken.append(error)

    def once(self, request, fd, buffer, number, source):
        try:
            request(fd, buffer, number, source)
        except OSError:
            with self.lock:
                self.tally.errors += 1
            time.sleep(REST_AFTER_ERROR_SECONDS)

    def write(self, fd, buffer, number, source):
        """Each writer has blocks of its own, so that their writes have an order."""
        block = source.randrange(self.blocks // self.WRITERS) * self.WRITERS + number
        version = self.begun[block] + 1
        buffer[:] = content(block, version)
        began = time.monotonic()
        self.begun[block] = version
        whole(os.pwritev(fd, [buffer], block * BLOCK))
        os.fdatasync(fd)
        self.ended[block] = version
        now = time.monotonic()
        with self.lock:
            self.tally.add_write(now - began, now)

    def read(self, fd, buffer, _, source):
        block = source.randrange(self.blocks)
        began = time.monotonic()
        wrong = self.wrong_of(fd, buffer, block)
        with self.lock:
            self.tally.add_read(time.monotonic() - began, wrong)

    def wrong_of(self, fd, buffer, block):
        """Reads a block: what had ended before must be there, and nothing that began after."""
        oldest = self.ended[block]
        whole(os.preadv(fd, [buffer], block * BLOCK))
        return wrong_bytes(buffer[:], block, oldest, self.begun[block])

    def wrong_at_end(self):
        """Reads all blocks, when nothing is under way any more: how many bytes are wrong."""
        buffer = mmap.mmap(-1, BLOCK)
        fd = os.open(self.disk, os.O_RDONLY | os.O_DIRECT)
        try:
            return sum(self.wrong_of(fd, buffer, block) for block in range(self.blocks))
        finally:
            os.close(fd)


def whole(transferred):
    if transferred != BLOCK:
        raise OSError(f"{transferred} bytes of {BLOCK} were transferred")


@dataclasses.dataclass
class Seen:
    """One row of the table."""

    case: str
    tally: Tally
    healthy_seconds: float  # from the harm, or from the return of the last one, to six of six
    reads_without_quorum: int | None = None

    def resumed_ms(self):
        """How long after the fourth node's return the first write ended; nothing where none had to wait."""
        if self.reads_without_quorum is None:
            return None
        return (self.tally.resumed_at - self.tally.returned_at) * 1e3

    def missed(self):
        """Which requirements are not kept: those that time has no part in, and the others."""
        tally = self.tally
        broken = []
        if tally.errors:
            broken.append(f"{tally.errors} requests failed")
        if tally.wrong:
            broken.append(f"{tally.wrong} bytes were wrong")
        if not tally.reads or not tally.writes or self.reads_without_quorum == 0:
            broken.append("nothing was answered, so nothing is known")
        waited = self.resumed_ms()
        late = waited is not None and waited > RESUMED_TARGET_MS
        return broken, [f"writes resumed after {waited:.0f} ms and not {RESUMED_TARGET_MS}"] if late else []


HEADS = ("case", "reads", "synced writes", "failed", "wrong bytes", "longest read, ms", "longest write, ms",
         "first write after the fourth's return, ms", "six of six after, s")


def head():
    return f"{line(HEADS)}\n|---|{'--:|' * (len(HEADS) - 1)}"


def row(seen):
    tally, waited = seen.tally, seen.resumed_ms()
    # Without a quorum a write takes as long as the nodes are away: that is no stall.
    longest_write = f"{tally.longest_write * 1e3:.0f}" if waited is None else "waits"
    return line((seen.case, tally.reads, tally.writes, tally.errors, tally.wrong, f"{tally.longest_read * 1e3:.0f}",
                 longest_write, "" if waited is None else f"{waited:.0f}", f"{seen.healthy_seconds:.1f}"))


def line(cells):
    return f"| {' | '.join(map(str, cells))} |"
