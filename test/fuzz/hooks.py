"""What Schemathesis checks here beyond its own checks, and what no schema can tell it."""

import atexit
import json
import os
import sys
from collections import Counter
from itertools import count
from urllib.parse import unquote
from zlib import crc32

import schemathesis
from schemathesis.openapi.checks import RejectedPositiveData

PROGRESS_EVERY = 500
SEATS = int(os.environ["FUZZ_SEATS"])

answers = Counter()
turn = count()


@schemathesis.check
def refusals_are_problems(ctx, response, case):
    """RFC 9457: what is neither a success nor "not modified" says why."""
    if 200 <= response.status_code < 300 or response.status_code == 304:
        return
    media_type = response.headers.get("content-type", [""])[0]
    assert media_type.startswith("application/problem+json"), f"{response.status_code} came as {media_type}"
    problem = response.json()
    assert problem["status"] == response.status_code, "the problem names another status"
    assert problem["code"] and problem["title"] and problem["detail"], "the problem says nothing"


def mostly(drawn, usual):
    """What is there, for nine of ten that were drawn."""
    return drawn if crc32(drawn.encode()) % 10 == 0 else usual


@schemathesis.hook
def map_case(context, case):
    """Valid requests are for what is there: seats of the event, and the layout of its map."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return case
    if isinstance(case.body, dict) and isinstance(case.body.get("seat_ids"), list):
        seats = [mostly(drawn, f"fuzz-A-{next(turn) % SEATS + 1}") for drawn in case.body["seat_ids"]]
        case.body["seat_ids"] = list(dict.fromkeys(seats))
        case.body["user_id"] = mostly(case.body["user_id"], os.environ["FUZZ_BUYER"])
    if "layout_id" in case.path_parameters and case.path_parameters["event_id"] == "fuzz":
        case.path_parameters["layout_id"] = os.environ["FUZZ_LAYOUT"]
    return case


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Refused though drawn as valid: a cursor that was not given out, and an id that is only ASCII when it is quoted."""
    if isinstance(failure, RejectedPositiveData):
        if not all(unquote(str(given)).isascii() for given in case.path_parameters.values()):
            return False
        return [error["path"] for error in response.json().get("errors", [])] != ["cursor"]
    return True


@schemathesis.hook
def after_call(context, case, response):
    answers[f"{case.operation.label} {response.status_code}"] += 1
    calls = answers.total()
    if calls % PROGRESS_EVERY == 0:
        print(f"{calls} cases", file=sys.stderr, flush=True)


@atexit.register
def tell():
    with open(os.environ["FUZZ_ANSWERS"], "w") as file:
        json.dump(answers, file)
