"""A yes or a no, in the ways people say them: "let's do it", "yes but only the second one", "ja", "nein", "stop action 3"."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Decision:
    """A yes or a no; which actions it names: by `ids`, by `places` in the order they were put (from 1; -1 the last), or all.

    `stop` is for a no that may also mean what runs already.
    """

    yes: bool
    ids: tuple[int, ...] = ()
    everything: bool = False
    places: tuple[int, ...] = ()
    stop: bool = False


_OBJECT = r"(?: (?:it|this|that|them|these|those|so|now))*"
_YES = (
    rf"yes|y|yep|yup|yeah|ya|aye|sure(?: thing)?|ok|okay|okey|k|go(?: ahead| for it| on)?|do{_OBJECT}|run{_OBJECT}"
    rf"|(?:please )?(?:execute|approve|confirm|start|launch|accept|proceed with|carry out){_OBJECT}"
    rf"|approved|confirmed|accepted|agreed|granted"
    r"|proceed|affirmative|absolutely|definitely|certainly|of course|by all means|make it so|please do"
    r"|i (?:agree|approve|confirm|do)"
    rf"|let'?s (?:do|run|start|try|execute){_OBJECT}|let'?s go(?: ahead)?|(?:sounds|looks) (?:good|great"
    rf"|fine)|that(?:'s| is) fine"
    r"|fine(?: by me| with me)?|alright|all right|correct|right|ship it|you may|you can|go go go"
    r"|vas-y|allez-y|c'est parti|mach(?: das| es| mal)?|los(?: geht'?s)?|leg los|in ordnung|einverstanden|passt"
    r"|bien sûr|volontiers|parfait|ja|jawohl|jep|klar|gerne|genau|oui|d'accord|si|sí|sì|claro|vale|da|hai|tak|sim|evet|👍|✅"
)
_NO = (
    r"no|n|nope|nah|nay|no (?:thanks|thank you|way)|not (?:now|yet|today|this time)|never(?: ?mind)?"
    r"|(?:absolutely|certainly|definitely|of course) not|auf keinen fall|bloß nicht|lass es|pas du tout|surtout pas"
    r"|negative|better not|rather not"
    rf"|i(?:'d| would) rather not|i (?:refuse|decline|disagree)|(?:please )?(?:do not|don'?t)(?: (?:do|run"
    rf"|start|execute|approve)?{_OBJECT})?"
    rf"|(?:cancel|dismiss|reject|decline|skip|drop|forget|leave|discard|ignore){_OBJECT}|no,? don'?t"
    r"|nein|nee|nicht(?: jetzt)?|lieber nicht|non|pas maintenant|niet|não|nie|nej|njet|👎|❌"
)
_STOP = rf"(?:please )?(?:stop|cancel|abort|halt|terminate|kill|interrupt|end)(?: running| the run of| doing)?{_OBJECT}"
_POLITE = (
    r"to|please|pls|thanks|thank you|now|then|bitte|danke|merci|s'il vous plaît|por favor|sir|mate|just|only|but|and|with|of|for"
)
_ORDINALS = {
    "first": 1, "1st": 1, "second": 2, "2nd": 2, "third": 3, "3rd": 3, "fourth": 4, "4th": 4, "fifth": 5, "5th": 5,
    "last": -1, "latter": -1, "former": 1,
}  # fmt: skip
_THING = r"ones?|actions?|cards?|suggestions?"
_KIND = r"(?:the )?(?:(?:momentum )?screening|trials?|ensemble|refresh|run|job)"
_SCOPE = (
    rf"all|everything|both|each|(?:the )?(?:{'|'.join(_ORDINALS)})(?: (?:two|three))?|(?:the )?(?:{_THING})"
    r"|(?:no\. ?|number |nr\.? ?)?#?\d{1,9}|of (?:them|it|these|those)"
)
_SEPARATOR = r"[\s,;:.!–-]+"
_MESSAGE = re.compile(
    rf"(?:(?P<stop>{_STOP})|(?P<yes>{_YES})|(?P<no>{_NO}))(?P<rest>(?:{_SEPARATOR}(?:{_YES}|{_NO}|{_SCOPE}"
    rf"|{_KIND}|{_POLITE}))*)[\s.!)]*"
)
_ALONE = re.compile(
    rf"(?:please |just |only )*(?P<scope>all of (?:them|it|these|those)|both(?: of them)?"
    rf"|(?:the )?(?:{'|'.join(_ORDINALS)})(?: ones?)?"
    rf"|(?:action|number|nr\.?|#) ?\d{{1,9}})(?: only| please| bitte| alone| one)*[.! ]*"
)
"""What is meant, without a yes: "only the second one", "all of them"."""
_ITEM = re.compile(
    rf"(?:(?P<kind>{_KIND})|(?P<scope>{_SCOPE})|(?P<polite>{_POLITE})|(?P<yes>{_YES})|(?P<no>{_NO}))(?={_SEPARATOR}|$)"
)


def decision(text: str) -> Decision | None:
    """A message of the user as a yes or a no, None where it is anything else or anything more.

    >>> decision("execute 3 and 4")
    Decision(yes=True, ids=(3, 4), everything=False, places=(), stop=False)
    >>> decision("yes but only the second one").places
    (2,)
    >>> decision("yes, but with LightGBM instead") is None
    True
    """
    words = " ".join(text.lower().replace("’", "'").split())
    if alone := _ALONE.fullmatch(words):
        words = f"yes, {alone['scope']}"
    words = re.sub(r"^(?:(?:hm+|oh|well|so|please|bitte)[\s,]+)+(?=\S)", "", words)
    if len(words) > 120 or (match := _MESSAGE.fullmatch(words)) is None:
        return None
    yes = match["yes"] is not None
    ids, places, everything = [], [], False
    rest = re.sub(rf"^{_SEPARATOR}|[\s.!)]+$", "", match["rest"] or "")
    while rest:
        item = _ITEM.match(rest)
        if item is None or (item["yes"] and not yes) or (item["no"] and yes):
            return None
        # "Start the screening" is a wish, and "all but 3" is not 3.
        if (item["kind"] and match["stop"] is None) or (item["polite"] == "but" and everything):
            return None
        scope = item["scope"] or ""
        if number := re.search(r"\d+$", scope):
            ids.append(int(number[0]))
        elif scope in ("all", "everything", "both", "each"):
            everything = True
        elif scope and (named := [place for word, place in _ORDINALS.items() if word in scope.split()]):
            many = 3 if scope.endswith("three") else 2 if scope.endswith("two") else 1
            places += list(range(named[0], named[0] + many)) if named[0] > 0 else list(range(-many, 0))
        rest = re.sub(rf"^{_SEPARATOR}", "", rest[item.end() :])
    return Decision(yes, tuple(dict.fromkeys(ids)), everything, tuple(dict.fromkeys(places)), match["stop"] is not None)
