"""The 101 Formulaic Alphas of Kakushadze (2016, arXiv:1601.00991), by their numbers. The paper leaves some things open; the
choices here:

- **Days.** A number of days that is not whole is rounded down, as the paper says.
- **adv20** is the mean volume of 20 sessions in shares, not dollars, since the formulas compare it with volume.
- **Industries.** IndClass.sector, industry and subindustry are all the sector; null where it is unknown.
- **rank and Ts_Rank** are shares of the members, or of the window, ties at their mean; the largest is 1.
- **Ts_ArgMax and Ts_ArgMin** count from 1, the oldest session, to the length of the window, now; the oldest of equals.
- **min and max** of two series are the smaller and the larger; with a number of days they are over time.
- **Comparisons** give 1 and 0, so alphas 61, 62, 64, 65, 68, 74, 75, 79, 81, 86, 95 and 99 have two values.
- **Correlations of 2 sessions** (alpha 45) are 1 or -1: the product of the signs of the two changes.
- **Missing sessions.** 80 % of a window must be known; a denominator of 0, and a root or power that is not real, gives null.
- **cap** (alpha 56) is the mean dollar volume of 20 sessions: bars do not say what a company is worth.
- **Units.** Where a formula mixes a price with a pure number (alphas 1, 18, 28 and 84) Raw drops the unit.
- **vwap** is the bars' own where they have one, else the mean of open, high, low and close.
"""

from mltrainer_pipelines.features.expressions.graph import expression_set

SOURCE = "Kakushadze (2016), 101 Formulaic Alphas"

# fmt: off
ALPHAS = {
    1: "rank(ts_argmax(SignedPower(returns < 0 ? stddev(returns, 20) : Raw(close), 2), 5)) - 0.5",
    2: "-1 * correlation(rank(delta(log(volume), 2)), rank((close - open) / open), 6)",
    3: "-1 * correlation(rank(open), rank(volume), 10)",
    4: "-1 * ts_rank(rank(low), 9)",
    5: "rank(open - sum(vwap, 10) / 10) * (-1 * abs(rank(close - vwap)))",
    6: "-1 * correlation(open, volume, 10)",
    7: "adv20 < volume ? (-1 * ts_rank(abs(delta(close, 7)), 60)) * sign(delta(close, 7)) : -1",
    8: "-1 * rank(sum(open, 5) * sum(returns, 5) - delay(sum(open, 5) * sum(returns, 5), 10))",
    9: "0 < ts_min(delta(close, 1), 5) ? delta(close, 1) : (ts_max(delta(close, 1), 5) < 0 ? delta(close, 1) : -1 * "
       "delta(close, 1))",
    10: "rank(0 < ts_min(delta(close, 1), 4) ? delta(close, 1) : (ts_max(delta(close, 1), 4) < 0 ? delta(close, 1) : -1 * "
        "delta(close, 1)))",
    11: "(rank(ts_max(vwap - close, 3)) + rank(ts_min(vwap - close, 3))) * rank(delta(volume, 3))",
    12: "sign(delta(volume, 1)) * (-1 * delta(close, 1))",
    13: "-1 * rank(covariance(rank(close), rank(volume), 5))",
    14: "(-1 * rank(delta(returns, 3))) * correlation(open, volume, 10)",
    15: "-1 * sum(rank(correlation(rank(high), rank(volume), 3)), 3)",
    16: "-1 * rank(covariance(rank(high), rank(volume), 5))",
    17: "((-1 * rank(ts_rank(close, 10))) * rank(delta(delta(close, 1), 1))) * rank(ts_rank(volume / adv20, 5))",
    18: "-1 * rank(Raw(stddev(abs(close - open), 5) + (close - open)) + correlation(close, open, 10))",
    19: "(-1 * sign((close - delay(close, 7)) + delta(close, 7))) * (1 + rank(1 + sum(returns, 250)))",
    20: "((-1 * rank(open - delay(high, 1))) * rank(open - delay(close, 1))) * rank(open - delay(low, 1))",
    21: "sum(close, 8) / 8 + stddev(close, 8) < sum(close, 2) / 2 ? -1 : (sum(close, 2) / 2 < sum(close, 8) / 8 - "
        "stddev(close, 8) ? 1 : (volume / adv20 >= 1 ? 1 : -1))",
    22: "-1 * (delta(correlation(high, volume, 5), 5) * rank(stddev(close, 20)))",
    23: "sum(high, 20) / 20 < high ? -1 * delta(high, 2) : 0",
    24: "delta(sum(close, 100) / 100, 100) / delay(close, 100) <= 0.05 ? -1 * (close - ts_min(close, 100)) : -1 * "
        "delta(close, 3)",
    25: "rank(((-1 * returns) * adv20) * vwap * (high - close))",
    26: "-1 * ts_max(correlation(ts_rank(volume, 5), ts_rank(high, 5), 5), 3)",
    27: "0.5 < rank(sum(correlation(rank(volume), rank(vwap), 6), 2) / 2.0) ? -1 : 1",
    28: "scale(correlation(adv20, low, 5) + Raw((high + low) / 2) - Raw(close))",
    29: "ts_min(product(rank(rank(scale(log(sum(ts_min(rank(rank(-1 * rank(delta(close - 1, 5)))), 2), 1))))), 1), 5) + "
        "ts_rank(delay(-1 * returns, 6), 5)",
    30: "((1.0 - rank(sign(close - delay(close, 1)) + sign(delay(close, 1) - delay(close, 2)) + sign(delay(close, 2) - "
        "delay(close, 3)))) * sum(volume, 5)) / sum(volume, 20)",
    31: "rank(rank(rank(decay_linear(-1 * rank(rank(delta(close, 10))), 10)))) + rank(-1 * delta(close, 3)) + "
        "sign(scale(correlation(adv20, low, 12)))",
    32: "scale(sum(close, 7) / 7 - close) + 20 * scale(correlation(vwap, delay(close, 5), 230))",
    33: "rank(-1 * (1 - open / close))",
    34: "rank((1 - rank(stddev(returns, 2) / stddev(returns, 5))) + (1 - rank(delta(close, 1))))",
    35: "(ts_rank(volume, 32) * (1 - ts_rank(close + high - low, 16))) * (1 - ts_rank(returns, 32))",
    36: "2.21 * rank(correlation(close - open, delay(volume, 1), 15)) + 0.7 * rank(open - close) + 0.73 * "
        "rank(ts_rank(delay(-1 * returns, 6), 5)) + rank(abs(correlation(vwap, adv20, 6))) + 0.6 * rank((sum(close, 200) "
        "/ 200 - open) * (close - open))",
    37: "rank(correlation(delay(open - close, 1), close, 200)) + rank(open - close)",
    38: "(-1 * rank(ts_rank(close, 10))) * rank(close / open)",
    39: "(-1 * rank(delta(close, 7) * (1 - rank(decay_linear(volume / adv20, 9))))) * (1 + rank(sum(returns, 250)))",
    40: "(-1 * rank(stddev(high, 10))) * correlation(high, volume, 10)",
    41: "(high * low)^0.5 - vwap",
    42: "rank(vwap - close) / rank(vwap + close)",
    43: "ts_rank(volume / adv20, 20) * ts_rank(-1 * delta(close, 7), 8)",
    44: "-1 * correlation(high, rank(volume), 5)",
    45: "-1 * ((rank(sum(delay(close, 5), 20) / 20) * (sign(delta(close, 1)) * sign(delta(volume, 1)))) * "
        "rank(sign(delta(sum(close, 5), 1)) * sign(delta(sum(close, 20), 1))))",
    46: "0.25 < (delay(close, 20) - delay(close, 10)) / 10 - (delay(close, 10) - close) / 10 ? -1 : ((delay(close, 20) - "
        "delay(close, 10)) / 10 - (delay(close, 10) - close) / 10 < 0 ? 1 : -1 * (close - delay(close, 1)))",
    47: "(rank(1 / close) * volume / adv20) * (high * rank(high - close) / (sum(high, 5) / 5)) - rank(vwap - delay(vwap, "
        "5))",
    48: "indneutralize(correlation(delta(close, 1), delta(delay(close, 1), 1), 250) * delta(close, 1) / close, "
        "IndClass.subindustry) / sum((delta(close, 1) / delay(close, 1))^2, 250)",
    49: "(delay(close, 20) - delay(close, 10)) / 10 - (delay(close, 10) - close) / 10 < -1 * 0.1 ? 1 : -1 * (close - "
        "delay(close, 1))",
    50: "-1 * ts_max(rank(correlation(rank(volume), rank(vwap), 5)), 5)",
    51: "(delay(close, 20) - delay(close, 10)) / 10 - (delay(close, 10) - close) / 10 < -1 * 0.05 ? 1 : -1 * (close - "
        "delay(close, 1))",
    52: "((-1 * ts_min(low, 5) + delay(ts_min(low, 5), 5)) * rank((sum(returns, 240) - sum(returns, 20)) / 220)) * "
        "ts_rank(volume, 5)",
    53: "-1 * delta(((close - low) - (high - close)) / (close - low), 9)",
    54: "(-1 * ((low - close) * open^5)) / ((low - high) * close^5)",
    55: "-1 * correlation(rank((close - ts_min(low, 12)) / (ts_max(high, 12) - ts_min(low, 12))), rank(volume), 6)",
    56: "0 - 1 * (rank(sum(returns, 10) / sum(sum(returns, 2), 3)) * rank(returns * Mean(dollar_volume, 20)))",
    57: "0 - 1 * ((close - vwap) / decay_linear(rank(ts_argmax(close, 30)), 2))",
    58: "-1 * ts_rank(decay_linear(correlation(indneutralize(vwap, IndClass.sector), volume, 3), 7), 5)",
    59: "-1 * ts_rank(decay_linear(correlation(indneutralize(vwap * 0.728317 + vwap * (1 - 0.728317), IndClass.industry), "
        "volume, 4), 16), 8)",
    60: "0 - 1 * (2 * scale(rank(((close - low) - (high - close)) / (high - low) * volume)) - scale(rank(ts_argmax(close, "
        "10))))",
    61: "rank(vwap - ts_min(vwap, 16)) < rank(correlation(vwap, adv180, 17))",
    62: "(rank(correlation(vwap, sum(adv20, 22), 9)) < rank((rank(open) + rank(open)) < (rank((high + low) / 2) + "
        "rank(high)))) * -1",
    63: "(rank(decay_linear(delta(indneutralize(close, IndClass.industry), 2), 8)) - rank(decay_linear(correlation(vwap * "
        "0.318108 + open * (1 - 0.318108), sum(adv180, 37), 13), 12))) * -1",
    64: "(rank(correlation(sum(open * 0.178404 + low * (1 - 0.178404), 12), sum(adv120, 12), 16)) < rank(delta((high + "
        "low) / 2 * 0.178404 + vwap * (1 - 0.178404), 3))) * -1",
    65: "(rank(correlation(open * 0.00817205 + vwap * (1 - 0.00817205), sum(adv60, 8), 6)) < rank(open - ts_min(open, "
        "13))) * -1",
    66: "(rank(decay_linear(delta(vwap, 3), 7)) + ts_rank(decay_linear((low * 0.96633 + low * (1 - 0.96633) - vwap) / "
        "(open - (high + low) / 2), 11), 6)) * -1",
    67: "rank(high - ts_min(high, 2))^rank(correlation(indneutralize(vwap, IndClass.sector), indneutralize(adv20, "
        "IndClass.subindustry), 6)) * -1",
    68: "(ts_rank(correlation(rank(high), rank(adv15), 8), 13) < rank(delta(close * 0.518371 + low * (1 - 0.518371), 1))) "
        "* -1",
    69: "rank(ts_max(delta(indneutralize(vwap, IndClass.industry), 2), 4))^ts_rank(correlation(close * 0.490655 + vwap * "
        "(1 - 0.490655), adv20, 4), 9) * -1",
    70: "rank(delta(vwap, 1))^ts_rank(correlation(indneutralize(close, IndClass.industry), adv50, 17), 17) * -1",
    71: "max(ts_rank(decay_linear(correlation(ts_rank(close, 3), ts_rank(adv180, 12), 18), 4), 15), "
        "ts_rank(decay_linear(rank(low + open - (vwap + vwap))^2, 16), 4))",
    72: "rank(decay_linear(correlation((high + low) / 2, adv40, 8), 10)) / rank(decay_linear(correlation(ts_rank(vwap, "
        "3), ts_rank(volume, 18), 6), 2))",
    73: "max(rank(decay_linear(delta(vwap, 4), 2)), ts_rank(decay_linear(delta(open * 0.147155 + low * (1 - 0.147155), 2) "
        "/ (open * 0.147155 + low * (1 - 0.147155)) * -1, 3), 16)) * -1",
    74: "(rank(correlation(close, sum(adv30, 37), 15)) < rank(correlation(rank(high * 0.0261661 + vwap * (1 - "
        "0.0261661)), rank(volume), 11))) * -1",
    75: "rank(correlation(vwap, volume, 4)) < rank(correlation(rank(low), rank(adv50), 12))",
    76: "max(rank(decay_linear(delta(vwap, 1), 11)), ts_rank(decay_linear(ts_rank(correlation(indneutralize(low, "
        "IndClass.sector), adv81, 8), 19), 17), 19)) * -1",
    77: "min(rank(decay_linear((high + low) / 2 + high - (vwap + high), 20)), rank(decay_linear(correlation((high + low) "
        "/ 2, adv40, 3), 5)))",
    78: "rank(correlation(sum(low * 0.352233 + vwap * (1 - 0.352233), 19), sum(adv40, 19), "
        "6))^rank(correlation(rank(vwap), rank(volume), 5))",
    79: "rank(delta(indneutralize(close * 0.60733 + open * (1 - 0.60733), IndClass.sector), 1)) < "
        "rank(correlation(ts_rank(vwap, 3), ts_rank(adv150, 9), 14))",
    80: "rank(sign(delta(indneutralize(open * 0.868128 + high * (1 - 0.868128), IndClass.industry), "
        "4)))^ts_rank(correlation(high, adv10, 5), 5) * -1",
    81: "(rank(log(product(rank(rank(correlation(vwap, sum(adv10, 49), 8))^4), 14))) < rank(correlation(rank(vwap), "
        "rank(volume), 5))) * -1",
    82: "min(rank(decay_linear(delta(open, 1), 14)), ts_rank(decay_linear(correlation(indneutralize(volume, "
        "IndClass.sector), open * 0.634196 + open * (1 - 0.634196), 17), 6), 13)) * -1",
    83: "rank(delay((high - low) / (sum(close, 5) / 5), 2)) * rank(rank(volume)) / ((high - low) / (sum(close, 5) / 5) / "
        "(vwap - close))",
    84: "SignedPower(ts_rank(vwap - ts_max(vwap, 15), 20), Raw(delta(close, 4)))",
    85: "rank(correlation(high * 0.876703 + close * (1 - 0.876703), adv30, 9))^rank(correlation(ts_rank((high + low) / 2, "
        "3), ts_rank(volume, 10), 7))",
    86: "(ts_rank(correlation(close, sum(adv20, 14), 6), 20) < rank(open + close - (vwap + open))) * -1",
    87: "max(rank(decay_linear(delta(close * 0.369701 + vwap * (1 - 0.369701), 1), 2)), "
        "ts_rank(decay_linear(abs(correlation(indneutralize(adv81, IndClass.industry), close, 13)), 4), 14)) * -1",
    88: "min(rank(decay_linear(rank(open) + rank(low) - (rank(high) + rank(close)), 8)), "
        "ts_rank(decay_linear(correlation(ts_rank(close, 8), ts_rank(adv60, 20), 8), 6), 2))",
    89: "ts_rank(decay_linear(correlation(low * 0.967285 + low * (1 - 0.967285), adv10, 6), 5), 3) - "
        "ts_rank(decay_linear(delta(indneutralize(vwap, IndClass.industry), 3), 10), 15)",
    90: "rank(close - ts_max(close, 4))^ts_rank(correlation(indneutralize(adv40, IndClass.subindustry), low, 5), 3) * -1",
    91: "(ts_rank(decay_linear(decay_linear(correlation(indneutralize(close, IndClass.industry), volume, 9), 16), 3), 4) "
        "- rank(decay_linear(correlation(vwap, adv30, 4), 2))) * -1",
    92: "min(ts_rank(decay_linear((high + low) / 2 + close < low + open, 14), 18), "
        "ts_rank(decay_linear(correlation(rank(low), rank(adv30), 7), 6), 6))",
    93: "ts_rank(decay_linear(correlation(indneutralize(vwap, IndClass.industry), adv81, 17), 19), 7) / "
        "rank(decay_linear(delta(close * 0.524434 + vwap * (1 - 0.524434), 2), 16))",
    94: "rank(vwap - ts_min(vwap, 11))^ts_rank(correlation(ts_rank(vwap, 19), ts_rank(adv60, 4), 18), 2) * -1",
    95: "rank(open - ts_min(open, 12)) < ts_rank(rank(correlation(sum((high + low) / 2, 19), sum(adv40, 19), 12))^5, 11)",
    96: "max(ts_rank(decay_linear(correlation(rank(vwap), rank(volume), 3), 4), 8), "
        "ts_rank(decay_linear(ts_argmax(correlation(ts_rank(close, 7), ts_rank(adv60, 4), 3), 12), 14), 13)) * -1",
    97: "(rank(decay_linear(delta(indneutralize(low * 0.721001 + vwap * (1 - 0.721001), IndClass.industry), 3), 20)) - "
        "ts_rank(decay_linear(ts_rank(correlation(ts_rank(low, 7), ts_rank(adv60, 17), 4), 18), 15), 6)) * -1",
    98: "rank(decay_linear(correlation(vwap, sum(adv5, 26), 4), 7)) - "
        "rank(decay_linear(ts_rank(ts_argmin(correlation(rank(open), rank(adv15), 20), 8), 6), 8))",
    99: "(rank(correlation(sum((high + low) / 2, 19), sum(adv60, 19), 8)) < rank(correlation(low, volume, 6))) * -1",
    100: "0 - 1 * ((1.5 * scale(indneutralize(indneutralize(rank(((close - low) - (high - close)) / (high - low) * "
         "volume), IndClass.subindustry), IndClass.subindustry)) - scale(indneutralize(correlation(close, rank(adv20), 5) "
         "- rank(ts_argmin(close, 30)), IndClass.subindustry))) * (volume / adv20))",
    101: "(close - open) / ((high - low) + 0.001)",
}
# fmt: on

ALPHA101 = expression_set(
    "alpha101",
    {f"alpha_{number:03d}": text for number, text in ALPHAS.items()},
    SOURCE,
    __doc__ or "",
    {f"alpha_{number:03d}": f"alpha {number}: `{text}`" for number, text in ALPHAS.items()},
)
