"""Puts the JSON-LD context of RO-Crate 1.1 into the validator's HTTP cache, so that it needs no network.

usage: context.py CACHE CONTEXT.jsonld
"""

import io
import sys

import requests_cache
import urllib3
from requests.adapters import BaseAdapter, HTTPAdapter

URL = "https://w3id.org/ro/crate/1.1/context"


class File(BaseAdapter):
    """Answers every request with one file."""

    def __init__(self, path):
        super().__init__()
        with open(path, "rb") as file:
            self.text = file.read()

    def send(self, request, **_):
        raw = urllib3.HTTPResponse(
            body=io.BytesIO(self.text),
            status=200,
            headers={"Content-Type": "application/ld+json"},
            preload_content=False,
        )
        return HTTPAdapter().build_response(request, raw)

    def close(self):
        pass


cache, context = sys.argv[1:]
session = requests_cache.CachedSession(cache_name=cache, backend="sqlite", expire_after=-1)
adapter = File(context)
if f'"@id": "{URL}"'.encode() not in adapter.text:
    sys.exit(f"{context} is not the context {URL}")
session.mount("https://", adapter)
session.get(URL).raise_for_status()
