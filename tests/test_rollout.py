"""The token loop, with scripted samplers and real tokenizers."""

from __future__ import annotations

import asyncio
from collections import Counter

import numpy as np
import pytest

pytest.importorskip("transformers")

from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from agents.tiny.tokenizer import make_tokenizer
from tests.helpers import QUESTION, EchoEngine, FixedEngine, answer, play, search
from zs_env import Document, Episode, Rules
from zs_env.actions import STOP
from zs_env.engines import load_engine
from zs_env.episode import Role, Termination
from zs_env.errors import RolloutError, SearchFailure, TokenizerError
from zs_env.prompts import render_information
from zs_env.tokens.encoder import TextEncoder
from zs_env.tokens.rollout import rollout
from zs_env.world import load_world
from zs_env.world.solver import HopByHopSolver

BEGIN, END = "[begin]", "[end]"
FACT = "Ada Blake was born in Jarrow Corvale."
NO_ACTION = "I do not know what to do."


def script_of(turns: list[str]):
    """A policy that writes ``turns``, whatever it reads."""
    remaining = iter(turns)
    return lambda _: next(remaining)


def byte_pairs() -> Tokenizer:
    """Byte pairs learned from transcripts, in which a tag is often followed by a new line."""
    turns = [search("ada blake"), "hm", answer("Jarrow Corvale")]
    played = [
        play(Episode(QUESTION, Rules(max_turns=4)), script_of(turns), FixedEngine(fact))
        for fact in (FACT, "Nobody knows.")
    ]
    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    learned.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        max_token_length=3,
        special_tokens=[BEGIN, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    learned.train_from_iterator([episode.transcript for episode in played], trainer)
    begin = (BEGIN, learned.token_to_id(BEGIN))
    learned.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[begin]
    )
    return learned


WORDS = make_tokenizer()
PAIRS = PreTrainedTokenizerFast(tokenizer_object=byte_pairs(), eos_token=END, bos_token=BEGIN)
ENCODERS = {"words": TextEncoder(WORDS), "pairs": TextEncoder(PAIRS)}

both_tokenizers = pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)


def ids_of(encoder: TextEncoder, text: str) -> list[int]:
    return list(encoder.encode(text))


def surprise(position: int) -> float:
    """A log-probability that says where its token stands; exact in float32."""
    return -(position + 1) / 1024


class Script:
    """Samples what it was given, call by call, and keeps what it was asked."""

    def __init__(self, *replies: list[int]) -> None:
        self.replies = list(replies)
        self.contexts: list[list[int]] = []
        self.rooms: list[int] = []

    async def __call__(self, token_ids, stop, max_tokens):
        assert stop == STOP == ("</search>", "</answer>")
        ids = self.replies[len(self.contexts)]
        self.contexts.append(list(token_ids))
        self.rooms.append(max_tokens)
        return ids, [surprise(len(token_ids) + offset) for offset in range(len(ids))]


def run(encoder, script, *, engine=None, rules=None, measure=None, question=QUESTION, **kwargs):
    """The trajectory, which must be sound, and the episode."""
    episode = Episode(question, rules or Rules(), measure=measure or encoder)
    engine = engine or FixedEngine(FACT)
    trajectory = asyncio.run(rollout(episode, engine, script, encoder, **kwargs))
    return trajectory.verify(), episode


def written(trajectory) -> list[int]:
    """The ids that train."""
    return trajectory.token_ids[trajectory.response_mask].tolist()


# What is written down


@both_tokenizers
def test_rollout_search_then_answer_gives_the_ledger(encoder):
    turns = [ids_of(encoder, search("ada blake")), ids_of(encoder, answer("jarrow corvale"))]
    trajectory, episode = run(encoder, Script(*turns), engine=FixedEngine(FACT, "Hm."))
    prompt, _, documents, _ = (segment.text for segment in episode.segments)
    assert documents == f"\n<information>\nDoc 1: {FACT}\nDoc 2: Hm.\n</information>\n"
    pieces = [ids_of(encoder, prompt), turns[0], ids_of(encoder, documents), turns[1]]
    a, b, c, d = np.cumsum([len(piece) for piece in pieces]).tolist()
    assert trajectory.token_ids.tolist() == sum(pieces, [])
    assert trajectory.segments == (
        (Role.PROMPT, 0, a, False),
        (Role.POLICY, a, b, False),
        (Role.INFORMATION, b, c, False),
        (Role.POLICY, c, d, False),
    )
    policy = [*range(a, b), *range(c, d)]
    assert np.flatnonzero(trajectory.response_mask).tolist() == policy
    assert trajectory.log_probs[policy].tolist() == [surprise(position) for position in policy]
    assert (trajectory.question_id, trajectory.noise_probability) == ("q", 0.0)
    assert (trajectory.reward, trajectory.termination) == (1.0, Termination.ANSWERED)
    assert trajectory.searches == (("ada blake", False, (Document(FACT), Document("Hm.")), 0),)
    assert trajectory.info == episode.info() and trajectory.info["num_searches"] == 1


@both_tokenizers
@pytest.mark.parametrize(
    ("turns", "room", "termination", "roles"),
    [
        ([answer("lima")], 0, Termination.ANSWERED, "prompt policy"),
        ([search("a")], 0, Termination.CONTEXT_EXCEEDED, "prompt policy"),
        ([NO_ACTION], 0, Termination.CONTEXT_EXCEEDED, "prompt policy"),
        (
            [search("a"), search("b")],
            4000,
            Termination.TURNS_SPENT,
            "prompt policy information policy",
        ),
        (
            [NO_ACTION, NO_ACTION],
            4000,
            Termination.TURNS_SPENT,
            "prompt policy correction policy",
        ),
    ],
)
def test_rollout_end_is_told(encoder, turns, room, termination, roles):
    """Room is what the context holds beside the prompt and one turn."""
    most = encoder(Episode(QUESTION, Rules()).transcript) + 100 + room
    rules = Rules(max_turns=2, max_context=most, turn_reserve=100)
    script = Script(*(ids_of(encoder, text) + [encoder.end_of_text] for text in turns))
    trajectory, _ = run(encoder, script, rules=rules)
    assert trajectory.termination is termination and trajectory.reward == 0.0
    assert " ".join(segment.role.value for segment in trajectory.segments) == roles


class BrokenEngine(EchoEngine):
    def search(self, requests):
        raise SearchFailure("no connection")


@both_tokenizers
@pytest.mark.parametrize("engine", [FixedEngine(failure="timeout"), BrokenEngine()])
def test_rollout_failed_search_ends_without_reward(encoder, engine):
    turn = ids_of(encoder, search("ada blake"))
    trajectory, _ = run(encoder, Script(turn), engine=engine)
    assert trajectory.termination is Termination.SEARCH_FAILED and trajectory.search_failed
    assert trajectory.reward == 0.0 and trajectory.info["search_failed"]
    assert trajectory.searches == (("ada blake", False, (), 0),)
    assert trajectory.token_ids[-len(turn) :].tolist() == turn


def test_rollout_noise_is_recorded_with_searches_and_documents():
    encoder = ENCODERS["words"]
    script = Script(*[ids_of(encoder, search("ada blake"))] * 40)
    episode = Episode(QUESTION, Rules(max_turns=40), key=5, noise_probability=0.5)
    engine = FixedEngine(FACT)
    trajectory = asyncio.run(rollout(episode, engine, script, encoder)).verify()
    labels = [request.noisy for request in engine.requests]
    shown = [s.noisy for s in trajectory.segments if s.role is Role.INFORMATION]
    assert [record.noisy for record in trajectory.searches] == shown == labels
    assert [record.turn for record in trajectory.searches] == [*range(39)]
    assert 5 < sum(labels) < 34 and len(labels) == 39
    assert trajectory.noise_probability == 0.5


# Sampled ids stay what they were. Defect 7 of the reference code: it decoded what was sampled, cut
# the text, and encoded it again, which alters tokens and loses end-of-text.


def test_rollout_token_that_reaches_past_the_tag_stays():
    encoder = ENCODERS["pairs"]
    turn = ids_of(encoder, search("ada blake") + "\n")
    assert PAIRS.decode(turn[-1:]) == ">\n", "the tokenizer must merge across the end of the tag"
    last = ids_of(encoder, answer("Jarrow Corvale"))
    trajectory, episode = run(encoder, Script(turn, last))
    assert written(trajectory) == turn + last
    assert episode.segments[1].text == search("ada blake") and episode.cut_chars == 1
    # What the reference did: the tokens that trained were never sampled.
    assert ids_of(encoder, episode.segments[1].text) != turn


def test_rollout_text_across_the_border_of_segments_is_not_merged():
    """Documents begin with a new line, which the tokenizer would merge with the tag before."""
    encoder = ENCODERS["pairs"]
    turns = [ids_of(encoder, search("ada blake")), ids_of(encoder, answer("Jarrow Corvale"))]
    trajectory, episode = run(encoder, Script(*turns))
    ledger = trajectory.token_ids.tolist()
    assert PAIRS.decode(ledger) == episode.transcript
    assert written(trajectory) == turns[0] + turns[1]
    assert len(ids_of(encoder, episode.transcript)) < len(ledger), "it would merge"


def test_rollout_unusual_tokens_of_a_text_stay():
    """A model may spell a word in pieces that the tokenizer would never choose."""
    encoder = ENCODERS["pairs"]
    texts = search("ada blake"), answer("Jarrow Corvale")
    turns = [[token for char in text for token in encoder.encode(char)] for text in texts]
    assert [len(turn) for turn in turns] == [len(text) for text in texts]
    trajectory, episode = run(encoder, Script(*turns))
    assert written(trajectory) == turns[0] + turns[1]
    assert all(turn != ids_of(encoder, text) for turn, text in zip(turns, texts, strict=True))
    assert trajectory.reward == 1.0 and episode.num_searches == 1


@both_tokenizers
def test_rollout_end_of_text_stays_and_trains(encoder):
    end = encoder.end_of_text
    turns = [
        [*ids_of(encoder, NO_ACTION), end],
        [end],
        [*ids_of(encoder, search("ada blake")), end],
        [*ids_of(encoder, answer("jarrow corvale")), end],
    ]
    trajectory, episode = run(encoder, Script(*turns))
    assert written(trajectory) == sum(turns, [])
    ends = np.flatnonzero(trajectory.token_ids == end).tolist()
    assert len(ends) == 4 and trajectory.response_mask[ends].all()
    assert trajectory.log_probs[ends].tolist() == [surprise(position) for position in ends]
    assert (episode.num_invalid, episode.cut_chars, episode.reward) == (2, 0, 1.0)
    assert END not in episode.transcript
    assert episode.segments[3].text == ""


def test_rollout_integers_of_numpy_are_taken():
    encoder = ENCODERS["words"]
    turn = np.array(ids_of(encoder, answer("jarrow corvale")), dtype=np.int64)

    async def generate(token_ids, stop, max_tokens):
        return turn, np.full(len(turn), -0.5, dtype=np.float32)

    trajectory, _ = run(encoder, generate)
    assert written(trajectory) == turn.tolist() and trajectory.reward == 1.0


@both_tokenizers
def test_rollout_context_of_every_call_is_what_the_ledger_says(encoder):
    end = [encoder.end_of_text]
    script = Script(
        ids_of(encoder, search("ada blake")) + end,
        ids_of(encoder, NO_ACTION) + end,
        ids_of(encoder, "<think>or <search>peru</search>"),
        ids_of(encoder, "</think>") + ids_of(encoder, search("lima")),
        ids_of(encoder, answer("jarrow corvale")),
    )
    trajectory, _ = run(encoder, script)
    ledger = trajectory.token_ids.tolist()
    assert all(context == ledger[: len(context)] for context in script.contexts)
    starts = [segment.start for segment in trajectory.segments if segment.role is Role.POLICY]
    within_third = starts[2] + len(script.replies[2])
    assert [len(context) for context in script.contexts] == (
        [starts[0], starts[1], starts[2], within_third, starts[3]]
    )
    # Policy tokens say where they stood when they were sampled.
    where = np.flatnonzero(trajectory.response_mask)
    assert trajectory.log_probs[where].tolist() == [surprise(position) for position in where]


# The environment's texts


class Counting:
    """A tokenizer that notes the texts it encodes."""

    def __init__(self, tokenizer) -> None:
        self.eos_token_id = tokenizer.eos_token_id
        self.decode = tokenizer.decode
        self.encoded: list[str] = []
        self._tokenizer = tokenizer

    def encode(self, text, *, add_special_tokens):
        self.encoded.append(text)
        return self._tokenizer.encode(text, add_special_tokens=add_special_tokens)


@pytest.mark.parametrize("tokenizer", [WORDS, PAIRS], ids=ENCODERS)
@pytest.mark.parametrize("in_tokens", [True, False])
def test_rollout_each_text_is_encoded_once_and_no_turn_ever(tokenizer, in_tokens):
    counting = Counting(tokenizer)
    encoder = TextEncoder(counting)
    turns = [search("ada blake"), NO_ACTION, search("peru"), answer("jarrow corvale")]
    script = Script(
        *(
            [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
            for text in turns
        )
    )
    engine = EchoEngine()  # each search has its own documents
    measure = encoder if in_tokens else len
    trajectory, episode = run(encoder, script, engine=engine, measure=measure)
    by_environment = [s.text for s in episode.segments if s.role is not Role.POLICY]
    assert counting.encoded == by_environment and len(set(by_environment)) == 4
    assert trajectory.response_length == sum(len(reply) for reply in script.replies)


def test_rollout_documents_that_must_shrink_are_encoded_once_at_each_length():
    counting = Counting(PAIRS)
    encoder = TextEncoder(counting)
    script = Script(*([*ENCODERS["pairs"].encode(t)] for t in (search("a"), answer("lima"))))
    most = ENCODERS["pairs"](Episode(QUESTION, Rules()).transcript) + 300
    rules = Rules(max_context=most, turn_reserve=100)
    _, episode = run(encoder, script, rules=rules, engine=FixedEngine("word " * 500))
    assert 0 < episode.segments[2].text.count("word") < 120
    assert len(counting.encoded) > 3 and set(Counter(counting.encoded).values()) == {1}


def test_rollout_no_special_tokens_are_added_to_texts():
    assert PAIRS.encode("x")[0] == PAIRS.bos_token_id, "unless asked not to, it adds one"
    encoder = ENCODERS["pairs"]
    turns = [ids_of(encoder, search("ada blake")), ids_of(encoder, answer("lima"))]
    trajectory, _ = run(encoder, Script(*turns))
    assert PAIRS.bos_token_id not in trajectory.token_ids
    assert PAIRS.eos_token_id not in trajectory.token_ids


def test_rollout_plain_tokenizer_is_as_good_as_an_encoder():
    turns = [ids_of(ENCODERS["words"], t) for t in (search("ada blake"), answer("lima"))]
    ledgers = [
        asyncio.run(
            rollout(Episode(QUESTION, Rules()), FixedEngine(FACT), Script(*turns), tokenizer)
        ).token_ids.tolist()
        for tokenizer in (WORDS, TextEncoder(WORDS))
    ]
    assert ledgers[0] == ledgers[1]


@both_tokenizers
def test_text_encoder_measures_and_decodes(encoder):
    end = encoder.end_of_text
    ids = ids_of(encoder, "<search>jarrow</search>")
    assert encoder("<search>jarrow</search>") == len(ids) > 1
    text = encoder.decode(ids)
    assert text.replace(" ", "") == "<search>jarrow</search>"
    assert encoder.decode([*ids, end]) == text
    assert encoder.decode((end,)) == encoder.decode([]) == ""
    assert encoder.decode([*ids, end, end]).endswith(END), "only the last one ends a turn"


# Where a turn ends


@both_tokenizers
def test_rollout_tag_in_an_open_thought_does_not_end_the_turn(encoder):
    first = ids_of(encoder, "<think>or <search>peru</search>")
    second = ids_of(encoder, "<answer>lima</answer>")
    third = ids_of(encoder, "</think><search>ada blake</search>")
    script = Script(first, second, third, ids_of(encoder, answer("jarrow corvale")))
    trajectory, episode = run(encoder, script, max_turn_tokens=100)
    assert written(trajectory) == sum(script.replies, [])
    assert (trajectory.num_turns, trajectory.reward) == (2, 1.0)
    assert [record.query for record in trajectory.searches] == ["ada blake"]
    used = [0, len(first), len(first) + len(second), 0]
    assert script.rooms == [100 - length for length in used]
    assert episode.cut_chars == 0


@both_tokenizers
def test_rollout_stray_closing_tag_does_not_end_the_turn(encoder):
    script = Script(ids_of(encoder, "hm </search>"), ids_of(encoder, answer("jarrow corvale")))
    trajectory, episode = run(encoder, script)
    assert (trajectory.num_turns, trajectory.reward, episode.num_invalid) == (1, 1.0, 0)


@both_tokenizers
def test_rollout_end_of_text_in_an_open_thought_ends_the_turn(encoder):
    """The thought stays open, so it hides nothing."""
    open_thought = "<think>or <search>ada blake</search> ada"
    script = Script(
        [*ids_of(encoder, open_thought), encoder.end_of_text],
        ids_of(encoder, answer("jarrow corvale")),
    )
    trajectory, episode = run(encoder, script)
    assert [record.query for record in trajectory.searches] == ["ada blake"]
    assert written(trajectory) == sum(script.replies, [])
    assert episode.cut_chars == len(" ada")


@both_tokenizers
def test_rollout_turn_is_cut_at_its_limit(encoder):
    [word] = ids_of(encoder, "i")
    rooms = []

    async def babble(token_ids, stop, max_tokens):
        rooms.append(max_tokens)
        return [word] * max_tokens, [-1.0] * max_tokens

    trajectory, _ = run(encoder, babble, rules=Rules(max_turns=3), max_turn_tokens=7)
    assert rooms == [7, 7, 7] and written(trajectory) == [word] * 21
    assert trajectory.termination is Termination.TURNS_SPENT
    run(encoder, babble, rules=Rules(max_turns=2, turn_reserve=9))
    assert rooms[3:] == [9, 9]


def test_rollout_turn_that_goes_on_is_cut_at_its_limit():
    """Seven tokens at a time, none of which ends the turn: the last call gets what is left."""
    encoder = ENCODERS["words"]
    piece = ids_of(encoder, "<think> ada <search> peru </search> ada blake")
    assert len(piece) == 7
    script = Script(piece, piece, piece[:2], ids_of(encoder, answer("lima")))
    trajectory, _ = run(encoder, script, max_turn_tokens=16)
    assert script.rooms == [16, 9, 2, 16]
    assert trajectory.segments[1].stop - trajectory.segments[1].start == 16


# The context budget

PIECES = [
    "<think>", "</think>", "<search>", "</search>", "<answer>", "ada blake", "hm ", ".",
    search("ada blake"), search("who founded jarrow corvale"), NO_ACTION, "<search></search>",
]  # fmt: skip


@st.composite
def replies_of(draw, encoder):
    """What a sampler says in turn: texts, random tokens, ends of text, or a mixture."""
    tokens = st.integers(0, len(encoder.tokenizer) - 1)
    text = st.sampled_from(PIECES).map(lambda piece: ids_of(encoder, piece))
    ids = text | st.lists(tokens, min_size=1, max_size=4) | st.just([encoder.end_of_text])
    reply = st.lists(ids, min_size=1, max_size=6).map(lambda parts: sum(parts, []))
    return draw(st.lists(reply, min_size=1, max_size=6))


class Cycle:
    """Repeats its replies, each cut where it must be, and keeps what it was asked."""

    def __init__(self, replies):
        self.replies = replies
        self.calls: list[tuple[int, int]] = []

    async def __call__(self, token_ids, stop, max_tokens):
        ids = self.replies[len(self.calls) % len(self.replies)][:max_tokens]
        self.calls.append((len(token_ids), max_tokens))
        return ids, [-1.0] * len(ids)


@pytest.mark.parametrize("name", ENCODERS)
@given(st.data())
def test_rollout_any_turns_keep_the_whole_trajectory_within_its_context(name, data):
    encoder = ENCODERS[name]
    script = Cycle(data.draw(replies_of(encoder)))
    reserve = data.draw(st.integers(1, 60))
    room = data.draw(st.integers(0, 300))
    limit = data.draw(st.none() | st.integers(1, reserve))
    most = encoder(Episode(QUESTION, Rules()).transcript) + reserve + room
    rules = Rules(max_context=most, turn_reserve=reserve, document_words=12)
    engine = FixedEngine(*data.draw(st.lists(st.sampled_from([FACT, "word " * 60]), max_size=3)))
    trajectory, episode = run(encoder, script, rules=rules, engine=engine, max_turn_tokens=limit)
    assert len(trajectory) <= most
    assert all(context + max_tokens <= most for context, max_tokens in script.calls)
    starts = [s.start for s in trajectory.segments if s.role is Role.POLICY]
    assert all(start + reserve <= most for start in starts)
    assert (trajectory.termination is Termination.CONTEXT_EXCEEDED) == episode.context_exceeded


@both_tokenizers
def test_rollout_context_in_characters_ends_where_the_bare_episode_does(encoder):
    """Tokens are not characters: an episode that counts characters must count those of turns."""
    text = encoder.decode(encoder.encode("ada blake " * 20))
    rules = Rules(turn_reserve=300, max_turns=2)
    needed = len(play(Episode(QUESTION, rules), lambda _: text, FixedEngine()).transcript)
    needed += 300 - len(text)  # the prompt, a turn, a correction, and the next turn's room
    turn = [*encoder.encode(text), encoder.end_of_text]
    for spare, num_turns in ((0, 2), (-1, 1)):
        rules = Rules(turn_reserve=300, max_turns=2, max_context=needed + spare)
        bare = play(Episode(QUESTION, rules), lambda _: text, FixedEngine())
        assert (bare.turn, bare.context_exceeded) == (num_turns, num_turns == 1)
        trajectory, episode = run(encoder, Script(turn, turn), rules=rules, measure=len)
        assert episode.transcript == bare.transcript
        assert trajectory.num_turns == num_turns


# Who breaks the contract


@pytest.mark.parametrize(
    ("ids", "log_probs", "message"),
    [
        ([], [], "1 to 8 token ids and as many log-probabilities, got 0 and 0"),
        ([5] * 9, [-1.0] * 9, "1 to 8 token ids and as many log-probabilities, got 9 and 9"),
        ([5, 5], [-1.0], "1 to 8 token ids and as many log-probabilities, got 2 and 1"),
        ([5], [-1.0, -1.0], "1 to 8 token ids and as many log-probabilities, got 1 and 2"),
    ],
)
def test_rollout_sampler_that_breaks_its_contract_is_named(ids, log_probs, message):
    async def generate(token_ids, stop, max_tokens):
        return ids, log_probs

    with pytest.raises(RolloutError, match=f"a sampler must return {message}"):
        run(ENCODERS["words"], generate, max_turn_tokens=8)


def test_rollout_sampler_that_overruns_what_is_left_of_a_turn_is_refused():
    encoder = ENCODERS["words"]
    piece = ids_of(encoder, "<think> ada <search> peru </search>")
    with pytest.raises(RolloutError, match="1 to 3 token ids .*, got 5 and 5"):
        run(encoder, Script(piece, piece), max_turn_tokens=8)


def test_rollout_tokenizer_without_end_of_text_is_refused():
    endless = PreTrainedTokenizerFast(tokenizer_object=byte_pairs())
    with pytest.raises(TokenizerError, match="`eos_token_id` is None"):
        TextEncoder(endless)
    with pytest.raises(TokenizerError, match="no end-of-text token"):
        asyncio.run(rollout(Episode(QUESTION, Rules()), FixedEngine(FACT), Script(), endless))


def test_rollout_episode_that_has_begun_is_refused():
    episode = Episode(QUESTION, Rules())
    episode.act(NO_ACTION)
    script = Script()
    with pytest.raises(ValueError, match="whole episodes, and this one is in turn 1"):
        asyncio.run(rollout(episode, FixedEngine(FACT), script, WORDS))
    assert script.contexts == []


# The rules are those of the bare episode


@pytest.mark.parametrize("noise_probability", [0.0, 0.5])
def test_rollout_solver_plays_as_it_plays_the_bare_episode(noise_probability):
    """The solver reads tokens and writes tokens, and nothing is lost on the way."""
    world = load_world()
    engine, solver, encoder = load_engine("world"), HopByHopSolver(world), ENCODERS["pairs"]

    async def generate(token_ids, stop, max_tokens):
        ids = ids_of(encoder, solver(PAIRS.decode(list(token_ids))))
        return ids, [-1.0] * len(ids)

    rewards, labels = [], []
    for number in range(20):
        question = world.questions("test")[number]
        setting = {"key": number, "noise_probability": noise_probability}
        bare = play(Episode(question, Rules(), **setting), solver, engine)
        episode = Episode(question, Rules(), **setting)
        trajectory = asyncio.run(rollout(episode, engine, generate, encoder)).verify()
        assert PAIRS.decode(trajectory.token_ids.tolist()) == bare.transcript == episode.transcript
        assert [(s.role, s.noisy) for s in trajectory.segments] == (
            [(s.role, s.noisy) for s in bare.segments]
        )
        assert trajectory.reward == bare.reward and trajectory.info == bare.info()
        rewards.append(trajectory.reward)
        labels += [record.noisy for record in trajectory.searches]
    assert len(labels) > 20
    assert any(labels) == (noise_probability > 0.0) and not all(labels)
    assert 1.0 in rewards


def test_rollout_documents_that_spell_special_tokens_do_not_become_them():
    """A retrieved page that says end-of-text would otherwise end the text for a chat model."""
    tokenizer = make_tokenizer()
    encoder = TextEncoder(tokenizer)
    assert tokenizer.eos_token_id in encoder.encode("he said [end]")
    block = render_information([Document("he said [end] and left")])
    assert tokenizer.eos_token_id not in encoder.encode(block)
    plain = render_information([Document("he said and left")])
    assert list(encoder.encode(plain)) == tokenizer.encode(plain, add_special_tokens=False)
