"""Methods: ways to play a question, by name or as objects."""

from __future__ import annotations

from zs_env.evaluation.methods.base import Method
from zs_env.loading import Spec, make_by_name

__all__ = ["METHODS", "Method", "load_method"]

_HERE = "zs_env.evaluation.methods"

METHODS = {
    "direct": f"{_HERE}.direct:Direct",
    "cot": f"{_HERE}.chain_of_thought:ChainOfThought",
    "rag": f"{_HERE}.rag:RetrievalAugmented",
    "r1": f"{_HERE}.r1:R1",
    "ra-agent": f"{_HERE}.ra_agent:RetrievalAgent",
    "search-o1": f"{_HERE}.search_o1:SearchO1",
    "search": f"{_HERE}.search:Search",
    "parts": f"{_HERE}.parts:Parts",
    "random": f"{_HERE}.scripted:RandomAnswer",
    "scripted-direct": f"{_HERE}.scripted:ScriptedDirect",
    "scripted-rag": f"{_HERE}.scripted:ScriptedRAG",
    "solver": f"{_HERE}.scripted:Solver",
    "explorer": f"{_HERE}.scripted:Exploring",
    "careful": f"{_HERE}.scripted:Careful",
    "careless": f"{_HERE}.scripted:Careless",
}
"""Classes of methods as ``module:class``, by name."""


def load_method(method: Spec | Method) -> Method:
    """Make the method that ``method`` names; return a method as it is.

    Raises:
        ValueError: the name is unknown.
        TypeError: an option is unknown, or the object is not a method.
    """
    return make_by_name("method", method, {}, METHODS, Method)
