"""The SQL of a search: which lists of images there are, and which of their images have everything that is asked for.

`image_terms` has the images of each word in the order of the list. A search walks along one of these lists, the one
with the fewest images, and looks up its images in the others.

A request reads at most 20,000 entries of the lists: up to `COUNTING` while it counts, and twice each entry that it
walks along, to find the hits and the end (`search.WINDOWS`). Each image that it walks along is looked up at most once
for each of `LOOKED_UP` words, and once in the images. What may be more, the words of prefixes and phrases, makes the
images fewer (`Plan.cost`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pixyproxy.core.search import Search
from pixyproxy.data.database import Transaction

COUNTED, COUNTING = 1_000, 8_000
"""How far a list is counted at first, and how many entries of all lists are counted in all."""
MAX_TERMS = 30
"""Words that a prefix stands for: the first ones in the order of their bytes."""
LOOKED_UP = 16
"""Words of a search that are looked up: the longest ones."""
COST_OF_PHRASE = 4
"""What it costs to look for a phrase in a prompt, in lookups of a word."""
JOINED = 8
"""Words that are joined; each beyond them is looked up by itself. A database joins at most 61 tables."""

OF_A_TERM = """
    SELECT created_at, image_id
    FROM image_terms
    WHERE term = :{name} AND created_at <= :created_at AND (created_at < :created_at OR image_id < :image_id)
    ORDER BY created_at DESC, image_id DESC
"""
OF_IMAGES = """
    SELECT created_at, id AS image_id
    FROM images {condition} created_at <= :created_at AND (created_at < :created_at OR id < :image_id)
    ORDER BY created_at DESC, id DESC
"""
COUNT = "(SELECT COUNT(*) FROM (SELECT 1 AS one FROM image_terms WHERE term IN :{name} LIMIT :counted) c)"
COUNT_OF_CALLER = "(SELECT COUNT(*) FROM (SELECT 1 AS one FROM images WHERE api_key_id = :api_key_id LIMIT :counted) c)"
# Not EXISTS: the servers would turn it into a join, and read all images of the word.
HAS = """
    (SELECT COUNT(*) FROM image_terms h
     WHERE h.term = :{name} AND h.created_at = t.created_at AND h.image_id = t.image_id) = 1
"""
# One step of a loose scan, which costs the same however many images a word has. MariaDB would read all of them in one
# recursive statement.
NEXT_TERM = "SELECT MIN(term) AS term FROM image_terms WHERE term >= :least AND term < :behind"

Terms = tuple[bytes, ...]
"""Words of which an image has at least one: a word that is asked for, or those that begin with a prefix."""


@dataclass(frozen=True)
class Plan:
    """How a search runs. The SQL has the parameters `window`, `taken`, `skipped` and those of a position, too.

    `walk`: images of the list that it walks along. `hits`: those of them that have everything else. `cost`: what an
    image of that list costs, in rows that are read. `filters`: whether there is anything else.
    """

    walk: str
    walk_parameters: dict[str, Any]
    hits: str
    hits_parameters: dict[str, Any]
    cost: int
    filters: bool


def plan(transaction: Transaction, search: Search, *, api_key_id: int | None) -> Plan | None:
    """The plan for the images of this API key (of any if None) that the search finds; None: there are none."""
    lists: list[Terms | None] = [(word,) for word in search.words]
    lists += [terms_of_prefix(transaction, prefix) for prefix in search.prefixes]
    if not all(lists):
        return None
    if api_key_id is not None or not lists:
        lists.append(None)  # the list of images itself
    if len(lists) > 1:
        first = min(COUNTED, COUNTING // len(lists))
        counts = count(transaction, lists, counted=first, api_key_id=api_key_id)
        if not all(counts):
            return None
        left = COUNTING // len(lists) - first
        if min(counts) == first < left:  # all have more
            counts = count(transaction, lists, counted=left, api_key_id=api_key_id)
        # Of lists as long as each other one of several words: to walk along them costs less than to look them all up.
        lists = [
            each for _, each in sorted(zip(counts, lists, strict=True), key=lambda pair: (pair[0], -width(pair[1])))
        ]
    walked, *others = lists
    return compose(walked, others, search.phrases, api_key_id=api_key_id)


def looked_up(words: Sequence[bytes]) -> tuple[bytes, ...]:
    """The words of a search that its plan may have. The prompts of its hits must be asked for the others."""
    return tuple(sorted(words, key=len, reverse=True)[:LOOKED_UP])


def width(terms: Terms | None) -> int:
    """How many words a list has."""
    return 1 if terms is None else len(terms)


def terms_of_prefix(transaction: Transaction, prefix: bytes) -> Terms:
    """The words that begin with the prefix, at most `MAX_TERMS`."""
    found: list[bytes] = []
    least, behind = prefix, prefix + b"\xff"  # UTF-8 has no such byte
    while len(found) < MAX_TERMS:
        row = transaction.one(NEXT_TERM, least=least, behind=behind)
        if row is None or row["term"] is None:
            break
        found.append(bytes(row["term"]))
        least = found[-1] + b"\0"
    return tuple(found)


def count(
    transaction: Transaction, lists: Sequence[Terms | None], *, counted: int, api_key_id: int | None
) -> list[int]:
    """How many images each list has, up to `counted`."""
    columns: list[str] = []
    parameters: dict[str, Any] = {"counted": counted, "api_key_id": api_key_id}
    for number, terms in enumerate(lists):
        columns.append(f"{COUNT_OF_CALLER if terms is None else COUNT.format(name=f'c{number}')} AS n{number}")
        parameters |= {} if terms is None else {f"c{number}": terms}
    row = transaction.one(f"SELECT {', '.join(columns)}", **parameters)
    return [] if row is None else [row[f"n{number}"] for number in range(len(lists))]


def compose(
    walked: Terms | None, others: Sequence[Terms | None], phrases: Sequence[str], *, api_key_id: int | None
) -> Plan:
    """The SQL of a plan. Its joins are written so that SQLite keeps their order; the servers choose the same one."""
    walk, walk_parameters = along_terms(walked) if walked else along_images(api_key_id)
    parameters = dict(walk_parameters)
    joins: list[str] = []
    conditions: list[str] = []
    cost = max(1, COST_OF_PHRASE * len(phrases), width(walked))
    for number, terms in enumerate(others):
        name = f"w{number}"
        same = f"{name}.created_at = t.created_at AND {name}.image_id = t.image_id"
        if terms is None:
            conditions.append("i.api_key_id = :api_key_id")
            parameters["api_key_id"] = api_key_id
        elif len(terms) > 1:
            each = {f"{name}_{at}": term for at, term in enumerate(terms)}
            conditions.append(f"({' OR '.join(HAS.format(name=one) for one in each)})")
            parameters |= each
            cost = max(cost, len(terms))
        elif len(joins) < JOINED:
            joins.append(f"CROSS JOIN image_terms {name} ON {name}.term = :{name} AND {same}")
            parameters[name] = terms[0]
        else:
            conditions.append(HAS.format(name=name))
            parameters[name] = terms[0]
    for number, phrase in enumerate(phrases):
        conditions.append(f"i.prompt LIKE :p{number} ESCAPE '!'")
        parameters[f"p{number}"] = containing(phrase)
    if phrases or None in others:
        joins.append("CROSS JOIN images i ON i.id = t.image_id AND i.deleted_at IS NULL")
    if not joins and not conditions:
        return Plan(walk, walk_parameters, walk, walk_parameters, cost=cost, filters=False)
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    hits = f"""
        SELECT t.created_at, t.image_id FROM ({walk}) t {" ".join(joins)} {where}
        ORDER BY t.created_at DESC, t.image_id DESC
        LIMIT :rows
    """
    return Plan(walk, walk_parameters, hits, parameters, cost=cost, filters=True)


def along_terms(terms: Terms) -> tuple[str, dict[str, Any]]:
    """The SQL for the images that have one of the words, each once, and its parameters."""
    parameters = {f"t{number}": term for number, term in enumerate(terms)}
    lists = [OF_A_TERM.format(name=name) for name in parameters]
    if len(lists) == 1:
        return f"{lists[0]} LIMIT :taken OFFSET :skipped", parameters
    each = [
        f"SELECT created_at, image_id FROM ({one} LIMIT :window) {name}"
        for name, one in zip(parameters, lists, strict=True)
    ]
    return f"{' UNION '.join(each)} ORDER BY created_at DESC, image_id DESC LIMIT :taken OFFSET :skipped", parameters


def along_images(api_key_id: int | None) -> tuple[str, dict[str, Any]]:
    """The SQL for the images of an API key, or for all images, and its parameters."""
    if api_key_id is None:
        return f"{OF_IMAGES.format(condition='WHERE')} LIMIT :taken OFFSET :skipped", {}
    condition = "/*! FORCE INDEX (ix_images_caller) */ WHERE api_key_id = :api_key_id AND"
    return f"{OF_IMAGES.format(condition=condition)} LIMIT :taken OFFSET :skipped", {"api_key_id": api_key_id}


def containing(phrase: str) -> str:
    """The LIKE pattern for prompts that contain the phrase literally: wildcards in it are escaped with '!'."""
    literal = phrase.replace("!", "!!").replace("%", "!%").replace("_", "!_")
    return f"%{literal}%"
