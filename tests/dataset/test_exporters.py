import json

import pyarrow.parquet as pq
import pytest

from oreo_agents.agents.load import load_agent
from oreo_agents.cli import main
from oreo_agents.dataset import TrajectoryWriter, load_trajectories
from oreo_agents.dataset.exporters import EXPORTERS, export_dataset, to_messages
from oreo_agents.dataset.importers import import_sharegpt
from oreo_agents.errors import ConfigurationError, DatasetError
from oreo_agents.language.reply import read_thought
from oreo_agents.rollout.record import record
from oreo_agents.rollout.schedule import Schedule
from oreo_agents.trajectory import Trajectory, Turn


def corridor(game, actions, won):
    """An episode of a deterministic game: the observation tells all actions so far."""
    turns = [
        Turn(
            f"{game} {actions[:i]}",
            action,
            float(won and i == len(actions) - 1),
            "ok",
            admissible_commands=("a",),
        )
        for i, action in enumerate(actions)
    ]
    return Trajectory(
        tuple(turns),
        game=game,
        agent="walker",
        final_observation="end",
        terminated=won,
        truncated=not won,
        seed=1,
    )


@pytest.fixture
def played(tmp_path):
    path = tmp_path / "played"
    with TrajectoryWriter(path, author="me") as writer:
        for game, actions, won in [
            ("g1", "abc", True),
            ("g1", "abd", False),
            ("g1", "x", False),
            ("g2", "ab", True),
            ("g2", "xy", False),
            ("g3", "ab", True),
            ("g4", "ab", False),
            ("g5", "ab", True),
            ("g5", "xé\n🙂", False),
        ]:
            writer.append(corridor(game, list(actions), won))
    return load_trajectories(path)


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_thoughts_are_in_the_reply_or_apart(tmp_path, ending):
    """By default what was said is what is trained on; a reply that names nothing is no thought."""
    turns = [
        Turn(
            "A door.", "go on", said="<think>\nIt is open.\n</think>\n\ngo on", admissible_commands=("go on",)
        ),
        Turn("A hall.", "I wonder. Well.", said="I wonder.\nWell.", admissible_commands=("go on",)),
        Turn("A hall.", "go on", 1.0, admissible_commands=("go on",)),
    ]
    with TrajectoryWriter(tmp_path / "d") as writer:
        writer.append(Trajectory(tuple(turns), game="g", terminated=True))
    found = load_trajectories(tmp_path / "d")

    def read(name):
        if ending == "parquet":
            return pq.read_table(tmp_path / name).to_pylist()
        return [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]

    export_dataset(found, tmp_path / f"whole.{ending}", "sft")
    said = read(f"whole.{ending}")[0]["messages"][1::2]
    assert said == [{"role": "assistant", "content": turn.said or turn.action} for turn in turns]
    told = ["dataset", "export", str(tmp_path / "d"), "--format", "sft", "--thoughts-apart"]
    assert main([*told, "-o", str(tmp_path / f"apart.{ending}")]) == 0
    said = read(f"apart.{ending}")[0]["messages"][1::2]
    assert [(one["reasoning_content"], one["content"]) for one in said] == [
        ("It is open.", "go on"),
        ("", "I wonder.\nWell."),
        ("", "go on"),
    ]
    for format in ("sharegpt", "minari"):
        with pytest.raises(ConfigurationError, match="no place for thoughts"):
            export_dataset(found, tmp_path / "x.json", format, find_thought=read_thought)


def test_messages_alternate_and_end_with_the_agent(played):
    assert to_messages(played[0]) == [
        {"role": "user", "content": "g1 []"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "g1 ['a']"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "g1 ['a', 'b']"},
        {"role": "assistant", "content": "c"},
    ]


def test_messages_file_has_what_one_filters_by(played, tmp_path):
    assert export_dataset(played, tmp_path / "m.parquet", "messages") == 9
    table = pq.read_table(tmp_path / "m.parquet")
    assert table.column("messages").to_pylist() == [to_messages(episode) for episode in played]
    assert table.column("game").to_pylist() == played.games.tolist()
    assert table.column("success").to_pylist() == played.success.tolist()


def test_sft_has_all_episodes_or_the_good_ones(played, tmp_path):
    assert export_dataset(played, tmp_path / "all.jsonl", "sft") == 9
    assert export_dataset(played, tmp_path / "s.jsonl", "sft", "success") == 4
    rows = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    assert [row["messages"] for row in rows] == [to_messages(e) for e in played if e.success]


@pytest.fixture
def scored(tmp_path):
    """Episodes of two games with returns alone."""
    with TrajectoryWriter(tmp_path / "scored") as writer:
        for game, action, reward in [("g1", "a", 7.0), ("g1", "b", -3.0), ("g2", "a", 1.0), ("g2", "b", 0.5)]:
            writer.append(Trajectory((Turn(game, action, reward),), game=game, outcome="undefined"))
        writer.append(Trajectory((), game="g2", outcome="undefined"))  # in which nothing was done
    return load_trajectories(tmp_path / "scored")


@pytest.mark.parametrize(
    ("good", "labels"),
    [(None, [1, 0, 0, 0]), ("50%", [1, 0, 1, 0]), ("0.5", [1, 0, 1, 1]), ("8", [0, 0, 0, 0])],
)
def test_good_is_a_return_where_nobody_says_what_winning_is(scored, tmp_path, good, labels):
    export_dataset(scored, tmp_path / "k.parquet", "kto", good)
    assert [row["label"] for row in pq.read_table(tmp_path / "k.parquet").to_pylist()] == [*map(bool, labels)]
    pairs = list(EXPORTERS["dpo"](scored, good))
    assert [pair["chosen"][0]["content"] for pair in pairs] == ["a"] * (labels[0] + (labels[2] > labels[3]))
    chosen = [labels[i] for i in range(4) if labels[i] or good is None]  # without a rule, all
    assert len(list(EXPORTERS["sft"](scored, good))) == len(chosen)


def test_success_that_is_not_defined_and_rules_that_are_none(scored, tmp_path):
    with pytest.raises(DatasetError, match="good must be a return, or a share"):
        export_dataset(scored, tmp_path / "k.parquet", "kto", "success")
    with pytest.raises(ConfigurationError, match="good is 'best', it must be success, a return such as 5"):
        export_dataset(scored, tmp_path / "k.parquet", "kto", "best")
    with pytest.raises(ConfigurationError, match="messages has every episode and makes no use of good"):
        export_dataset(scored, tmp_path / "m.parquet", "messages", "5")


def test_silence_of_an_environment_that_tells_is_labelled_not_won(tmp_path):
    with TrajectoryWriter(tmp_path / "d") as writer:
        for reward, outcome in ((1.0, ""), (0.0, "undefined")):
            writer.append(Trajectory((Turn("g", "a", reward),), env_id="Safe-v0", outcome=outcome))
    export_dataset(load_trajectories(tmp_path / "d"), tmp_path / "k.parquet", "kto")
    assert [row["label"] for row in pq.read_table(tmp_path / "k.parquet").to_pylist()] == [True, False]


def test_dpo_pairs_share_game_and_history(played, tmp_path):
    assert export_dataset(played, tmp_path / "d.json", "dpo") == 3  # g1, g2, g5
    first, second, _ = json.loads((tmp_path / "d.json").read_text())
    assert [m["content"] for m in first["prompt"]] == ["g1 []", "a", "g1 ['a']", "b", "g1 ['a', 'b']"]
    assert [m["content"] for m in first["chosen"]] == ["c"]
    assert [m["content"] for m in first["rejected"]] == ["d"]
    assert [m["content"] for m in second["chosen"]] == ["a", "g2 ['a']", "b"]
    assert [m["content"] for m in second["rejected"]] == ["x", "g2 ['x']", "y"]


def test_kto_labels_every_episode(played, tmp_path):
    assert export_dataset(played, tmp_path / "k.parquet", "kto") == 9
    rows = pq.read_table(tmp_path / "k.parquet").to_pylist()
    assert [row["label"] for row in rows] == played.success.tolist()
    assert [row["prompt"] + row["completion"] for row in rows] == [to_messages(e) for e in played]


def test_sharegpt_comes_back(played, tmp_path):
    export_dataset(played, tmp_path / "s.json", "sharegpt")
    back = list(import_sharegpt(tmp_path / "s.json"))
    assert [to_messages(e) for e in back] == [to_messages(e) for e in played]
    assert [(e.game, e.agent, e.return_, e.final_observation) for e in back] == [
        (e.game, e.agent, e.return_, e.final_observation) for e in played
    ]


def test_sharegpt_comes_back_whatever_is_done_first(tmp_path):
    """An action that begins with OK is no instruction's answer, and an episode without a turn is left out."""
    with TrajectoryWriter(tmp_path / "d") as writer:
        writer.append(corridor("g1", ["OK, I look around", "wait"], True))
        writer.append(corridor("g2", [], False))
    export_dataset(load_trajectories(tmp_path / "d"), tmp_path / "s.jsonl", "sharegpt")
    (back,) = import_sharegpt(tmp_path / "s.jsonl")
    assert [turn.action for turn in back.turns] == ["OK, I look around", "wait"]
    assert "instructions" not in back.metadata


def test_large_files_are_written_in_batches(played, tmp_path, monkeypatch):
    from oreo_agents.dataset import exporters

    monkeypatch.setattr(exporters, "_BATCH", 2)
    for name in ("b.parquet", "b.json", "b.jsonl"):
        assert export_dataset(played, tmp_path / name, "messages") == 9
    assert (
        pq.read_table(tmp_path / "b.parquet").num_rows
        == len(json.loads((tmp_path / "b.json").read_text()))
        == 9
    )


def test_nothing_is_overwritten_or_left_half_written(played, tmp_path):
    (tmp_path / "m.parquet").write_text("precious")
    with pytest.raises(DatasetError, match="exists already"):
        export_dataset(played, tmp_path / "m.parquet", "messages")
    assert (tmp_path / "m.parquet").read_text() == "precious"
    with pytest.raises(DatasetError, match="no episodes"):
        export_dataset(played.filter(success=False), tmp_path / "none.parquet", "sft", "success")
    assert {file.name for file in tmp_path.iterdir()} == {"played", "m.parquet"}
    export_dataset(played, tmp_path / "new" / "m.parquet", "messages")
    assert (tmp_path / "new" / "m.parquet").is_file()


def test_unknown_formats_and_endings(played, tmp_path):
    with pytest.raises(ConfigurationError, match="choose one of dpo, kto, messages, minari"):
        export_dataset(played, tmp_path / "x.parquet", "csv")
    with pytest.raises(ConfigurationError, match=r"choose \.json, \.jsonl, \.parquet"):
        export_dataset(played, tmp_path / "x.csv", "messages")


# ------------------------------------------------------------------------------- the tools themselves


def test_minari_loads_it(played, tmp_path, monkeypatch):
    minari = pytest.importorskip("minari", reason="Minari is not installed")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    assert export_dataset(played, "oreo/corridor/walker-v0", "minari") == 9
    loaded = minari.load_dataset("oreo/corridor/walker-v0")
    assert (loaded.total_episodes, loaded.total_steps) == (9, played.lengths.sum())
    for ours, theirs in zip(played, loaded, strict=True):
        assert list(theirs.observations) == [
            *(turn.observation for turn in ours.turns),
            ours.final_observation,
        ]
        assert list(theirs.actions) == [turn.action for turn in ours.turns]
        assert theirs.rewards.tolist() == list(ours.rewards)
        assert (theirs.terminations[-1], theirs.truncations[-1]) == (ours.terminated, ours.truncated)
        assert json.loads(theirs.infos["admissible_commands"][0]) == ["a"]
    with pytest.raises(DatasetError, match="exists already in"):
        export_dataset(played, "oreo/corridor/walker-v0", "minari")


def test_minari_makes_the_environment_of_this_package_and_no_other(tmp_path, monkeypatch):
    minari = pytest.importorskip("minari", reason="Minari is not installed")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    schedule = Schedule(limit=2)
    record(load_agent("expert"), tmp_path / "d", schedule=schedule, split="generated", max_steps=30)
    export_dataset(load_trajectories(tmp_path / "d"), "oreo/rooms-v0", "minari")
    env = minari.load_dataset("oreo/rooms-v0").recover_environment()
    assert env.spec.id == "OREO-ALFWorld" and env.spec.max_episode_steps == 30
    observation, info = env.reset(seed=1)
    assert "Your task is to" in observation and "look" in info["admissible_commands"]
    meta = json.loads((tmp_path / "d/meta.json").read_text())
    meta["env_spec"] |= {"id": "Canary-v0", "entry_point": "canary:Env"}
    (tmp_path / "d/meta.json").write_text(json.dumps(meta))
    export_dataset(load_trajectories(tmp_path / "d"), "oreo/other-v0", "minari")
    with pytest.raises(ValueError, match="env_spec is None"):
        minari.load_dataset("oreo/other-v0").recover_environment()


@pytest.mark.parametrize("format", sorted(EXPORTERS))
def test_datasets_loads_it(played, tmp_path, format):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    count = export_dataset(played, tmp_path / "rows.parquet", format)
    loaded = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "rows.parquet"), cache_dir=str(tmp_path), split="train"
    )
    assert len(loaded) == count
    assert list(loaded) == list(EXPORTERS[format](played))


@pytest.mark.parametrize("method", ["SFT", "DPO", "KTO"])
def test_trl_trains_on_four_rows(played, tmp_path, method):
    trl = pytest.importorskip("trl", reason="TRL is not installed")
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    export_dataset(played.merge(played), tmp_path / "rows.parquet", method.lower())
    rows = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "rows.parquet"), cache_dir=str(tmp_path), split="train"
    )
    options = {"ref_model": tiny_model()} if method != "SFT" else {}
    config = getattr(trl, f"{method}Config")(
        output_dir=str(tmp_path / "out"),
        max_steps=1,
        per_device_train_batch_size=2,
        report_to="none",
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
    )
    trainer = getattr(trl, f"{method}Trainer")(
        model=tiny_model(),
        args=config,
        train_dataset=rows.select(range(4)),
        processing_class=tiny_tokenizer(),
        **options,
    )
    assert trainer.train().training_loss > 0


def tiny_model():
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {"vocab_size": 300, "hidden_size": 16, "intermediate_size": 16}
    return LlamaForCausalLM(LlamaConfig(**shape, num_hidden_layers=1, num_attention_heads=2))


def tiny_tokenizer():
    """Bytes as tokens, with a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: i for i, letter in enumerate(letters)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>")
    wrapped.chat_template = (
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '<eos>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    return wrapped


def test_export_command(recorded, tmp_path, capsys):
    rows = str(tmp_path / "rows.jsonl")
    assert main(["dataset", "export", str(recorded), "--format", "sft", "--good", "success", "-o", rows]) == 0
    assert "20 rows (sft)" in capsys.readouterr().out
