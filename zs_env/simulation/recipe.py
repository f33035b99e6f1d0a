"""How pairs are made of judged searches. Options of `zs_env.simulation.make_pairs`."""

from __future__ import annotations

from dataclasses import dataclass

from zs_env.checks import as_integer, as_share
from zs_env.prompts import load_simulation_template


@dataclass(frozen=True)
class Recipe:
    """Options of making pairs.

    Raises:
        ValueError: a value is out of its range.
        TypeError: a value has the wrong type.
    """

    num_pairs: int = 20_000
    """Most pairs to tune on, plain pages included; the paper has 20,000."""
    num_held_out: int = 1_000
    """Most held-out pairs."""
    template: str = "fine-tuned"
    """Template of the prompts: `prompt-based`, `fine-tuned`, `world`, or the path of a text."""
    search_engine: str = "Google"
    """Name of the search engine that the simulation LLM plays; the template `world` has none."""
    top_k: tuple[int, ...] = (5,)
    """Documents of a pair, as the simulation LLM will be asked for; of several numbers each pair gets one at random, and a number that is given twice comes twice as often."""  # noqa: E501
    document_words: int = 30
    """Words of a document that prompts ask for; documents are cut at four times as many."""
    depth: int = 12
    """Results of a query, best first, that noisy documents are taken from; pages of the embedded world that are held out do not count."""  # noqa: E501
    noisy_share: float = 0.5
    """Share of the pairs that are noisy, plain pages aside."""
    final_hop_share: float | None = None
    """Share of the useful pairs whose documents give the golden answer; `None`: as they come."""
    page_share: float = 0.0
    """Share of the pairs that are plain pages of the corpus, without a prompt."""
    own_page_noise: bool = False
    """Whether noisy documents may come from the page of what is asked about."""
    hide_answer_from_noisy: bool = False
    """Whether noisy prompts are without golden answers; the engine needs the same option then."""
    swap_share: float = 0.0
    """Share of the useful pairs of a final hop whose golden answer becomes another entity of its type, in prompt and documents; only in the embedded world."""  # noqa: E501
    rename_share: float = 0.0
    """Share of the useful pairs of a final hop in which the entity that the query names gets a name that no entity has, in prompt and documents; only in the embedded world."""  # noqa: E501
    random_answer_share: float = 0.0
    """Share of the useful pairs of earlier hops whose prompt gives another entity of its type as the golden answer; only in the embedded world."""  # noqa: E501
    variants: int = 1
    """Pairs of each label that are made of one search to train on, and pairs of a plain page: they differ in swapped and random answers and names, in which noisy documents they have, and in the order of a page; those that do not differ are left out."""  # noqa: E501
    held_out_share: float = 0.05
    """Share of the questions whose pairs are held out."""
    held_out_entities: float = 0.05
    """Share of the entities of the embedded world whose pages and queries are held out."""
    held_out_pages: bool = False
    """Whether pages of held-out entities may be plain pages: no pair asks for what stands there, but a model may know it."""  # noqa: E501
    test_pages: bool = False
    """Whether pages of the embedded world that only test questions need may be targets."""
    seed: int = 0
    """Seed of all draws."""

    def __post_init__(self) -> None:
        """Check the values."""
        for name in ("num_pairs", "num_held_out", "document_words", "depth", "variants", "seed"):
            as_integer(name, getattr(self, name), 0 if name in ("seed", "num_held_out") else 1)
        if not self.top_k:
            raise ValueError("`top_k` must hold at least one number.")
        for number in self.top_k:
            as_integer("top_k", number, 1)
        if self.depth < max(self.top_k):
            raise ValueError(
                f"`depth` must be at least `top_k`, got {self.depth} and {max(self.top_k)}: noisy "
                "documents are taken from that many results."
            )
        shares = (
            "noisy_share", "page_share", "swap_share", "rename_share", "random_answer_share",
            "held_out_share", "held_out_entities",
        )  # fmt: skip
        for name in shares:
            as_share(name, getattr(self, name))
        if self.final_hop_share is not None:
            as_share("final_hop_share", self.final_hop_share)
        if not 0.0 < self.noisy_share < 1.0 or self.page_share == 1.0:
            raise ValueError(
                "`noisy_share` must be between 0 and 1 and `page_share` below 1, got "
                f"{self.noisy_share} and {self.page_share}: a simulation LLM needs both labels."
            )
        load_simulation_template(self.template)
