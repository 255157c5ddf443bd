"""What was looked up, in sentences: for a conversation without Claude. Times are New York's."""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from mltrainer_pipelines.agent.ledger import NEW_YORK

Values = Mapping[str, Any]


def sentences(query: str, value: Values) -> str:
    """The answer to a lookup (a key of `commands.QUERIES`) in sentences."""
    if (why := value.get("why")) and not value.get("found", value.get("known")):
        more = [candidate(row) for row in value.get("last_signal", [])]
        return "\n".join([f"{str(why)[0].upper()}{str(why)[1:]}.", *more])
    return "\n".join([*_PHRASES[query](value), *market(value)])


def market(value: Values) -> list[str]:
    """Where the market is not a real one, that."""
    kind = value.get("market")
    return (
        [f"(The market is {'simulated' if kind == 'simulated' else 'a recording'}.)"] if kind in ("simulated", "replay") else []
    )


def candidate(row: Values) -> str:
    """A symbol that was scored."""
    what = f"{row['symbol']} ({row['timeframe']}, {row['grade']})" if "symbol" in row else f"Scored for {row['timeframe']}"
    numbers = f"probability {percent(row['profit_probability'])}, confidence {percent(row['confidence'])}"
    return f"  {what}: {numbers}, expected {percent(row['expected_net_return'])}"


def trial(row: Values) -> str:
    """What a trial showed out of sample."""
    sharpe = "unknown" if row.get("sharpe") is None else f"{row['sharpe']:.2f}"
    net, precision = (percent(row.get(name)) for name in ("net_return", "precision_top_decile"))
    return (
        f"{row['model']} ({row['trial_id']}, {row.get('grade')}): Sharpe ratio {sharpe}, net return {net} a year, "
        f"{precision} of its picks profitable, over {row.get('sessions')} sessions out of sample."
    )


def percent(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1%}"


def plain_value(value: object) -> str:
    """A value as a reader writes it; a moment in New York's time."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Decimal):
        return f"{value:,.2f}"
    if isinstance(value, datetime):
        return f"{value.astimezone(NEW_YORK):%Y-%m-%d %H:%M} New York"
    if isinstance(value, date):
        return value.isoformat()
    return "unknown" if value is None else str(value)


def _models(value: Values) -> list[str]:
    if "ids" in value:
        return [f"There are {value['count']} models: {', '.join(value['ids'])}."]
    lines = [f"{one['id']} ({one['family']}, {one['cost']}): {one['summary']}" for one in value["models"]]
    first = f"There {'is' if value['count'] == 1 else 'are'} {_count(value['count'], 'model')}."
    return [first, *lines, *rest(len(lines), value["count"], value.get("offset", 0))]


def _leaderboard(value: Values) -> list[str]:
    lines = []
    for name, board in ((name, board) for name, board in value.items() if isinstance(board, Mapping)):
        champion = board["champion"]
        holder = f"the champion is {champion}" if champion else "there is no champion yet"
        lines.append(f"{str(name).capitalize()}: {_count(board['trials'], 'trial')}, {holder}.")
        for row in board["best"]:
            sharpe = row.get("sharpe")
            worth = "Sharpe ratio unknown" if sharpe is None else f"Sharpe ratio {sharpe:.2f}"
            lines.append(f"  {row['rank']}. {row['trial_id']} ({row.get('grade')}): {worth}")
        lines += rest(len(board["best"]), board["trials"], board.get("offset", 0))
    return lines


def _regime(value: Values) -> list[str]:
    parts = [
        f"{name.replace('_', ' ')} {item:.0f}"
        for name, item in value.items()
        if isinstance(item, float) and name != "score" and "before" not in name
    ]
    before = [f"{item:.0f} {name}" for name, item in value.items() if "before" in str(name) and item is not None]
    lines = [
        f"The regime score is {value['score']:.0f} of 100 on {plain_value(value.get('date'))} (0 a crash, 100 a strong bull)."
    ]
    lines += [f"Its parts: {', '.join(parts)}."] if parts else []
    return lines + ([f"It was {', '.join(before)}."] if before else [])


def _candidates(value: Values) -> list[str]:
    bars = value["bars"]
    lines = [
        f"{value['passing']} of {value['scored']} symbols scored at {plain_value(value['scored_at'])} have a probability of at "
        f"least {percent(bars['min_probability'])}, a confidence of at least {percent(bars['min_confidence'])} and an expected "
        f"return above {percent(bars['min_expected_return'])}. {picks(value)}"
    ]
    lines += [candidate(row) for row in value["symbols"]]
    lines += [f"{candidate(row)}; below threshold: {row['reason']}" for row in value.get("nearest_misses") or []]
    return lines + rest(len(value["symbols"]), value["passing"], value.get("offset", 0))


def picks(value: Values) -> str:
    """Whose picks a screening lists."""
    models = value.get("picks_of") or []
    return f"These are the picks of {' and '.join(models)}, the champion's ensemble." if models else ""


def rest(listed: int, total: int, offset: int = 0) -> list[str]:
    """That a list is cut, and how to see the rest."""
    last = offset + listed
    return [f'These are {offset + 1} to {last} of {total}; add "from {last + 1}" to see more.'] if last < total and listed else []


def _deeper(value: Values) -> list[str]:
    lines = [f"Scored at {plain_value(value['scored_at'])}. {picks(value)}"]
    for row in value["symbols"]:
        prices = ", ".join(f"{word} {plain_value(row[name])}" for word, name in _PRICES)
        lines.append(f"{candidate(row)}; {prices}. {str(row['why'])[:1].upper()}{str(row['why'])[1:]}.")
    return lines


def _explained(value: Values) -> list[str]:
    moment = plain_value(value.get("timestamp"))
    lines = [
        f"{value['symbol']} was recommended for {value['timeframe']} at {moment} by {value['model_used']} "
        f"({value.get('grade')}): "
        f"probability {percent(value['profit_probability'])}, confidence {percent(value['confidence'])}."
    ]
    prices = [f"{word} {plain_value(value.get(name))}" for word, name in _PRICES]
    lines.append(f"Prices: {', '.join(prices)}.")
    lines += [f"Why: {value['why']}."] if value.get("why") else []
    if trade := value.get("paper_trade"):
        lines.append(f"Its paper trade is {trade['status']}, profit or loss {plain_value(trade['profit_loss'])}.")
    return lines


_PRICES = (("entry", "entry_price"), ("target", "target_price"), ("stop", "stop_loss"))


def _portfolio(value: Values) -> list[str]:
    counts = ", ".join(f"{number} {status}" for status, number in value["counts"].items()) or "none yet"
    lines = [f"Paper trades: {counts}."]
    for row in value["paper_trades"]:
        result = row.get("net_return")
        worth = f", net return {percent(result)}" if result is not None else ""
        lines.append(f"  {row['symbol']} ({row['timeframe']}): {row['status']}, entry {plain_value(row['entry_price'])}{worth}")
    lines += rest(len(value["paper_trades"]), sum(value["counts"].values()), value.get("offset", 0))
    mine = [
        f"  {row['symbol']}: {row['actual_shares']:g} shares at {plain_value(row['actual_buy_price'])}" for row in value["yours"]
    ]
    return [*lines, "Your own positions:" if mine else "You took none of them.", *mine]


def _performance(value: Values) -> list[str]:
    lines = []
    for book, words in (("recommendations", "All recommendations"), ("user", "Your positions")):
        row = value[book]
        if isinstance(row, str):
            lines.append(f"{words}: {row}.")
        else:
            equity, hits = plain_value(row["equity"]), percent(row["hit_rate"])
            fall = percent(row["drawdown"])
            lines.append(
                f"{words} on {row['date']}: equity ${equity}, drawdown {fall}, hit rate {hits}, {row['open_positions']} open."
            )
    closed = value["closed_positions"]
    net = f", mean net return {percent(closed['mean_net_return'])}" if closed["count"] else ""
    return [*lines, f"{_count(closed['count'], 'position')} closed{net}."]


def _status(value: Values) -> list[str]:
    fresh = ", ".join(f"{name.replace('_', ' ')} {newest}" for name, newest in value["newest_data"].items())
    trials = ", ".join(f"{number} {status}" for status, number in value["trials"].items()) or "none yet"
    left, today = value["budget"], value["claude_today"]
    lines = [
        f"Newest data: {fresh}.",
        f"Trials: {trials}.",
        f"The agent is {'on' if value['agent_enabled'] else 'off'} (agent enabled: {value['agent_enabled']}), autonomy "
        f"{left['autonomy']}; left today: {left['trials_left_today']} trials, {left['compute_minutes_left_today']:g} minutes, "
        f"${left['dollars_left_today']:.2f}.",
        f"Claude was asked {_count(today['calls'], 'time')} today, for ${today['dollars']:.4f}.",
    ]
    if not value["jobs_can_start"]:
        lines.append("No run can start: Dagster is not up; start it with `mltrainer up`.")
    lines += [f"  Action {one['id']} is {one['status']}: {one['summary']}." for one in value["actions"]]
    return lines


def _proposals(value: Values) -> list[str]:
    if not value["count"]:
        return ["There are no proposals (count: 0)."]
    lines = [
        f"  Proposal {one['id']} ({one['status']}, {one['outcome']}): {one['trial']}. {one['hypothesis']}"
        for one in value["proposals"]
    ]
    return [f"There are {_count(value['count'], 'proposal')}.", *lines, *rest(len(lines), value["count"], value.get("offset", 0))]


def _report(value: Values) -> list[str]:
    overall = {name: item for name, item in (value.get("overall") or {}).items() if not isinstance(item, dict | list)}
    numbers = ", ".join(f"{name.replace('_', ' ')} {plain_value(item)}" for name, item in overall.items() if item is not None)
    first = f"As of {plain_value(value['as_of'])}: {value['closed_positions']} positions closed, {value['open_positions']} open."
    return [first, *([f"Overall: {numbers}."] if numbers else [])]


def _settings(value: Values) -> list[str]:
    return [f"{name} is {plain_value(one['value'])} ({one['may_be']}): {one['meaning']}" for name, one in value.items()]


def _trial(value: Values) -> list[str]:
    window = f"{value['timeframe']}, {value['train_sessions']} sessions, {value['feature_set']} features"
    given = ", ".join(f"{name}={plain_value(item)}" for name, item in (value["params"] or {}).items())
    lines = [f"{value['trial_id']} is {value['status']}: {value['model']} ({window}){f' with {given}' if given else ''}."]
    return [*lines, trial(value)] if "grade" in value else lines


def _saved(value: Values) -> list[str]:
    lines = []
    for one in value["items"]:
        results = ", ".join(f"{name} {plain_value(item)}" for name, item in one["results"].items())
        notes = f" ({one['notes']})" if one["notes"] else ""
        lines.append(f"  {one['trial_id']}, {plain_value(one['saved_at'])}: {results}{notes}")
    return [f"{_count(value['count'], 'saved result')}.", *lines, *rest(len(lines), value["count"], value.get("offset", 0))]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


_PHRASES: dict[str, Callable[[Values], list[str]]] = {
    "models": _models,
    "leaderboard": _leaderboard,
    "regime": _regime,
    "candidates": _candidates,
    "explain": _explained,
    "deeper": _deeper,
    "portfolio": _portfolio,
    "performance": _performance,
    "status": _status,
    "proposals": _proposals,
    "report": _report,
    "settings": _settings,
    "trial": _trial,
    "saved": _saved,
}
