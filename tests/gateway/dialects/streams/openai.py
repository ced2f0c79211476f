"""Streams of OpenAI-compatible upstreams, in the shapes that their documentation shows."""

import orjson

HEAD = b'"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-2024-08-06"'


def chunk(delta: str, finish: str = "null", usage: str = "") -> bytes:
    choices = '"choices":[{"index":0,"delta":' + delta + ',"logprobs":null,"finish_reason":' + finish + "}]"
    return b"data: {" + HEAD + b"," + choices.encode() + usage.encode() + b"}\n\n"


def text(*pieces: str, usage: str = ',"usage":null') -> bytes:
    deltas = (orjson.dumps({"content": piece}).decode() for piece in pieces)
    return b"".join(chunk(delta, usage=usage) for delta in deltas)


USAGE = (
    b'"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,"prompt_tokens_details":{"cached_tokens":4,'
    b'"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":3,"audio_tokens":0}}'
)
ROLE = chunk('{"role":"assistant","content":"","refusal":null}', usage=',"usage":null')
STOP = chunk("{}", '"stop"', usage=',"usage":null')
USAGE_CHUNK = b"data: {" + HEAD + b',"choices":[],' + USAGE + b"}\n\n"
DONE = b"data: [DONE]\n\n"

PLAIN = ROLE + text("Hel", "lo", " \u2028\U0001f600") + STOP + USAGE_CHUNK + DONE
TRICKY_TEXT = (
    ROLE
    + text('"usage":null', "usage", "error", "[DONE]", 'data: [DONE]\n\n"error":', "\r\n\r\n")
    + STOP
    + USAGE_CHUNK
    + DONE
)
TOOLS = (
    ROLE
    + chunk('{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"f","arguments":""}}]}')
    + chunk('{"tool_calls":[{"index":0,"function":{"arguments":"{\\"a\\":"}}]}')
    + chunk('{"tool_calls":[{"index":1,"id":"call_2","type":"function","function":{"name":"g","arguments":"{}"}}]}')
    + chunk('{"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]}')
    + chunk("{}", '"tool_calls"')
    + USAGE_CHUNK
    + DONE
)
REASONING = ROLE + chunk('{"reasoning_content":"Let me think"}') + text("42", usage="") + STOP + USAGE_CHUNK + DONE
USAGE_WITH_CHOICES = ROLE + text("Hi") + chunk("{}", '"stop"', usage="," + USAGE.decode()) + DONE
USAGE_IN_EVERY_CHUNK = (
    chunk('{"role":"assistant","content":"Hi"}', usage=',"usage":{"prompt_tokens":19,"completion_tokens":1}')
    + chunk('{"content":" you"}', usage=',"usage":{"prompt_tokens":19,"completion_tokens":2}')
    + chunk("{}", '"stop"', usage="," + USAGE.decode())
    + DONE
)
SPACED = (
    (ROLE + text("Hi", "there") + STOP + USAGE_CHUNK + DONE)
    .replace(b'","', b'", "')
    .replace(b',"usage":null', b', "usage": null')
)
CARRIAGE_RETURNS = PLAIN.replace(b"\n", b"\r\n")
LONE_CARRIAGE_RETURNS = PLAIN.replace(b"\n", b"\r")
COMMENTS = b": OPENROUTER PROCESSING\n\n" + ROLE + b": ping\n\n\n\n" + text("Hi") + b": ping\n\n" + STOP + DONE
NO_USAGE = ROLE.replace(b',"usage":null', b"") + text("Hi", usage="") + chunk("{}", '"stop"') + DONE
ZERO_USAGE = (
    NO_USAGE[: -len(DONE)]
    + USAGE_CHUNK.replace(b"19", b"0")
    .replace(b"10,", b"0,")
    .replace(b"29", b"0")
    .replace(b":4,", b":0,")
    .replace(b":3,", b":0,")
    + DONE
)
AFTER_DONE = PLAIN + b"data: {}\n\n: more\n\n" + USAGE_CHUNK
NO_BLANK_LINE_AT_THE_END = PLAIN[:-2]
AZURE = b'data: {"choices":[],"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0}]}\n\n' + PLAIN
MULTI_LINE = b'event: message\ndata: {"id":"x","model":"m",\ndata: "choices":[{"index":0,"delta":{"content":"Hi"},' + (
    b'"finish_reason":null}]}\n\n' + STOP + DONE
)

COMPLETE = {
    "plain": PLAIN,
    "tricky_text": TRICKY_TEXT,
    "tools": TOOLS,
    "reasoning": REASONING,
    "usage_with_choices": USAGE_WITH_CHOICES,
    "usage_in_every_chunk": USAGE_IN_EVERY_CHUNK,
    "spaced": SPACED,
    "carriage_returns": CARRIAGE_RETURNS,
    "lone_carriage_returns": LONE_CARRIAGE_RETURNS,
    "comments": COMMENTS,
    "no_usage": NO_USAGE,
    "zero_usage": ZERO_USAGE,
    "after_done": AFTER_DONE,
    "no_blank_line_at_the_end": NO_BLANK_LINE_AT_THE_END,
    "azure": AZURE,
    "multi_line": MULTI_LINE,
}
ERROR_FIRST = b'data: {"error":{"message":"Slow down","type":"requests","code":"rate_limit_exceeded"}}\n\n'
ERROR_LATER = (
    ROLE
    + text("Hi")
    + b'data: {"id":"gen-1","error":{"code":502,"message":"Provider disconnected"},"choices":[{"index":0,"delta":'
    b'{"content":""},"finish_reason":"error"}]}\n\n' + DONE
)
BROKEN = {
    "error_first": ERROR_FIRST,
    "error_later": ERROR_LATER,
    "cut_after_text": ROLE + text("Hel", "lo"),
    "cut_in_an_event": (ROLE + text("Hel", "lo"))[:-20],
    "cut_before_done": PLAIN[: -len(DONE)],
    "nothing": b"",
    "html": b"<html>\n<body>Bad gateway</body>\n\n</html>",
    "plain_json_error": b'{"error":{"message":"The model is loading","type":"server_error"}}',
    "garbage_event": ROLE + b"data: {not json\n\n" + STOP + DONE,
    "list_event": b"data: []\n\n" + DONE,
}
