"""Search episodes for `GRPOTrainer`: what it is given, and what it gets back."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from gymnasium import logger
from typing_extensions import Unpack

from zs_env.adapters.task import TrainingTask, metrics
from zs_env.adapters.trl.checks import PROMPT, check_config, check_rows, check_trainer
from zs_env.adapters.trl.sampling import model_sampler
from zs_env.adapters.versions import check_framework
from zs_env.checks import as_integer, check_choice
from zs_env.episode import Assignment
from zs_env.settings import TrainerArguments, TrainerSettings, make_settings
from zs_env.tokens.play import Sample, play
from zs_env.tokens.trajectory import Trajectory

TESTED = "1.16.0"
"""Version of TRL that the tests run with."""


class SearchRollouts:
    """Search episodes for a `GRPOTrainer`, in training and in its evaluations.

    A row of the data set is the id of a question. `rollout` plays its episodes with the trainer's
    model; the members of a group share noise labels and documents, on whichever process they are.
    The noise of the curriculum follows from the trainer's step. An episode whose search failed has
    no reward and no token in the loss. `reward` also logs what was played, as ``search/f1`` and so
    on (`zs_env.adapters.task.metrics`), means over all processes.

    Args:
        args: `GRPOConfig` of the trainer. ``max_completion_length`` limits all behind the prompt,
            documents included; ``seed`` fixes noise labels, documents and sampling.
        tokenizer: tokenizer of the policy, which the trainer gets as ``processing_class``.
        sampler: what samples the tokens, instead of the trainer's model in this process: a function
            of the trainer that returns a `zs_env.tokens.play.Sample`.
        concurrent_episodes: largest number of episodes that a process plays at a time.
        test_decoding: ``greedy`` or ``sampled``, in evaluations of the trainer.
        arguments: fields of `zs_env.settings.TrainerSettings`: questions, engine, noise, ….

    Raises:
        MissingDependencyError: TRL is not installed.
        DependencyVersionError: it has another version than the tested one.
        ValueError: an option is out of its range, or a question does not fit into the limits.
        ZeroSearchError: questions, engine or tokenizer cannot be used.

    Attributes:
        task: episodes, with engine, rules and curriculum.
        callback: callback of the trainer, which checks its data sets before the first step.

    Example:
        >>> search = SearchRollouts(args, tokenizer, questions="world")  # doctest: +SKIP
        >>> trainer = GRPOTrainer(  # doctest: +SKIP
        ...     model=model,
        ...     args=args,
        ...     processing_class=tokenizer,
        ...     train_dataset=search.train_dataset(),
        ...     rollout_func=search.rollout,
        ...     reward_funcs=search.reward,
        ...     callbacks=[search.callback],
        ... )
    """

    def __init__(
        self,
        args: Any,
        tokenizer: Any,
        *,
        sampler: Callable[[Any], Sample] | None = None,
        concurrent_episodes: int = 256,
        test_decoding: str = "greedy",
        **arguments: Unpack[TrainerArguments],
    ) -> None:
        check_framework("zs_env.adapters.trl", "trl", TESTED, "trl")
        check_config(args, own_sampler=sampler is None)
        check_choice("test_decoding", test_decoding, ("greedy", "sampled"))
        self.task = TrainingTask(
            make_settings(TrainerSettings, arguments),
            tokenizer,
            max_context=sys.maxsize,  # that of the model is checked once there is one
            max_response=args.max_completion_length,
        )
        self.callback: Any = _make_callback(self.task)
        self._sampler = sampler
        self._num_places = as_integer("concurrent_episodes", concurrent_episodes, 1)
        self._greedy_tests = test_decoding == "greedy"
        self._checked = False
        self._metrics: dict[str, float] = {}
        self._last_step = -1
        self._num_batches = 0  # of training that came before in the present step

    def train_dataset(self) -> Any:
        """Return the `datasets.Dataset` of the training questions, whose prompts are their ids."""
        return self._dataset(held_out=False)

    def test_dataset(self) -> Any:
        """Return the `datasets.Dataset` of the held-out questions, for ``eval_dataset``.

        Raises:
            ValueError: there are none.
        """
        return self._dataset(held_out=True)

    def rollout(self, prompts: Sequence[str], trainer: Any) -> dict[str, list[Any]]:
        """Play an episode for each of ``prompts``: the ``rollout_func`` of the trainer.

        Args:
            prompts: ids of questions, each as often as its group has members on this process.
            trainer: trainer that asks, with its model.

        Returns:
            By name, a value for each prompt: ``prompt_ids``, ``completion_ids``, ``logprobs``, and
            ``env_mask``, 1 where the policy wrote a token; and for reward functions
            ``episode_reward``, ``search_failed``, ``noisy`` (the label of each search) and
            ``info`` (the last `zs_env.episode.Episode.info`).

        Raises:
            ValueError: a prompt is no id of a question, or the trainer does not fit the episodes.
        """
        if not self._checked:
            check_trainer(self.task, trainer, own_sampler=self._sampler is None)
            self._checked = True
        held_out = not trainer.model.training
        trajectories = self._play(self._assign(prompts, trainer, held_out), trainer, held_out)
        self._note(trajectories, held_out)
        return _columns(trajectories)

    def reward(
        self, *, episode_reward: list[float | None], log_metric: Any = None, **_: Any
    ) -> list[float | None]:
        """Return the reward of each episode, and log what was played: for ``reward_funcs``.

        Args:
            episode_reward: reward of each episode; None where the search failed.
            log_metric: function of the trainer that logs a number.
        """
        for name, value in self._metrics.items() if log_metric is not None else ():
            log_metric(name, value)
        return episode_reward

    def close(self) -> None:
        """Close the engines that were given by name."""
        self.task.close()

    def _dataset(self, held_out: bool) -> Any:
        from datasets import Dataset

        rows = list(self.task.rows(held_out=held_out))
        return Dataset.from_dict(
            {
                PROMPT: [row["question_id"] for row in rows],
                "question": [row["question"] for row in rows],
                "golden_answers": [row["golden_answers"] for row in rows],
            }
        )

    def _assign(self, prompts: Sequence[str], trainer: Any, held_out: bool) -> list[Assignment]:
        size = trainer.num_generations_eval if held_out else trainer.num_generations
        # The processes hold slices of one list, in which each group stands together.
        first = trainer.accelerator.process_index * len(prompts)
        state = trainer.state
        others = 0 if held_out else size * self._count_batch(state.global_step)
        return [
            self.task.assign(
                question_id,
                seed=trainer.args.seed,
                step=state.global_step,
                total_steps=state.max_steps,
                member=(first + number) % size + others,
                held_out=held_out,
            )
            for number, question_id in enumerate(prompts)
        ]

    def _count_batch(self, step: int) -> int:
        """Return how many batches of training came before this one in ``step``.

        If a question comes twice in a step, it is not to be sampled the same way again.
        """
        self._num_batches = self._num_batches + 1 if step == self._last_step else 0
        self._last_step = step
        return self._num_batches

    def _play(
        self, assignments: Sequence[Assignment], trainer: Any, held_out: bool
    ) -> list[Trajectory]:
        source = self.task.held_out if held_out else self.task.source
        places = min(self._num_places, len(assignments))
        with self._sampling(trainer, places, held_out) as sample:
            trajectories = play(
                assignments,
                source.engine,
                sample,
                self.task.encoder,
                source.rules,
                max_episodes=places,
            )
        for trajectory in trajectories:
            trajectory.verify()  # a wrong mask or log-probability would go unnoticed in training
        return trajectories

    def _sampling(
        self, trainer: Any, places: int, held_out: bool
    ) -> AbstractContextManager[Sample]:
        if self._sampler is not None:
            return nullcontext(self._sampler(trainer))
        greedy = held_out and self._greedy_tests
        return model_sampler(trainer, self.task.encoder, places, greedy=greedy)

    def _note(self, trajectories: Sequence[Trajectory], held_out: bool) -> None:
        """Keep the figures of all processes for the log, and tell of failed searches."""
        from accelerate.utils import gather_object

        figures = [self.task.figures(each, held_out=held_out) for each in trajectories]
        self._metrics = metrics(gather_object(figures))
        if reasons := [each.info["failure"] for each in trajectories if each.search_failed]:
            logger.warn(
                f"{len(reasons)} of {len(trajectories)} episodes are left out because a search "
                f"failed; the last: {reasons[-1]}"
            )


def _columns(trajectories: Sequence[Trajectory]) -> dict[str, list[Any]]:
    """Return what a ``rollout_func`` returns; a failed episode has no token in the loss."""
    parts = [trajectory.split() for trajectory in trajectories]
    failed = [trajectory.search_failed for trajectory in trajectories]
    return {
        "prompt_ids": [part.prompt_ids.tolist() for part in parts],
        "completion_ids": [part.response_ids.tolist() for part in parts],
        "logprobs": [part.log_probs.tolist() for part in parts],
        "env_mask": [
            (part.response_mask & (not gone)).astype(int).tolist()
            for part, gone in zip(parts, failed, strict=True)
        ],
        "episode_reward": [
            None if trajectory.search_failed else trajectory.reward for trajectory in trajectories
        ],
        "search_failed": failed,
        "noisy": [[search.noisy for search in each.searches] for each in trajectories],
        "info": [trajectory.info for trajectory in trajectories],
    }


def _make_callback(task: TrainingTask) -> Any:
    from transformers import TrainerCallback

    class CheckRows(TrainerCallback):
        """Checks the rows of the data sets before the first step."""

        def on_train_begin(
            self,
            args: Any,
            state: Any,
            control: Any,
            train_dataloader: Any = None,
            eval_dataloader: Any = None,
            **_: Any,
        ) -> None:
            """Check the data sets of training and evaluation."""
            if train_dataloader is not None:
                check_rows(task, train_dataloader.dataset)
            if eval_dataloader is not None:
                check_rows(task, eval_dataloader.dataset, held_out=True)

    return CheckRows()
