"""Who knows Minari: episodes go there under a name, are loaded with minari, and come back as rewards and messages.

python examples/minari_user.py EPISODES OUTPUT    (MINARI_DATASETS_PATH says where Minari keeps its datasets)
"""

import sys

import minari

import oreo_agents
from oreo_agents.dataset.exporters import export_dataset

episodes, output = sys.argv[1:]
export_dataset(oreo_agents.load_trajectories(episodes), "oreo/example-v0", "minari")
rows = []
for episode in minari.load_dataset("oreo/example-v0"):
    messages = []
    for seen, done in zip(episode.observations, episode.actions, strict=False):
        messages += [{"role": "user", "content": seen}, {"role": "assistant", "content": done}]
    rows.append({"messages": messages, "rewards": episode.rewards.tolist()})
trainer = oreo_agents.train(rows, "new-tiny", output, "sft", max_steps=2)
print(trainer.state.global_step, "steps on", len(rows), "episodes")
