"""How many blocks a claim needs, and what a given number of blocks can detect."""

import math

from scipy import special, stats

from harness.model.errors import InputError
from harness.model.scenario import Claim
from harness.stats.equivalence import ALPHA
from harness.stats.paired import relative, t_quantile

POWER = 0.8
# Four pairs leave two degrees of freedom, the least at which an interval says anything.
FEWEST_PAIRS = 4
# No verdict rests on fewer complete blocks, whatever their spread.
FEWEST_CLAIM_PAIRS = 5
MOST_PAIRS = 1_000_000


def minimum_detectable_effect(
    standard_error: float, degrees: int, confidence: float = 0.95
) -> float:
    """Smallest overhead that a two-sided test would find with power 80 %, as a fraction."""
    quantiles = t_quantile((1 + confidence) / 2, degrees) + t_quantile(POWER, degrees)
    return relative(quantiles * standard_error)


def planned_mde(sd_log: float, pairs: int) -> float:
    """Minimum detectable effect of ``pairs`` balanced blocks whose log ratios spread ``sd_log``."""
    if pairs < 3:
        raise InputError(f"blocks = {pairs}: a detectable effect exists from 3 blocks on")
    return minimum_detectable_effect(sd_log / math.sqrt(pairs), pairs - 2)


def power_below(
    sd_log: float, margin: float, true: float, pairs: int, alpha: float = ALPHA
) -> float:
    """Probability that ``pairs`` balanced blocks show ``true`` to be below ``margin``."""
    gap = math.log1p(margin) - math.log1p(true)
    if sd_log == 0:
        return float(gap > 0)
    noncentrality = gap * math.sqrt(pairs) / sd_log
    critical = t_quantile(1 - alpha, pairs - 2)
    # Far out scipy's noncentral t underflows to NaN; there the test can't miss.
    power = float(stats.nct.sf(critical, pairs - 2, noncentrality))
    return 1.0 if math.isnan(power) and noncentrality > 2 * critical else power


def pairs_needed(
    sd_log: float, margin: float, true: float = 0.0, alpha: float = ALPHA, power: float = POWER
) -> int:
    """Fewest balanced blocks that show an overhead of ``true`` below ``margin`` with this power.

    Noncentral t with n - 2 degrees of freedom, as the position-adjusted estimate has. Raises
    InputError when ``true`` is not below ``margin``, or when more than a million blocks are needed.
    """
    if true >= margin:
        raise InputError(
            f"an expected overhead of {true:.2%} can't be shown to be below {margin:.2%}: "
            "the margin must exceed what you expect"
        )
    low, high = FEWEST_PAIRS - 1, FEWEST_PAIRS
    while power_below(sd_log, margin, true, high, alpha) < power:
        low, high = high, 2 * high
        if high > MOST_PAIRS:
            raise InputError(
                f"more than {MOST_PAIRS} blocks are needed to tell {true:.2%} from {margin:.2%} "
                f"at a spread of {sd_log:.2%}: reduce the noise or widen the margin"
            )
    while high - low > 1:
        middle = (low + high) // 2
        if power_below(sd_log, margin, true, middle, alpha) < power:
            low = middle
        else:
            high = middle
    return high


def pairs_for_claim(claim: Claim, sd_log: float, expected: float, power: float = POWER) -> int:
    """Blocks that ``claim`` needs when its overhead is ``expected``.

    For ``equivalent`` the nearer limit decides, and each of the two tests gets half of the allowed
    misses, so that both succeed together with at least ``power``. An ``estimate`` has no margin to
    reach. Never fewer than five. Raises InputError when ``expected`` breaks the claim.
    """
    if claim.kind == "at_most" and claim.at_most is not None:
        needed = pairs_needed(sd_log, claim.at_most, expected, power=power)
    elif claim.kind == "equivalent" and claim.low is not None and claim.high is not None:
        if not claim.low < expected < claim.high:
            raise InputError(
                f"an expected overhead of {expected:.2%} can't be shown to lie between "
                f"{claim.low:.2%} and {claim.high:.2%}"
            )
        to_low = math.log1p(expected) - math.log1p(claim.low)
        to_high = math.log1p(claim.high) - math.log1p(expected)
        needed = pairs_needed(sd_log, relative(min(to_low, to_high)), power=(1 + power) / 2)
    else:
        needed = FEWEST_CLAIM_PAIRS
    return max(needed, FEWEST_CLAIM_PAIRS)


def sd_upper_bound(sd: float, degrees: int, confidence: float = 0.8) -> float:
    """Upper bound of a standard deviation estimated with ``degrees`` of freedom.

    A size computed from the pilot's own value is too small half of the time.
    """
    return sd * math.sqrt(degrees / float(special.chdtri(degrees, confidence)))
