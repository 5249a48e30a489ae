"""Who knows TRL: a model, options, episodes, train, evaluate, save. Episodes are a folder or a dataset of messages.

python examples/trl_user.py MODEL EPISODES OUTPUT
"""

import sys

from transformers import EarlyStoppingCallback

from oreo_agents import OreoConfig, OreoTrainer, load_trajectories

model, episodes, output = sys.argv[1:]
train, held_out = load_trajectories(episodes).split(0.75)  # no game is in both
args = OreoConfig(
    f"{output}-run",
    max_steps=4,
    learning_rate=1e-4,
    eval_strategy="steps",
    eval_steps=2,
    save_strategy="steps",
    save_steps=2,
    load_best_model_at_end=True,
    metric_for_best_model="eval_value_error",
)
trainer = OreoTrainer(model, args, train, held_out, callbacks=[EarlyStoppingCallback(2)])
trainer.train()
print(trainer.evaluate()["eval_explained_variance"])
trainer.save_model(output)
