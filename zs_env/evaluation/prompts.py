"""What methods tell the policy; that of `search` is `zs_env.prompts.PROMPT`."""

from __future__ import annotations

from zs_env.actions import ANSWER, INFORMATION, SEARCH, THINK, tagged

DIRECT = """\
Answer the question with a name, a date or a few words, and write nothing else.
Question: {question}
Answer:"""

CHAIN_OF_THOUGHT = f"""\
Answer the question. Think step by step first. Then give the answer, a few words and nothing else: \
{tagged(ANSWER, " your answer ")}.
Question: {{question}}
"""

RETRIEVAL = """\
Answer the question with a name, a date or a few words, and write nothing else. These documents \
may help:
{documents}
Question: {question}
Answer:"""

REASONING = f"""\
Answer the question below. Reason first, between <{THINK}> and </{THINK}>. Then give the answer, a \
few words and nothing else: {tagged(ANSWER, " your answer ")}.
Question: {{question}}
"""

AGENT = f"""\
Answer the question below, and reason step by step. Whenever you lack a fact, look it up: \
{tagged(SEARCH, " your query ")}. What is found comes back between <{INFORMATION}> and \
</{INFORMATION}>; then go on reasoning. When you know the answer, give it in a few words: \
{tagged(ANSWER, " your answer ")}.
Question: {{question}}
"""

NOTHING_HELPFUL = "No helpful information found."

REASON_IN_DOCUMENTS = f"""\
Somebody reasons about a question, and has searched for a fact. Read the documents, and write what \
in them helps the next step, in one to three sentences. If nothing helps, write: {NOTHING_HELPFUL}
Question: {{question}}
Reasoning so far: {{reasoning}}
Query: {{query}}
Documents:
{{documents}}
"""
