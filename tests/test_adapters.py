"""What adapters share, and their contract: a right adapter keeps it, and each defect breaks it."""

from __future__ import annotations

import importlib
import pickle
import re
import subprocess
import sys
from dataclasses import fields, replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import QUESTION, ByteTokenizer, FixedEngine
from zs_env import Question, TextEncoder
from zs_env.adapters import versions
from zs_env.adapters.task import TrainingTask, metrics
from zs_env.adapters.versions import ANY_VERSION, check_framework
from zs_env.errors import DependencyVersionError, MissingDependencyError, TokenizerError
from zs_env.settings import TrainerSettings, make_settings
from zs_env.testing import AdapterContract, Played
from zs_env.tokens.play import play
from zs_env.world.tokenizer import WorldTokenizer

ROOT = Path(__file__).parent.parent


def played(task, **changes):
    """Play as an adapter does, with the defects ``changes`` in it."""
    settings = make_settings(TrainerSettings, task.arguments)
    limits = {"max_context": task.max_context, "max_response": task.max_response}
    training = TrainingTask(settings, task.tokenizer, **limits)
    where = {"seed": task.seed, "step": task.step, "total_steps": task.total_steps}
    where |= {"held_out": task.held_out} | changes
    assignments = [
        training.assign(question_id, **where, member=member)
        for question_id in task.question_ids
        for member in range(task.group_size)
    ]
    source = training.held_out if task.held_out else training.source
    trajectories = play(
        assignments, source.engine, task.policy.sample, training.encoder, source.rules
    )
    return [as_played(trajectory) for trajectory in trajectories]


def as_played(trajectory):
    prompt, response, mask, log_probs = trajectory.split()
    failed = trajectory.search_failed
    reward = None if failed else trajectory.reward
    labels = [search.noisy for search in trajectory.searches]
    return Played(prompt, response, mask & (not failed), log_probs, reward, labels)


class TestTrainingTaskContract(AdapterContract):
    def play(self, task):
        return played(task)


def contract(change):
    """A contract with an adapter whose episodes pass through ``change``."""

    class Broken(AdapterContract):
        def play(self, task):
            return [change(episode) for episode in played(task)]

    return Broken()


def shifted(episode):
    mask = np.roll(episode.response_mask, 1)
    return episode._replace(response_mask=mask)


TOKENS = "test_adapter_gives_the_tokens_masks_rewards_and_labels_of_rollout"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda e: e._replace(response_mask=~np.asarray(e.response_mask)), "response_mask"),
        (shifted, "response_mask"),
        (lambda e: e._replace(response_mask=np.ones_like(e.response_mask)), "response_mask"),
        (lambda e: e._replace(log_probs=np.roll(e.log_probs, 1)), "log_probs"),
        (lambda e: e._replace(response_ids=e.response_ids[:-1]), "response_ids"),
        (lambda e: e._replace(prompt_ids=e.prompt_ids[1:]), "prompt_ids"),
        (lambda e: e._replace(reward=1.0), "reward"),
        (lambda e: e._replace(noisy=[False for _ in e.noisy]), "noisy"),
    ],
)
def test_contract_finds_a_defect_of_an_adapter(change, named):
    with pytest.raises(AssertionError, match=f"`{named}` is"):
        getattr(contract(change), TOKENS)()


def test_contract_finds_a_failed_search_that_is_trained_on():
    class Broken(AdapterContract):
        def play(self, task):
            return [episode._replace(reward=episode.reward or 0.0) for episode in played(task)]

    getattr(Broken(), TOKENS)()  # nothing failed here
    with pytest.raises(AssertionError, match="search_failed: `reward` is 0.0"):
        Broken().test_adapter_leaves_out_failed_searches_and_nothing_else()


def test_contract_accepts_nothing_in_the_place_of_a_failed_search_alone():
    class Sparing(AdapterContract):
        def play(self, task):
            return [episode if episode.reward is not None else None for episode in played(task)]

    Sparing().test_adapter_leaves_out_failed_searches_and_nothing_else()
    lost = contract(lambda episode: episode if episode.reward else None)
    with pytest.raises(AssertionError, match="is missing, and none of its searches failed"):
        getattr(lost, TOKENS)()


@pytest.mark.parametrize(
    ("changes", "test"),
    [
        ({"seed": 0}, TOKENS),
        ({"step": 0}, "test_adapter_follows_the_curriculum_of_the_trainer"),
        ({"total_steps": None}, "test_adapter_follows_the_curriculum_of_the_trainer"),
        ({"held_out": False}, "test_adapter_evaluates_without_noise_and_alike_at_any_step"),
    ],
)
def test_contract_finds_a_wrong_place_in_the_run(changes, test):
    class Broken(AdapterContract):
        def play(self, task):
            return played(replace(task, held_out=False), **changes)

    with pytest.raises((AssertionError, ValueError)):
        getattr(Broken(), test)()


def make_task(tokenizer=None, max_context=900, max_response=None, **arguments):
    options = {"questions": "world,sample=20", "max_turn_tokens": 40, **arguments}
    settings = make_settings(TrainerSettings, options)
    limits = {"max_context": max_context, "max_response": max_response}
    return TrainingTask(settings, tokenizer or WorldTokenizer(), **limits)


def test_task_curriculum_follows_steps_and_is_at_its_start_if_they_are_unknown():
    task = make_task(noise="linear", noise_end=1.0)
    [row, *_] = task.rows()
    noise = [
        task.assign(row["question_id"], step=step, total_steps=total).noise_probability
        for step, total in ((0, 4), (1, 4), (9, 4), (3, None), (3, -1), (3, 0))
    ]
    assert noise == [0.0, 0.25, 1.0, 0.0, 0.0, 0.0]


def test_task_groups_share_a_key_whoever_asks_and_members_sample_apart():
    here, there = make_task(), pickle.loads(pickle.dumps(make_task()))
    [row, *_] = here.rows()
    where = {"seed": 3, "step": 5, "total_steps": 9}
    first = here.assign(row["question_id"], **where)
    second = there.assign(row["question_id"], **where, member=1)
    assert first.key == second.key and first.sampling_key != second.sampling_key
    assert first.key != here.assign(row["question_id"], **{**where, "step": 6}).key
    assert first.key != here.assign(row["question_id"], **{**where, "seed": 4}).key


def test_task_held_out_rows_are_other_questions_with_noise_of_their_own():
    task = make_task(noise_start=0.5, test_noise=0.25)
    train, test = ({row["question_id"] for row in task.rows(held_out=h)} for h in (False, True))
    assert len(train) == len(test) == 20 and not train & test
    first, second = sorted(test)[:2]
    episode = task.assign(first, step=3, total_steps=9, held_out=True)
    assert episode == task.assign(first, seed=8, held_out=True)
    assert episode.noise_probability == 0.25 and task.held_out.engine is task.source.engine
    assert episode.key != task.assign(second, held_out=True).key
    assert episode.sampling_key != task.assign(first, member=1, held_out=True).sampling_key


def test_task_held_out_questions_of_a_file_are_asked_for():
    with pytest.raises(ValueError, match="held-out episodes need `test_questions`"):
        list(make_task(questions=[QUESTION]).rows(held_out=True))
    task = make_task(questions=[QUESTION], test_questions=[Question("t", "Who?", ("Ada",))])
    [row] = task.rows(held_out=True)
    assert row == {"question_id": "t", "question": "Who?", "golden_answers": ["Ada"]}


@pytest.mark.parametrize("questions", ["world,split=train", {"name": "world", "split": "train"}])
def test_task_held_out_rows_are_of_the_other_split_where_training_names_its_own(questions):
    task = make_task(questions=questions)
    train, test = ({row["question_id"] for row in task.rows(held_out=h)} for h in (False, True))
    assert train and test and not train & test


@pytest.mark.parametrize("where", [{"split": "test"}, {"questions": "world,split=test"}])
def test_task_does_not_measure_with_what_it_trains_on(where):
    with pytest.raises(ValueError, match="training has the split 'test' of the embedded world"):
        list(make_task(**where).rows(held_out=True))


class ClosingEngine(FixedEngine):
    """Counts how often it was closed."""

    closed = 0

    def close(self):
        type(self).closed += 1


def test_task_closes_engines_that_it_made_and_no_others():
    name = f"{ClosingEngine.__module__}:ClosingEngine"
    given = make_task(engine=ClosingEngine("x"), test_engine="world")
    assert given.held_out.engine is not given.source.engine
    given.close()
    assert ClosingEngine.closed == 0
    made = make_task(engine=name)
    assert made.held_out.engine is made.source.engine
    made.close()
    assert ClosingEngine.closed == 1


def figures(**changes):
    names = "reward f1 exact_match turns searches noisy invalid answered search_failed fooled "
    names += "context_exceeded noisy_found noisy_leaked noise_probability "
    names += " ".join(
        f"{kind}_{what}"
        for kind in ("noisy", "useful")
        for what in ("followed", "searched_on", "asked_again")
    )
    return {**dict.fromkeys(names.split(), 0.0), **changes}


def test_metrics_are_means_without_the_failed():
    good = {"turns": 2.0, "searches": 2.0, "noisy": 1.0, "noise_probability": 0.5}
    found = metrics(
        [
            figures(f1=1.0, reward=1.0, noisy_found=1.0, noisy_leaked=1.0, **good),
            figures(f1=0.5, reward=0.5, noisy_found=3.0, **good),
            figures(search_failed=1.0, turns=9.0, searches=9.0, noisy=9.0),
        ]
    )
    assert found["search/f1"] == found["search/reward"] == 0.75
    assert found["search/turns"] == found["search/searches"] == 2.0
    assert found["search/noisy_share"] == 0.5 and found["search/noise_probability"] == 0.5
    assert found["search/noisy_leak_share"] == 0.25 and found["search/failed_searches"] == 1.0
    assert metrics([figures(search_failed=1.0)]) == {"search/failed_searches": 1.0}


class WithoutEnd(ByteTokenizer):
    eos_token_id = None


class WithoutTags(ByteTokenizer):
    def decode(self, token_ids):
        return super().decode(token_ids).replace("<", "(")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"tokenizer": WithoutEnd()}, TokenizerError, "no end-of-text token"),
        ({"tokenizer": WithoutTags()}, TokenizerError, "cannot write <think>"),
        ({"max_turn_tokens": 90, "max_response": 80}, ValueError, "may have 80 tokens"),
        ({"max_turn_tokens": 0}, ValueError, "`max_turn_tokens` must be at least 1"),
        ({"max_context": 60}, ValueError, "the prompt of question .* only 60 is allowed"),
        ({"test_noise": 1.5}, ValueError, r"`test_noise` must be a number in \[0, 1\]"),
        ({"engine": "nowhere:Engine"}, ValueError, "there is no engine"),
        ({"tokenizer_name": "x"}, TypeError, "unknown argument `tokenizer_name`"),
    ],
)
def test_task_says_before_the_first_step_what_is_wrong(options, error, message):
    with pytest.raises(error, match=message):
        make_task(**options)


@pytest.mark.parametrize("wrong", ["nobody", None, 3, ["q"], {"role": "user"}])
def test_task_row_without_a_question_id_is_shown(wrong):
    with pytest.raises(ValueError, match="whose rows hold the id of one of the training questions"):
        make_task().check_ids([wrong])


def test_task_keeps_the_encoder_that_it_was_given():
    encoder = TextEncoder(WorldTokenizer())
    assert make_task(encoder).encoder is encoder


def test_framework_of_another_version_or_missing_is_named(monkeypatch):
    check_framework("the tests", "numpy", np.__version__, "trl")
    with pytest.raises(
        MissingDependencyError, match=r"`no-such`: in the checkout, pip install '.\[trl\]"
    ):
        check_framework("the tests", "no-such", "1.0.0", "trl")
    with pytest.raises(DependencyVersionError, match=r"tested with numpy 0.1.0, got \d"):
        check_framework("the tests", "numpy", "0.1.0", "trl")
    monkeypatch.setenv(ANY_VERSION, "1")
    check_framework("the tests", "numpy", "0.1.0", "trl")


def test_missing_trl_names_its_extra(monkeypatch):
    from zs_env.adapters.trl import SearchRollouts

    def missing(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr(versions, "version", missing)
    with pytest.raises(
        MissingDependencyError, match=r"`trl`: in the checkout, pip install '\.\[trl\]'"
    ):
        SearchRollouts(None, WorldTokenizer())


def test_missing_verl_names_its_extra(monkeypatch, tmp_path):
    from zs_env.adapters.verl import prepare

    def missing(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr(versions, "version", missing)
    with pytest.raises(
        MissingDependencyError, match=r"`verl`: in the checkout, pip install '\.\[verl\]'"
    ):
        prepare(tmp_path / "run", "model")
    for module in ("agent_loop", "manager", "sampler"):
        with pytest.raises(MissingDependencyError, match=r"'\.\[verl\]'"):
            importlib.import_module(f"zs_env.adapters.verl.{module}")


@pytest.mark.parametrize("page", ["trl", "verl"])
def test_page_of_an_adapter_names_every_option(page):
    text = (ROOT / "docs" / f"{page}.md").read_text()
    options = text.split("## Options")[1].split("\n## ")[0]
    named = set(re.findall(r"`(\w+)`", options))
    assert {field.name for field in fields(TrainerSettings)} - named == set()


def run(program):
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)


def test_import_of_the_package_brings_no_adapter():
    loaded = run("import sys, zs_env, zs_env.testing, zs_env.commands.main\nprint([*sys.modules])")
    assert loaded.returncode == 0, loaded.stderr
    assert "zs_env.testing" in loaded.stdout and "zs_env.adapters" not in loaded.stdout


def test_everything_else_works_without_the_adapters():
    """Their folder can be removed: nothing below agents, benchmarks of them aside, needs it."""
    program = (
        "import sys; sys.modules['zs_env.adapters'] = None\n"
        "import gymnasium, zs_env, zs_env.testing, zs_env.commands.main, zs_env.evaluation.run\n"
        "gymnasium.make('ZeroSearch-v0').reset(seed=0)\n"
    )
    result = run(program)
    assert result.returncode == 0, result.stderr
