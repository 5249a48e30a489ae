"""What an evaluation writes."""

import json
from pathlib import Path

from pins import check, dataset, do

LINE = "eval --agent small --split generated_unseen -n 4 --select greedy best_of_k --k 3 --max-steps 12 -o result.json"


def test_the_result_and_its_episodes():
    do(LINE)
    check("evaluation", json.loads(Path("result.json").read_text()))
    for episodes in sorted(Path("result.episodes").iterdir()):
        check(f"evaluation-{episodes.name}", dataset(episodes))
    before = Path("result.json").read_bytes()
    do(LINE)
    assert Path("result.json").read_bytes() == before


def test_an_expert_on_problems():
    do("eval --agent expert --env OREO-Reasoning --games chain_sum --split test -n 5 -o sums.json")
    check("evaluation-expert", json.loads(Path("sums.json").read_text()))
