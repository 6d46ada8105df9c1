"""What scripts/bench --quick measured before, one line of JSON for each run, and how two runs compare."""

import json
import os
import pathlib

# What two runs of one build differ by, on a machine that others share.
NOISE = 0.8


def default_path():
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(state, "redoubt", "bench.jsonl")


def add(path, entry):
    file = pathlib.Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as lines:
        lines.write(json.dumps(entry) + "\n")


def last(path, machine):
    """The last run on a machine; None when there was none. A line that was cut short is none."""
    found = None
    try:
        lines = pathlib.Path(path).read_text().splitlines()
    except FileNotFoundError:
        return None
    for line in lines:
        try:
            entry = json.loads(line)
            is_meant = entry["machine"] == machine and all(entry["ratios"].values())
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        found = entry if is_meant else found
    return found


def comparison(before, now):
    """A table of both runs: how each job compares with a plain file, and with the run before."""
    if before is None:
        rows = [f"{job:22} {ratio:6.2f} of a plain file" for job, ratio in now["ratios"].items()]
        return "\n".join([*rows, "nothing to compare with: the first run on this machine"])
    rows, slower = [], []
    for job, ratio in now["ratios"].items():
        was = before["ratios"].get(job)
        change = ratio / was if was else None
        told = f"{change:5.2f} of {was:.2f}" if was else "not measured then"
        rows.append(f"{job:22} {ratio:6.2f} of a plain file, {told}")
        if change and change < NOISE:
            slower.append(f"{job} ({change:.2f})")
    verdict = f"slower: {', '.join(slower)}" if slower else "no slower than noise"
    return "\n".join([*rows, f"against {before['revision']} of {before['date']}: {verdict}"])
