"""What is looked for in stored bars, by the name of its check; `bar_checks` looks for it."""

BAR_CHECKS = {
    "no_duplicate_bars": "No (date, symbol) comes twice.",
    "prices_are_possible": "Every price is positive, low ≤ open, close ≤ high, and no volume is negative.",
    "vwap_within_the_range": "Every vwap lies between low and high, to half a cent.",
    "jumps_have_a_reason": "No close moves by more than 40 % without a split or a dividend in between.",
    "coverage": "Every session has at least 80 % of the symbols that the 20 sessions before it have in the median.",
    "nothing_was_rejected": "No bar of the vendor had to be set aside as impossible.",
}
