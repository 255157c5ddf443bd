import pytest

from mltrainer_pipelines.agent.decisions import Decision, decision


@pytest.mark.parametrize(
    "text",
    [
        *("yes", "Yes.", "YES!", "execute", "ok", "go ahead", "do it", "yes please", "Yes, execute", " y ", "let's do it"),
        *(
            "please execute",
            "Sure, do it!",
            "go for it, thanks",
            "ja",
            "oui",
            "sounds good",
            "run it",
            "let’s go",
            "sí",
            "ok thanks",
        ),
    ],
)
def test_a_yes_is_a_yes(text: str) -> None:
    assert decision(text) == Decision(True)


@pytest.mark.parametrize(
    ("text", "decided"),
    [
        ("yes 12", Decision(True, (12,))),
        ("execute 3 and 4", Decision(True, (3, 4))),
        ("execute action #7", Decision(True, (7,))),
        ("yes all", Decision(True, (), True)),
        ("execute both", Decision(True, (), True)),
        ("approve everything", Decision(True, (), True)),
        ("no", Decision(False)),
        ("dismiss 3", Decision(False, (3,))),
        ("no thanks", Decision(False)),
        ("nein", Decision(False)),
        ("not now", Decision(False)),
        ("no, don't", Decision(False)),
        ("never mind", Decision(False)),
        ("yes but only the second one", Decision(True, places=(2,))),
        ("yes, the first two", Decision(True, places=(1, 2))),
        ("execute the last one", Decision(True, places=(-1,))),
        ("yes to all", Decision(True, everything=True)),
        ("stop that", Decision(False, stop=True)),
        ("please stop action 3", Decision(False, (3,), stop=True)),
        ("cancel the screening", Decision(False, stop=True)),
    ],
)
def test_a_decision_may_name_what_it_is_about(text: str, decided: Decision) -> None:
    assert decision(text) == decided


@pytest.mark.parametrize(
    "text",
    [
        "yes, but with LightGBM instead",
        "yes or no?",
        "he said yes",
        "is it a yes?",
        "execute order 66 please now",
        "yesterday",
        "okay, what is the regime?",
        "",
        "maybe",
        "yes 12 no 13",
        "yes, all but 3",
        "yes, but not the second",
        "approve proposal 3",
        "start the screening",
        "no, do it",
        "don't stop",
        "wait",
    ],
)
def test_anything_more_than_a_yes_is_no_yes(text: str) -> None:
    assert decision(text) is None
