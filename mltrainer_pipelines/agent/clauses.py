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

    `requested` is for one that begins as requests do ("I would like"), `corrects` for one that takes back what stood before it
    ("no, run qda").
    """

    text: str
    mood: Mood
    corrects: bool = False
    requested: bool = False


RUN = (
    r"(?:re-?)?(?:run|start|initiate|launch|execute|begin|perform|do|try|train|test|fit|submit|evaluate"
    r"|backtest|conduct|queue|use|make|give|trigger|check|assess|explore|benchmark|simulate|validate|examine|investigate|study"
    r"|rate)"
    r"|kick off|fire up|spin up|carry out|set off|set up|go with|go for|have a (?:go|try) (?:at|with)|let|get|have|take"
    r"|build|create"
)
VERBS = (
    rf"{RUN}|screen|scan|search|find|look for|combine|blend|stack|mix|merge|average|pool|ensemble"
    r"|set|increase|raise|lift|bump|cap|limit|allow|restrict|tighten|loosen|relax"
    r"|decrease|lower|reduce|drop|cut|change|put|move|bring|adjust|modify|turn|switch|shut|enable|disable|mute|pause|resume"
    r"|push|pull|dial|crank|nudge|fetch|refresh|restart"
    r"|update|rescore|score|re-?compute|re-?calculate|compute|calculate|reload|redo|renew"
    r"|propose|suggest|ask(?: \w+)? for|come up with|generate|request|think (?:of|up)"
    r"|approve|accept|confirm|reject|decline|dismiss|say (?:yes|no) to|show"
    r"|list|explain|tell|detect|compare|leave|keep|stop|cancel|abort|what|how|why|is|are"
)
_GERUND = re.compile(r"(?:re-?)?[a-z]+ing\b", re.I)
_SENTENCE = re.compile(r"(?<=[!?;\n])\s*|(?<=[.…])\s+|\s+[–—]\s+")
_ASKED = re.compile(
    r"^(?:would you mind|(?:can|could|will|would) (?:you|we)(?: please| kindly| just"
    r"| maybe| perhaps| possibly| quickly| also| first| now| then)*"
    r"|why (?:don'?t|not|do not)(?: we| you)?"
    r"|how about|what about|why not|(?:would|is) it (?:be )?possible to|may i ask you to"
    r"|i(?: would|'d) (?:like|love|prefer)(?: you)? to(?: see)?|i(?: would|'d) (?:like|love|prefer)"
    r"|(?:i|we) (?:want|need|wish)(?: you)? to|(?:i|we) (?:want|need)"
    r"|(?:i (?:think|believe|guess|feel|say)(?: that)? )?we (?:should|ought to)|we have to|i (?:suggest|recommend"
    r"|propose)(?: that)? we|let'?s|let us"
    r"|(?:it'?s |it is )?time to|go ahead and|go ahead,|go on and|do please|please do(?! (?:an?|the)\b)"
    r"|don'?t forget to|do not forget to|be so kind (?:as )?to|feel free to|make sure to|try to|start by"
    r"|begin by)\b[\s,:]*",
    re.I,
)
_POLITE = re.compile(
    r"^(?:please|pls|plz|kindly|now|ok|okay|so|and|then|next|also|first|firstly|second|secondly|third"
    r"|thirdly|finally|afterwards|after that"
    r"|just|well|hey|hi|hello|ml ?trainer|claude|yes|yep|yeah|sure|alright|great|good|thanks|thank you"
    r"|right|bitte|again"
    r"|once more|never mind|actually|basically|simply|alternatively"
    r"|good morning|good evening|\d+[.)]|[-*•])(?=[\s,:!]|$)[\s,:!]*",
    re.I,
)
_SOFTENED = re.compile(
    r",?\s*\b(?:if|when(?:ever)?) you (?:have|get|find) (?:a|the|some|one)? ?(?:time|moment|minute|second|chance)\b,?"
    r"|,?\s*\bif (?:you (?:can|could|like|want|please|wish|don'?t mind)|possible|it'?s (?:ok|okay"
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
_CONDITION = re.compile(r"(?:and |but |so )?(?:if|when|once|whenever|unless|as soon as|until|in case|provided|should)\b", re.I)
_REPORTED = re.compile(
    r"\b(?:says?|said|saying|wrote|writes?|written|told|tells|claim(?:s|ed)?|mention(?:s|ed)|reads|asks"
    r"|asked|demands?|demanded|according to"
    r"|suggests|suggested|recommends|recommended|insists?|insisted|heard|quoted|orders|ordered"
    r"|thinks|believes|wants|wanted|posted|posts|typed|tweeted|texted|e-?mailed|advised|advises)\b"
    r"|^(?:the|my|our|his|her|their|this|that|an?) (?!(?:plan|wish|request|task|next|idea|job|order)\b)\w+(?: \w+)?: (?:please )?"
    rf"(?:{VERBS})\b|^[^:]*\b(?:some(?:one|body)|he|she|they|boss|colleague|friend|team|news\w*|reddit|twitter|e-?mail|mail|blog|article|book"
    r"|manual|note|paper|message|post|forum|tip)\b[^:]*:",
    re.I,
)
_NO_REQUEST = re.compile(
    r"^(?:please )?(?:be )?(?:careful|beware|warning|caution|attention|watch out|danger|take care|remember|remind|note|mind"
    r"|translate|write|type|spell|repeat|rephrase|quote|define|draft|summari[sz]e|imagine|confirm that)\b",
    re.I,
)
"""Warnings, and texts that are to be written."""
_REFUSED = re.compile(
    r"\b(?:don'?t|do not|not|never|no need|no reason|won'?t|cannot|can'?t|mustn'?t|shouldn'?t|wouldn'?t"
    r"|avoid|refus(?:e|ing)|nobody|no one|no way|none|against"
    r"|rather not|neither|nor|hold off|refrain|forbid(?:den)?|quit|cease|no longer|no more|stop)\b",
    re.I,
)
_HURRY = re.compile(
    r"\b(?:don'?t|do not) (?:wait|hesitate|worry|bother asking|ask)\b[^,.;]*[,.;]?\s*|\bi don'?t mind\b,?\s*", re.I
)
_LEFT_OUT = re.compile(r"(?:skip|forget(?: about)?|omit|ignore|never mind|leave out)\b", re.I)
_QUESTION = re.compile(
    r"^(?:what|why|how|when|who|whom|whose|which|where|whether|is|are|am|was|were|does|did|has"
    r"|have (?:you|we|i|they)|had|should|shall|would"
    r"|could|can|may|might|will|isn'?t|aren'?t|doesn'?t|didn'?t|won'?t|do (?:you|we|i|they|the|these|those|any)"
    r"|explain|tell me|show|describe|list|help|display)\b",
    re.I,
)
_CORRECTION = re.compile(r"^(?:no|sorry|wait|i mean|i meant|actually|rather|correction|oops)\b[\s,:]+", re.I)
_LOOK = re.compile(
    r"(?:see|find out|check|know|look at) (?:how|what|whether|if) (.+?) (?:does|do|performs?|works?|fares?|behaves?)\b", re.I
)
_CARRIES_ON = ("and", "or", "nor", "then", "and then", "also", "and also", "plus", "after that", "afterwards")
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
        for number, (part, mood, requested) in enumerate(_parts(whole)):
            found.append(Clause(part, mood, corrected and number == 0, requested))
    return found


def _parts(sentence: str) -> list[tuple[str, Mood, bool]]:
    asks = sentence.rstrip().endswith("?")
    if asks and _QUESTION.match(sentence.strip()) and not _opened(sentence)[1] and _REPORTED.search(sentence):
        return [(sentence, "question", False)]
    if _REPORTED.search(sentence) or _NO_REQUEST.match(sentence.strip()):
        return [(sentence, "report", False)]
    parts: list[tuple[str, Mood, bool]] = []
    mood: Mood
    refused, unsure, conditional = False, False, not asks and _CONDITION.match(sentence.strip()) is not None
    for joint, part in _split(sentence):
        text, requested = _opened(part)
        urged = requested or re.match(r"\W*(?:(?:so|and|then|but) )?please\b", part, re.I) is not None
        carries_on = joint in _CARRIES_ON and not requested
        if _refuses(text):
            refused, mood = True, "refusal"
        elif refused and carries_on and joint in ("and", "or", "nor"):
            mood = "refusal"
        elif _QUESTION.match(text) and not requested:
            refused, unsure, mood = False, unsure or (not asks and _CONDITION.match(text) is not None), "question"
        elif conditional or _WONDERED.search(text) or (unsure and not urged):
            refused, unsure, mood = False, True, "unsure"
        elif asks and not requested:
            mood = "unsure" if not any(one == "wish" for _, one, _ in parts) or not carries_on else "wish"
        else:
            refused, mood = False, "wish"
        parts.append((text, mood, urged))
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
    if requested and (gerund := _GERUND.match(text)):
        text = _base(gerund[0].lower(), text[gerund.end() :])
    if requested and (look := _LOOK.match(text)):
        text = f"try {look[1]}{text[look.end() :]}"
    return text.strip(), requested


def _base(gerund: str, after: str) -> str:
    """A clause with the verb that its gerund is of: "running", "launching", "kicking off"."""
    stem = gerund.removesuffix("ing")
    doubled = stem[:-1] if stem[-2:-1] == stem[-1:] else stem
    bases = [one + after for one in (stem, doubled, f"{stem}e")]
    return next((one for one in bases if re.match(rf"(?:{VERBS})\b", one, re.I)), gerund + after)


def _refuses(text: str) -> bool:
    """Whether a clause denies what it names, rather than a part of it ("run xgboost, not lightgbm")."""
    match = _LEFT_OUT.match(text) or _REFUSED.search(text)
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
    text = re.sub(r"\"[^\"\n]*\"|“[^”]*”|«[^»]*»|»[^«]*«|„[^“”]*[“”]|`[^`]*`", kept, text)
    return re.sub(r"(?<![\w])'([^'\n]{3,})'(?![\w])", kept, text)
