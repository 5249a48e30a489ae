from functools import partial

import pytest


@pytest.fixture(scope="module", autouse=True)
def alike_everywhere(tmp_path_factory):
    """One thread, float32, no GPU, no network, no data of the machine's; the tests work in an empty folder."""
    import torch

    from oreo_agents import OreoAgent, OreoConfig

    prepare = OreoConfig.__post_init__

    def in_float32(config):
        config.bf16, config.use_cpu, config.logging_steps = False, True, 1
        prepare(config)

    folder, threads = tmp_path_factory.mktemp("borders"), torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        load = partial(OreoAgent.from_pretrained, device="cpu", dtype="float32")
        patch.setattr(OreoAgent, "from_pretrained", load)
        patch.setattr(OreoConfig, "__post_init__", in_float32)
        patch.setattr("gc.collect", lambda *generation: 0)  # half a second, and Trainer wants it each time
        patch.setenv("ALFWORLD_DATA", "no-data")
        patch.setenv("COLUMNS", "100")
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.chdir(folder)
        yield folder
    torch.set_num_threads(threads)
