"""The law L(N, D) = E + A / N^α + B / D^β: loss, the best model for some compute, the compute for a wanted loss.

Hoffmann et al. 2022 (arXiv:2203.15556), equations 2 and 4. Data seen again counts less: Muennighoff et al. 2023
(arXiv:2305.16264), equation 5. Their second discount, on weights beyond those that the different tokens would ask for,
is left out: with little data, models come out larger, and see each token less often, than they recommend.
`report/assets/planner.js` computes the same in a browser.
"""

from dataclasses import dataclass

import numpy as np

Values = float | np.ndarray
GOLDEN = (5**0.5 - 1) / 2
SEARCHED = 80  # steps of each search, far below what rounding leaves of a minimum
BELOW = 5.0  # where the search begins: so much below the best log N for data without end


@dataclass(frozen=True)
class Law:
    """Loss in nats a token for N weights and D tokens; every part may be an array of as many draws.

    `repeats`: R*, how many more epochs are worth as much as that many times the data; infinite: all count as new.
    """

    A: Values
    B: Values
    E: Values
    alpha: Values
    beta: Values
    repeats: Values = np.inf

    def loss(self, parameters: Values, tokens: Values, unique: float = np.inf) -> Values:
        """Nats a token after `tokens`, of which only `unique` differ."""
        seen = effective_tokens(tokens, unique, self.repeats)
        with np.errstate(over="ignore"):
            return self.E + self.A / np.power(parameters, self.alpha) + self.B / np.power(seen, self.beta)

    def optimal(self, flops: Values, flops_per: float, unique: float = np.inf) -> tuple[Values, Values]:
        """Weights and tokens with the lowest loss for some compute, which is `flops_per` · weights · tokens.

        In closed form for data without end (Hoffmann's equation 4), else by golden-section search over log N. Raises
        ValueError for a law in which more weights or more data do harm.
        """
        self._check()
        product = flops / flops_per
        share = (self.alpha * self.A / (self.beta * self.B)) ** (1 / (self.alpha + self.beta))
        parameters = share * product ** (self.beta / (self.alpha + self.beta))
        if np.isinf(unique):
            return parameters, product / parameters
        # The best model is never so large that it sees less than the unique tokens and less than with data without end.
        low, high = np.log(parameters) - BELOW, np.log(np.maximum(parameters, product / unique))
        for _ in range(SEARCHED):
            left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
            worse = self.loss(np.exp(left), product / np.exp(left), unique) > self.loss(
                np.exp(right), product / np.exp(right), unique
            )
            low, high = np.where(worse, left, low), np.where(worse, high, right)
        parameters = np.exp((low + high) / 2)
        return parameters, product / parameters

    def flops_for(self, loss: float, flops_per: float, unique: float = np.inf) -> Values:
        """The least compute that reaches a loss in nats; infinite where none does. Raises ValueError as `optimal`."""
        self._check()
        above = np.maximum(loss - self.E, 0)
        with np.errstate(divide="ignore"):
            parameters = (self.A * (self.alpha + self.beta) / (self.beta * above)) ** (1 / self.alpha)
            tokens = (self.B * (self.alpha + self.beta) / (self.alpha * above)) ** (1 / self.beta)
        endless = flops_per * parameters * tokens
        if np.isinf(unique):
            return endless
        most = effective_tokens(np.inf, unique, self.repeats)
        reachable = loss > self.E + self.B / np.power(most, self.beta)
        low, high = np.log(endless), np.log(endless) + 60 * np.log(10)
        for _ in range(SEARCHED):
            middle = np.where(reachable, (low + high) / 2, 0.0)
            reached = self.loss(*self.optimal(np.exp(middle), flops_per, unique), unique) <= loss
            low, high = np.where(reached, low, middle), np.where(reached, middle, high)
        return np.where(reachable, np.exp(np.where(reachable, high, 0.0)), np.inf)

    def _check(self) -> None:
        for name in ("A", "B", "alpha", "beta"):
            if not np.all(np.asarray(getattr(self, name)) > 0):
                raise ValueError(f"{name} is {getattr(self, name)}; a plan needs a law in which it is above 0")


def effective_tokens(tokens: Values, unique: Values, repeats: Values) -> Values:
    """What `tokens`, `unique` of them different, are worth in new ones: U + U · R* · (1 − exp(−(D / U − 1) / R*))."""
    with np.errstate(invalid="ignore"):
        again = np.maximum(np.divide(tokens, unique) - 1, 0)
        worth = np.minimum(tokens, unique) + unique * repeats * -np.expm1(-again / repeats)
    return np.where(np.isinf(unique) | np.isinf(repeats), tokens, worth)[()]
