"""Search episodes on a Ray cluster of two nodes, with two simulation LLMs, one of which is killed.

    make test-verl                                          # makes .venvs/ray
    .venvs/ray/bin/python -m benchmarks.verl_cluster

Two Ray nodes run on this machine, with an agent-loop worker on each, around the bundled policy.
verl's own manager, workers, load balancer and transfer queue play groups of episodes; two servers
that only play a simulation LLM (`benchmarks.chat_server`) answer the searches. One server is killed
while a step is under way. Then each episode is played again by itself, with the tokens that the
policy wrote, against the other server: token for token the same, or an episode was mixed up. The
searches that the servers were asked must be those of the replay.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import tyro

from agents.tiny import MODEL
from benchmarks.chat_server import MODEL as CHAT_MODEL
from benchmarks.chat_server import ChatServer, Reply, good, running
from benchmarks.verl_cpu.run import ENVIRONMENT, OPTIONS
from benchmarks.verl_queue import compose_config, fetch, make_batches, put_rows
from zs_env.adapters.verl import prepare
from zs_env.adapters.verl.config import find_entry
from zs_env.adapters.verl.episodes import make_task
from zs_env.tokens.rollout import rollout
from zs_env.tokens.tokenizers import read_tokenizer

MEMBERS = 5
LENGTHS = (256, 512)
DELAY_S = 0.3
EPISODES: dict[str, Any] = {
    "questions": "world",
    "top_k": 2,
    "document_words": 12,
    "max_turn_tokens": 64,
    "noise_start": 0.5,
    "noise_end": 0.5,
}


class Simulator(ChatServer):
    """Server whose answers follow from the requests, which it remembers."""

    def __init__(self) -> None:
        super().__init__(self._plan)
        self.asked: set[str] = set()

    def _plan(self, body: dict[str, Any], attempt: int) -> Reply:
        self.asked.add(repr((body["messages"], body.get("seed"))))
        return Reply(good(body).text, delay_s=DELAY_S)


class Replay:
    """Sampler that writes the tokens of an episode again."""

    def __init__(self, response_ids: Sequence[int], response_mask: Sequence[int]) -> None:
        turns = "".join("1" if trains else " " for trains in response_mask)
        starts = [i for i, c in enumerate(turns) if c == "1" and (i == 0 or turns[i - 1] == " ")]
        ends = [turns.find(" ", start) for start in starts]
        self._turns = [
            list(response_ids[start : end if end >= 0 else None])
            for start, end in zip(starts, ends, strict=True)
        ]

    async def generate(
        self, token_ids: Sequence[int], stop: Sequence[str], max_tokens: int
    ) -> tuple[list[int], list[float]]:
        """Return the next turn."""
        turn = self._turns.pop(0)[:max_tokens]
        return turn, [-1.0] * len(turn)


def start_cluster() -> Any:
    """Start Ray with two nodes on this machine, and the transfer queue."""
    import ray
    import transfer_queue as tq
    from omegaconf import OmegaConf
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4})
    cluster.add_node(num_cpus=4)
    ray.init(address=cluster.address, log_to_driver=False)
    storage = {"total_storage_size": 10_000, "num_data_storage_units": 1}
    tq.init(OmegaConf.create({"backend": {"SimpleStorage": storage}}))
    return cluster


def make_manager(config: Any) -> Any:
    """Return verl's manager of agent loops, with a worker on each node, and a policy server."""
    import ray
    from verl.workers.rollout.llm_server import LLMServerClient
    from verl.workers.rollout.router import get_router_handle

    from benchmarks.verl_cpu.rollout import Server
    from zs_env.adapters.verl.manager import SearchAgentLoopManager

    server = ray.remote(Server).options(num_cpus=0, max_concurrency=1000).remote(str(MODEL), 0)
    balancer = get_router_handle(servers={"policy": server})
    client = LLMServerClient(config, load_balancer_handle=balancer)
    return SearchAgentLoopManager.create(config=config, llm_client=client)


def take(sampler: Any, step: int, num_groups: int) -> tuple[list[Any], dict[str, float]]:
    """Return the episodes of a step as the trainer gets them, and what it logs."""
    import transfer_queue as tq

    batch, log = sampler.sample(step, "train", num_groups)
    episodes = fetch(batch.keys, "train")
    tq.kv_clear(keys=batch.keys, partition_id="train")
    return episodes, log


def num_mixed_up(
    arguments: dict[str, Any], step: int, steps: int, episodes: Sequence[Any], seed: int
) -> int:
    """Play each episode of a step again by itself; return how many differ."""
    task = make_task(arguments, read_tokenizer(MODEL), *LENGTHS)

    async def differs(row: Any) -> bool:
        response, mask = row["responses"].tolist(), row["response_mask"].tolist()
        assignment = task.assign(
            row["extra_info"]["question_id"], seed=seed, step=step - 1, total_steps=steps
        )
        again = await rollout(
            task.source.begin(assignment),
            task.source.engine,
            Replay(response, mask).generate,
            task.encoder,
        )
        same = again.token_ids.tolist() == [*row["prompts"].tolist(), *response]
        return not (same and abs(again.reward - float(row["rm_scores"].sum())) < 1e-6)

    async def play() -> list[bool]:
        return await asyncio.gather(*map(differs, episodes))

    found = sum(asyncio.run(play()))
    task.close()
    return found


def options_of(steps: int) -> dict[str, Any]:
    """Return the options of verl, with a worker for each of the two nodes."""
    return {
        **OPTIONS,
        "actor_rollout_ref.rollout.agent.num_workers": 2,
        "actor_rollout_ref.rollout.n": MEMBERS,
        "trainer.total_training_steps": steps,
    }


def run(folder: Path, steps: int, num_groups: int) -> bool:
    """Play ``steps`` steps, kill a server in the middle, and compare; return whether all agree."""
    import pyarrow.parquet as pq
    from verl.utils.dataset.rl_dataset import RLHFDataset

    simulators = [Simulator(), Simulator()]
    stacks = [ExitStack(), ExitStack()]
    urls = [
        stack.enter_context(running(simulator.app())) + "/v1"
        for stack, simulator in zip(stacks, simulators, strict=True)
    ]
    engine = {"name": "simulated", "model": CHAT_MODEL, "base_url": urls, "deadline_s": 600.0}
    path = prepare(
        folder,
        str(MODEL),
        max_prompt_length=LENGTHS[0],
        max_response_length=LENGTHS[1],
        engine=engine,
        **EPISODES,
    )
    config = compose_config(path, options_of(steps))
    manager, sampler = make_manager(config), make_batches(config, poll_interval=0.1)
    dataset = RLHFDataset(
        str(folder / "train.parquet"), read_tokenizer(MODEL), config.data, max_samples=steps * 64
    )
    assert pq.read_metadata(folder / "train.parquet").num_rows >= steps * num_groups
    for simulator in simulators:
        simulator.asked.clear()  # without what the checks before the first step asked
        simulator.num_requests = 0
    played = []
    for step in range(1, steps + 1):
        rows = [dataset[(step - 1) * num_groups + number] for number in range(num_groups)]
        tensors, _ = put_rows(rows, step)
        manager.generate_sequences(tensors)
        if step == steps // 2 + 1:
            while not simulators[0].in_flight:
                time.sleep(0.01)
            print(f"step {step}: killed with {simulators[0].in_flight} requests under way")
            threading.Thread(target=stacks[0].close).start()
        episodes, log = take(sampler, step, num_groups)
        played.append(episodes)
        print(
            f"step {step}: {len(episodes)} episodes of {num_groups * MEMBERS}, searches "
            f"{log['search/searches']:.2f} each, failed {log['search/failed_searches']:.0f}",
            flush=True,
        )
    asked = simulators[0].asked | simulators[1].asked
    print(f"requests           {[simulator.num_requests for simulator in simulators]}")
    simulators[1].asked = set()
    arguments = find_entry(config).arguments
    arguments["engine"]["base_url"] = urls[1:]
    mixed_up = [
        num_mixed_up(arguments, step, steps, episodes, seed=0)
        for step, episodes in enumerate(played, start=1)
    ]
    stacks[1].close()
    print(f"episodes mixed up  {sum(mixed_up)} of {sum(map(len, played))}")
    print(f"different searches {len(asked)} at the servers, {len(simulators[1].asked)} in replay")
    whole = all(len(episodes) == num_groups * MEMBERS for episodes in played)
    return whole and not any(mixed_up) and asked == simulators[1].asked


def main(
    steps: int = 4,
    groups: int = 8,
) -> None:
    """Play on a cluster of two Ray nodes.

    Args:
        steps: number of steps.
        groups: number of questions in each, with five episodes each.
    """
    import os

    os.environ.update(ENVIRONMENT)
    import ray

    cluster = start_cluster()
    try:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        print(f"Ray nodes          {len(nodes)}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            reached = run(Path(folder), steps, groups)
    finally:
        ray.shutdown()
        cluster.shutdown()
    sys.exit(not reached)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
