"""A message as clauses, and what each is: a wish, or a question, a refusal, a hypothesis, a quotation, a report, a warning.

Only a wish asks for anything.
"""

import re
from dataclasses import dataclass
from typing import Literal

Mood = Literal["wish", "unsure", "question", "refusal", "report"]


@dataclass(frozen=True)
class Clause:
    """A part of a message: `unsure` where it may be a wish, and `text` without its polite beginning.

    `corrects` is for one that takes back what stood before it ("no, run qda").
    """

    text: str
    mood: Mood
    corrects: bool = False


VERBS = (
    r"(?:re-?)?(?:run|start|initiate|launch|execute|begin|perform|do|try|train|test|fit|submit|evaluate"
    r"|backtest|conduct|queue|use|make|give)"
    r"|kick off|fire up|spin up|carry out|set off|screen|scan|search|find|look for|combine|blend|stack"
    r"|mix|ensemble|set|increase|raise|lift"
    r"|decrease|lower|reduce|drop|cut|change|put|move|bring|adjust|turn|switch|enable|disable|refresh"
    r"|update|rescore|score|recompute|renew"
    r"|go with|go for|have a (?:go|try)|propose|suggest|ask for|come up with|generate|request|think of"
    r"|approve|accept|reject|decline|show"
    r"|list|explain|tell|detect|check"
    r"|compare|leave|keep|stop|cancel|abort|what|how|why|is|are"
)
_GERUNDS = (
    r"(?:re-?)?(?:running|starting|initiating|launching|executing|beginning|performing|doing|trying"
    r"|training|testing|fitting|submitting"
    r"|evaluating|backtesting|conducting|using|making|giving|kicking off|screening|scanning|searching"
    r"|combining|blending|setting|increasing"
    r"|raising|lifting|lowering|reducing|decreasing|dropping|cutting|changing|putting|moving|bringing"
    r"|refreshing|updating|scoring|rescoring"
    r"|proposing|suggesting|approving|accepting|rejecting|declining)"
)
_BASE = {
    "beginning": "begin",
    "setting": "set",
    "putting": "put",
    "cutting": "cut",
    "dropping": "drop",
    "running": "run",
    "fitting": "fit",
}
_BASE |= {
    "submitting": "submit",
    "kicking off": "kick off",
    "scoring": "score",
    "rescoring": "rescore",
    "trying": "try",
    "doing": "do",
}
_BASE |= {
    "testing": "test",
    "training": "train",
    "starting": "start",
    "launching": "launch",
    "performing": "perform",
    "lifting": "lift",
}
_BASE |= {"conducting": "conduct", "backtesting": "backtest", "screening": "screen", "scanning": "scan", "searching": "search"}
_BASE |= {"blending": "blend", "lowering": "lower", "refreshing": "refresh", "suggesting": "suggest", "accepting": "accept"}
_BASE |= {"rejecting": "reject"}
_SENTENCE = re.compile(r"(?<=[!?;\n])\s*|(?<=[.…])\s+|\s+[–—]\s+")
_ASKED = re.compile(
    r"^(?:would you mind|(?:can|could|will|would) (?:you|we)(?: please| kindly| just| maybe please)*|would you mind"
    r"|why (?:don'?t|not|do not)(?: we| you)?"
    r"|how about|what about|may i ask you to|i(?: would|'d) like(?: you)? to|i(?: would|'d) like"
    r"|i (?:want|need|wish)(?: you)? to|i (?:want|need)"
    r"|we (?:want|need|have) to|we should|i (?:suggest|recommend|propose)(?: that)? we|let'?s|let us"
    r"|(?:it'?s |it is )?time to|go ahead and|go ahead,|go on and|do please|please do(?! (?:an?|the)\b)"
    r"|don'?t forget to|do not forget to|be so kind (?:as )?to|feel free to|make sure to|try to|start by"
    r"|begin by|i want)\b[\s,:]*",
    re.I,
)
_POLITE = re.compile(
    r"^(?:please|pls|plz|kindly|now|ok|okay|so|and|then|next|also|first|firstly|second|secondly|third"
    r"|thirdly|finally|afterwards|after that"
    r"|just|well|hey|hi|hello|ml ?trainer|claude|yes|yep|yeah|sure|alright|great|good|thanks|thank you"
    r"|right|bitte|once more|again"
    r"|never mind|\d+[.)]|[-*•])(?=[\s,:!]|$)[\s,:!]*",
    re.I,
)
_SOFTENED = re.compile(
    r",?\s*\bif (?:you (?:can|could|like|want|please|wish|don'?t mind)|possible|it'?s (?:ok|okay"
    r"|possible)|that'?s (?:ok|okay|fine))\b,?",
    re.I,
)
_WONDERED = re.compile(
    r"\b(?:if|suppose|supposing|assum(?:e|ing)|imagine|hypothetically|in case|unless|whenever|when"
    r"|once (?:the|it|we|you|i)|until|maybe"
    r"|perhaps|possibly|might|some ?day|wonder(?:ing)?|thinking (?:of|about)|think about|consider(?:ing)?"
    r"|were to|would|could|was going to"
    r"|am going to|'m going to|plan(?:ning)? to|will|i'?ll|we'?ll|hope|hoping|tomorrow|later|next (?:week"
    r"|month|time)|tonight|in future)\b",
    re.I,
)
_REPORTED = re.compile(
    r"\b(?:says?|said|saying|wrote|writes?|written|told|tells|claim(?:s|ed)?|mention(?:s|ed)|reads|asks"
    r"|asked|demands?|demanded|according to"
    r"|suggests|suggested|recommends|recommended|insists?|insisted|heard|quotes?|quoted|orders|ordered"
    r"|thinks|believes|wants|wanted)\b",
    re.I,
)
_WARNED = re.compile(
    r"^(?:be )?(?:careful|beware|warning|caution|attention|watch out|danger|take care|remember|note|mind)\b", re.I
)
_REFUSED = re.compile(
    r"\b(?:don'?t|do not|not|never|no need|no reason|won'?t|cannot|can'?t|mustn'?t|shouldn'?t|wouldn'?t"
    r"|avoid|refus(?:e|ing)|nobody|no one"
    r"|rather not|neither|nor|hold off|refrain|forbid(?:den)?|quit|cease|without|no longer|no more|stop)\b",
    re.I,
)
_HURRY = re.compile(
    r"\b(?:don'?t|do not) (?:wait|hesitate|worry|bother asking|ask)\b[^,.;]*[,.;]?\s*|\bi don'?t mind\b,?\s*", re.I
)
_QUESTION = re.compile(
    r"^(?:what|why|how|when|who|whom|whose|which|where|whether|is|are|am|was|were|does|did|has"
    r"|have (?:you|we|i|they)|had|should|shall|would"
    r"|could|can|may|might|will|isn'?t|aren'?t|doesn'?t|didn'?t|won'?t|do (?:you|we|i|they|the|these|those|any)"
    r"|explain|tell me|show|describe|list|help|display)\b",
    re.I,
)
_CORRECTION = re.compile(r"^(?:no|sorry|wait|i mean|i meant|actually|rather|correction|oops)\b[\s,:]+", re.I)
_JOIN = re.compile(
    r"\s*[,;:]?\s*\b(and then|then|and also|after that|afterwards|but|instead|and|also|plus|or)\b[\s,]*|\s*,\s*|\s*:\s+", re.I
)


def clauses(text: str) -> list[Clause]:
    """The clauses of a message in their order; what it only quotes is left out."""
    found: list[Clause] = []
    for sentence in _SENTENCE.split(_without_quotations(text.replace("’", "'"))):
        if not (plain := sentence.strip()):
            continue
        correction = _CORRECTION.match(plain)
        corrected = bool(correction) and not re.match(r"^(?:no|rather) (?:need|one|reason|not|more|longer)\b", plain, re.I)
        if correction and corrected:
            plain = plain[correction.end() :]
        whole = _SOFTENED.sub("", _HURRY.sub("", plain))
        for number, (part, mood) in enumerate(_parts(whole)):
            found.append(Clause(part, mood, corrected and number == 0))
    return found


def _parts(sentence: str) -> list[tuple[str, Mood]]:
    asks = sentence.rstrip().endswith("?")
    if _REPORTED.search(sentence) or _WARNED.match(sentence.strip()):
        return [(sentence, "report")]
    parts: list[tuple[str, Mood]] = []
    mood: Mood
    refused, unsure = False, False
    for joint, part in _split(sentence):
        text, requested = _opened(part)
        carries_on = joint in ("and", "or", "nor") and not requested
        if _refuses(text):
            refused, mood = True, "refusal"
        elif refused and carries_on:
            mood = "refusal"
        elif _QUESTION.match(text) and not requested:
            refused, mood = False, "question"
        elif _WONDERED.search(text) or unsure:
            refused, unsure, mood = False, True, "unsure"
        elif asks and not requested:
            mood = "unsure" if not any(one == "wish" for _, one in parts) or not carries_on else "wish"
        else:
            refused, mood = False, "wish"
        parts.append((text, mood))
    return parts


def _split(sentence: str) -> list[tuple[str, str]]:
    """A sentence at the joints after which something new is asked for, with the word of each joint."""
    parts, begin, word = [], 0, ""
    for joint in _JOIN.finditer(sentence):
        after, requested = _opened(sentence[joint.end() :])
        refusal = _REFUSED.match(after)
        new = re.match(rf"(?:{VERBS})\b", after, re.I) or requested or (refusal and re.search(rf"\b(?:{VERBS})\b", after, re.I))
        if (
            joint.start() > begin
            and new
            and not (re.match(r"not\b|without\b", after, re.I) and not re.match(r"not (?:now|yet)", after))
        ):
            parts.append((word, sentence[begin : joint.start()]))
            begin, word = joint.end(), (joint[1] or ",").lower()
    return [*parts, (word, sentence[begin:])]


def _opened(text: str) -> tuple[str, bool]:
    """A clause without its polite beginning, and whether that asks for something."""
    text, requested = text.strip(), False
    while True:
        if match := _ASKED.match(text):
            text, requested = text[match.end() :], True
        elif match := _POLITE.match(text):
            text = text[match.end() :]
        else:
            break
    if requested and (gerund := re.match(rf"{_GERUNDS}\b", text, re.I)):
        word = gerund[0].lower()
        stem = _BASE.get(word) or re.sub(r"ing$", "e", word)
        text = stem + text[gerund.end() :]
    return text.strip(), requested


def _refuses(text: str) -> bool:
    """Whether a clause denies what it names, rather than a part of it ("run xgboost, not lightgbm")."""
    match = _REFUSED.search(text)
    if match is None:
        return False
    verb = re.match(rf"(?:{VERBS})\b", text, re.I)
    return verb is None or match.start() < verb.end() or match[0].lower() == "never"


def _without_quotations(text: str) -> str:
    """A text without what it quotes; a quoted word or two ("lightgbm") are a name."""

    def kept(match: re.Match[str]) -> str:
        inner = match[0][1:-1].strip()
        return inner if len(inner.split()) <= 2 and not re.match(r"(?:yes|no|execute|approve)\b", inner, re.I) else " said "

    text = re.sub(r"(?m)^\s*>.*$", "", text)
    text = re.sub(r"\"[^\"\n]*\"|“[^”]*”|«[^»]*»|„[^“”]*[“”]|`[^`]*`", kept, text)
    return re.sub(r"(?<![\w])'([^'\n]{3,})'(?![\w])", kept, text)
