"""The solved chain against chance: the same rules, played where losses are frequent."""

import random
import unittest
from decimal import Decimal

from durability_model import LOSSES, SIX_GOOD, YEAR_S, Assumptions, losses_per_year, nines, steps


def often(repair_years, outages, outage_years):
    return Assumptions(
        lost_copies=Decimal(1),
        repair_s=Decimal(repair_years) * YEAR_S,
        zone_outages=Decimal(outages),
        zone_outage_s=Decimal(outage_years) * YEAR_S,
    )


def played(assumptions, is_lost, rounds, chance):
    """Losses per year in so many rounds."""
    known = {}
    years = 0.0
    for _ in range(rounds):
        state = SIX_GOOD
        while not is_lost(state):
            if state not in known:
                following = list(steps(state, assumptions))
                weights = [float(rate) for _, rate in following]
                known[state] = [state for state, _ in following], weights, sum(weights)
            following, weights, total = known[state]
            years += chance.expovariate(total)
            state = chance.choices(following, weights)[0]
    return rounds / years


class Chain(unittest.TestCase):
    def test_it_says_what_chance_does(self):
        chance = random.Random(5)
        for assumptions in (often("0.2", 1, "0.1"), often("0.05", "0.5", "0.5")):
            for name, is_lost in LOSSES.items():
                with self.subTest(name=name, assumptions=assumptions):
                    solved = float(losses_per_year(assumptions, is_lost))
                    seen = played(assumptions, is_lost, 2000, chance)
                    self.assertAlmostEqual(seen / solved, 1, delta=0.1)

    def test_without_outages_data_is_lost_as_by_hand(self):
        # Losses 6 then 5, 4, 3 at once while repairs are fast: the usual product.
        afr, repair = Decimal("0.01"), Decimal(3600)
        rate = losses_per_year(Assumptions(afr, repair, Decimal(0), Decimal(1)), LOSSES["data"])
        mean = repair / YEAR_S
        by_hand = 6 * afr * (5 * afr * mean) * (4 * afr * mean / 2) * (3 * afr * mean / 3)
        self.assertAlmostEqual(float(rate / by_hand), 1, delta=0.001)

    def test_slower_repairs_lose_more(self):
        rates = [
            losses_per_year(Assumptions(Decimal("0.05"), Decimal(s), Decimal("0.1"), Decimal(14400)), LOSSES["data"])
            for s in (10, 60, 3600)
        ]
        self.assertEqual(rates, sorted(rates))

    def test_nines_are_counted(self):
        self.assertEqual([nines(Decimal(rate)) for rate in ("2", "0.1", "0.05", "1e-9")], [0, 1, 1, 9])


if __name__ == "__main__":
    unittest.main()
