"""`poindexter models`"""

import os
from pathlib import Path

import click

from core.models.models_file import ModelsFile, ModelsFileError
from deploy.commands.options import json_option
from deploy.local.services.processes import MODELS_FILE
from deploy.printing import document, fail, table

__all__ = ["models"]


@click.group(short_help="Check a models file.")
def models() -> None:
    """The models file: what customers may ask for, who answers, what a token costs (docs/models.md)."""


@models.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False), default=MODELS_FILE)
@json_option
def check(file: Path, as_json: bool) -> None:
    """Validate FILE with this environment, before a gateway reads it. Lists every problem; status 1 if there is one."""
    try:
        parsed = ModelsFile.read(file, os.environ)
    except OSError as error:
        fail(f"{file} can't be read: {error.strerror}")
    except ModelsFileError as error:
        if as_json:
            document({"valid": False, "problems": error.problems})
            raise SystemExit(1) from error
        fail(f"{file} is refused:\n" + "\n".join(f"  {problem}" for problem in error.problems))
    if as_json:
        document({"valid": True, "models": list(parsed.models)})
        return
    rows = [
        (
            model.name,
            f"{model.context_tokens:,}",
            f"{model.max_output_tokens:,}",
            f"${model.price.input / 1000:.3f}",
            f"${model.price.output / 1000:.3f}",
            " > ".join(target.name for target in model.targets),
        )
        for model in parsed.models.values()
    ]
    table(("model", "context", "output", "in /1M", "out /1M", "targets"), rows, empty="")
