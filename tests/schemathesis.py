"""What Schemathesis is told beside the description: a key is for one request, and it asks many."""

import itertools
import re

import schemathesis

KEY = re.compile(r'[!#-+\--:<-\[\]-~]{1,255}|"([!#-\[\]-~]|\\["\\]){1,255}"')
numbers = itertools.count()


@schemathesis.hook
def map_headers(context, headers):
    """Gives each request a key of its own, wherever it has one that could be."""
    for name in list(headers or {}):
        if name.lower() == "idempotency-key" and KEY.fullmatch(str(headers[name])):
            headers[name] = f"key-{next(numbers)}"
    return headers
