"""
A body of `/v1/messages` as a chat completion request, for upstreams that speak OpenAI's schema. docs/translation.md
shows it row by row. What only steers how Claude works (thinking, `top_k`, cache marks) is left out: an answer without
it is still the answer that was asked for. What can't be left out makes the target one that can't be asked.
"""

from collections.abc import Callable
from typing import Any

from gateway.dialects.anthropic.shape import as_list, as_object, as_text
from gateway.dialects.generation_request import Document, encode
from gateway.errors import InvalidRequest

__all__ = ["chat_document"]

IRREPLACEABLE = ("mcp_servers", "container")
MAX_STOP_SEQUENCES = 4
TOOL_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def chat_document(document: Document) -> Document:
    """Equal requests give equal documents. Raises InvalidRequest."""
    for name in IRREPLACEABLE:
        if document.get(name):
            raise _unsupported(f"`{name}`", name)
    chat: dict[str, Any] = {
        "model": document["model"],
        "messages": [*_system(document.get("system"), "system"), *_conversation(document["messages"])],
        "max_completion_tokens": document["max_tokens"],
        "stream": document.get("stream"),
        "temperature": document.get("temperature"),
        "top_p": document.get("top_p"),
        "stop": _stop(document.get("stop_sequences")),
        "tools": _tools(document.get("tools")),
        **_tool_choice(document.get("tool_choice")),
        "response_format": _response_format(document),
    }
    return {name: value for name, value in chat.items() if value is not None}


def _system(system: object, param: str) -> list[Document]:
    if system is None or system == "":
        return []
    if isinstance(system, str):
        return [{"role": "system", "content": system}]
    texts = [_text_of(block, f"{param}[{index}]") for index, block in enumerate(as_list(system, param))]
    return [{"role": "system", "content": "\n\n".join(texts)}] if texts else []


def _conversation(messages: list[Document]) -> list[Document]:
    chat: list[Document] = []
    for index, message in enumerate(messages):
        param = f"messages[{index}]"
        role, content = message["role"], message.get("content")
        if role == "system":  # In the middle of a conversation, as Claude Code writes reminders.
            chat += _system(content, f"{param}.content")
            continue
        if role not in ("user", "assistant"):
            raise InvalidRequest(f"`{param}.role` must be user, assistant or system.", param=f"{param}.role")
        if isinstance(content, str):
            chat.append({"role": role, "content": content})
            continue
        blocks = [as_object(block, f"{param}.content") for block in as_list(content, f"{param}.content")]
        chat += _assistant(blocks, param) if role == "assistant" else _user(blocks, param)
    return chat


def _assistant(blocks: list[Document], param: str) -> list[Document]:
    texts: list[str] = []
    calls: list[Document] = []
    for block in blocks:
        match block.get("type"):
            case "text":
                texts.append(as_text(block.get("text"), f"{param}.content"))
            case "tool_use":
                arguments = encode(block.get("input") or {}).decode()
                function = {"name": as_text(block.get("name"), f"{param}.content"), "arguments": arguments}
                calls.append({"id": block.get("id"), "type": "function", "function": function})
            case "thinking" | "redacted_thinking":
                continue  # Claude's alone: no other model can read it.
            case kind:
                raise _unsupported(f"A block of type {str(kind)[:64]!r} of the assistant", f"{param}.content")
    message: Document = {"role": "assistant", "content": "".join(texts) or None}
    if calls:
        message["tool_calls"] = calls
    return [message]


def _user(blocks: list[Document], param: str) -> list[Document]:
    """Results of tools are messages of their own, before what the user says with them."""
    results: list[Document] = []
    parts: list[Document] = []
    for block in blocks:
        if block.get("type") == "tool_result":
            text, pictures = _result(block.get("content"), f"{param}.content")
            results.append({"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": text})
            parts += pictures
        else:
            parts.append(_part(block, f"{param}.content"))
    return [*results, *([{"role": "user", "content": parts}] if parts else [])]


def _result(content: object, param: str) -> tuple[str, list[Document]]:
    """The text of a tool's result, and its pictures, which a tool's message can't hold: they follow as the user's."""
    if content is None or isinstance(content, str):
        return content or "", []
    parts = [_part(as_object(block, param), param) for block in as_list(content, param)]
    texts = [str(part["text"]) for part in parts if part["type"] == "text"]
    return "\n".join(texts), [part for part in parts if part["type"] != "text"]


def _part(block: Document, param: str) -> Document:
    make = PARTS.get(str(block.get("type")))
    if make is None:
        raise _unsupported(f"A block of type {str(block.get('type'))[:64]!r}", param)
    return make(block, param)


def _text_part(block: Document, param: str) -> Document:
    return {"type": "text", "text": _text_of(block, param)}


def _image(block: Document, param: str) -> Document:
    source = as_object(block.get("source"), f"{param}.source")
    match source.get("type"):
        case "base64":
            return {"type": "image_url", "image_url": {"url": _data_url(source, param)}}
        case "url":
            return {"type": "image_url", "image_url": {"url": as_text(source.get("url"), f"{param}.source.url")}}
        case kind:
            raise _unsupported(f"A picture from {str(kind)[:64]!r}", param)


def _document(block: Document, param: str) -> Document:
    source = as_object(block.get("source"), f"{param}.source")
    match source.get("type"):
        case "base64":
            title = block.get("title")
            name = title if isinstance(title, str) else "document.pdf"
            return {"type": "file", "file": {"filename": name, "file_data": _data_url(source, param)}}
        case "text":
            return {"type": "text", "text": as_text(source.get("data"), f"{param}.source.data")}
        case kind:
            raise _unsupported(f"A document from {str(kind)[:64]!r}", param)


PARTS: dict[str, Callable[[Document, str], Document]] = {
    "text": _text_part,
    "image": _image,
    "document": _document,
}


def _data_url(source: Document, param: str) -> str:
    media_type = as_text(source.get("media_type"), f"{param}.source.media_type")
    return f"data:{media_type};base64,{as_text(source.get('data'), f'{param}.source.data')}"


def _text_of(block: object, param: str) -> str:
    return as_text(as_object(block, param).get("text"), f"{param}.text")


def _stop(sequences: object) -> list[Any] | None:
    stop = as_list(sequences or [], "stop_sequences")
    if len(stop) > MAX_STOP_SEQUENCES:
        raise _unsupported(f"More than {MAX_STOP_SEQUENCES} stop sequences", "stop_sequences")
    return stop or None


def _tools(tools: object) -> list[Document] | None:
    made = []
    for index, tool in enumerate(as_list(tools or [], "tools")):
        definition = as_object(tool, f"tools[{index}]")
        if definition.get("type") not in (None, "custom"):
            raise _unsupported(f"A tool of type {str(definition['type'])[:64]!r}", f"tools[{index}].type")
        function = {
            "name": as_text(definition.get("name"), f"tools[{index}].name"),
            "description": definition.get("description"),
            "parameters": definition.get("input_schema"),
            "strict": definition.get("strict"),
        }
        given = {name: item for name, item in function.items() if item is not None}
        made.append({"type": "function", "function": given})
    return made or None


def _tool_choice(choice: object) -> Document:
    if choice is None:
        return {}
    asked = as_object(choice, "tool_choice")
    kind = asked.get("type")
    parallel = {"parallel_tool_calls": False} if asked.get("disable_parallel_tool_use") else {}
    if kind == "tool":
        name = as_text(asked.get("name"), "tool_choice.name")
        return {"tool_choice": {"type": "function", "function": {"name": name}}, **parallel}
    if not isinstance(kind, str) or kind not in TOOL_CHOICES:
        raise InvalidRequest("`tool_choice.type` must be auto, any, tool or none.", param="tool_choice.type")
    return {"tool_choice": TOOL_CHOICES[kind], **parallel}


def _response_format(document: Document) -> Document | None:
    config = document.get("output_config")
    asked = document.get("output_format") or (config.get("format") if isinstance(config, dict) else None)
    if asked is None:
        return None
    schema = as_object(asked, "output_config.format").get("schema")
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}


def _unsupported(what: str, param: str) -> InvalidRequest:
    message = f"{what} can't be expressed for this model's provider (OpenAI)."
    return InvalidRequest(message, param=param, code="unsupported_parameter")
