"""
The outside language-model providers, locally: OpenAI and Anthropic on one port, as strict as the real ones, scriptable,
with a record of what they served. They import none of our packages and so cannot share our bugs.

    python -m simulators --port 0 --record served.jsonl

The path of one call: `app` routes it; `http` reads it and runs the steps for both providers; `openai` or `anthropic`
authenticates it, checks it by the tables and rules of its API (`schemas`), and words what it refuses. `faults` tells
which misbehaviour a test has asked for and keeps the record; `answers` composes the answer and counts its tokens; then
`http` brings it to the client, well or badly.

Counting, so that bills are exact: input = ceil(UTF-8 bytes of all prompt text / 4), an image or file = 85 tokens;
output = one token per word of text or thinking, one per four characters of JSON (tool arguments, structured answers).
Without a script an answer has 5 + input_tokens % 20 words. The prompt includes the directive itself.

A script is a directive in the last user message, `[[sim words=50 pause_ms=20]]`, or a queued fault with the same names:

    words=N  text="..."       the answer: N words, or this text      chunk_words=N   tokens per chunk (1)
    tools=N                   N tool calls                            thinking=N      thinking or reasoning tokens
    redacted=1                a redacted_thinking block as well       refusal=1       the model refuses
    reasoning_content=1       OpenAI-compatible reasoning deltas      finish=REASON   another finish or stop reason
    interleaved=1             half of the thinking after the text
    first_byte_ms=N pause_ms=N   wait before the answer, between chunks
    input_tokens=N output_tokens=N cached_tokens=N   other usage than the counted one
    usage=none|zero|repeat|late_split|inclusive|input_zero   unusual usage reports
    status=N code= error_type= message= retry_after=S retry_after_ms=N should_retry=0|1   an error answer
    cut=before_head|after_head|reset|fin|eof  stall=before_head|after_head|stream  error_event=start|mid
    garbage=http|json|sse  content_length=short|long  split_bytes=N  glue=1
    after=N                   cut, stall, error_event=mid and garbage=sse happen after N content chunks (2)
    times=N                   misbehave only on the first N calls with this very directive; id=X makes it unique
    model=NAME                misbehave only as this upstream model or provider

docs/simulators.md has the details.
"""
