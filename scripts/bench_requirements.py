"""What Redoubt must reach in scripts/bench, as ratios, and whether the worst of some runs does."""

import math
import typing

from bench_jobs import APPEND_LIMIT, FIRST_FILL, STREAM_LIMIT
from bench_targets import OURS

NOT_MEASURED = "not measured"


class Requirement(typing.NamedTuple):
    """A name, a function of a run's results that gives a ratio or None, and what that must be at least."""

    name: str
    ratio: typing.Callable
    bound: float


def figure(results, job, target, unit):
    """A figure of a target in a job, or of SQLite in a journal mode; None where it was not measured."""
    row = results["jobs"].get(job) or results["sqlite"].get(job) or {}
    return row.get(target, {}).get(unit)


def over(ours, other):
    return ours / other if ours is not None and other else None


def of_peer(peer):
    """Our operations over a peer's in the same job."""
    def ratio(results, job):
        return over(figure(results, job, OURS, "iops"), figure(results, job, peer, "iops"))
    return f"`{peer}`", ratio


def of_limit(name, unit, told):
    """What we reach over what one of six copies gets with no program between."""
    def ratio(results, job):
        return over(figure(results, job, OURS, unit), results["limit"].get(name, {}).get(unit))
    return f"the six-copy limit {told}", ratio


HOST, RAW, QUORUM = of_peer("host"), of_peer("qemu-raw"), of_peer("qemu-quorum6")
BYTES = of_limit(STREAM_LIMIT, "mb_s", "in bytes (1 MiB, QD2)")
APPENDS = of_limit(APPEND_LIMIT, "iops", "in appends (20 KiB, QD1)")

TABLE = [  # (what, job, (held against, at least)…)
    ("first fill, 1 MiB QD8", FIRST_FILL, (BYTES, 0.8)),
    ("1 MiB write QD8", "seq-write-1M-qd8", (BYTES, 1.05), (QUORUM, 1.1)),
    ("random write 16 KiB QD1", "rand-write-16k-qd1", (BYTES, 0.9), (QUORUM, 4.5), (RAW, 1.9)),
    ("random write 16 KiB QD32", "rand-write-16k-qd32", (BYTES, 1.0), (QUORUM, 2.8), (RAW, 0.95)),
    ("random write 4 KiB QD32", "rand-write-4k-qd32", (QUORUM, 9), (RAW, 2.8)),
    ("random read 16 KiB QD32", "rand-read-16k-qd32", (HOST, 0.7), (RAW, 1.3)),
    ("random read 16 KiB QD1", "rand-read-16k-qd1", (HOST, 0.75), (RAW, 1.0)),
    ("random read 4 KiB QD32, overwritten 4 million times", "rand-read-4k-worn-qd32", (RAW, 1.1)),
    ("1 MiB read QD8, written in order", "seq-read-1M-qd8", (HOST, 0.8), (RAW, 1.4)),
    ("1 MiB read QD8, written at random", "seq-read-1M-random-qd8", (HOST, 0.5)),
    ("write 16 KiB + fdatasync, QD1", "sync-write-16k-qd1", (APPENDS, 0.95), (QUORUM, 3), (RAW, 1.1)),
    ("write 16 KiB + fdatasync, 16 jobs", "sync-write-16k-16jobs", (QUORUM, 2), (RAW, 0.8)),
    ("write 16 KiB with O_DSYNC, 16 jobs", "dsync-write-16k-16jobs", (APPENDS, 4)),
    ("mixed 70/30 16 KiB QD32", "mixed-70-30-16k-qd32", (QUORUM, 2), (RAW, 1.2)),
    ("SQLite on ext4, DELETE", "delete", (HOST, 0.5), (QUORUM, 1.5)),
    ("SQLite on ext4, WAL", "wal", (HOST, 0.5), (QUORUM, 2)),
]


def requirements():
    """The table, one for each bound."""
    for what, job, *bounds in TABLE:
        for (against, ratio), bound in bounds:
            yield Requirement(f"{what} / {against}", lambda results, r=ratio, j=job: r(results, j), bound)


REQUIREMENTS = list(requirements())


def worst(ratios):
    """The least of all runs; None where one of them has none."""
    return None if None in ratios else min(ratios)


def is_reached(requirement, runs):
    """Whether the worst of some runs is enough; None where it was not measured in all."""
    least = worst([requirement.ratio(results) for results in runs])
    return None if least is None else least >= requirement.bound


def told(ratio):
    """A ratio for a table, cut and not rounded: what is below a bound is not shown as reaching it."""
    return "-" if ratio is None else f"{math.floor(ratio * 100 + 1e-9) / 100:.2f}"


def row(requirement, runs):
    """A requirement, what each run has, the worst, and whether that is enough."""
    ratios = [requirement.ratio(results) for results in runs]
    said = {True: "yes", False: "no", None: NOT_MEASURED}[is_reached(requirement, runs)]
    cells = [f"{requirement.name} ≥ {requirement.bound:g}", *map(told, ratios)]
    return [*cells, *([told(worst(ratios))] if len(runs) > 1 else []), said]


def table(runs):
    """All requirements in Markdown, and how many are reached."""
    head = ["asked", *(f"run {number}" for number in range(1, len(runs) + 1)), *(["worst"] if len(runs) > 1 else [])]
    head.append("reached")
    rows = [row(requirement, runs) for requirement in REQUIREMENTS]
    reached = sum(is_reached(requirement, runs) is True for requirement in REQUIREMENTS)
    lines = [head, ["---", *["--:"] * (len(head) - 2), "---"], *rows]
    return [*(f"| {' | '.join(cells)} |" for cells in lines), "", f"{reached} of {len(rows)} are reached."]
