"""The interface as an OpenAPI 3.1 document, and as a page for people made from it."""

import html
from typing import Any

from harness.framework.service.problems import PROBLEMS
from harness.framework.service.settings import Limits
from harness.framework.verify.ear import PROFILE

_TITLE = "attestbench verifier"
_SUMMARY = (
    "Ask for a challenge, answer it with evidence, get a signed attestation result. A challenge "
    "can be answered once, before it expires, and for the instance that it was asked for."
)


def document(limits: Limits) -> dict[str, Any]:
    """The OpenAPI document of a service with ``limits``."""
    return {
        "openapi": "3.1.0",
        "info": {"title": _TITLE, "version": "1", "description": _SUMMARY},
        "paths": {
            "/v1/challenges": {"post": _challenge(limits)},
            "/v1/challenges/{id}/evidence": {"post": _evidence(limits)},
            "/v1/key": {"get": _get("The public key of results, to pin", "application/x-pem-file")},
            "/healthz": {"get": _get("Whether policy and state can be used", "application/json")},
            "/metrics": {"get": _get("Metrics of all worker processes", "text/plain")},
            "/openapi.json": {"get": _get("This document", "application/json")},
        },
        "components": {"schemas": _schemas()},
    }


def page(limits: Limits) -> str:
    """The document as HTML that loads nothing."""
    described = document(limits)
    parts = [_HEAD, f"<h1>{_TITLE}</h1><p>{_SUMMARY}</p>", _EXAMPLE]
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            parts.append(_operation(path, method, operation))
    parts.append("<h2>Problems</h2><table><tr><th>type<th>status<th>title")
    for kind, (status, title) in PROBLEMS.items():
        parts.append(f"<tr><td>urn:attestbench:problem:{kind}<td>{status}<td>{html.escape(title)}")
    return "".join((*parts, "</table>"))


def _challenge(limits: Limits) -> dict[str, Any]:
    return {
        "summary": f"A challenge that may be answered once, within {limits.challenge_s:g} s",
        "requestBody": _body("application/json", {"$ref": "#/components/schemas/ChallengeRequest"}),
        "responses": {
            "201": _response(
                "The challenge", "application/json", {"$ref": "#/components/schemas/Challenge"}
            ),
            **_problems("400", "408", "413", "415", "503"),
        },
    }


def _evidence(limits: Limits) -> dict[str, Any]:
    return {
        "summary": "Evidence for a challenge; the answer is a signed result, accepted or not",
        "description": f"Canonical CBOR of at most {limits.max_evidence} bytes. Only the signed "
        "result says whether the evidence was accepted: the status is 200 in both cases.",
        "parameters": [
            {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
        ],
        "requestBody": _body("application/cbor", {"type": "string", "format": "binary"}),
        "responses": {
            "200": _response(
                "An EAR as a JWT signed with ES256",
                f'application/eat+jwt; eat_profile="{PROFILE}"',
                {"type": "string"},
            ),
            **_problems("404", "408", "413", "415", "503"),
        },
    }


def _get(summary: str, media_type: str) -> dict[str, Any]:
    ok = _response(summary, media_type, {"type": "string"})
    return {"summary": summary, "responses": {"200": ok, **_problems("503")}}


def _body(media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {media_type: {"schema": schema}}}


def _response(text: str, media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {media_type: {"schema": schema}}}


def _problems(*statuses: str) -> dict[str, Any]:
    reference = {"$ref": "#/components/schemas/Problem"}
    return {
        status: _response(
            "; ".join(title for code, title in PROBLEMS.values() if str(code) == status),
            "application/problem+json",
            reference,
        )
        for status in statuses
    }


def _schemas() -> dict[str, Any]:
    return {
        "ChallengeRequest": {
            "type": "object",
            "required": ["instance"],
            "additionalProperties": False,
            "properties": {
                "instance": {"type": "string", "pattern": "^[!-~]{1,128}$", "examples": ["pod-0"]}
            },
        },
        "Challenge": {
            "type": "object",
            "required": ["id", "nonce", "expires", "ima_prefix"],
            "properties": {
                "id": {"type": "string", "description": "for the path that takes the evidence"},
                "nonce": {"type": "string", "description": "hex; what the evidence must answer"},
                "expires": {"type": "number", "description": "seconds since 1970"},
                "ima_prefix": {
                    "type": ["object", "null"],
                    "description": "the accepted beginning of the instance's IMA log; evidence may "
                    "hold only what follows (its `ima_prefix` says so), or the whole log",
                    "properties": {
                        "entries": {"type": "integer"},
                        "pcr": {"type": "string", "description": "hex; PCR 10 after them"},
                    },
                },
            },
        },
        "Problem": {
            "type": "object",
            "description": "RFC 9457",
            "required": ["type", "title", "status", "detail"],
            "properties": {
                "type": {"type": "string"},
                "title": {"type": "string"},
                "status": {"type": "integer"},
                "detail": {"type": "string"},
                "failure": {"type": "string", "description": "a failure id of evidence"},
            },
        },
    }


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    lines = [
        f"<h2><code>{method.upper()} {html.escape(path)}</code></h2>",
        f"<p>{html.escape(operation['summary'])}. {html.escape(operation.get('description', ''))}",
    ]
    if "requestBody" in operation:
        (media_type,) = operation["requestBody"]["content"]
        lines.append(f"<p>Body: <code>{media_type}</code>")
    lines.append("<table><tr><th>status<th>media type<th>what")
    for status, response in operation["responses"].items():
        (media_type,) = response["content"]
        cells = (status, html.escape(media_type), html.escape(response["description"]))
        lines.append("<tr><td>" + "<td>".join(cells))
    return "".join((*lines, "</table>"))


_HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>attestbench verifier</title>
<meta name="viewport" content="width=device-width">
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse}th,td{border:1px solid #bbb;padding:.2rem .6rem;text-align:left}
pre{background:#f2f2f2;padding:1rem;overflow:auto}h2{margin-top:2rem;font-size:1.1rem}</style>"""
_EXAMPLE = """<pre>curl --cacert verifier.pem -H 'Content-Type: application/json' \\
     -d '{"instance": "pod-0"}' https://VERIFIER/v1/challenges
curl --cacert verifier.pem -H 'Content-Type: application/cbor' \\
     --data-binary @evidence.cbor https://VERIFIER/v1/challenges/ID/evidence</pre>
<p>The document for programs: <a href="/openapi.json">/openapi.json</a>"""
