"""What scripts/bench-slow makes of fio's answers: figures, their ratios, and the table of both."""

import statistics

P99_TARGET = 1.5
HEADS = {  # figure: its head in the table
    "read_p50": "read p50",
    "read_p99": "read p99",
    "write_p50": "write p50",
    "write_p99": "write p99",
    "sync_mean": "sync mean",
    "sync_p99": "sync p99",
    "rate": "requests/s",
}
P99 = ("read_p99", "write_p99", "sync_p99")
COMPARED = (*P99, "rate")


def figures(job):
    """Microseconds of reads, writes and syncs, and requests a second, of a job in fio's JSON."""
    read, write = job["read"]["clat_ns"], job["write"]["clat_ns"]
    sync = job["sync"]["lat_ns"]  # its neighbour total_ios stays 0 under --fdatasync
    for name, times in (("read", read), ("write", write), ("sync", sync)):
        if not times.get("percentile"):
            raise ValueError(f"fio had no {name} answered, so that nothing can be said of them; give more --seconds")
    return {
        "read_p50": percentile_us(read, 50),
        "read_p99": percentile_us(read, 99),
        "write_p50": percentile_us(write, 50),
        "write_p99": percentile_us(write, 99),
        "sync_mean": sync["mean"] / 1e3,
        "sync_p99": percentile_us(sync, 99),
        "rate": job["read"]["iops"] + job["write"]["iops"],
    }


def percentile_us(times, percent):
    return times["percentile"][f"{percent:.6f}"] / 1e3


def ratios(alike, slow):
    """How many times as much each compared figure is with a slow node."""
    return {name: slow[name] / alike[name] for name in COMPARED}


def medians(rounds):
    """The median of each compared figure over the ratios of all rounds."""
    return {name: statistics.median(row[name] for row in rounds) for name in COMPARED}


def head():
    return line("us", HEADS)


def figures_line(label, taken):
    return line(label, {name: f"{taken[name]:.0f}" for name in HEADS})


def ratios_line(label, taken):
    return line(label, {name: f"{taken[name]:.2f}" for name in COMPARED})


def line(label, cells):
    return f"{label:16}" + "".join(f"{cells.get(name, ''):>11}" for name in HEADS)


def missed(taken):
    """The heads of the medians that are not within the target."""
    return [HEADS[name] for name in P99 if taken[name] > P99_TARGET]


def verdict(taken):
    """Whether the medians are within the target."""
    said = f"missed: {', '.join(missed(taken))}" if missed(taken) else "reached"
    return f"target: with a slow node each p99 at most {P99_TARGET} times that of six alike: {said}"
