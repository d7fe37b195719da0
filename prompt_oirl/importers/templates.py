"""Tell template and question apart where a file holds only the texts sent: templates with questions in them.

A question that was asked with several templates stands in several texts, each time with another beginning and
end. `separate` looks for the beginnings and ends that let most texts share their middles; what differs by
nothing else is one template. Where the tool says which texts belong together, that counts instead.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import combinations, product

from prompt_oirl.importers.shared_edges import common_edges, shared_ends, shared_starts
from prompt_oirl.importers.skeletons import PLACE as PLACE
from prompt_oirl.importers.skeletons import (
    SMALLEST_SHARE,
    Skeleton,
    by_common_text,
    repeated_in,
    without_numbers,
)

LEARNED_FROM = 5_000  # distinct texts that templates are looked for in; the rest is matched
ASKED_ALIKE = 24  # texts of one middle that are compared with each other
FEWEST_BARE, RUN, WORDS_LOOKED_AT = 10, 6, 2_000
SPLITS = 4  # parts that vary independently of each other and are taken off one after another
NUMBERED = 3  # templates that differ in numbers only, from which on these may be the questions'
STILL_CONFIRMED = 0.25  # of their texts that then have a question of several templates
TRIMS = 12  # words that a template may have taken from the edges of its few questions

Group = str | None


def separate(
    rendered: Sequence[str], groups: Sequence[Group] | None = None, keys: Sequence[Group] | None = None
) -> tuple[list[str | None], list[str | None]]:
    """The question of each rendered text, and its template with "{question}" in the question's place.

    Parameters
    ----------
    rendered : texts as they were sent
    groups : what the tool calls the question of each text (a question's id), None where unknown
    keys : what the tool calls the template of each text (a prompt's id, a task), None where unknown

    Returns: questions and templates, None where they cannot be told apart: only one question was asked with
    the template, or it has too little text of its own. Text that all questions of all templates begin or end
    with belongs to the templates.
    """
    texts = list(
        dict.fromkeys(zip(rendered, groups or [None] * len(rendered), keys or [None] * len(rendered)))
    )
    found: dict[tuple[str, Group, Group], Skeleton] = {}
    keyed = [t for t in texts if t[2] is not None]
    found.update(_by_key(keyed))
    unkeyed = [t for t in texts if t[2] is None]
    split = _by_overlap([t[0] for t in unkeyed], [t[1] for t in unkeyed])
    found.update((t, skeleton) for t, skeleton in zip(unkeyed, split) if skeleton is not None)
    stop = _shared_stop(set(found.values()))
    questions: list[str | None] = []
    templates: list[str | None] = []
    for text in zip(rendered, groups or [None] * len(rendered), keys or [None] * len(rendered)):
        skeleton = found.get(text)
        question = skeleton.question_in(text[0]) if skeleton else None
        if skeleton is None or question is None:
            questions.append(None)
            templates.append(None)
        else:
            questions.append(question + stop)
            templates.append(skeleton.without(stop).template)
    return questions, templates


def asked_bare(rendered: Sequence[str], groups: Sequence[Group]) -> bool:
    """Whether texts without any template are questions that nothing was put around.

    That takes `FEWEST_BARE` texts, each of its own question, and no run of words that many of them share.

    Parameters
    ----------
    rendered, groups : as of `separate`
    """
    texts = set(rendered)
    if len(texts) < FEWEST_BARE or len(texts) > len(set(groups) - {None} or texts):
        return False
    words = [text.split()[:WORDS_LOOKED_AT] for text in texts]
    runs = Counter(run for of in words for run in {tuple(of[i : i + RUN]) for i in range(len(of) - RUN + 1)})
    return max(runs.values(), default=0) < max(2, SMALLEST_SHARE * len(texts))


def _shared_stop(skeletons: set[Skeleton]) -> str:
    """The mark that follows the question in every template: it is the question's own."""
    marks = {s.after[:1] for s in skeletons} | {s.between[:1] for s in skeletons if s.between is not None}
    return marks.pop() if len(marks) == 1 and marks <= set("?!.。？") else ""


def _by_key(texts: Sequence[tuple[str, Group, Group]]) -> dict[tuple[str, Group, Group], Skeleton]:
    """Skeletons of texts whose templates are known by name."""
    members: dict[Group, list[tuple[str, Group, Group]]] = defaultdict(list)
    for text in texts:
        members[text[2]].append(text)
    known: set[str] = set()
    found: dict[tuple[str, Group, Group], Skeleton] = {}
    for _, of_key in sorted(members.items(), key=lambda item: _variety(item[1]), reverse=True):
        distinct = list(dict.fromkeys(text for text, *_ in of_key))
        skeleton = _of_one_template(distinct, known)
        if skeleton is not None:
            known.update(q for text in distinct if (q := skeleton.question_in(text)) is not None)
            found.update((text, skeleton) for text in of_key)
    return found


def _variety(of_key: Sequence[tuple[str, Group, Group]]) -> tuple[int, int]:
    """How many texts, in how many characters they differ: with more, less is alike by chance."""
    texts = list({text for text, *_ in of_key})
    return len(texts), sum(map(len, texts)) - len(texts) * sum(common_edges(texts))


def _of_one_template(texts: Sequence[str], known: set[str]) -> Skeleton | None:
    """The skeleton of texts of one template: the longest, or less of it if known questions say so."""
    if len(texts) == 1:  # nothing to compare with: the longest known question in it
        inside = max((q for q in known if q in texts[0]), key=len, default=None)
        if inside is None:
            return None
        before, _, after = texts[0].partition(inside)
        return Skeleton(before, after)
    start, end = common_edges(texts)
    first = texts[0]
    skeletons = [
        Skeleton(first[:a], first[len(first) - b :])
        for a, b in product(_trims(first[:start]), _trims(first[len(first) - end :][::-1]))
    ]
    repeated = Counter(repeated_in(skeletons[0], text) for text in texts)
    best, count = repeated.most_common(1)[0]
    if best is not None and count == len(texts):
        return best
    return max(skeletons, key=lambda s: (sum(s.question_in(text) in known for text in texts), s.size))


def _trims(edge: str) -> list[int]:
    """Lengths of an edge with up to `TRIMS` of its last words left off."""
    cuts = [i for i in range(len(edge), -1, -1) if i in (0, len(edge)) or edge[i - 1].isspace()]
    return cuts[: TRIMS + 1]


def _by_overlap(texts: Sequence[str], groups: Sequence[Group]) -> list[Skeleton | None]:
    """A skeleton for each text, from questions that stand in several of them."""
    if len(texts) < 2:
        return [None] * len(texts)
    chosen, owners = _templates_of(texts, groups)
    found = [_best_fit(text, group, chosen, owners)[1] for text, group in zip(texts, groups)]
    if chosen:
        for _ in range(SPLITS):
            before, found = found, _split_again(texts, groups, found)
            if found == before:
                break
        found = _numbers_left_to_questions(texts, found)
    else:
        skeleton = _of_one_template(texts, set())
        if skeleton is not None and skeleton.between is not None:
            return [skeleton] * len(texts)
    left = [i for i, skeleton in enumerate(found) if skeleton is None]
    if chosen and len(left) < SMALLEST_SHARE * len(texts):
        return found
    for i, skeleton in zip(left, by_common_text([texts[i] for i in left])):
        found[i] = skeleton
    return found


def _split_again(
    texts: Sequence[str], groups: Sequence[Group], found: list[Skeleton | None]
) -> list[Skeleton | None]:
    """Where beginnings and ends vary independently, one of them is left in the questions: look there, too."""
    questions = [s.question_in(text) if s else None for s, text in zip(found, texts)]
    distinct = list(dict.fromkeys((q, g) for q, g in zip(questions, groups) if q is not None))
    chosen, owners = _templates_of([q for q, _ in distinct], [g for _, g in distinct])
    inner = {(q, group): _best_fit(q, group, chosen, owners) for q, group in distinct}
    confirmed = sum(shared > 1 for shared, _ in inner.values())
    if 2 * confirmed < len(distinct) or not confirmed:
        return found
    again = []
    for skeleton, question, group in zip(found, questions, groups):
        part = inner[question, group][1] if question is not None else None
        if skeleton is not None and part is not None and skeleton.between is None:
            skeleton = Skeleton(skeleton.before + part.before, part.after + skeleton.after, part.between)
        again.append(skeleton)
    return again


def _numbers_left_to_questions(texts: Sequence[str], found: list[Skeleton | None]) -> list[Skeleton | None]:
    """Skeletons that differ in numbers only as one, if several templates still share questions then.

    Sums such as "What is 3 + 4?" vary in parts, too, as templates may.
    """
    kinds: dict[str, set[Skeleton]] = defaultdict(set)
    for skeleton in found:
        if skeleton is not None:
            kinds[without_numbers(skeleton.template)].add(skeleton)
    one_of: dict[Skeleton | None, Skeleton] = {}
    for alike in kinds.values():
        if len(alike) >= NUMBERED:
            start, _ = common_edges([s.before for s in alike])
            end, _ = common_edges([s.after[::-1] for s in alike])
            first = min(alike, key=lambda s: s.order)
            for skeleton in alike:
                one_of[skeleton] = Skeleton(first.before[:start], first.after[len(first.after) - end :])
    joined = []
    for text, skeleton in zip(texts, found):
        wider = one_of.get(skeleton, skeleton)
        if skeleton is not None and skeleton.between is not None and wider is not None:
            wider = skeleton if wider == skeleton else repeated_in(wider, text)
        joined.append(wider)
    changed = [i for i, skeleton in enumerate(found) if skeleton in one_of]
    before, now = (_confirmed(texts, split, changed) for split in (found, joined))
    return joined if now > STILL_CONFIRMED * before else found


def _confirmed(texts: Sequence[str], found: Sequence[Skeleton | None], which: Sequence[int]) -> int:
    """How many of some texts have a question that stands in several templates."""
    questions = [s.question_in(text) if s else None for text, s in zip(texts, found)]
    of = defaultdict(set)
    for question, skeleton in zip(questions, found):
        of[question].add(skeleton)
    return sum(questions[i] is not None and len(of[questions[i]]) > 1 for i in which)


Asked = tuple[Group, str]


def _best_fit(
    text: str, group: Group, chosen: Sequence[Skeleton], owners: dict[Asked, set[Skeleton]]
) -> tuple[int, Skeleton | None]:
    """The skeleton that leaves the question of most skeletons, then the longest; and of how many."""
    fitting = [(len(owners.get((group, q), ())), s) for s in chosen if (q := s.question_in(text))]
    return max(fitting, key=lambda fit: (fit[0], fit[1].order), default=(0, None))


def _templates_of(
    texts: Sequence[str], groups: Sequence[Group]
) -> tuple[list[Skeleton], dict[Asked, set[Skeleton]]]:
    """Skeletons that share questions, and those of each question."""
    chosen_texts = range(len(texts))
    if len(texts) > LEARNED_FROM:
        chosen_texts = sorted(random.Random(0).sample(chosen_texts, LEARNED_FROM))  # type: ignore[assignment]
    candidates = _candidates([texts[i] for i in chosen_texts], [groups[i] for i in chosen_texts])
    pairs: Counter[tuple[Skeleton, Skeleton]] = Counter()
    for entries in candidates.values():
        pairs.update(combinations(sorted({s for s, _ in entries[:ASKED_ALIKE]}, key=lambda s: s.order), 2))
    if not pairs:
        return [], {}
    (a, b), shared = max(
        pairs.items(), key=lambda item: (item[1], sum(s.size for s in item[0]), item[0][0].order)
    )
    if shared < 2:
        return [], {}
    of_skeleton: dict[Skeleton, list[Asked]] = defaultdict(list)
    for question, entries in candidates.items():
        for skeleton, _ in entries:
            of_skeleton[skeleton].append(question)
    chosen, owners = [a, b], defaultdict(set)
    for skeleton in chosen:
        for question in of_skeleton[skeleton]:
            owners[question].add(skeleton)
        if skeleton is a:
            continue
        settled = {i for q, of in owners.items() if len(of) > 1 for s, i in candidates[q] if s in of}
        gains = Counter(s for q in owners for s, i in candidates[q] if i not in settled and s not in chosen)
        best = max(gains.items(), key=lambda item: (item[1], item[0].order), default=None)
        if best is not None and best[1] >= 2:
            chosen.append(best[0])
    return chosen, dict(owners)


def _candidates(texts: Sequence[str], groups: Sequence[Group]) -> dict[Asked, list[tuple[Skeleton, int]]]:
    """Middles that stand in several texts (of one group), with the skeleton and number of each text."""
    support = max(2, len(texts) // 500)
    skeletons: dict[Skeleton, Skeleton] = {}  # each kept once
    found: dict[Asked, list[tuple[Skeleton, int]]] = defaultdict(list)
    edges = zip(texts, groups, shared_starts(texts, support), shared_ends(texts, support))
    for i, (text, group, starts, ends) in enumerate(edges):
        for start, end in product(starts, ends):
            around = Skeleton(text[:start], text[len(text) - end :])
            for skeleton in (around, repeated_in(around, text)):
                question = skeleton.question_in(text) if skeleton else None
                if skeleton is not None and question is not None:
                    found[group, question].append((skeletons.setdefault(skeleton, skeleton), i))
    return {question: entries for question, entries in found.items() if len(entries) > 1}
