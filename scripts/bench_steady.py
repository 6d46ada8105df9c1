"""What scripts/bench-steady makes of what it took: rows of a table, and which targets are missed."""

TARGETS = {  # figure: (what it is, how it is written, what bounds it, whether it must be at least that)
    "flat": ("last minute over first", "{:.2f}", 0.9, True),
    "bytes": ("bytes written for each of the user's", "{:.2f}", 8.0, False),
    "cleaning": ("p99 while garbage is collected, over that at rest", "{:.2f}", 5.0, False),
    "rebuild": ("p99 while a node is rebuilt, over that at rest", "{:.2f}", 5.0, False),
    "clean_open": ("mount after a clean end, s", "{:.2f}", 1.0, False),
    "killed_open": ("mount after kill -9, s", "{:.2f}", 1.0, False),
    "idle": ("resident memory before the first write, MiB", "{:.0f}", 200, False),
}
LEAST_WINDOWS = 2


def flatness(rates):
    """The last window's rate over the first one's; at least two are needed."""
    if len(rates) < LEAST_WINDOWS:
        raise ValueError("one window is neither the first nor the last; give --minutes of 2 or more")
    return rates[-1] / rates[0]


def p99_us(job):
    """Microseconds that one write of a hundred takes longer than, of a job in fio's JSON."""
    times = job["write"]["clat_ns"]
    if not times.get("percentile"):
        raise ValueError("fio had no write answered, so that nothing can be said of them; give more --seconds")
    return times["percentile"]["99.000000"] / 1e3


def per_request_us(processor_seconds, requests):
    """Processor time of each request."""
    return 1e6 * processor_seconds / requests


def missed(figures):
    """The names of the figures that are not within their targets."""
    def holds(name):
        _, _, bound, at_least = TARGETS[name]
        return figures[name] >= bound if at_least else figures[name] <= bound
    return [name for name in TARGETS if not holds(name)]


def table(figures):
    """All figures with their targets."""
    for name, (what, form, bound, at_least) in TARGETS.items():
        yield f"{what:52}{form.format(figures[name]):>9}   at {'least' if at_least else 'most'} {bound:g}"


def verdict(figures):
    """Whether all targets are reached."""
    names = [TARGETS[name][0] for name in missed(figures)]
    return f"targets missed: {'; '.join(names)}" if names else "all targets reached"
