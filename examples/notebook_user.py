"""Who works in a notebook: look at episodes as a table, choose some, train, look at the log as a table.

python examples/notebook_user.py EPISODES OUTPUT
"""

import sys

import pandas as pd

import oreo_agents
from oreo_agents.models.recipe import read_recipe

episodes, output = sys.argv[1:]
dataset = oreo_agents.load_trajectories(episodes)
table = dataset.to_pandas()
print(table.groupby("success")["length"].describe())
won = dataset.filter(success=True)
print(won, won[0], won.to_dataset(), sep="\n")
oreo_agents.train(won, "new-tiny", output, "sft", max_steps=4, logging_steps=1)
recipe = read_recipe(output)
print(pd.DataFrame(recipe.log)[["step", "loss"]])
print(oreo_agents.OreoAgent.from_pretrained(output))
