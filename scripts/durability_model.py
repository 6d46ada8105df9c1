"""How often a protection group of six copies in three zones loses what: a continuous-time Markov chain.

A copy is lost at a steady rate, and made again in a time that is exponential, too, with the measured mean; a
zone goes away and comes back with what it had. The states are the copies lost in each zone and the zone that is
away (27 x 4); the rate of a loss is one over the mean time to it from six good copies. Solved exactly, with 60
digits, since the rates differ by twenty orders of magnitude.
"""

from dataclasses import dataclass
from decimal import Decimal, getcontext
from itertools import product

getcontext().prec = 60

ZONES, COPIES_IN_ZONE = 3, 2
WRITE_QUORUM, READ_QUORUM = 4, 3
YEAR_S = Decimal(365 * 24 * 3600)
NO_ZONE = None
SIX_GOOD = ((0,) * ZONES, NO_ZONE)


@dataclass(frozen=True)
class Assumptions:
    """Rates are per year, times in seconds."""

    lost_copies: Decimal
    repair_s: Decimal
    zone_outages: Decimal
    zone_outage_s: Decimal


def alive(state):
    return ZONES * COPIES_IN_ZONE - sum(state[0])


def reachable(state):
    lost, away = state
    return sum(COPIES_IN_ZONE - lost[zone] for zone in range(ZONES) if zone != away)


# What is lost in which states.
LOSSES = {
    "write quorum": lambda state: reachable(state) < WRITE_QUORUM,
    "read quorum": lambda state: reachable(state) < READ_QUORUM,
    "data": lambda state: alive(state) < READ_QUORUM,
}


def states():
    lost = product(range(COPIES_IN_ZONE + 1), repeat=ZONES)
    return list(product(lost, (NO_ZONE, *range(ZONES))))


def steps(state, assumptions):
    """The states that follow, each with its rate per year."""
    lost, away = state
    a = assumptions
    can_repair = reachable(state) >= READ_QUORUM
    for zone in range(ZONES):
        left = COPIES_IN_ZONE - lost[zone]
        if left:
            yield (replaced(lost, zone, lost[zone] + 1), away), left * a.lost_copies
        if lost[zone] and can_repair and zone != away:
            yield (replaced(lost, zone, lost[zone] - 1), away), lost[zone] * YEAR_S / a.repair_s
        if away is NO_ZONE and a.zone_outages:
            yield (lost, zone), a.zone_outages
    if away is not NO_ZONE:
        yield (lost, NO_ZONE), YEAR_S / a.zone_outage_s


def replaced(lost, zone, count):
    return lost[:zone] + (count,) + lost[zone + 1:]


def losses_per_year(assumptions, is_lost):
    """One over the mean time, in years, until a state is reached in which `is_lost` holds."""
    open_states = [state for state in states() if not is_lost(state)]
    # What cannot be reached without outages would make the equations singular.
    if not assumptions.zone_outages:
        open_states = [state for state in open_states if state[1] is NO_ZONE]
    index = {state: at for at, state in enumerate(open_states)}
    rows = []
    for state in open_states:
        row = [Decimal(0)] * (len(open_states) + 1)
        row[-1] = Decimal(1)
        for following, rate in steps(state, assumptions):
            row[index[state]] += rate
            if following in index:
                row[index[following]] -= rate
        rows.append(row)
    return 1 / solve(rows)[index[SIX_GOOD]]


def solve(rows):
    """Gauss and Jordan; the last column is the right side."""
    size = len(rows)
    for column in range(size):
        pivot = max(range(column, size), key=lambda at: abs(rows[at][column]))
        rows[column], rows[pivot] = rows[pivot], rows[column]
        first = rows[column]
        inverse = 1 / first[column]
        # A chain has few neighbours: most of a row is nothing.
        filled = [at for at in range(column, size + 1) if first[at]]
        for at in filled:
            first[at] *= inverse
        for row in rows:
            factor = row[column]
            if row is not first and factor:
                for at in filled:
                    row[at] -= factor * first[at]
    return [row[-1] for row in rows]


def nines(per_year):
    """How many nines the probability has that nothing is lost in a year."""
    return max(0, int(-per_year.log10())) if per_year < 1 else 0
