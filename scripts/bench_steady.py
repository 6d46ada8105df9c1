"""What scripts/bench-steady makes of what it took: rows of a table, and which targets are missed."""

TARGETS = {  # figure: (what it is, how it is written, what bounds it, whether it must be at least that)
    "flat": ("last minute over first, less what a plain file says", "{:.2f}", 0.9, True),
    "bytes": ("bytes written for each of the user's", "{:.2f}", 8.0, False),
    "killed_open": ("mount after kill -9 under load, longest, s", "{:.2f}", 1.0, False),
    "clean_open": ("mount after a clean end, s", "{:.2f}", 1.0, False),
    "idle": ("resident memory before the first write, MiB", "{:.0f}", 200, False),
}
LEAST_WINDOWS = 2


def flatness(rates, plain):
    """The last window's rate over the first one's, over the same of a plain file before and after: the disk below
    changes, too."""
    if len(rates) < LEAST_WINDOWS:
        raise ValueError("one window is neither the first nor the last; give --minutes of 2 or more")
    if not all([rates[0], *plain]):
        raise ValueError("nothing was written in a minute that others are held against")
    return (rates[-1] / rates[0]) / (plain[1] / plain[0])


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
        yield f"{what:54}{form.format(figures[name]):>9}   at {'least' if at_least else 'most'} {bound:g}"


def verdict(figures):
    """Whether all targets are reached."""
    names = [TARGETS[name][0] for name in missed(figures)]
    return f"targets missed: {'; '.join(names)}" if names else "all targets reached"
