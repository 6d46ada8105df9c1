"""The report that scripts/bench writes, of one run or of several."""

import bench_jobs
import bench_requirements
import bench_sqlite
from bench_targets import OURS, TARGETS

COSTS = {"cpu_us": ".1f", "cpu_us_later": ".1f", "bytes_per_byte": ".2f", "bytes_per_byte_later": ".2f"}
COUNTS = {1: "one run", 2: "two runs", 3: "three runs"}


def report(runs):
    """All of it: what is asked of all runs, and the figures of the last."""
    last = runs[-1]
    of_last = f" Those of run {len(runs)}." if len(runs) > 1 else ""
    lines = head(runs) + requirement_table(runs) + job_tables(last["jobs"], of_last) + cost_table(last["jobs"], of_last)
    lines += limit_table(last, of_last) + sqlite_table(last["sqlite"], of_last) + other_figures(last, of_last)
    return "\n".join(lines).rstrip() + "\n"


# ---- what was run ------------------------------------------------------------------------------


def head(runs):
    """When, where and of what the figures are."""
    last = runs[-1]
    lines = ["# Benchmarks", "", written_by(runs), "", *machines(runs)]
    lines += [run_line(number, it) for number, it in enumerate(runs, 1)]
    lines += ["- Files are filled before, with O_DIRECT and io_uring; a job with rounds has the median of them.",
              settled(last), ""]
    lines += [f"- `{name}`: {TARGETS[name][0]}." for name in last["targets"]]
    skipped = {name: why for it in runs for name, why in it["skipped"].items()}
    return lines + [f"- `{name}` was skipped: {why}." for name, why in skipped.items()]


def written_by(runs):
    """One sentence on where the figures come from."""
    if len(runs) == 1:
        return f"Written by `scripts/bench` on {runs[0]['date']}; every figure was measured in that one run."
    number = COUNTS.get(len(runs), f"{len(runs)} runs").capitalize()
    dates = ", ".join(it["date"] for it in runs[:-1])
    revisions = sorted({it["revision"] for it in runs})
    return (f"{number} of `scripts/bench` were made, on {dates} and {runs[-1]['date']}, at revision "
            f"{', '.join(revisions)}; written by `scripts/bench --worst-of`. Each ratio is of figures of one run.")


def machines(runs):
    """The machine of all runs, or of each."""
    found = list(dict.fromkeys(it["machine"] for it in runs))
    return [f"- Machine: {it}." for it in found]


def run_line(number, it):
    """How a run was made."""
    rounds = f"{it['rounds']} round{'s' if it['rounds'] != 1 else ''}"
    return (f"- Run {number}: {it['date']}, revision {it['revision']}; {it['seconds']} s for each job and target, "
            f"{rounds}, disks of {it['size']}iB.")


def settled(run):
    """Whether our process was quiet when others were measured."""
    late = [f"`{job}`" for job, row in run["jobs"].items() if not row.get(OURS, {}).get("settled", True)]
    awaited = f"- After each job, Redoubt's collection was awaited, up to {run['settle']:g} s, before the next target"
    return awaited + (f"; it was not over then after {', '.join(late)}." if late else ".")


def requirement_table(runs):
    """What is asked, beside what was found."""
    return ["", "## What must be reached", "",
            "Our figure over the other's, in the same run; cut after two digits, and the worst of all runs counts. The "
            "p99 of writes beside collection, checkpoints and a rebuild is measured by `scripts/bench-background`, how "
            "cost grows with work by `scripts/bench-steady`.", "", *bench_requirements.table(runs)]


# ---- the figures of one run --------------------------------------------------------------------


def job_tables(jobs, which):
    """Every job on every target."""
    lines = ["", "## Jobs", "", f"`ours/this` over 1 means that Redoubt is faster.{which}", "",
             "| job | target | operations/s | MB/s | mean us | p99 us | mean sync us | ours/this |",
             "|---|---|--:|--:|--:|--:|--:|--:|"]
    for job, row in jobs.items():
        for name, it in row.items():
            sync = f"{it['sync_us']:.0f}" if it["sync_us"] else "-"
            lines.append(f"| {job} | {name} | {it['iops']:.0f} | {it['mb_s']:.1f} | {it['mean_us']:.0f} "
                         f"| {it['p99_us']:.0f} | {sync} | {bench_jobs.ratio(row, name)} |")
    return lines + preparations(jobs)


def preparations(jobs):
    """What was written before some of the jobs."""
    prepared = {name: bench_jobs.JOBS[name].after for name in jobs if name in bench_jobs.JOBS}
    notes = [f"- `{name}`: {after.told}." for name, after in prepared.items() if after]
    return ["", *notes] if notes else []


def cost_table(jobs, which):
    """Processor time and bytes of our process."""
    rows = [cost_row(job, row[OURS]) for job, row in jobs.items() if OURS in row]
    return ["", "## Cost", "",
            "Of Redoubt's process: processor time for each operation, and bytes that it wrote, everything counted, for "
            "each of the user's; from the beginning to the end of each job, and until it was quiet, when what the job "
            f"(or one before) left behind had been collected.{which}", "",
            "| job | processor us/operation | until quiet | bytes written/byte | until quiet |",
            "|---|--:|--:|--:|--:|", *rows]


def cost_row(job, it):
    cells = [amount(it[name], form) for name, form in COSTS.items()]
    return f"| {job} | {' | '.join(cells)} |"


def amount(value, form):
    return "-" if value is None else format(value, form)


def limit_table(results, which):
    """What six copies could reach at best."""
    if not results["limit"]:
        return []
    lines = ["", "## The limit of six copies", "",
             "Six append-only files on the same disk, written at once and each write durable, with no program "
             f"between: what one copy gets.{which}", "", "| write | appends/s | MB/s |", "|---|--:|--:|"]
    return lines + [f"| {name} | {it['iops']:.0f} | {it['mb_s']:.1f} |" for name, it in results["limit"].items()]


def sqlite_table(sqlite, which):
    """Transactions in both journal modes."""
    if not sqlite:
        return []
    lines = ["", "## SQLite", "",
             "One-row transactions, synchronous=full, on ext4 on a loop device with direct I/O on the disk of each "
             f"target, in turn.{buffered(sqlite)}{which}", "",
             "| journal | target | transactions/s | ours/this |", "|---|---|--:|--:|"]
    for mode, row in sqlite.items():
        lines += [f"| {mode} | {name} | {it['iops']:.0f} | {bench_jobs.ratio(row, name)} |" for name, it in row.items()]
    return lines


def buffered(sqlite):
    """Whose loop device is another."""
    names = [f"`{name}`" for name in bench_sqlite.BUFFERED if any(name in row for row in sqlite.values())]
    return f" That on {', '.join(names)} is without: with it no file system comes up there." if names else ""


def other_figures(results, which):
    """What is not held against a peer."""
    lines = [f"| {name} | {value} |" for name, value in results["other"].items()]
    if not lines:
        return []
    return ["", "## Opening and size", "", *([which.strip(), ""] if which else []),
            "| what | measured |", "|---|--:|", *lines]
