import gzip
import json
import random
from base64 import b64decode

from oreo_agents.report.episodes import ReportedGame, choose_opening, pack_entries
from oreo_agents.trajectory import Trajectory, Turn


def played(values, won=False, texts=(), outcome=""):
    """An episode with these V, rewarded at the end if it is won."""
    texts = [*texts, *(f"room {number}" for number in range(len(texts), len(values)))]
    last = len(values) - 1
    turns = [
        Turn(text, f"go {text[:20]}", float(won and number == last), "ok", value=value)
        for number, (text, value) in enumerate(zip(texts, values, strict=True))
    ]
    return Trajectory(tuple(turns), game="g", task="t", terminated=True, outcome=outcome)


def entries(*episodes):
    return [ReportedGame(number, (one,)) for number, one in enumerate(episodes, 1)]


def unpack(packed):
    return json.loads(gzip.decompress(b64decode(packed)))


def test_the_page_opens_on_the_failure_in_which_v_fell_most():
    """The fall of the won episode is deeper, and not what one is looking for."""
    found = entries(
        played([0.9, 0.1, 0.9], won=True),
        played([0.5, 0.4, 0.3]),
        played([0.5, 0.8, 0.2, 0.1]),
        played([0.5, 0.9]),
    )
    opening = choose_opening(found, ["run"])
    assert (opening.number, opening.step) == (3, 2) and "-0.60 at step 3" in opening.why


def test_without_v_it_opens_on_a_failure():
    opening = choose_opening(entries(played([None], won=True), played([None])), ["run"])
    assert (opening.number, opening.step) == (2, 0)


def test_where_winning_is_not_defined_it_opens_on_the_largest_surprise_else_the_lowest_return():
    rises = played([-5.0, 4.0], outcome="undefined")
    assert choose_opening(entries(played([0.0, 1.0], outcome="undefined"), rises), ["run"]).number == 2
    turn = Turn("a", "b", -3.0)
    poor = Trajectory((turn,), outcome="undefined")
    assert choose_opening(entries(played([None], outcome="undefined"), poor), ["run"]).number == 2
    assert choose_opening([], ["run"]) is None


def test_of_two_runs_it_opens_where_they_part_in_a_game_that_one_won():
    same = played([0.5, 0.5], won=True)
    won, lost = played([0.5, 0.6, 0.9], won=True, texts=["a", "b"]), played([0.5, 0.1], texts=["a", "c"])
    found = [ReportedGame(1, (same, same)), ReportedGame(2, (won, lost)), ReportedGame(3, (same, None))]
    opening = choose_opening(found, ["SFT", "OREO"])
    assert (opening.number, opening.step) == (2, 1)
    assert opening.why == "Only SFT won this game; the two runs part at step 2."


def test_long_texts_are_cut_until_all_of_it_fits_and_say_so(monkeypatch):
    monkeypatch.setattr("oreo_agents.report.episodes.MOST", 100_000)
    generator = random.Random(0)
    long = [generator.randbytes(15_000).hex() for _ in range(8)]  # compresses to half, no further
    packed, longest = pack_entries(entries(played([0.5] * 8, texts=long)), ["run"])
    assert 30_000 < len(packed) <= 100_000
    for text, step in zip(long, unpack(packed)["entries"][0]["sides"][0]["steps"], strict=True):
        kept, said = step["observation"].rsplit("\n[", 1)
        assert len(kept) == longest and text.startswith(kept) and said.endswith("more characters]")
        assert len(kept) + int(said.split()[0].replace(",", "")) == 30_000


def test_thoughts_stand_apart_from_commands():
    turn = Turn(
        "A door.",
        "open door",
        said="Thought: it may be locked.\nAction: open door",
        admissible_commands=("open door",),
    )
    step = unpack(pack_entries(entries(Trajectory((turn,))), ["run"])[0])["entries"][0]["sides"][0]["steps"][
        0
    ]
    assert (step["thought"], step["action"]) == ("it may be locked.", "open door")
