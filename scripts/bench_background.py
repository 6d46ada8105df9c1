"""What scripts/bench-background makes of what it took: p99s, how they compare, and what is in doubt."""

import typing

REST, YOUNG, COLLECTION, REBUILD = "at rest", "load, young log", "load, collection", "rebuild"
UNDER = 5  # times the p99 at rest
BOUND = (COLLECTION, REBUILD)
P99S = {"plain": "write", "synced": "synced write", "sync": "its fdatasync"}
LEAST_WRITES = 100  # of fewer, the p99 is the longest
CARRIED = 0.95
COLLECTED = 0.01  # bytes read for each of the user's; without collection there are next to none


class Phase(typing.NamedTuple):
    """What a prober saw, and what our process did meanwhile."""

    p99s: dict  # microseconds, named as in P99S
    writes: int  # of the prober, the fewer of its two measurements
    read: int
    written: int
    of_user: int
    load: float | None = None  # bytes a second


def probe(job, is_synced):
    """The prober's figures: its p99s in microseconds, its writes and bytes."""
    write = job["write"]
    if not write["total_ios"]:
        raise ValueError("no write of the prober ended, so that nothing can be said of them; give a larger --mib")
    p99s = {"synced" if is_synced else "plain": p99(write["clat_ns"])}
    if is_synced:
        p99s["sync"] = p99(job["sync"]["lat_ns"])
    return p99s, write["total_ios"], write["io_bytes"]


def p99(latencies):
    """Microseconds of fio's percentiles."""
    return latencies["percentile"]["99.000000"] / 1e3


def phase(probes, read, written, load=None):
    """A phase from the prober's two measurements, our process's bytes, and the load's figures."""
    (plain, writes, of_plain), (synced, more_writes, of_synced) = probes
    of_user = of_plain + of_synced + (load["io_bytes"] if load else 0)
    return Phase(plain | synced, min(writes, more_writes), read, written, of_user, load and load["bw_bytes"])


def ratios(phases, name, other=REST):
    """How many times another phase's p99s those of a phase are."""
    return {which: phases[name].p99s[which] / phases[other].p99s[which] for which in P99S}


def missed(phases):
    """The p99s that are not under what they may be."""
    return [f"{P99S[which]} p99, {name}: {times:.1f} times that at rest"
            for name in BOUND for which, times in ratios(phases, name).items() if times >= UNDER]


def is_collecting(it):
    """Whether collection ran, since nobody else reads."""
    return it.read >= COLLECTED * it.of_user


def doubts(phases, rate):
    """Why some of the figures do not show what they are to show; the rate is what the load was to have."""
    found = []
    young, collection = phases[YOUNG], phases[COLLECTION]
    if is_collecting(young):
        found.append(f"{YOUNG}: collection ran already, {young.read / 1e6:.1f} MB were read; give a larger --mib")
    if not is_collecting(collection):
        found.append(f"collection did not run: {collection.read / 1e6:.1f} MB were read for "
                     f"{collection.of_user / 1e6:.0f} MB of the user's; overwrite more before")
    for name in (YOUNG, COLLECTION):
        if phases[name].load < CARRIED * rate:
            found.append(f"{name}: the load reached {phases[name].load / 1e6:.1f} MB/s, and not its rate")
    if phases[REBUILD].writes < LEAST_WRITES:
        found.append(f"the rebuild ended when the prober had {phases[REBUILD].writes} writes; give a larger --mib")
    return found


def table(phases):
    """All phases: p99s with how many times those at rest they are, and bytes."""
    yield (f"{'phase':18}{'writes':>8}" + "".join(f"{f'{what} p99 us':>28}" for what in P99S.values())
           + f"{'load MB/s':>11}{'read MB':>10}{'bytes/byte':>12}")
    for name, it in phases.items():
        times = ratios(phases, name)
        p99s = "".join(f"{it.p99s[which]:>19.0f} ({times[which]:5.2f}x)" for which in P99S)
        load = "-" if it.load is None else f"{it.load / 1e6:.1f}"
        yield f"{name:18}{it.writes:>8}{p99s}{load:>11}{it.read / 1e6:>10.1f}{it.written / it.of_user:>12.2f}"
    told = ", ".join(f"{P99S[which]} {times:.2f}" for which, times in ratios(phases, COLLECTION, YOUNG).items())
    yield f"{COLLECTION} over {YOUNG}: {told}"


def verdict(phases, rate):
    """Whether the target is reached, and what is in doubt."""
    lines = [f"in doubt: {doubt}" for doubt in doubts(phases, rate)]
    said = missed(phases)
    lines.append(f"missed: {'; '.join(said)}" if said else f"all p99s are under {UNDER} times those at rest")
    return "\n".join(lines)
