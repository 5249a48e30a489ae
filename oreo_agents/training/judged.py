"""How good policy and critic are on episodes that they do not learn from, and in games: a Trainer's evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from math import ceil
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.trainer_utils import EvalLoopOutput, EvalPrediction, PredictionOutput

from oreo_agents.models.critic import Critic
from oreo_agents.models.return_scale import ReturnScale
from oreo_agents.training import metrics
from oreo_agents.training.batches import (
    Item,
    Items,
    MicroBatch,
    PlacedBatch,
    as_episodes,
    collate_items,
    sort_places,
)
from oreo_agents.training.checkpoints import AgentTrainer
from oreo_agents.training.compiled import run_uncompiled
from oreo_agents.trajectory import Trajectory, count_cut


class Networks(NamedTuple):
    """An agent as training has it; ``OreoAgent(*networks)`` plays."""

    policy: PreTrainedModel
    processing_class: PreTrainedTokenizerBase
    critic: Critic | None


Play = Callable[[Networks], Iterable[Trajectory]]
"""From an agent to its episodes in the games that judge it."""


class _Prediction(NamedTuple):
    """What was predicted of one episode: an entry for each of its action tokens."""

    place: int
    logp: np.ndarray
    values: np.ndarray
    returns: np.ndarray
    success: bool


class JudgedTrainer(AgentTrainer):
    """A Trainer of policy and critic, seen from its evaluation; how they are trained is :class:`OreoTrainer`'s."""

    play: Play | None
    pad_id: int
    _meters: metrics.Meters
    _step_kl: list[tuple[Tensor, float]]
    scale: ReturnScale

    def hold_out(self, dataset: Any, name: str = "eval_dataset") -> Items:
        """What the objective draws from a dataset, of any kind that ``train_dataset`` may be."""
        raise NotImplementedError

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Losses and the critic's errors on held-out episodes, and with ``play`` the success rate in games.

        Args:
            eval_dataset: as for the class; None: the one that the trainer has.
            ignore_keys: has no meaning here.
            metric_key_prefix: before every name.

        Returns:
            ``eval_loss`` and each part of it, ``eval_value_error`` (root mean squared error of V, in the unit of the
            rewards), ``eval_explained_variance`` (of the soft returns by V, at most 1), ``eval_calibration_error``
            (mean distance between V and the returns, over ten ranges of V, in the same unit), and what else training
            logs; ``eval_success`` (share of games won, where winning is defined), ``eval_return``, ``eval_episodes``,
            and ``eval_cut_action_rate`` where replies came to the limit on their tokens.
        """
        inner = isinstance(eval_dataset, str) and isinstance(self.eval_dataset, dict)
        if eval_dataset is not None and not inner:
            eval_dataset = self._hold_out_all(eval_dataset)
        self.refuse_nan()
        with self._apart():
            return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)

    def predict(
        self, test_dataset: Any, ignore_keys: list[str] | None = None, metric_key_prefix: str = "test"
    ) -> PredictionOutput:
        """Log-probability and V of each action token of episodes, and the metrics of :meth:`evaluate`; V and returns in
        the unit of the rewards.

        Returns:
            ``predictions``: log-probabilities (nats) and values, each ``[episodes, action tokens]``; ``label_ids``:
            returns, of the same shape, and success, ``[episodes]`` bool. Shorter episodes end in NaN, and values are
            NaN where there is no critic.
        """
        with self._apart():
            return super().predict(self.hold_out(test_dataset), ignore_keys, metric_key_prefix)  # type: ignore

    def _hold_out_all(self, dataset: Any) -> Any:
        if isinstance(dataset, dict):
            return {name: self.hold_out(one, f"eval_dataset[{name!r}]") for name, one in dataset.items()}
        return self.hold_out(dataset)

    @contextmanager
    def _apart(self) -> Iterator[None]:
        """What training measures stays as it is meanwhile."""
        kept = self._meters, self._step_kl
        self._meters, self._step_kl = metrics.Meters(), []
        try:
            yield
        finally:
            self._meters, self._step_kl = kept

    def evaluation_loop(
        self,
        dataloader: Any,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """One pass over a data loader's items, without gradients; arguments and result are Trainer's."""
        items: Sequence[Item] = dataloader.dataset
        self.trained.eval()
        wanted = not (
            self.args.prediction_loss_only if prediction_loss_only is None else prediction_loss_only
        )
        rows = self._measure_items(items, wanted)
        means = self._meters.read(lambda sums: gather_object([sums]))
        found: dict[str, Any] = metrics.restore_units(means, self.scale)
        predictions = labels = None
        if wanted and items:
            predictions, labels = _stack_rows(gather_object(rows), self.scale)
            if self.compute_metrics is not None:
                found |= self.compute_metrics(EvalPrediction(predictions, labels))  # type: ignore[arg-type]
        found = {
            f"{metric_key_prefix}_{name.removeprefix(f'{metric_key_prefix}_')}": x
            for name, x in found.items()
        }
        if self.play and self._may_play(metric_key_prefix):
            found |= {f"eval_{name}": x for name, x in self._play_games(self.play).items()}
        return EvalLoopOutput(predictions, labels, found, len(items))  # type: ignore[arg-type]

    def _may_play(self, prefix: str) -> bool:
        """Once in an evaluation, also where it has several datasets."""
        first = f"eval_{next(iter(self.eval_dataset))}" if isinstance(self.eval_dataset, dict) else "eval"
        return prefix == first

    def _play_games(self, play: Play) -> dict[str, float]:
        """How the agent, as it would be saved, plays; every process hears the same."""
        policy, critic = self.finish_models()
        with run_uncompiled(policy, critic):
            episodes = [
                one
                for one in play(Networks(policy, self.tokenizer, critic))
                if not one.metadata.get("failed")
            ]
        played = max(len(episodes), 1)
        rates = {"return": sum(one.return_ for one in episodes) / played, "episodes": len(episodes)}
        won = [one.success for one in episodes]
        if None not in won:
            rates = {"success": sum(map(bool, won)) / played, **rates}
        if cut := sum(map(count_cut, episodes)):
            rates["cut_action_rate"] = cut / sum(map(len, episodes))
        return broadcast_object_list([rates])[0]

    def _measure_items(self, items: Sequence[Item], wanted: bool) -> list[_Prediction]:
        """Record the losses of every item; the rows of this process's share, where they are wanted."""
        world, rank, size = self.args.world_size, self.args.process_index, self.args.eval_batch_size
        places = [rank + world * i for i in range(ceil(len(items) / world))]
        rows: list[_Prediction] = []
        for start in range(0, len(places), size):
            own = sort_places([i for i in places[start : start + size] if i < len(items)], items)
            rows += self._measure_batch(own, [items[i] for i in own], wanted)
            if self._is_sharded and (spare := [i for i in places[start : start + size] if i >= len(items)]):
                with self._apart():  # a model in shards runs on all processes at once, or on none
                    self._measure_batch(spare, [items[0] for _ in spare], False)
            self.control = self.callback_handler.on_prediction_step(self.args, self.state, self.control)
        return rows

    @torch.no_grad()
    def _measure_batch(self, places: Sequence[int], items: Sequence[Item], wanted: bool) -> list[_Prediction]:
        """Record the losses of a batch; ``places`` are those of its items, the longest first."""
        model = self.model_wrapped if self._is_sharded else self.trained
        micros = collate_items(items, self.pad_id, 0 if self._is_sharded else self.args.micro_batch_tokens)
        (placed,) = self.place_batches([micros], everyones=False)
        of_row = (
            place
            for place, item in zip(places, items, strict=True)
            for _ in range(1 if "reference_point" in placed[0] else len(as_episodes(item)))
        )
        rows = []
        for micro in placed:
            with self.compute_loss_context_manager():
                loss, out = self.compute_loss(model, micro, return_outputs=True)
            self._meters.add("loss", loss, micro["weight"])
            if wanted:
                rows += [_take_row(next(of_row), micro, out, i) for i in range(len(micro["input_ids"]))]
        return rows

    @property
    def _is_sharded(self) -> bool:
        return bool(self.is_fsdp_enabled or self.is_deepspeed_enabled)

    def place_batches(
        self, batches: list[list[MicroBatch]], everyones: bool = True
    ) -> list[list[PlacedBatch]]:
        """Micro-batches of :func:`collate_items` as the passes take them."""
        raise NotImplementedError


def _take_row(place: int, micro: PlacedBatch, out: dict[str, Tensor], row: int) -> _Prediction:
    mask = micro["action_mask"][row] & micro["token_mask"][row]

    def column(x: Tensor) -> np.ndarray:
        return x[row][mask].float().cpu().numpy()

    values = out.get("values", torch.full_like(out["logp"], torch.nan))
    return _Prediction(
        place, column(out["logp"]), column(values), column(micro["returns"]), bool(micro["success"][row])
    )


def _stack_rows(
    rows: Sequence[_Prediction], scale: ReturnScale
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Predictions and labels in the order of the episodes, V and returns in the unit of the environment's."""
    rows = sorted(rows, key=lambda row: row.place)
    width = max(len(row.logp) for row in rows)

    def pad(name: str) -> np.ndarray:
        block = np.full((len(rows), width), np.nan, np.float32)
        for line, row in zip(block, rows, strict=True):
            line[: len(row.logp)] = getattr(row, name)
        return block

    values, returns = (scale.restore(pad(name)) for name in ("values", "returns"))
    return (pad("logp"), values), (returns, np.array([row.success for row in rows]))
