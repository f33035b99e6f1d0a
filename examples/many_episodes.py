r"""256 concurrent episodes on any engine: each goes on as soon as its documents are there.

    python -m examples.many_episodes
    python -m examples.many_episodes --engine bm25
    python -m examples.many_episodes \
        --engine simulated,base_url=http://127.0.0.1:8000/v1,model=Qwen/Qwen2.5-7B-Instruct

Takes a second with the embedded engine. Prints the number of episodes that have ended, then the
mean reward, searches per second, and the usage of a simulation LLM.
"""

from __future__ import annotations

import argparse
import time

from zs_env import EpisodePool
from zs_env.world import load_world
from zs_env.world.solver import HopByHopSolver


def main() -> None:
    """Play one episode in each place of a pool."""
    parser = argparse.ArgumentParser(description="256 concurrent episodes.")
    parser.add_argument("--engine", default="world", help="engine: name,option=value,…")
    parser.add_argument("--episodes", type=int, default=256, help="number of episodes")
    arguments = parser.parse_args()

    pool = EpisodePool(arguments.episodes, split="test", engine=arguments.engine)
    agent = HopByHopSolver(load_world())  # put your own policy here: it maps text to text
    rewards, num_searches, failed = [], 0, 0
    start = time.perf_counter()
    pool.reset(seed=0)
    while pool.num_running:
        ready = pool.recv()  # recv(min_ready=32) suits a policy that is faster on batches
        over = ready.terminations | ready.truncations
        rewards += ready.rewards[over].tolist()
        ended = [info for info, is_over in zip(ready.infos, over, strict=True) if is_over]
        num_searches += sum(info["num_searches"] for info in ended)
        failed += sum(info["search_failed"] for info in ended)
        acting = [i for i, is_over in enumerate(over) if not is_over]
        pool.send(ready.episode_ids[acting], [agent(ready.observations[i]) for i in acting])
        print(f"\r{len(rewards)} of {pool.num_episodes} episodes", end="", flush=True)
    rate = num_searches / (time.perf_counter() - start)
    print(f"\nmean reward {sum(rewards) / len(rewards):.2f}, {failed} with a search that failed")
    print(f"{num_searches} searches, {rate:.0f} a second")
    if pool.source.engine.usage is not None:
        print(pool.source.engine.usage)
    pool.close()


if __name__ == "__main__":
    main()
